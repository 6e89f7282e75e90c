#!/bin/sh
# A short demonstration, for make demo: record a workload, show its profile, run it under the profile, and show that a call
# that was not recorded is refused. Leaves nothing behind.
set -eu
tool=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
demo=$(mktemp -d)
trap 'rm -rf "$demo"' EXIT
cd "${demo:?}"

# A typical workload: a script that runs a few programs.
cat >report.sh <<'EOF'
#!/bin/sh
set -eu
seq 1 1000 | awk '{ sum += $1 * $1 } END { print "sum of squares:", sum }' >report
sort -r report | tee report.sorted | wc -l >/dev/null
cat report
EOF
chmod +x report.sh
# An attacker makes it execute an unintended command.
sed 's|^cat report$|./inject|' report.sh >broken.sh && chmod +x broken.sh
gcc -Os -static -nostdlib -ffreestanding -fno-stack-protector -o inject "$here/real/programs/inject.c"

# say TEXT: announces the next step; run COMMAND...: shows a command, and runs it.
say() { printf '\n# %s\n' "$1"; }
run() {
    printf '$ %s\n' "$(echo "$*" | sed "s|$tool|sc-record|")"
    status=0
    "$@" || status=$?
    [ "$status" -eq 0 ] || echo "(exit status $status)"
}

say 'Record the workload: every system call of every process that it starts.'
run "$tool" -- ./report.sh
say 'The profile allows the recorded calls and refuses all others:'
run cat profiles/report.json
say 'Under its profile, the workload works as before:'
run "$tool" run profiles/report.json -- ./report.sh
say 'Now an attacker makes it run a program with other calls. Without the profile, they reach the kernel:'
run ./broken.sh
say 'Under the profile, each is refused with EPERM:'
run "$tool" run profiles/report.json -- ./broken.sh
