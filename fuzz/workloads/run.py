#!/usr/bin/env python3
"""Runs random workloads under the recorder and compares each recording with the calls that the workload made.

    fuzz/workloads/run.py [--mode MODE] [--jobs JOBS] [--sc-record PROGRAM] FIRST LAST

Each seed from FIRST to LAST is one run of random.c. The program counts each call before it makes it (begun) and after
it returned (returned). A finding is a difference that a complete run must not have: a call that returned and is not recorded, a
recorded call that was not begun, another exit status than without the recorder, a loss without a cause, a run that does not end. Exit status 1:
there are findings. To repeat one, give its seed. Needs root, x86-64 and gcc; each job has its own pid namespace.
"""

import argparse
import json
import mmap
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
MODES = ["native", "default", "--no-patch", "--no-filter", "--until exit", "--backend ebpf", "--backend notify"]
# The layout of `struct shared` in random.c.
ABIS = ["x86_64", "x86", "x32"]
NUMBERS = 512
ODD_NUMBERS = [9999, 100000, 0xFFFFFFF9, 0xFFFFFFFF, 0x3FFFFFFF, 600, 4095, 4096]
KEYS = NUMBERS + len(ODD_NUMBERS)
SAID, LINE, COUNTS = 64, 320, 560
SHARED_FD, SELF_FD = 100, 101
KINDS = (
    "CALLS FORKS THREADS EXECS SIGNALS SLEEPS FILTER TSYNC STRICT DISPATCH TRACING NAMESPACES FLIPS REWRITES STOPS KILLS "
    "STORMS VSYSCALLS UNTRACED IA32 DEATHS ORPHANS MISC VFORK_TSYNC HIDE_PROC FORGE SHARE_VM"
).split()
BIT = {kind: 1 << index for index, kind in enumerate(KINDS)}
# Calls that the kernel can enter again by itself, so that they count more than once.
RESTARTED = {
    "x86_64": set(
        "fork vfork clone clone3 execve execveat wait4 futex read recvfrom nanosleep clock_nanosleep poll ppoll select pselect6 pause "
        "rt_sigsuspend epoll_wait epoll_pwait epoll_pwait2 rt_sigtimedwait io_getevents io_uring_enter seccomp mount".split()
    ),
    "x86": set("fork vfork clone clone3 execveat seccomp".split()),
    "x32": set(),
}
X32_BIT = 0x40000000
TIMEOUT = 20.0  # seconds
DIFFERS = "it differs from native"


def numbers_of(abi):
    """The numbers of an ABI by name, from the kernel's headers."""
    header = {"x86_64": "unistd_64.h", "x86": "unistd_32.h", "x32": "unistd_x32.h"}[abi]
    text = Path("/usr/include/x86_64-linux-gnu/asm", header).read_text()
    pattern = r"#define __NR_(\w+)\s+\(?(?:__X32_SYSCALL_BIT \+ )?(\d+)\)?"
    return {name: int(number) for name, number in re.findall(pattern, text)}


NUMBER = {abi: numbers_of(abi) for abi in ABIS}


def plan(seed, mode):
    """The operations that a run may have, as a mask, and how many of them."""
    chooser = random.Random(seed)
    mask = BIT["CALLS"]
    for kind in KINDS[1:]:
        if chooser.random() < 0.4:
            mask |= BIT[kind]
    if not mask & BIT["SIGNALS"]:
        mask &= ~BIT["STOPS"]
    # Combinations whose outcome is not known by construction.
    if mask & BIT["STOPS"]:
        for kind in ["KILLS", "DEATHS", "THREADS", "FLIPS", "REWRITES", "VFORK_TSYNC"]:
            mask &= ~BIT[kind]
    if mask & (BIT["KILLS"] | BIT["DEATHS"] | BIT["EXECS"] | BIT["ORPHANS"]):
        mask &= ~BIT["VFORK_TSYNC"]
    if mode not in ("default", "--no-patch"):
        mask &= ~BIT["VSYSCALLS"]
    if mode == "--backend notify":
        # Its filter shows, and strict mode and own filters make the run incomplete (docs/how-it-works.md).
        for kind in ["STRICT", "FILTER", "TSYNC", "VFORK_TSYNC", "MISC"]:
            mask &= ~BIT[kind]
    if not mask & BIT["NAMESPACES"]:
        mask &= ~BIT["HIDE_PROC"]
    if chooser.random() < 0.7:
        mask |= BIT["FORKS"]
    return mask, chooser.randint(3, 40)


