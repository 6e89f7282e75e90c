#!/bin/sh
# Makes the file system of an image for this machine's programs: tree.sh DIRECTORY. Containers have the machine's /usr, read-only.
set -eu
umask 022
tree=$(realpath "$1")
# As in Debian's images.
mkdir -p "$tree/usr" "$tree/etc" "$tree/dev" "$tree/proc" "$tree/sys" "$tree/tmp" "$tree/work" "$tree/var/tmp"
# Not only on it: runc gives a file system that is mounted there the same permissions.
chmod 1777 "$tree/tmp"
for directory in bin sbin lib lib32 lib64; do ln -s "usr/$directory" "$tree/$directory"; done
# Names in /usr are links to it.
cp -R /etc/alternatives "$tree/etc"
cat >"$tree/etc/passwd" <<END
root:x:0:0:root:/:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
END
cat >"$tree/etc/group" <<END
root:x:0:
nogroup:x:65534:
END
