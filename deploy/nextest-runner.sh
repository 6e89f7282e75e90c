#!/bin/sh
# A target runner for cargo-nextest, which runs each test in a process of its own: each becomes a run of one recording, with
# the test's name as a label. Without this runner, tests run as always.
#
#   CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER=$PWD/deploy/nextest-runner.sh cargo nextest run
#
# The recording is recordings/tests.json of the workspace; SC_RECORD_NAME is another name.
set -eu

# nextest also has the tests listed.
if [ -z "${NEXTEST_TEST_NAME:-}" ]; then exec "$@"; fi
name=${SC_RECORD_NAME:-tests}
exec sc-record -q -n "$name" -r "$NEXTEST_WORKSPACE_ROOT/recordings/$name.json" -o none \
    --label "test=$NEXTEST_BINARY_ID $NEXTEST_TEST_NAME" -- "$@"
