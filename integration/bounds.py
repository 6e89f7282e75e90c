#!/usr/bin/env python3
"""Record every program of a directory with --help, and compare the calls with the bound that `sc-record reach` finds in its code.

    bounds.py --sc-record target/release/sc-record [PROGRAM]...

Needs root, as differential.py does. A recorded call that is outside of its program's bound is a fault, unless the bound says so
itself (a number that it doesn't know), or a library makes it that was loaded at run time: strace shows which, and with those
it has to be inside.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys

import differential


def reach(options, room, libraries):
    command = [options.sc_record, "reach", "--json", room.at("recording.json")]
    for library in libraries:
        command += ["--with", library]
    environment = os.environ | {"XDG_CACHE_HOME": room.at("cache")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode not in (0, 1):
        return None, result.stderr.strip()
    return json.loads(result.stdout), None


def loaded(room):
    """The libraries that strace saw being opened."""
    opened = re.findall(r'open(?:at)?\([^"]*"([^"]+\.so[^"]*)".*\) = \d+$', room.text("strace"), re.MULTILINE)
    return sorted({path for path in opened if path.startswith("/") and path != "/etc/ld.so.cache"})


def outside(found):
    return sorted(f"{one['call']} of {one['program']}" for one in found["outside"])


def compare(options, room, program):
    """The kind of the result, what there is to say of it, and the sizes of the program's recorded set and of its bound."""
    outcome = room.recorded([program, "--help"])
    if outcome["status"] == "timeout":
        return "left out", "it doesn't end", None
    found, why = reach(options, room, [])
    if found is None:
        return "left out", why.splitlines()[0] if why else "no answer", None
    real = os.path.realpath(program)
    of_program = [one for one in found["programs"] if os.path.realpath(one["program"]) == real]
    sizes = None
    if of_program:
        recorded = {call for call, executable in outcome["calls"] if os.path.realpath(executable) == real}
        sizes = len(recorded), len(of_program[0]["calls"])
    if not found["outside"]:
        return "within", "", sizes
    first = outside(found)
    # A recording is replaced by the next command in the room.
    with open(room.at("recording.json"), "rb") as file:
        recording = file.read()
    room.traced([program, "--help"])
    libraries = loaded(room)
    with open(room.at("recording.json"), "wb") as file:
        file.write(recording)
    found, why = reach(options, room, libraries)
    if found is not None and not found["outside"]:
        return "within, with the libraries that it loads", ", ".join(first), sizes
    left = outside(found) if found is not None else first
    if found is not None and any(one["unresolved"] for one in found["programs"]):
        return "a number is not known", ", ".join(left), sizes
    return "FAULT", ", ".join(left), sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sc-record", required=True)
    parser.add_argument("--directory", default="/usr/bin")
    parser.add_argument("programs", nargs="*")
    options = parser.parse_args()
    room = differential.Room(options.sc_record)
    kinds, all_sizes = {}, []
    try:
        for program in options.programs or differential.programs(options.directory):
            kind, what, sizes = compare(options, room, program)
            kinds[kind] = kinds.get(kind, 0) + 1
            if sizes:
                all_sizes.append(sizes)
            if kind != "within":
                print(f"{program}: {kind}: {what}", flush=True)
    finally:
        shutil.rmtree(room.path)
    for kind, number in sorted(kinds.items()):
        print(f"{number} {kind}")
    if all_sizes:
        recorded, bound = (statistics.mean(sizes) for sizes in zip(*all_sizes))
        print(f"{len(all_sizes)} programs: {recorded:.0f} calls recorded and {bound:.0f} possible on average")
    return 1 if "FAULT" in kinds else 0


if __name__ == "__main__":
    sys.exit(main())
