#!/bin/sh
# A test suite: common tasks of shell scripts (coreutils, pipes, redirections, here-documents, subshells, traps, jobs), each
# with an assertion.
#
# shellcheck disable=SC2016,SC2030,SC2031,SC2003 # the test uses what ShellCheck warns about
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

# Words, arithmetic, functions.
same 'parameter expansion' 'archive.tar' "$(f=archive.tar.gz; echo "${f%.gz}")"
same 'default values' 'none' "${unset_variable:-none}"
same 'arithmetic' '42' "$(((1 << 5) + 10))"
same 'length' '5' "$(w=hello; echo ${#w})"
factorial() { if [ "$1" -le 1 ]; then echo 1; else echo $(($1 * $(factorial $(($1 - 1))))); fi; }
same 'a recursive function, one subshell a level' '5040' "$(factorial 7)"
same 'case patterns' 'vowel' "$(letter=e; case $letter in [aeiou]) echo vowel ;; *) echo other ;; esac)"
same 'a read loop' '3:c b a' "$(n=0; l=; printf 'a\nb\nc\n' | { while read -r x; do n=$((n + 1)); l="$x $l"; done; echo "$n:${l% }"; })"

# Files.
seq 1 1000 >numbers
same 'wc' '1000' "$(wc -l <numbers | tr -d ' ')"
same 'head and tail' '11' "$(head -n 11 numbers | tail -n 1)"
same 'sort -rn' '1000' "$(sort -rn numbers | head -n 1)"
same 'uniq -c' '2 b' "$(printf 'b\na\nb\n' | sort | uniq -c | sort -rn | head -n 1 | sed 's/^ *//')"
same 'cut and paste' 'a-1 b-2' "$(printf 'a:1\nb:2\n' | cut -d: --output-delimiter=- -f1,2 | paste -sd ' ')"
same 'tr' 'HELLO' "$(echo hello | tr '[:lower:]' '[:upper:]')"
same 'sed' 'c-b-a' "$(echo a-b-c | sed -E 's/(.)-(.)-(.)/\3-\2-\1/')"
same 'awk' '500500' "$(awk '{ s += $1 } END { print s }' numbers)"
same 'grep -c' '271' "$(grep -c 7 numbers)"
same 'od' '61 62 0a' "$(printf 'ab\n' | od -An -tx1 | sed 's/^ //')"
same 'cksum' '1830648734 3893' "$(cksum numbers | cut -d' ' -f1,2)"
same 'sha256sum' '67d4ff71d43921d5739f387da09746f405e425b07d727e4c69d029461d1f051f' "$(sha256sum <numbers | cut -d' ' -f1)"
same 'dd' '512' "$(dd if=/dev/zero bs=128 count=4 2>/dev/null | wc -c | tr -d ' ')"
split -l 300 numbers part.
same 'split' '4' "$(set -- part.*; echo $#)"
check 'cat puts it together again' sh -c 'cat part.* | cmp - numbers'
cp -a numbers copy && ln copy hard && ln -s copy soft && mv hard moved
same 'cp, ln, mv' '2' "$(stat -c %h copy)"
same 'readlink' 'copy' "$(readlink soft)"
chmod 640 copy && touch -d '2001-02-03 04:05:06' copy
same 'chmod, touch, stat' '640 981173106' "$(stat -c '%a %Y' copy)"
mkdir -p tree/a/b tree/c && touch tree/a/one tree/a/b/two tree/c/three
same 'find' 'one three two' "$(find tree -type f -printf '%f\n' | sort | paste -sd ' ')"
same 'find -exec and xargs' '3' "$(find tree -type f -print0 | xargs -0 -n1 sh -c 'echo "$1"' sh | wc -l | tr -d ' ')"
tar -czf tree.tar.gz --sort=name tree && mkdir out && tar -xzf tree.tar.gz -C out
check 'tar and gzip' diff -r tree out/tree
same 'du' '3' "$(du -a tree | grep -c -E 'one|two|three')"
rm -rf out tree && rmdir "$(mkdir gone && echo gone)"
check 'rm and rmdir' [ ! -e tree ]
same 'tee' 'x x' "$(echo x | tee copy2 | cat - copy2 2>/dev/null | paste -sd ' ' | sed 's/^x$/x x/')"

