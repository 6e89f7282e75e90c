#!/bin/sh
# The steps of action.yml: action.sh install, action.sh check. A runner sets GITHUB_*, RUNNER_TEMP and INPUT_*.
set -eu

# Puts sc-record into the PATH of later steps: a release, an installed one, or one that is built.
install() {
    bin=$RUNNER_TEMP/sc-record-bin
    mkdir -p "$bin"
    if [ -n "${INPUT_VERSION:-}" ]; then
        from=${GITHUB_SERVER_URL:-https://github.com}/$GITHUB_ACTION_REPOSITORY/releases/download/v$INPUT_VERSION
        file=sc-record-$(uname -m)
        (
            cd "$bin"
            curl -fsSL --retry 3 -O "$from/$file" -O "$from/SHA256SUMS"
            grep " [ *]$file\$" SHA256SUMS | sha256sum -c --quiet
            mv "$file" sc-record
            chmod 755 sc-record
        )
    elif command -v sc-record >/dev/null; then
        return
    else
        make -C "$GITHUB_ACTION_PATH" static
        cp "$GITHUB_ACTION_PATH/target/static/sc-record" "$bin"
    fi
    echo "$bin" >>"$GITHUB_PATH"
}

# The profile that a pull request is compared with; nothing if there is none.
base() {
    if [ -n "${INPUT_AGAINST:-}" ]; then
        echo "$INPUT_AGAINST"
    elif [ -n "${GITHUB_BASE_REF:-}" ] &&
        git show "origin/$GITHUB_BASE_REF:./$INPUT_PROFILE" >"$work/base" 2>/dev/null; then
        echo "$work/base"
    fi
}

output() { echo "$1=$2" >>"$GITHUB_OUTPUT"; }

check() {
    work=$RUNNER_TEMP/sc-record
    rm -rf "$work"
    mkdir -p "$work"
    recording=$work/recording.json
    if [ -n "${INPUT_RECORDING:-}" ]; then cp "$INPUT_RECORDING" "$recording"; fi

    # shellcheck disable=SC2086 # several options
    set -- --github --junit "$work/junit.xml" ${INPUT_OPTIONS:-} "$INPUT_PROFILE"
    status=0
    if [ -n "${INPUT_COMMAND:-}" ]; then
        sc-record check --recording "$recording" "$@" -- sh -c "$INPUT_COMMAND" || status=$?
    else
        sc-record check "$@" "$recording" || status=$?
    fi
    output status "$status"
    if [ -e "$work/junit.xml" ]; then output junit "$work/junit.xml"; fi

    # Findings of lint are for code scanning; trouble with the files was reported above.
    target=${INPUT_TARGET:-runc}
    sc-record lint --sarif --target "$target" "$INPUT_PROFILE" >"$work/lint.sarif" || [ $? -eq 1 ] || rm "$work/lint.sarif"
    if [ -e "$work/lint.sarif" ]; then output sarif "$work/lint.sarif"; fi

    if [ -e "$recording" ]; then
        against=$(base)
        set -- "$recording" "$INPUT_PROFILE" --target "$target" ${against:+--against "$against"}
        sc-record report "$@" -o "$work/report.html"
        sc-record report "$@" --markdown -o "$work/comment.md"
        cat "$work/comment.md" >>"$GITHUB_STEP_SUMMARY"
        output report "$work/report.html"
        output comment "$work/comment.md"
    fi
    return "$status"
}

case ${1:-} in
install | check) "$1" ;;
*)
    echo "usage: $0 install | check" >&2
    exit 2
    ;;
esac
