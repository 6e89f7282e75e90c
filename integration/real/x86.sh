#!/bin/sh
# A 32-bit program, which programs/build.sh compiled: calls of the i386 ABI from a tree that is 64-bit otherwise.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

if "$bin/x86" "$work"; then ended=0; else ended=$?; fi
same 'exit status' 9 "$ended"
finish
