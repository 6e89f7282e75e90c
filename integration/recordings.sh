#!/bin/sh
# Records the real programs again into recordings/ and profiles/: recordings.sh SC-RECORD [NAME]...
# Repeats each until three consecutive runs add no call, since some calls depend on timing.
set -eu
tool=$(realpath "$1")
shift
cd "$(dirname "$0")/.."

sh integration/real/programs/build.sh
[ $# -gt 0 ] || set -- shell git sqlite3 python3 nginx redis gcc busybox go x86 int80

for name; do
    profile=profiles/$name.json
    rm -f "$profile"
    fresh=--fresh
    runs=0
    settled=0
    while [ "$settled" -lt 3 ]; do
        [ "$runs" -lt 12 ] || {
            echo "$name: still something new after $runs runs" >&2
            exit 1
        }
        before=$(cat "$profile" 2>/dev/null || :)
        "$tool" -q $fresh --name "$name" -- "integration/real/$name.sh" >/dev/null 2>&1 || {
            echo "$name: the recorded run failed" >&2
            exit 1
        }
        fresh=
        runs=$((runs + 1))
        if [ "$(cat "$profile")" = "$before" ]; then settled=$((settled + 1)); else settled=0; fi
    done
    rm -f "recordings/$name.json.bak"
    echo "$name: $runs runs, $(grep -c '^ *"[a-z0-9_]*",*$' "$profile") names"
done
