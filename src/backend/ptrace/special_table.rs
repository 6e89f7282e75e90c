//! The calls that need more than counting, by number in each ABI of this machine.

use super::arch::MACHINE;
use crate::syscall::Syscall;

/// A call that needs more than counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Special {
    Clone,
    Clone3,
    Prctl,
    Seccomp,
    Ptrace,
    /// One that a signal ends with EINTR.
    Sleep(Sleep),
}

/// The limit of a call that ends with EINTR where other calls are restarted. Arguments are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    /// No limit.
    Endless,
    /// A limit in milliseconds in this argument; below 0 it is endless. With `mask`, the next argument is a signal mask
    /// for the duration of the call: a signal that the mask lets in may have been pending, and then ends the call anyway.
    Millis { argument: usize, mask: bool },
    /// A limit at the address in this argument; at address 0 it is endless. `mask` is as above.
    Timespec { argument: usize, mask: bool },
}

const SPECIAL: [(&str, Special); 13] = [
    ("clone", Special::Clone),
    ("clone3", Special::Clone3),
    ("prctl", Special::Prctl),
    ("seccomp", Special::Seccomp),
    ("ptrace", Special::Ptrace),
    ("epoll_wait", millis(3, false)),
    ("epoll_pwait", millis(3, true)),
    ("epoll_pwait2", timespec(3, true)),
    ("semop", Special::Sleep(Sleep::Endless)),
    ("semtimedop", timespec(3, false)),
    ("semtimedop_time64", timespec(3, false)),
    ("io_getevents", timespec(4, false)),
    ("rt_sigtimedwait", timespec(2, false)),
];

const fn millis(argument: usize, mask: bool) -> Special {
    Special::Sleep(Sleep::Millis { argument, mask })
}

const fn timespec(argument: usize, mask: bool) -> Special {
    Special::Sleep(Sleep::Timespec { argument, mask })
}

/// The [`Special`] calls, sorted by ABI and number.
pub(super) struct SpecialTable(Vec<(Syscall, Special)>);

impl SpecialTable {
    pub(super) fn new() -> SpecialTable {
        let of_abi = |&arch| {
            SPECIAL
                .into_iter()
                .filter_map(move |(name, special)| Some((Syscall::from_name(arch, name)?, special)))
        };
        let mut calls: Vec<_> = MACHINE.abis.iter().flat_map(of_abi).collect();
        calls.sort_unstable_by_key(|(syscall, _)| *syscall);
        SpecialTable(calls)
    }

    pub(super) fn get(&self, syscall: Syscall) -> Option<Special> {
        let index = self
            .0
            .binary_search_by_key(&syscall, |(syscall, _)| *syscall)
            .ok()?;
        self.0.get(index).map(|(_, special)| *special)
    }
}
