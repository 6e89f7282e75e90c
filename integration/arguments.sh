#!/bin/sh
# Records programs five times with --args, and runs each five times more under the profile of these runs (--args=safe). Prints how
# many calls were denied: those with a rule for their arguments (false denials of the rules), and those that no recorded run made;
# and how many of the values with a name the rules allow, of those that names alone allow.
#
#     integration/arguments.sh PATH/TO/sc-record [PROGRAM...]
#
# PROGRAM is a script of integration/real, or node, java or postgres (as root, with Debian's server and user).
set -eu
recorder=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- git sqlite3 python3 nginx redis shell node java postgres
real=$(realpath "$(dirname "$0")")/real
work=$(mktemp -d)
for pg_bin in /usr/lib/postgresql/*/bin; do :; done
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
trap 'stop_postgres; rm -rf "$work"' EXIT
cd "$work"
stop_postgres() {
    [ ! -e "$work/pg/data/postmaster.pid" ] || as_postgres "$pg_bin/pg_ctl" -s -D "$work/pg/data" -m immediate stop || :
}
prepare_postgres() {
    chmod 755 "$work"
    install -d -o postgres "$work/pg"
    as_postgres "$pg_bin/initdb" -D "$work/pg/data" >/dev/null
    cat >postgres.sh <<END
set -e
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "\$@"; }
as_postgres $pg_bin/pg_ctl -s -w -l $work/pg/log -D $work/pg/data -o "-k $work/pg -h ''" start
as_postgres $pg_bin/psql -q -h $work/pg -d postgres \
    -c 'create table t(a int); insert into t select generate_series(1, 1000); select sum(a) from t; drop table t'
as_postgres $pg_bin/pg_ctl -s -w -D $work/pg/data -m fast stop
END
}
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
        postgres) echo sh "$work/postgres.sh" ;;
        *) echo sh "$real/$1.sh" ;;
    esac
}
echo "program   calls with a rule   allowed calls   denied by rules   denied names that were not recorded   allowed values of those of the names"
for program; do
    [ "$program" != postgres ] || prepare_postgres
    # shellcheck disable=SC2046 # words of a command
    set -- $(command_of "$program")
    for _ in 1 2 3 4 5; do
        "$recorder" -q --args -n "$program" -r "$program.json" -o "$program.profile.json" -- "$@" >/dev/null 2>&1 </dev/null
    done
    # The filter's rules, with both sides of each comparison, against the kernel's answers.
    proven=$("$recorder" inspect --prove "$program.profile.json" | tail -n 1)
    echo "$program: $proven" >&2
    : >"$program.denied"
    for _ in 1 2 3 4 5; do
        timeout -k 5 300 "$recorder" verify --no-baseline --json "$program.profile.json" -- "$@" >"$program.verify.json" 2>"$program.err" </dev/null || :
        python3 - "$program.profile.json" "$program.verify.json" >>"$program.denied" <<'END'
import json, sys
rules = json.load(open(sys.argv[1]))["syscalls"]
allowed = {name for rule in rules if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
text = open(sys.argv[2]).read()
report = json.loads(text[text.rindex("{\n  \"clean\"") :])
for call in report["run"]["denials"]:
    if call["finding"]:
        print("rule" if call["syscall"] in allowed else "name", call["count"], call["syscall"], call["first"]["args"], call["executable"])
END
    done
    cat "$program.denied" >&2
    "$recorder" explain --json "$program.profile.json" >"$program.explained.json"
    python3 - "$program.profile.json" "$program.denied" "$program" "$program.explained.json" <<'END'
import json, sys
rules = [rule for rule in json.load(open(sys.argv[1]))["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW"]
names = lambda rules: len({name for rule in rules for name in rule["names"]})
denied = [line.split() for line in open(sys.argv[2])]
count = lambda kind: sum(int(line[1]) for line in denied if line[0] == kind)
numbers = names(rule for rule in rules if rule.get("args")), names(rules), count("rule"), count("name")
tight = json.load(open(sys.argv[4]))["tightness"][0]
print("%-9s %-19d %-15d %-17d %-36d %d of %d" % (sys.argv[3], *numbers, tight["allowed_values"], tight["values"]))
END
done
