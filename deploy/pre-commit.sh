#!/bin/sh
# A hook of pre-commit: does profiles/NAME.json allow what recordings/NAME.json has? Its arguments are the changed files of
# both kinds. sc-record must be in the PATH.
set -eu

status=0
for file in "$@"; do
    name=${file##*/}
    case $file in
    profiles/* | */profiles/*) folder=${file%"profiles/$name"} ;;
    recordings/* | */recordings/*) folder=${file%"recordings/$name"} ;;
    *) continue ;;
    esac
    echo "$folder $name"
done | sort -u | {
    while IFS= read -r pair; do
        folder=${pair% *}
        name=${pair##* }
        profile=${folder}profiles/$name
        recording=${folder}recordings/$name
        if [ -e "$profile" ] && [ -e "$recording" ]; then
            sc-record check "$profile" "$recording" || status=1
        fi
    done
    exit "$status"
}
