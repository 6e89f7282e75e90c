#!/bin/sh
# A 32-bit program, built by programs/build.sh: calls of the i386 ABI in an otherwise 64-bit process tree.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

if "$bin/x86" "$work"; then ended=0; else ended=$?; fi
same 'exit status' 9 "$ended"
finish
