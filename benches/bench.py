#!/usr/bin/env python3
"""Measures the cost of recording, compared with strace: writes benches/RESULTS.md.

Every workload runs natively, under `strace -f -c`, under `strace -ff -o` and under sc-record, first with the scheduler
choosing the CPUs, then with everything on one CPU. A round runs each of them once, one after the other (timed by
hyperfine), so that other load of the machine affects all of them; the medians of the rounds are compared.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
# The maximum of sc-record's added time divided by that of strace -f -c.
AIM = {"any CPU": 0.2, "one CPU": 0.5}
# The maximum resident memory of the recorder after this many processes and calls.
MEMORY_PROCESSES, MEMORY_CALLS, MEMORY_AIM_MB = 10_000, 10_000_000, 30


def sh(command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout.strip()


def make_repository(path, commits):
    """A git repository with a history, through fast-import: quick, and the same every time."""
    lines = []
    for n in range(commits):
        lines += [
            "commit refs/heads/main",
            f"committer Bench <bench@example.org> {1000000000 + n * 60} +0000",
            "data <<EOF", f"Commit {n}", "EOF",
        ]
        for file in range(3):
            text = "".join(f"line {(line * 7 + n * file) % 101}\n" for line in range(60))
            lines += [f"M 644 inline dir{n % 10}/file{file}", "data <<EOF", text + "EOF"]
    sh(["git", "init", "-q", "-b", "main", path])
    sh(["git", "-C", path, "fast-import", "--quiet"], input="\n".join(lines) + "\n")


def workloads(work, quick):
    """Name → (command, how it is named in the table)."""
    getppid = work / "getppid"
    sh(["gcc", "-O2", "-pthread", "-o", getppid, HERE / "getppid.c"])
    make_repository(work / "repository", 300)
    source = work / "program.c"
    source.write_text("#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(getenv(\"HOME\")); }\n")
    forks = work / "forks.sh"
    forks.write_text("n=0; while [ $n -lt 300 ]; do (:); n=$((n + 1)); done\n")
    calls = 5_000 if quick else 20_000
    return {
        f"getppid, {calls:,} times": f"{getppid} {calls}",
        f"getppid, {calls:,} times in each of 2 threads": f"{getppid} {calls} 2",
        "find /usr/share" + (" -maxdepth 2" if quick else ""): "find /usr/share" + (" -maxdepth 2" if quick else ""),
        "300 forks from sh": f"sh {forks}",
        "git log --stat, 300 commits": f"/usr/bin/git -C {work}/repository log --stat",
        "gcc, compile and link": f"gcc -O2 -o {work}/program {source}",
        "python3, imports": "/usr/bin/python3 -I -c 'import asyncio, email, http.server, json, sqlite3, unittest, xml.dom.minidom'",
    }


def tools(sc_record, work):
    """Name → what is put before a command."""
    traces = work / "traces"
    traces.mkdir()
    return {
        "native": "",
        "strace -f -c": f"strace -f -c -o {work}/counts ",
        "strace -ff -o": f"strace -ff -o {traces}/trace ",
        "sc-record": f"{sc_record} -q -r none -o none -- ",
    }


def busy(seconds=0.5):
    """The share of all CPUs' time that went to something in the next moment."""

    def ticks():
        user, nice, system, idle, iowait, *rest = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
        return user + nice + system + sum(rest), idle + iowait

    before = ticks()
    time.sleep(seconds)
    used, idle = (after - earlier for after, earlier in zip(ticks(), before))
    return used / max(used + idle, 1)


class Quiet:
    """Waits until nothing else runs, for a minute in all, and counts how often that was not enough."""

    def __init__(self):
        self.seconds_left, self.disturbed = 60.0, 0

    def wait(self):
        start = time.monotonic()
        while busy() > 0.1:
            if time.monotonic() - start > self.seconds_left:
                self.disturbed += 1
                break
        self.seconds_left = max(0, self.seconds_left - (time.monotonic() - start))


def one_round(commands, work):
    """The seconds that each command takes, once."""
    result = work / "hyperfine.json"
    names = [argument for name in commands for argument in ("-n", name)]
    sh(["hyperfine", "-N", "--style", "none", "--runs", "1", "--export-json", result, *names, *commands.values()],
       stdin=subprocess.DEVNULL)
    # Thousands of files by strace -ff are not the next one's burden.
    shutil.rmtree(work / "traces")
    (work / "traces").mkdir()
    return {each["command"]: each["times"][0] for each in json.loads(result.read_text())["results"]}