def run(options, folder, seed):
    """One run: how it ended, what the program counted, and what was recorded."""
    mask, operations = plan(seed, options.mode)
    recording = folder / "recording.json"
    recording.unlink(missing_ok=True)
    program = str(folder / "random")
    arguments = [program, str(seed), str(operations), str(mask)]
    if options.mode != "native":
        flags = [] if options.mode == "default" else options.mode.split()
        recorder = [options.sc_record, "-q", "--progress", "never", "-r", str(recording), "-o", "none", *flags, "--"]
        arguments = recorder + arguments

    shared = os.open(folder / "shared", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
    os.ftruncate(shared, 1 << 20)
    memory = mmap.mmap(shared, 1 << 20)
    memory[0:8] = struct.pack("<Q", 1)  # go
    os.dup2(shared, SHARED_FD)
    image = os.open(program, os.O_RDONLY)
    os.dup2(image, SELF_FD)
    os.close(shared)
    os.close(image)
    # Every task of the workload holds the writing end: at end of file the last one is gone.
    alive, held = os.pipe()
    messages = open(folder / "messages", "w+")
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=held,
        stderr=messages,
        pass_fds=(SHARED_FD, SELF_FD),
        env={name: os.environ[name] for name in ["SC_RECORD_TEST_FAST_PATH"] if name in os.environ},
        start_new_session=True,
    )
    os.close(held)
    os.set_blocking(alive, False)
    ends = time.monotonic() + TIMEOUT
    hangs = False
    while not hangs:
        if process.poll() is not None:
            try:
                if not os.read(alive, 100):
                    break
            except BlockingIOError:
                pass
        hangs = time.monotonic() > ends
        time.sleep(0.0005)
    if hangs:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    status = process.wait()
    for descriptor in (alive, SHARED_FD, SELF_FD):
        os.close(descriptor)
    data = memory[:]
    memory.close()
    _, _, _, _, failures, _, untold, tasks = struct.unpack_from("<8Q", data)
    counts = struct.unpack_from(f"<{2 * len(ABIS) * KEYS}Q", data, COUNTS)
    tables = [counts[at : at + KEYS] for at in range(0, len(counts), KEYS)]
    messages.seek(0)
    seen = None
    if options.mode != "native" and recording.exists():
        seen = json.loads(recording.read_text())["runs"][-1]
    return SimpleNamespace(
        mask=mask,
        hangs=hangs,
        status=status if status >= 0 else 128 - status,
        failures=failures,
        untold=untold,
        tasks=tasks,
        said=data[SAID:LINE],
        line=data[LINE:COUNTS].split(b"\0")[0].decode("latin1"),
        begun=dict(zip(ABIS, tables)),
        returned=dict(zip(ABIS, tables[len(ABIS) :])),
        messages=messages.read(),
        recorded=seen,
    )


def key_of(abi, name):
    number = (int(name[1:]) & 0xFFFFFFFF) if name.startswith("#") else NUMBER[abi][name]
    if abi == "x32":
        number &= ~X32_BIT
    return number if number < NUMBERS else NUMBERS + ODD_NUMBERS.index(number)


