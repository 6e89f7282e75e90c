//! The calls that need more than counting, by number in each ABI of this machine.

use libc::{EAGAIN, EINPROGRESS, ETIME};

use super::arch::MACHINE;
use crate::syscall::{Arch, Syscall};

/// A call that needs more than counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpecialCall {
    Clone,
    Clone3,
    Prctl,
    Seccomp,
    Ptrace,
    Landlock,
    /// One that can give a socket a limit.
    SocketOption,
    /// One that ends with EINTR where other calls are restarted, and that has a limit.
    Sleep(Sleep),
    /// One that ends with EINTR and must not be entered again.
    Final,
}

/// How long such a call lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sleep {
    pub(super) limit: Limit,
    /// The error that it ends with when its time is up; 0: it returns 0.
    pub(super) timed_out: i32,
}

/// Where the limit of a call is. Arguments are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// There is none.
    Endless,
    /// Milliseconds in this argument; none below 0.
    Millis(usize),
    /// A timespec at the address in this argument; none at address 0.
    Timespec { argument: usize, is_64_bit: bool },
    /// `SO_RCVTIMEO` of the socket in the first argument.
    Receive,
    /// `SO_SNDTIMEO` of the socket in the first argument.
    Send,
    /// In the extended argument of `io_uring_enter(2)`.
    Ring,
}

const SPECIAL: [(&str, SpecialCall); 9] = [
    ("clone", SpecialCall::Clone),
    ("clone3", SpecialCall::Clone3),
    ("prctl", SpecialCall::Prctl),
    ("seccomp", SpecialCall::Seccomp),
    ("ptrace", SpecialCall::Ptrace),
    ("landlock_restrict_self", SpecialCall::Landlock),
    ("setsockopt", SpecialCall::SocketOption),
    ("socketcall", SpecialCall::SocketOption),
    // The descriptor is gone, or another file's by now.
    ("close", SpecialCall::Final),
];

/// signal(7), "Interruption of system calls and library functions by signal handlers", and the kernel's source.
const SLEEPS: [(&str, Limit, i32); 32] = [
    ("epoll_wait", Limit::Millis(3), 0),
    ("epoll_pwait", Limit::Millis(3), 0),
    ("epoll_pwait2", timespec(3, true), 0),
    ("semop", Limit::Endless, 0),
    ("semtimedop", timespec(3, false), EAGAIN),
    ("semtimedop_time64", timespec(3, true), EAGAIN),
    ("io_getevents", timespec(4, false), 0),
    ("io_uring_enter", Limit::Ring, ETIME),
    ("rt_sigtimedwait", timespec(2, false), EAGAIN),
    ("rt_sigtimedwait_time64", timespec(2, true), EAGAIN),
    ("accept", Limit::Receive, EAGAIN),
    ("accept4", Limit::Receive, EAGAIN),
    ("read", Limit::Receive, EAGAIN),
    ("readv", Limit::Receive, EAGAIN),
    ("preadv", Limit::Receive, EAGAIN),
    ("preadv2", Limit::Receive, EAGAIN),
    ("recv", Limit::Receive, EAGAIN),
    ("recvfrom", Limit::Receive, EAGAIN),
    ("recvmsg", Limit::Receive, EAGAIN),
    ("recvmmsg", Limit::Receive, EAGAIN),
    ("recvmmsg_time64", Limit::Receive, EAGAIN),
    ("connect", Limit::Send, EINPROGRESS),
    ("write", Limit::Send, EAGAIN),
    ("writev", Limit::Send, EAGAIN),
    ("pwritev", Limit::Send, EAGAIN),
    ("pwritev2", Limit::Send, EAGAIN),
    ("send", Limit::Send, EAGAIN),
    ("sendto", Limit::Send, EAGAIN),
    ("sendmsg", Limit::Send, EAGAIN),
    ("sendmmsg", Limit::Send, EAGAIN),
    ("sendfile", Limit::Send, EAGAIN),
    ("sendfile64", Limit::Send, EAGAIN),
];

const fn timespec(argument: usize, is_64_bit: bool) -> Limit {
    Limit::Timespec {
        argument,
        is_64_bit,
    }
}

/// The [`SpecialCall`] calls, sorted by ABI and number.
pub(super) struct SpecialTable(Vec<(Syscall, SpecialCall)>);

impl SpecialTable {
    pub(super) fn new() -> SpecialTable {
        let mut calls = Vec::new();
        for &arch in MACHINE.abis {
            let mut add = |name, special| {
                calls.extend(Syscall::from_name(arch, name).map(|syscall| (syscall, special)));
            };
            for (name, special) in SPECIAL {
                add(name, special);
            }
            for (name, mut limit, timed_out) in SLEEPS {
                // Calls that have two forms on other ABIs have one here.
                if let Limit::Timespec { is_64_bit, .. } = &mut limit {
                    *is_64_bit |= !matches!(arch, Arch::X86 | Arch::Arm);
                }
                add(name, SpecialCall::Sleep(Sleep { limit, timed_out }));
            }
        }
        calls.sort_unstable_by_key(|(syscall, _)| *syscall);
        SpecialTable(calls)
    }

    pub(super) fn get(&self, syscall: Syscall) -> Option<SpecialCall> {
        let index = self
            .0
            .binary_search_by_key(&syscall, |(syscall, _)| *syscall)
            .ok()?;
        self.0.get(index).map(|(_, special)| *special)
    }
}
