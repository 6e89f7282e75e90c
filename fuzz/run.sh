#!/bin/sh
# Runs every fuzz target for FUZZ_SECONDS (30), from its seeds and the committed files: fuzz/run.sh [TARGET]...
# What it finds stays in fuzz/artifacts; the corpus grows in fuzz/corpus.
set -eu
cd "$(dirname "$0")"
cargo=${CARGO:-cargo}

command -v cargo-fuzz >/dev/null || "$cargo" install --locked cargo-fuzz
# libFuzzer's instrumentation is a nightly feature of rustc. This lets a stable one have it.
export RUSTC_BOOTSTRAP=1

if [ $# -eq 0 ]; then
    for target in fuzz_targets/*.rs; do
        target=${target##*/}
        set -- "$@" "${target%.rs}"
    done
fi
for target; do
    # What a target begins with beside the corpus of earlier runs.
    seeds=
    for directory in "seeds/$target" "../${target}s" "../integration/fixtures/${target#import_}"; do
        [ ! -d "$directory" ] || seeds="$seeds $directory"
    done
    mkdir -p "corpus/$target"
    echo "$target: ${FUZZ_SECONDS:-30} seconds, seeds:$seeds" >&2
    # shellcheck disable=SC2086 # a list of directories
    "$cargo" fuzz run --fuzz-dir . "$target" "corpus/$target" $seeds -- \
        -max_total_time="${FUZZ_SECONDS:-30}" -max_len=65536 -timeout=10
done
