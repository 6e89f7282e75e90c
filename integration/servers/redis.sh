#!/bin/sh
# redis-server on a socket in a new directory: starts, answers, ends. The argument is the parent directory (default /tmp).
set -u
place=$(mktemp -d "${1:-/tmp}/sc-record-server.XXXXXX") || exit 8
# Empty where a profile refuses the call that reads mktemp's output; `cd ""` would stay where it is.
cd "${place:?mktemp printed nothing}" || exit 8
trap 'cd /; rm -rf "$place"' EXIT
redis-server --port 0 --unixsocket "$place/s" --save '' --daemonize no --logfile '' >log 2>&1 &
server=$!
# Makes sure that these are always called, however fast the server is.
kill -0 "$server" || exit 9
sleep 0.01 || exit 9
sleep 0.05 &
wait "$!"
tries=0
until redis-cli -s s ping 2>/dev/null | grep -q PONG; do
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
redis-cli -s s set a 1
redis-cli -s s incr a
redis-cli -s s shutdown nosave
wait "$server"
