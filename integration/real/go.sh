#!/bin/sh
# A statically linked Go program, built by programs/build.sh: it makes system calls directly, on many threads, without libc.
#
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

if GOMAXPROCS=4 "$bin/go"; then ended=0; else ended=$?; fi
same 'exit status' 5 "$ended"
same 'with one processor' 'goroutines 332833500' "$(GOMAXPROCS=1 "$bin/go" | sed -n 1p)"
finish