def findings(options, result):
    """Everything that is wrong with a run, as lines."""
    if result.hangs:
        return ["it does not end"]
    found = []
    if result.failures:
        found.append(f"{DIFFERS}: {result.line} ({result.failures} operations)")
    deadly = result.mask & (BIT["DEATHS"] | BIT["KILLS"])
    by_signal = [128 + number for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSYS)]
    said = result.status < len(result.said) and result.said[result.status]
    if not said and not (deadly and result.status in by_signal):
        found.append(f"exit status {result.status}, {result.messages.strip()}")
    if options.mode == "native":
        return found
    if result.recorded is None:
        return [*found, f"no recording, {result.messages.strip()}"]

    # A run is incomplete for these reasons alone, or it is a finding.
    complete = True
    for why in result.recorded["incomplete_because"]:
        if "ptrace(2) to trace" in why and result.untold:
            continue
        complete = False
        if options.mode == "--backend notify" and "signals interrupted calls before" in why:
            # Such a call fails with EINTR, whichever it is: what the workload does then is not known by construction.
            found = [line for line in found if not line.startswith((DIFFERS, "exit status"))]
            continue
        # The arguments of clone3 by int 0x80 stay where the program can change them, if clone can't express them
        # (CLONE_CLEAR_SIGHAND) or under a filter of its own. What a caller made that died in the call is not known.
        unsafe = BIT["DEATHS"] | BIT["KILLS"] | BIT["EXECS"] | BIT["FLIPS"]
        if "CLONE_UNTRACED" in why and result.mask & BIT["IA32"] and result.mask & unsafe:
            continue
        if not (options.mode == "--until exit" and "ended before" in why):
            found.append(f"loss: {why}")
    recorded = {abi: [0] * KEYS for abi in ABIS}
    for abi, calls in result.recorded["syscalls"].items():
        for name, tally in calls.items():
            if name != "restart_syscall":
                recorded[abi][key_of(abi, name)] += tally["count"]
    at_least_one = result.recorded.get("counts") == "lower-bound"
    for abi in ABIS:
        names = {number & ~X32_BIT: name for name, number in NUMBER[abi].items()}
        for key in range(KEYS):
            begun, returned, count = result.begun[abi][key], result.returned[abi][key], recorded[abi][key]
            name = names.get(key, f"#{key if key < NUMBERS else ODD_NUMBERS[key - NUMBERS]}")
            if complete and count < (min(returned, 1) if at_least_one else returned):
                found.append(f"{abi} {name}: returned {returned} times, recorded {count}")
            if count > begun and (begun == 0 or name not in RESTARTED[abi]):
                found.append(f"{abi} {name}: begun {begun} times, recorded {count}")
    return found


def work(options):
    """Runs the seeds of one job. Returns how many have findings, at most 99."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        flags = "-static -nostdlib -ffreestanding -fno-stack-protector -fno-pie -no-pie -mno-red-zone -fno-builtin -mgeneral-regs-only"
        source = str(HERE / "random.c")
        subprocess.run(["gcc", "-O1", *flags.split(), "-o", folder / "random", source], check=True)
        for seed in range(options.first, options.last + 1, options.jobs):
            result = run(options, folder, seed)
            found = findings(options, result)
            if found:
                bad += 1
                kinds = " ".join(kind for kind in KINDS if result.mask & BIT[kind])
                print("\n    ".join([f"seed {seed} ({kinds})", *found]), flush=True)
    return min(bad, 99)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=MODES, default="default")
    parser.add_argument("--jobs", type=int, default=2 * os.cpu_count(), help="how many run at once, since they mostly sleep")
    parser.add_argument("--sc-record", default=str(HERE.parent.parent / "target/debug/sc-record"))
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    options = parser.parse_args()
    if os.getpid() == 1:
        return work(options)
    # What a workload does to all processes must stay in there.
    inside = ["unshare", "-pf", "--mount-proc", "--kill-child", sys.executable, sys.argv[0], f"--mode={options.mode}"]
    inside += [f"--jobs={options.jobs}", f"--sc-record={options.sc_record}"]
    firsts = range(options.first, min(options.first + options.jobs, options.last + 1))
    jobs = [subprocess.Popen([*inside, str(first), str(options.last)]) for first in firsts]
    bad = sum(abs(job.wait()) for job in jobs)
    print(f"{options.last - options.first + 1} runs, {bad} with findings")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
