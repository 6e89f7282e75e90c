#!/bin/sh
# A 64-bit program, built by programs/build.sh, that makes i386 calls by int 0x80: two ABIs in one process.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

if "$bin/int80"; then ended=0; else ended=$?; fi
same 'exit status' 25 "$ended"
finish
