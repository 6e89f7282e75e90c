#!/bin/sh
# A Go program as the first process of a container: go.sh prepare DIRECTORY, and go.sh load DIRECTORY while it serves.
# The directory is /work in the container.
set -eu
cd "$2"
case $1 in
prepare) ;;
load)
    curl -q -sS -m 30 --unix-socket s --compressed -Z --parallel-max 8 'http://localhost/?[1-200]' 2>log | wc -l
    ;;
esac
