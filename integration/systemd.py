"""Makes calls with many values of an argument, and prints the answers: systemd.py [SETTING...]. With settings, systemd's own code
restricts them first: it is in a library of its programs."""

import ctypes
import errno
import glob
import platform
import socket
import sys

# The numbers on this machine, and the registers. All other arguments are wrong, so the calls that are allowed do nothing else.
NUMBERS = {"x86_64": (135, 144, 41), "aarch64": (92, 119, 198)}[platform.machine()]
CALLS = zip(("personality", "sched_setscheduler", "socket"), NUMBERS, (0, 1, 0))
VALUES = [*range(64), 1 << 32, (1 << 32) + 2, (1 << 64) - 1]
PR_SET_NO_NEW_PRIVS = 38

libc = ctypes.CDLL(None, use_errno=True)


def restrict(shared, key, value):
    if key == "LockPersonality":
        return shared.seccomp_lock_personality(ctypes.c_ulong(0))
    if key == "RestrictRealtime":
        return shared.seccomp_restrict_realtime_full(errno.EPERM)
    families = ctypes.c_void_p()
    for name in value.lstrip("~").split(" "):
        family = ctypes.c_void_p(getattr(socket, name))
        assert shared._set_ensure_put(ctypes.byref(families), None, family) == 1
    return shared.seccomp_restrict_address_families(families, value[0] != "~")


if sys.argv[1:]:
    (path,) = glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so")
    library = ctypes.CDLL(path)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for setting in sys.argv[1:]:
        assert restrict(library, *setting.split("=")) == 0

for name, number, register in CALLS:
    for tried in VALUES:
        arguments = [ctypes.c_ulong((1 << 64) - 1)] * 3
        arguments[register] = ctypes.c_ulong(tried)
        result = libc.syscall(ctypes.c_long(number), *arguments)
        print(name, tried, "done" if result >= 0 else errno.errorcode[ctypes.get_errno()])
