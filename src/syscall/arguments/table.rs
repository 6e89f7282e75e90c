//! The table: one row per argument, for the calls and their variants.

#[allow(
    clippy::wildcard_imports,
    reason = "all are names of values for the rows"
)]
use super::names::*;
use super::{Argument, ArgumentKind, CallArguments};
use ArgumentKind::{Command, Flags, Number, One};

const INT: u8 = 32;
const LONG: u8 = 64;

/// The low bits of a socket's type (`SOCK_TYPE_MASK`, `linux/net.h`), and its flags.
const SOCK_TYPE: u64 = 0xf;
const SOCK_FLAGS: u64 = 0x8_0800;
/// The exit signal in clone's flags (`CSIGNAL`).
const EXIT_SIGNAL: u64 = 0xff;
/// The flags of clone(2) that make a namespace.
pub(crate) const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// The flags of unshare(2) that make none: `CLONE_VM`, `FS`, `FILES`, `SIGHAND`, `THREAD`, `SYSVSEM`.
const UNSHARED: u64 = 0x5_0f00;
/// The personality without its flags (`PER_MASK`).
const PERSONA: u64 = 0xff;
/// `PROT_WRITE` and `PROT_EXEC`.
const WRITE_EXEC: u64 = 6;
/// `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME`.
const FUTEX_FLAG_BITS: u64 = 0x180;
/// `O_ACCMODE`, `O_CREAT` and `O_TRUNC`.
const OPENS_FOR: u64 = 0o1103;

const PROT: ArgumentKind = Flags(0, NO_PROTECTION, PROTECTION);
const TYPE: ArgumentKind = Flags(SOCK_TYPE, TYPES, TYPE_FLAGS);

const fn call(
    names: &'static [&'static str],
    source: &'static str,
    arity: u8,
    arguments: &'static [Argument],
) -> CallArguments {
    CallArguments {
        names,
        source,
        arity,
        arguments,
        on_request: false,
    }
}

impl CallArguments {
    const fn on_request(self) -> CallArguments {
        CallArguments {
            on_request: true,
            ..self
        }
    }
}

/// An argument: the register, the name, the width and the values.
const fn arg(index: u8, name: &'static str, width: u8, kind: ArgumentKind) -> Argument {
    Argument {
        name,
        index,
        width,
        kind,
        ignored: 0,
        siblings: &[],
        always: &[],
    }
}

impl Argument {
    const fn ignoring(self, ignored: u64) -> Argument {
        Argument { ignored, ..self }
    }

    /// Only these bits matter.
    const fn only(self, bits: u64) -> Argument {
        self.ignoring(u32::MAX as u64 & !bits)
    }

    const fn swapping(self, siblings: &'static [&'static [u64]]) -> Argument {
        Argument { siblings, ..self }
    }

    const fn always(self, always: &'static [u64]) -> Argument {
        Argument { always, ..self }
    }
}

/// abort(3) must work.
const fn signal(index: u8) -> Argument {
    arg(index, "sig", INT, One(SIGNALS)).always(&[6])
}

const fn clock(index: u8) -> Argument {
    arg(index, "clockid", INT, One(CLOCKS)).swapping(&[&[0, 5], &[1, 4, 6, 7]])
}

