#!/bin/sh
# Makes the file system of an image of this machine's programs, with their libraries: tree.sh DIRECTORY.
# The programs that the tests build are copied into it later.
set -eu
umask 022
tree=$(realpath "$1")
# As in Debian's images.
mkdir -p "$tree/usr/bin" "$tree/usr/sbin" "$tree/usr/lib" "$tree/usr/lib64" "$tree/etc" "$tree/dev" "$tree/proc" "$tree/sys" \
    "$tree/tmp" "$tree/work" "$tree/var/tmp"
# Not only on it: runc gives a file system that is mounted there the same permissions.
chmod 1777 "$tree/tmp"
for directory in bin sbin lib lib64; do ln -s "usr/$directory" "$tree/$directory"; done

# copy FILE: under the same name, and the libraries that it is linked with.
copy() {
    cp -L --parents "$1" "$tree"
    ldd "$1" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
        [ -e "$tree$library" ] || cp -L --parents "$library" "$tree"
    done
}

for program in sh env mktemp seq wc head tail sort uniq cut paste tr sed awk grep od cksum sha256sum dd split cat cmp cp ln mv \
    readlink chmod touch stat mkdir find xargs tar gzip diff du rm rmdir tee yes mkfifo sleep timeout nohup nice expr basename \
    dirname date id uname df ls true; do
    copy "/usr/bin/$program"
done
copy /usr/sbin/nginx
copy /usr/bin/redis-server
postgres=$(find /usr/lib/postgresql -path '*/bin/postgres' | sort -V | tail -n 1)
copy "$postgres"
ln -s "$postgres" "$tree/usr/bin/postgres"
version=$(basename "$(dirname "$(dirname "$postgres")")")
for library in dict_snowball plpgsql; do copy "/usr/lib/postgresql/$version/lib/$library.so"; done
(cd / && cp -R --parents "usr/share/postgresql/$version/timezonesets" usr/share/zoneinfo/Etc "$tree")

cat >"$tree/etc/passwd" <<END
root:x:0:0:root:/:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
END
cat >"$tree/etc/group" <<END
root:x:0:
nogroup:x:65534:
END
