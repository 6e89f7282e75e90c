# shellcheck shell=sh
# What the scripts beside this one share. Each of them drives one real program through what it is used for, and prints a
# transcript that is the same every time: under no recorder, while recorded, and under the profile made of the recording.
# They work as root and as a user, use loopback only, end by themselves, and leave nothing behind.

# Start again with an environment that is the same everywhere (cargo, make and people's shells set all sorts of things).
# SC_RECORD_REAL is where programs that are built for the scripts lie: a stable path, since recordings name executables.
# SC_RECORD_TEST is how the tests find what they started.
if [ -z "${REAL_WORKLOAD-}" ]; then
    exec env -i REAL_WORKLOAD=1 SC_RECORD_REAL="${SC_RECORD_REAL:-/tmp/sc-record-real}" SC_RECORD_TEST="${SC_RECORD_TEST-}" \
        PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TZ=UTC /bin/sh "$0" "$@"
fi

set -eu
umask 022
exec </dev/null

# shellcheck disable=SC2034 # for the scripts
bin=$SC_RECORD_REAL/bin
work=$(mktemp -d /tmp/sc-record-work.XXXXXX)
export HOME="${work:?}"
cd "$work"

# What to end when the script ends, however it does. A script with servers replaces it.
stop_servers() { :; }

leave() {
    status=$?
    trap - EXIT
    stop_servers || :
    cd /
    rm -rf "$work"
    exit "$status"
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

checks=0
failures=0

# verdict STATUS NAME: one line of the transcript.
verdict() {
    checks=$((checks + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok - $2"
    else
        echo "not ok - $2"
        failures=$((failures + 1))
    fi
}

# check NAME COMMAND...: the command succeeds.
check() {
    name=$1
    shift
    if "$@"; then verdict 0 "$name"; else verdict 1 "$name"; fi
}

# same NAME EXPECTED GOT: two strings are equal.
same() {
    if [ "$2" = "$3" ]; then
        verdict 0 "$1"
    else
        printf 'expected: %s\n     got: %s\n' "$2" "$3" >&2
        verdict 1 "$1"
    fi
}

# finish: the last line of the transcript, and the exit status.
finish() {
    echo "$checks checks, $failures failed"
    [ "$failures" -eq 0 ]
}

# until_true COMMAND...: tries for ten seconds.
until_true() {
    tries=200
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}

# free_port FIRST: a TCP port of at least FIRST that nothing uses now.
free_port() {
    cat /proc/net/tcp* | awk -v port="$1" '
        { split($2, local, ":"); used[local[2]] = 1 }
        END { while (sprintf("%04X", port) in used) port++; print port }
    '
}
