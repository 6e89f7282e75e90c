#!/bin/sh
# nginx on a socket in a new directory: starts, answers a request, ends. The argument is the parent directory (default /tmp).
set -u
place=$(mktemp -d "${1:-/tmp}/sc-record-server.XXXXXX") || exit 8
# Empty where a profile refuses the call that reads mktemp's output; `cd ""` would stay where it is.
cd "${place:?mktemp printed nothing}" || exit 8
chmod 755 "$place"
trap 'cd /; rm -rf "$place"' EXIT
echo hello >file
cat >conf <<END
daemon off;
error_log stderr warn;
pid $place/pid;
events { worker_connections 64; }
http {
    access_log off;
    sendfile on;
    client_body_temp_path $place/b; proxy_temp_path $place/p; fastcgi_temp_path $place/f;
    uwsgi_temp_path $place/u; scgi_temp_path $place/c;
    server { listen unix:$place/s; root $place; }
}
END
nginx -e stderr -c "$place/conf" 2>log &
server=$!
# Makes sure that these are always called, however fast the server is.
kill -0 "$server" || exit 9
sleep 0.01 || exit 9
sleep 0.05 &
wait "$!"
tries=0
until [ -S s ] && [ -s pid ]; do
    kill -0 "$server" 2>/dev/null || {
        wait "$server"
        status=$?
        tail -n 1 log >&2
        exit "$status"
    }
    tries=$((tries + 1))
    [ "$tries" -lt 40 ] || exit 9
    sleep 0.01 || exit 9
done
get() { curl -q -sS -m 10 --unix-socket s "http://localhost/$1"; }
# Writes a line to the log, so that the calls for that are recorded too.
get none >/dev/null
get file
status=$?
kill -QUIT "$server"
wait "$server"
tail -n 1 log >&2
exit "$status"