def measure(pinning, prefix, cases, wrappers, rounds, quiet, work):
    rows = []
    for name, command in cases.items():
        commands = {tool: prefix + wrapper + command for tool, wrapper in wrappers.items()}
        times = []
        for _ in range(rounds):
            quiet.wait()
            times.append(one_round(commands, work))
        median = {tool: statistics.median(each[tool] for each in times) for tool in wrappers}
        added = {tool: median[tool] - median["native"] for tool in wrappers}
        # Without added time there is no share of it: something else disturbed the measurement.
        rows.append((name, median, added["sc-record"] / added["strace -f -c"] if added["strace -f -c"] > 0 else float("inf")))
        print(f"{pinning}: {name}: {rows[-1][2]:.2f} of strace -f -c's added time", file=sys.stderr, flush=True)
    return rows


def table(pinning, rows):
    yield "## " + pinning[0].upper() + pinning[1:]
    yield ""
    yield "| workload | native | strace -f -c | strace -ff -o | sc-record | added time, of strace -f -c's | aim |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | --- |"
    for name, median, ratio in rows:
        times = " | ".join(f"{1000 * median[tool]:,.0f} ms" for tool in median)
        met = "met" if ratio <= AIM[pinning] else "missed"
        yield f"| {name} | {times} | {ratio:.2f} | ≤ {AIM[pinning]} {met} |"
    yield ""


def memory(sc_record, work, quick):
    """The most memory that the recorder had resident, in MB, and how long it took."""
    many = work / "many"
    sh(["gcc", "-O2", "-o", many, HERE / "many.c"])
    processes, calls = (MEMORY_PROCESSES // 10, MEMORY_CALLS // 100) if quick else (MEMORY_PROCESSES, MEMORY_CALLS)
    start = time.monotonic()
    # wait4(2) returns the maximum of the recorder and the (small) workload.
    child = os.posix_spawn(sc_record, [sc_record, "-q", "-r", "none", "-o", "none", "--", many, str(processes), str(calls)], os.environ)
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"the memory check failed with wait status {status}")
    return processes, calls, usage.ru_maxrss / 1024, time.monotonic() - start


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    distribution = platform.freedesktop_os_release()["PRETTY_NAME"]
    return [
        f"- {model}, {os.cpu_count()} CPUs; {distribution}, Linux {platform.release()}",
        "- " + "; ".join([sh(["strace", "--version"]).splitlines()[0].replace(" -- version", ""), sh(["hyperfine", "--version"]),
                          sh(["/usr/bin/git", "--version"]), sh(["gcc", "--version"]).splitlines()[0], sh(["/usr/bin/python3", "--version"])]),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sc-record", type=Path, required=True, help="the program to measure")
    parser.add_argument("--quick", action="store_true", help="less of everything, and only printed")
    arguments = parser.parse_args()
    sc_record = arguments.sc_record.resolve()
    rounds = 3 if arguments.quick else 5
    with tempfile.TemporaryDirectory(prefix="sc-record-bench.") as directory:
        work = Path(directory)
        cases, wrappers = workloads(work, arguments.quick), tools(sc_record, work)
        lines = ["# The cost of recording", "",
                 f"Medians of {rounds} rounds; `make bench` writes this file. Added time is the time in addition to a native run.", "",
                 *machine(), f"- {sh([sc_record, '--version'])}, `-q -r none -o none`", ""]
        quiet = Quiet()
        for pinning, prefix in (("any CPU", ""), ("one CPU", "taskset -c 0 ")):
            lines += table(pinning, measure(pinning, prefix, cases, wrappers, rounds, quiet, work))
        if quiet.disturbed:
            lines += [f"**The machine was busy with something else at the start of {quiet.disturbed} of {2 * rounds * len(cases)} rounds: "
                      "these figures are unreliable.**", ""]
        processes, calls, megabytes, seconds = memory(sc_record, work, arguments.quick)
        met = "met" if megabytes <= MEMORY_AIM_MB else "missed"
        lines += ["## Memory", "", f"After {processes:,} processes and {calls:,} calls ({seconds:.0f} s) the recorder's peak resident memory was "
                  f"{megabytes:.1f} MB (aim: ≤ {MEMORY_AIM_MB} MB, {met})."]
    report = "\n".join(lines) + "\n"
    print(report)
    if not arguments.quick:
        (HERE / "RESULTS.md").write_text(report)


if __name__ == "__main__":
    main()
