# shellcheck shell=sh
# Shared code of the scripts in this directory. Each drives one real program through its usual tasks, and prints a transcript
# that is always the same: without a recorder, while recorded, and under the profile of the recording. They work as root and as
# a user, use only loopback, end by themselves, and leave nothing behind.

# Restart with a fixed environment, since cargo, make and shells set different variables.
# SC_RECORD_REAL is the directory of the programs that are built for the scripts. It is fixed, since recordings name executables.
# SC_RECORD_TEST lets the tests find the processes that they started.
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

# Cleans up when the script ends in any way. A script with servers overrides it.
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

# until_true COMMAND...: retries for ten seconds.
until_true() {
    tries=200
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.05
    done
}

# free_port FIRST: an unused TCP port, FIRST or higher.
free_port() {
    cat /proc/net/tcp* | awk -v port="$1" '
        { split($2, local, ":"); used[local[2]] = 1 }
        END { while (sprintf("%04X", port) in used) port++; print port }
    '
}
