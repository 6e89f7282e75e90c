#!/bin/sh
# busybox, linked statically: its shell, with only its own applets in the PATH.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

port=$(free_port 18180)
mkdir bin
cat >suite.sh <<'EOF'
set -eu
busybox --install -s bin
export PATH="$PWD/bin"
stop() { [ ! -s httpd.pid ] || kill "$(cat httpd.pid)"; }
trap stop EXIT

same() {
    if [ "$2" = "$3" ]; then echo "ok - $1"; else echo "not ok - $1: expected $2, got $3"; exit 1; fi
}

same 'ash' '6' "$(echo $((1 + 2 + 3)))"
seq 1 500 >numbers
same 'awk' '125250' "$(awk '{ s += $1 } END { print s }' numbers)"
same 'sed' 'b-a' "$(echo a-b | sed -r 's/(.)-(.)/\2-\1/')"
same 'grep' '95' "$(grep -c 7 numbers)"
same 'sort, uniq, head' '3 x' "$(printf 'x\ny\nx\nx\n' | sort | uniq -c | sort -rn | head -n 1 | sed 's/^ *//')"
same 'find, xargs' '2' "$(mkdir -p d/e && touch d/1 d/e/2 && find d -type f | xargs ls -l | wc -l)"
tar -czf d.tar.gz d && rm -r d && tar -xzf d.tar.gz
same 'tar, gzip' '2' "$(find d -type f | wc -l)"
same 'bzip2' '500' "$(bzip2 -c numbers | bunzip2 -c | wc -l)"
same 'md5sum' '6765d9ccd08c622395efc466ca7b8d3b' "$(echo busybox | md5sum | cut -d' ' -f1)"
same 'dd' '2048' "$(dd if=/dev/zero bs=1k count=2 2>/dev/null | wc -c)"
same 'cp, mv, ln, stat' '2' "$(cp numbers copy && mv copy moved && ln moved hard && ln -sf moved soft && stat -c %h moved)"
same 'chmod, touch' '600' "$(touch private && chmod 600 private && stat -c %a private)"
same 'diff' '1' "$(echo x >>hard && diff -q numbers moved >/dev/null || echo $?)"
same 'patch' 'x' "$(diff -u numbers moved >change; patch numbers change >/dev/null && tail -n 1 numbers)"
same 'od' '61 62' "$(printf ab | od -An -tx1 | sed 's/^ *//')"
same 'base64' 'YnVzeQ==' "$(printf busy | base64)"
same 'bc' '42' "$(echo 6*7 | bc)"
same 'cpio' '1' "$(echo numbers | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null | wc -l)"
same 'a pipe that breaks' 'y' "$(yes | head -n 1)"
same 'trap' 'caught' "$(sh -c 'trap "echo caught" USR1; kill -USR1 $$')"
same 'timeout' '143' "$(timeout 1 sleep 30 || echo $?)"
sh -c 'echo >ready; exec sleep 30' &
until [ -e ready ]; do usleep 10000; done
kill $!
wait $! && ended=0 || ended=$?
same 'a killed job' '143' "$ended"
(usleep 300000; exit 7) &
wait $! && ended=0 || ended=$?
same 'a job that is waited for' '7' "$ended"
same 'env' 'here' "$(env -i PATH="$PATH" WHERE=here sh -c 'echo $WHERE' 2>/dev/null)"
same 'date' '1970-01-02' "$(date -u -d @86400 +%Y-%m-%d)"
check_system() { id -u && uname -s && hostname && df . && free && uptime && ps && mount; }
same 'id, uname, df, ps' '0' "$(check_system >/dev/null; echo $?)"
mkdir -p www && echo 'served' >www/index.html
httpd -f -p "127.0.0.1:$1" -h www &
echo $! >httpd.pid
tries=100
until wget -q -O fetched "http://127.0.0.1:$1/" 2>/dev/null; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ]
    usleep 50000
done
same 'httpd, wget' 'served' "$(cat fetched)"
EOF
check 'the suite' busybox sh suite.sh "$port"
finish
