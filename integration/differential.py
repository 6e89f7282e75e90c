#!/usr/bin/env python3
"""Run every program of a directory with --help and --version: directly, under strace, recorded with a stop for each
call, and recorded as by default. Report each program that behaves differently or whose calls differ.

    differential.py --sc-record target/debug/sc-record [--shard I/N] [PROGRAM]...

Or run other commands, such as the tests of other projects, each in a fresh copy of a directory; without strace:

    differential.py --sc-record target/debug/sc-record --commands FILE --in DIRECTORY

Needs root: each command runs in namespaces of its own, without a network and with read-only file systems. Only a debug
build can change code after the first call of a number (SC_RECORD_TEST_FAST_PATH).

What differs on every run is told from a fault by repetition. A call is a fault if all runs with --no-patch have it and none
with it does, or the reverse; an output or a status, if no run with --no-patch has the same. Of an output, the lines count, not
their order, nor the time, addresses and names of temporary files in it, nor numbers, if they vary with --no-patch.
Whatever doesn't end by itself is left out.

Known differences that are no faults: the Go runtime preempts by signals and waits in epoll_pwait(2), and GHC's has a timer, so their
calls depend on the time that a program takes.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

REPETITIONS = 4
# How many times as long as directly a command may take that is traced.
SLOWER = 5
PATCHED = {"after 8 calls": "", "after 1 call": "at once", "at random": "at random"}

# What a program may change is in memory and goes away with the command.
INSIDE = """
set -e
mount --bind "$1" /mnt
mount -o remount,bind,ro /
for directory in /root /var/tmp /run; do mount -t tmpfs -o size=256m none $directory; done
cp /mnt/sc-record /run/sc-record
cd /root
if [ -n "$2" ]; then
    mkdir /run/upper /run/work
    mount -t overlay -o "lowerdir=$2,upperdir=/run/upper,workdir=/run/work" none /srv
    ip link set lo up
    cd /srv
fi
mount -t tmpfs -o size=256m none /tmp
shift 2
exec "$@" </dev/null >/mnt/stdout 2>/mnt/stderr
"""


class Room:
    """A directory for the outputs of one command after another."""

    def __init__(self, program, copied, timeout):
        self.copied, self.timeout = copied, timeout
        self.path = tempfile.mkdtemp(prefix="differential-")
        shutil.copy(program, self.at("sc-record"))

    def at(self, name):
        return os.path.join(self.path, name)

    def run(self, command, environment, patience=1):
        # Also the journal of a recorder that was killed.
        for name in os.listdir(self.path):
            if name != "sc-record" and os.path.isfile(self.at(name)):
                os.remove(self.at(name))
        namespaces = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
        basic = {"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C", "TERM": "dumb"}
        process = subprocess.Popen(
            [*namespaces, "sh", "-c", INSIDE, "sh", self.path, self.copied, *command],
            env=basic | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(self.timeout * patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return "timeout"

    def text(self, name):
        try:
            with open(self.at(name), "rb") as file:
                return file.read(1 << 22).decode(errors="replace")
        except FileNotFoundError:
            return ""

    def outcome(self, command, environment=None, patience=1):
        status = self.run(command, environment or {}, patience)
        return {"status": status, "stdout": self.text("stdout"), "stderr": self.text("stderr")}

    def recorded(self, command, *options, when=""):
        """The outcome, with the calls and who made them."""
        record = ["/run/sc-record", "--quiet", "--backend", "ptrace", "--progress", "never", *options]
        files = ["-r", "/mnt/recording.json", "-o", "none"]
        outcome = self.outcome([*record, *files, "--", *command], {"SC_RECORD_TEST_FAST_PATH": when}, SLOWER)
        calls = set()
        try:
            run = json.loads(self.text("recording.json"))["runs"][-1]
        except (json.JSONDecodeError, KeyError, IndexError):
            outcome["why"] = [f"no recording: {outcome['stderr']}"]
        else:
            outcome["why"] = run["incomplete_because"]
            for abi, of_abi in run["syscalls"].items():
                for name, tally in of_abi.items():
                    calls |= {(f"{abi}/{name}", executable) for executable in tally["executables"]}
        outcome["calls"] = calls
        return outcome

    def traced(self, command):
        """The outcome, with the names of calls."""
        outcome = self.outcome(["strace", "-f", "-qq", "-o", "/mnt/strace", *command], patience=SLOWER)
        lines = self.text("strace").splitlines()
        matches = (re.match(r"\d+ +(\w+)\(", line) for line in lines)
        outcome["calls"] = {match[1] for match in matches if match}
        return outcome


NUMBER = re.compile(r"\d+")
VARYING = re.compile(r"0x[0-9a-f]+|\d+:\d+:\d+(\.\d+)?|/tmp/[\w./-]+")


def lines(text):
    return sorted(VARYING.sub("?", text).splitlines())


def names(calls):
    return {call.split("/", 1)[1] for call, _ in calls}


def other_lines(what, patched, others):
    """The differences between all outputs when known calls don't stop, and all those with --no-patch. If those vary among each other, numbers don't count,
    and if they still do, only lines that all have."""
    for read in (lines, lambda text: lines(NUMBER.sub("#", text))):
        if any(read(patched[-1]) == read(other) for other in others):
            return []
        if len({tuple(read(other)) for other in others}) == 1:
            break
    sets = [[set(read(text)) for text in of] for of in (patched, others)]
    (ever, always), (others_ever, others_always) = [(set.union(*of), set.intersection(*of)) for of in sets]
    found = [f"{what}: missing: {line:.300}" for line in sorted(others_always - ever)]
    found += [f"{what}: added: {line:.300}" for line in sorted(always - others_ever)]
    return found


def faults(patched, others, natively):
    """The differences between all runs in which known calls don't stop, and all those with --no-patch."""
    found = []
    last = patched[-1]
    if all(last["status"] != other["status"] for other in [natively, *others]):
        found.append(f"status: {last['status']}, not {others[0]['status']}")
    for what in ("stdout", "stderr"):
        found += other_lines(what, [run[what] for run in patched], [run[what] for run in [natively, *others]])
    if last["why"] != others[0]["why"]:
        found.append(f"incomplete: {last['why']}, not {others[0]['why']}")

    def always(runs):
        return set.intersection(*(run["calls"] for run in runs))

    def ever(runs):
        return set.union(*(run["calls"] for run in runs))

    found += [f"missing: {call}" for call in sorted(always(others) - ever(patched))]
    found += [f"added: {call}" for call in sorted(always(patched) - ever(others))]
    return found


