#!/bin/sh
# Builds the programs for the scripts in the parent directory if they are older than their sources: build.sh [NAME]...
# Their path is the same on every machine, since recordings name executables.
set -eu
cd "$(dirname "$0")"
out=${SC_RECORD_REAL:-/tmp/sc-record-real}/bin
mkdir -p "$out"
[ -O "$out" ] || {
    echo "$out belongs to another user: remove it, or set SC_RECORD_REAL to another directory" >&2
    exit 1
}

# build NAME SOURCE COMMAND...: the command makes the file NAME.new in $out.
build() {
    name=$1
    source=$2
    shift 2
    if [ -e "$out/$name" ] && [ -z "$(find "$source" -newer "$out/$name")" ]; then return; fi
    # Replaced atomically, since another build may run at the same time.
    temporary=$(mktemp -d "$out/build.XXXXXX")
    : "${temporary:?}"
    "$@" -o "$temporary/$name" "$source" || {
        rm -rf "$temporary"
        exit 1
    }
    mv "$temporary/$name" "$out/$name"
    rm -rf "$temporary"
}

[ $# -gt 0 ] || set -- go x86 int80 inject
for program; do
    case $program in
    go | go_server) build "$program" "$program.go" env CGO_ENABLED=0 GO111MODULE=off go build ;;
    x86) build x86 x86.c gcc -m32 -O2 -Wall -Wextra -Werror -pthread ;;
    int80) build int80 int80.c gcc -O2 -Wall -Wextra -Werror ;;
    inject) build inject inject.c "${CC:-gcc}" -Os -Wall -Wextra -Werror -static -nostdlib -ffreestanding -fno-stack-protector ;;
    *)
        echo "$0: there is no program $program" >&2
        exit 2
        ;;
    esac
done