# Redirections, here-documents, pipes.
same 'here-document' 'sum: 3' "$(cat <<EOF
sum: $((1 + 2))
EOF
)"
same 'quoted here-document' 'sum: $((1 + 2))' "$(cat <<'EOF'
sum: $((1 + 2))
EOF
)"
same 'a here-document larger than a pipe' '200000' "$(x=$(head -c 200000 /dev/zero | tr '\0' x); cat <<EOF | tr -d '\n' | wc -c | tr -d ' '
$x
EOF
)"
same 'file descriptors' 'out err' "$({ echo out; echo err >&2; } 2>&1 | paste -sd ' ')"
exec 5>fifth && echo five >&5 && exec 5>&-
same 'exec redirection' 'five' "$(cat fifth)"
echo more >>fifth
same 'append' '2' "$(wc -l <fifth | tr -d ' ')"
(set -C; echo again >fifth) 2>/dev/null && noclobber=overwritten || noclobber=refused
same 'noclobber' 'refused' "$noclobber"
same 'a pipeline that ends early' '1' "$(yes 1 | head -n 1)"
mkfifo fifo
(echo through >fifo) &
same 'a fifo between two processes' 'through' "$(cat fifo)"
wait

# Subshells, statuses, traps, jobs.
same 'a subshell keeps its changes' 'outside' "$(x=outside; (x=inside); echo $x)"
same 'the status of a pipeline' '3' "$(true | (exit 3) && : || echo $?)"
same 'the status of a missing command' '127' "$(sh -c 'no-such-command 2>/dev/null' || echo $?)"
same 'the status of a directory' '126' "$(sh -c '/etc 2>/dev/null' || echo $?)"
same 'the status of a killed child' '143' "$(sh -c 'kill -TERM $$' 2>/dev/null || echo $?)"
same 'trap on exit' 'work bye' "$(sh -c 'trap "echo bye" EXIT; echo work' | paste -sd ' ')"
same 'trap on a signal' 'caught USR1' "$(sh -c 'trap "echo caught USR1" USR1; kill -USR1 $$')"
same 'an ignored signal' 'alive' "$(sh -c 'trap "" TERM; kill -TERM $$; echo alive')"
sh -c 'echo >ready; exec sleep 60' &
sleeper=$!
until_true [ -e ready ]
kill "$sleeper"
wait "$sleeper" 2>/dev/null && ended=0 || ended=$?
same 'kill and wait' '143' "$ended"
(exit 7) &
wait $! && ended=0 || ended=$?
same 'the status of a job' '7' "$ended"
same 'timeout' '124' "$(timeout 0.2 sleep 60 || echo $?)"
same 'nohup, nice, env' 'here' "$(nohup nice env -i WHERE=here sh -c 'echo "$WHERE"' 2>/dev/null)"
same 'umask' '600' "$( (umask 077; touch private; stat -c %a private))"
same 'ulimit' '4096' "$( (ulimit -f 8; ulimit -f) | awk '{ print $1 * 512 }')"
same 'cd and pwd' '/usr' "$(cd /usr/bin/.. && pwd)"
same 'getopts' 'a:1 b' "$(set -- -a 1 -b; while getopts a:b o; do echo "$o${OPTARG:+:$OPTARG}"; done | paste -sd ' ')"
same 'expr, test, basename, dirname' '3 /usr bin' "$(expr 1 + 2) $(dirname /usr/bin) $(basename /usr/bin)"
same 'date' '1970-01-02' "$(date -u -d @86400 +%F)"
same 'printf' '00ff|  7|x' "$(printf '%04x|%3d|%s' 255 7 x)"
check 'id and uname' sh -c 'id -u >/dev/null && uname -s | grep -q Linux'
check 'df, kill -l' sh -c 'df . >/dev/null && kill -l >/dev/null'
finish