def strace_notes(traced, others, natively):
    notes = []
    always = set.intersection(*(names(other["calls"]) for other in others))
    ever = set.union(*(names(other["calls"]) for other in others))
    missing, added = sorted(traced["calls"] - ever), sorted(always - traced["calls"])
    if missing or added:
        notes.append(f"strace: only there {missing}, only recorded {added}")
    if traced["status"] != natively["status"]:
        notes.append(f"strace: status {traced['status']}, not {natively['status']}")
    return notes


def compare(room, command, with_strace):
    """What is wrong, and what merely varies."""
    natively = room.outcome(command)
    if natively["status"] == "timeout":
        return None, []
    others = [room.recorded(command, "--no-patch")]
    wrong = [f"with --no-patch: {why}" for why in others[0]["why"]]
    for how, when in PATCHED.items():
        patched = [room.recorded(command, "--patch", when=when)]
        found = faults(patched, others, natively)
        while found and len(patched) < REPETITIONS:
            others.append(room.recorded(command, "--no-patch"))
            patched.append(room.recorded(command, "--patch", when=when))
            found = faults(patched, others, natively)
        wrong += [f"patched {how}: {fault}" for fault in found]
    notes = strace_notes(room.traced(command), others, natively) if with_strace else []
    if others[0]["status"] != natively["status"]:
        notes.append(f"recorded: status {others[0]['status']}, not {natively['status']}")
    if len(others) > 1:
        notes.append("varies")
    return wrong, notes


def programs(directory):
    """Each executable once, whatever its links are called."""
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            real = os.path.realpath(path)
            if real not in found or name == os.path.basename(real):
                found[real] = path
    return sorted(found.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sc-record", required=True)
    parser.add_argument("--directory", default="/usr/bin")
    parser.add_argument("--shard", default="0/1", help="every Nth command, from the Ith")
    parser.add_argument("--commands", help="a file with a command in each line")
    parser.add_argument("--in", dest="copied", default="", help="the directory to run these in, as /srv")
    parser.add_argument("--timeout", type=float, default=20, help="seconds for each run")
    parser.add_argument("programs", nargs="*")
    options = parser.parse_args()
    shard, shards = map(int, options.shard.split("/"))
    if options.commands:
        with open(options.commands, encoding="utf-8") as file:
            commands = [shlex.split(line) for line in file]
    else:
        all_programs = options.programs or programs(options.directory)
        commands = [[program, argument] for program in all_programs for argument in ("--help", "--version")]
    room = Room(options.sc_record, os.path.abspath(options.copied) if options.copied else "", options.timeout)
    equal, different, left_out = 0, 0, 0
    try:
        for command in commands[shard::shards]:
            shown = shlex.join(command)
            wrong, notes = compare(room, command, not options.commands)
            if wrong is None:
                print(f"{shown}: left out, it doesn't end", flush=True)
                left_out += 1
                continue
            for line in notes:
                print(f"{shown}: note: {line}", flush=True)
            for line in wrong:
                print(f"{shown}: FAULT: {line}", flush=True)
            different += bool(wrong)
            equal += not wrong
    finally:
        shutil.rmtree(room.path)
    print(f"{equal} equal, {different} different, {left_out} left out")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