#[rustfmt::skip]
pub(super) const CALLS: &[CallArguments] = &[
    call(&["arch_prctl"], "arch_prctl(2)", 2, &[arg(0, "op", INT, One(ARCH_PRCTL))]),
    call(&["bpf"], "bpf(2)", 3, &[arg(0, "cmd", INT, Command(BPF))]),
    call(&["clock_adjtime", "clock_adjtime64", "clock_settime", "clock_settime64"], "clock_settime(2)", 2, &[clock(0)]),
    // Where the vDSO answers, the kernel sees only some of the clocks.
    call(&["clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64"], "clock_gettime(2)", 2, &[clock(0)]).on_request(),
    call(&["clock_nanosleep", "clock_nanosleep_time64"], "clock_nanosleep(2)", 4, &[clock(0)]),
    call(&["clone"], "clone(2)", 5, &[arg(0, "flags", LONG, Flags(EXIT_SIGNAL, SIGNALS, CLONE)).only(CLONE_NAMESPACES)]),
    // In memory: see Call::in_memory.
    call(&["clone3"], "clone3(2)", 2, &[arg(0, "flags", LONG, Flags(EXIT_SIGNAL, SIGNALS, CLONE)).only(CLONE_NAMESPACES)]),
    call(&["epoll_ctl"], "epoll_ctl(2)", 4, &[arg(1, "op", INT, One(EPOLL))]),
    call(&["fcntl", "fcntl64"], "fcntl(2)", 3, &[arg(1, "op", INT, Command(FCNTL))
        .swapping(&[&[0, 1030], &[1, 2], &[3, 4], &[5, 12], &[6, 13], &[7, 14]])]),
    call(&["futex", "futex_time64"], "futex(2)", 6, &[arg(1, "futex_op", INT, Flags(0x7f, FUTEX, FUTEX_FLAGS))
        .ignoring(FUTEX_FLAG_BITS).swapping(&[&[0, 1, 9, 10], &[3, 4], &[6, 7, 8, 13]])]),
    call(&["getsockopt", "setsockopt"], "getsockopt(2)", 5, &[arg(1, "level", INT, One(LEVELS)), arg(2, "optname", INT, Number)]),
    call(&["io_uring_enter"], "io_uring_enter(2)", 6, &[arg(3, "flags", INT, Flags(0, &[], IO_URING_ENTER))]),
    call(&["io_uring_register"], "io_uring_register(2)", 4, &[arg(1, "opcode", INT, Command(IO_URING_REGISTER))]),
    // It depends on where the output goes whether isatty(3), the size of the terminal or FIONBIO (for a pipe, by libuv) are asked for.
    call(&["ioctl"], "ioctl(2)", 3, &[arg(1, "op", INT, Command(IOCTL)).always(&[0x5401, 0x802c_542a, 0x5413, 0x5421])
        .swapping(&[&[0x5402, 0x5403, 0x5404, 0x402c_542b, 0x402c_542c, 0x402c_542d], &[0x5450, 0x5451]])]),
    // The version is above the call.
    call(&["ipc"], "ipc(2)", 6, &[arg(0, "call", INT, One(IPCCALLS)).ignoring(0xffff_0000)]),
    call(&["keyctl"], "keyctl(2)", 5, &[arg(0, "operation", INT, Command(KEYCTL))]),
    call(&["kill", "tkill"], "kill(2)", 2, &[signal(1)]),
    call(&["madvise"], "madvise(2)", 3, &[arg(2, "advice", INT, One(MADVISE)).swapping(&[&[4, 8], &[14, 15, 25]])]),
    call(&["memfd_create"], "memfd_create(2)", 2, &[arg(1, "flags", INT, Flags(0, &[], MEMFD)).ignoring(1)]),
    call(&["mmap", "mmap2"], "mmap(2)", 6, &[arg(2, "prot", LONG, PROT).only(WRITE_EXEC)]),
    // MS_MGC_VAL in the upper half is from before Linux 2.4.
    call(&["mount"], "mount(2)", 5, &[arg(3, "mountflags", LONG, Flags(0, &[], MOUNT))]),
    call(&["mprotect"], "mprotect(2)", 3, &[arg(2, "prot", LONG, PROT).only(WRITE_EXEC)]),
    call(&["msgctl"], "msgctl(2)", 3, &[arg(1, "op", INT, Flags(0xff, MSG, IPC_64)).ignoring(0x100)]),
    call(&["openat"], "openat(2)", 4, &[arg(2, "flags", INT, Flags(3, ACCESS, OPEN_FLAGS)).only(OPENS_FOR)]).on_request(),
    call(&["open"], "open(2)", 3, &[arg(1, "flags", INT, Flags(3, ACCESS, OPEN_FLAGS)).only(OPENS_FOR)]).on_request(),
    call(&["personality"], "personality(2)", 1, &[arg(0, "persona", INT, Flags(PERSONA, PERSONALITY, PERSONALITY_FLAGS))]),
    call(&["pidfd_send_signal"], "pidfd_send_signal(2)", 4, &[signal(1)]),
    call(&["pkey_mprotect"], "pkey_mprotect(2)", 4, &[arg(2, "prot", LONG, PROT).only(WRITE_EXEC)]),
    // Allocators and pthread_setname_np(3).
    call(&["prctl"], "prctl(2)", 5, &[arg(0, "op", INT, Command(PRCTL)).always(&[15, 0x5356_4d41])]),
    call(&["prlimit64"], "prlimit(2)", 4, &[arg(1, "resource", INT, One(RESOURCES))]),
    call(&["ptrace"], "ptrace(2)", 4, &[arg(0, "op", LONG, Command(PTRACE))]),
    call(&["quotactl"], "quotactl(2)", 4, &[arg(0, "op", INT, Flags(0xffff_ff00, QUOTA, QUOTA_TYPES))]),
    call(&["quotactl_fd"], "quotactl_fd(2)", 4, &[arg(1, "op", INT, Flags(0xffff_ff00, QUOTA, QUOTA_TYPES))]),
    call(&["reboot"], "reboot(2)", 4, &[arg(2, "op", INT, Command(REBOOT))]),
    call(&["rt_sigqueueinfo"], "rt_sigqueueinfo(2)", 3, &[signal(1)]),
    call(&["rt_tgsigqueueinfo"], "rt_tgsigqueueinfo(2)", 4, &[signal(2)]),
    call(&["seccomp"], "seccomp(2)", 3, &[arg(0, "operation", INT, Command(SECCOMP))]),
    call(&["semctl"], "semctl(2)", 4, &[arg(2, "op", INT, Flags(0xff, SEM, IPC_64)).ignoring(0x100)]),
    call(&["setns"], "setns(2)", 2, &[arg(1, "nstype", INT, Flags(0, &[], NAMESPACES))]),
    call(&["setrlimit"], "setrlimit(2)", 2, &[arg(0, "resource", INT, One(RESOURCES))]),
    call(&["shmat"], "shmat(2)", 3, &[arg(2, "shmflg", INT, Flags(0, &[], SHMAT)).only(0o100_000)]),
    call(&["shmctl"], "shmctl(2)", 3, &[arg(1, "op", INT, Flags(0xff, SHM, IPC_64)).ignoring(0x100)]),
    call(&["socket"], "socket(2)", 3, &[arg(0, "domain", INT, One(FAMILIES)), arg(1, "type", INT, TYPE).ignoring(SOCK_FLAGS), arg(2, "protocol", INT, Number)]),
    call(&["socketcall"], "socketcall(2)", 2, &[arg(0, "call", INT, One(SOCKETCALLS))]),
    call(&["socketpair"], "socketpair(2)", 4, &[arg(0, "domain", INT, One(FAMILIES)), arg(1, "type", INT, TYPE).ignoring(SOCK_FLAGS), arg(2, "protocol", INT, Number)]),
    call(&["syslog"], "syslog(2)", 3, &[arg(0, "type", INT, Command(SYSLOG))]),
    call(&["tgkill"], "tgkill(2)", 3, &[signal(2)]),
    call(&["timer_create"], "timer_create(2)", 3, &[clock(0)]),
    call(&["timerfd_create"], "timerfd_create(2)", 2, &[clock(0)]),
    call(&["umount2"], "umount2(2)", 2, &[arg(1, "flags", INT, Flags(0, &[], UMOUNT))]),
    call(&["unshare"], "unshare(2)", 1, &[arg(0, "flags", LONG, Flags(0, &[], NAMESPACES)).ignoring(UNSHARED)]),
    call(&["userfaultfd"], "userfaultfd(2)", 1, &[arg(0, "flags", INT, Flags(0, &[], DESCRIPTOR_FLAGS)).ignoring(0o2_004_000)]),
];
