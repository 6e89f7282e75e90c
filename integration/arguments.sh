#!/bin/sh
# Records programs five times with --args, and runs each five times more under the profile of these runs (--args=safe). Prints the
# calls that were denied although the program made them as before, by count: false denials.
#
#     integration/arguments.sh PATH/TO/sc-record [PROGRAM...]
#
# PROGRAM is a script of integration/real, or node or java.
set -eu
recorder=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- git sqlite3 python3 nginx redis shell node java
real=$(realpath "$(dirname "$0")")/real
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >server.js <<'END'
const http = require('http');
const server = http.createServer((request, response) => response.end('ok'));
server.listen(0, '127.0.0.1', () => {
    http.get({ port: server.address().port }, response => response.on('data', () => {}).on('end', () => server.close()));
});
END
cat >Hello.java <<'END'
public class Hello {
    public static void main(String[] args) throws Exception {
        Thread[] threads = new Thread[8];
        for (int i = 0; i < 8; i++) { threads[i] = new Thread(() -> System.gc()); threads[i].start(); }
        for (Thread thread : threads) thread.join();
        System.out.println("ok");
    }
}
END
command_of() {
    case $1 in
        node) echo node "$work/server.js" ;;
        java) echo java "$work/Hello.java" ;;
        *) echo sh "$real/$1.sh" ;;
    esac
}
echo "program   calls with a rule for arguments   allowed calls   false denials in 5 runs"
for program; do
    # shellcheck disable=SC2046 # words of a command
    set -- $(command_of "$program")
    for _ in 1 2 3 4 5; do
        "$recorder" -q --args -n "$program" -r "$program.json" -o "$program.profile.json" -- "$@" >/dev/null 2>&1 </dev/null
    done
    denied=0
    for _ in 1 2 3 4 5; do
        "$recorder" verify --no-baseline --json "$program.profile.json" -- "$@" >"$program.verify.json" 2>"$program.err" </dev/null || :
        denied=$((denied + $(python3 -c '
import json, sys
text = open(sys.argv[1]).read()
report = json.loads(text[text.rindex("{\n  \"clean\"") :])
found = [call for call in report["run"]["denials"] if call["finding"]]
for call in found:
    print(call["syscall"], call["first"]["args"], call["executable"], file=sys.stderr)
print(sum(call["count"] for call in found))' "$program.verify.json")))
    done
    rules=$(python3 -c '
import json, sys
rules = json.load(open(sys.argv[1]))["syscalls"]
names = lambda rules: {name for rule in rules for name in rule["names"]}
allowed = [rule for rule in rules if rule["action"] == "SCMP_ACT_ALLOW"]
print(len(names(rule for rule in allowed if "args" in rule)), len(names(allowed)))' "$program.profile.json")
    # shellcheck disable=SC2086 # two numbers
    printf '%-9s %-32s %-15s %s\n' "$program" $rules "$denied"
done
