//! Sleeps that only the recorder disturbed.
//!
//! The kernel drops a signal that its receiver ignores, and doesn't wake it. Not so for a tracee: the tracer is told of
//! every signal, so the tracee is woken (`sig_ignored` of the kernel). Most calls then go on by themselves
//! (`restart_syscall(2)`), but some end with EINTR (signal(7), "Interruption of system calls", last list), which without a
//! recorder they would not. Such a call is entered again, for the rest of its time.

use std::time::{Duration, Instant};

use super::calls::{Special, Specials};
use super::registers::Registers;
use super::stop::{Died, Stopped};
use crate::backend::proc;
use crate::event::Task;
use crate::syscall::{Arch, Syscall};

/// A call that ends with EINTR where others are restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sleep {
    /// Without a limit.
    Endless,
    /// With a limit in milliseconds as this argument (counted from 0), below 0: none; and a signal mask for its duration
    /// as the next argument: a signal that the mask lets in may have waited before it, and then ends the call anyway.
    Millis { argument: usize, mask: bool },
    /// With a limit at the address that this argument has, 0: none; and perhaps a signal mask.
    Timespec { argument: usize, mask: bool },
}

/// The calls, by name.
pub(super) const SLEEPS: [(&str, Sleep); 8] = [
    (
        "epoll_wait",
        Sleep::Millis {
            argument: 3,
            mask: false,
        },
    ),
    (
        "epoll_pwait",
        Sleep::Millis {
            argument: 3,
            mask: true,
        },
    ),
    (
        "epoll_pwait2",
        Sleep::Timespec {
            argument: 3,
            mask: true,
        },
    ),
    ("semop", Sleep::Endless),
    (
        "semtimedop",
        Sleep::Timespec {
            argument: 3,
            mask: false,
        },
    ),
    (
        "semtimedop_time64",
        Sleep::Timespec {
            argument: 3,
            mask: false,
        },
    ),
    (
        "io_getevents",
        Sleep::Timespec {
            argument: 4,
            mask: false,
        },
    ),
    (
        "rt_sigtimedwait",
        Sleep::Timespec {
            argument: 2,
            mask: false,
        },
    ),
];

/// A call that a tracee is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeping {
    pub(super) syscall: Syscall,
    pub(super) sleep: Sleep,
    pub(super) since: Instant,
}

/// A call that will be entered again: it isn't a new one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// The number as the register had it.
    nr: u64,
    /// The limit that the tracee gave, if it was shortened: for which argument, what it was and what it is.
    pub(super) shortened: Option<(Arch, usize, u64, u64)>,
}

/// At the delivery of a signal: if its receiver ignores it, and it ended this sleep, then the receiver is made to sleep
/// on.
pub(super) fn sleep_on(
    stopped: &Stopped,
    signal: i32,
    sleeping: Sleeping,
) -> Result<Option<Again>, Died> {
    let arch = sleeping.syscall.arch;
    let mut registers = Registers::read(stopped)?;
    if !registers.returned_eintr() || !ignores(stopped.task(), signal) {
        return Ok(None);
    }
    let (endless, masked) = match sleeping.sleep {
        Sleep::Endless => (true, false),
        Sleep::Millis { argument, mask } => {
            let limit = int(registers.argument(arch, argument));
            (
                limit < 0,
                mask && registers.argument(arch, argument + 1) != 0,
            )
        }
        Sleep::Timespec { argument, mask } => (
            registers.argument(arch, argument) == 0,
            mask && registers.argument(arch, argument + 1) != 0,
        ),
    };
    let shortened = match sleeping.sleep {
        _ if masked => return Ok(None),
        _ if endless => None,
        Sleep::Millis { argument, .. } => {
            let was = registers.argument(arch, argument);
            let limit = Duration::from_millis(int(was).unsigned_abs().into());
            let rest = limit.saturating_sub(sleeping.since.elapsed());
            let is = u64::try_from(rest.as_millis()).unwrap_or(was);
            registers.set_argument(arch, argument, is);
            Some((arch, argument, was, is))
        }
        // The limit is in memory that isn't ours to write.
        Sleep::Timespec { .. } | Sleep::Endless => return Ok(None),
    };
    let nr = registers.enter_again();
    registers.write(stopped)?;
    Ok(Some(Again { nr, shortened }))
}

/// At a stop that the recorder asked for: if that ended a sleep without a limit, it goes on.
pub(super) fn sleep_on_after_interrupt(stopped: &Stopped, specials: &Specials) -> Result<(), Died> {
    let arch = stopped.syscall_info()?.arch;
    let mut registers = Registers::read(stopped)?;
    if !registers.returned_eintr() {
        return Ok(());
    }
    let syscall = registers
        .number()
        .and_then(|nr| Syscall::from_audit(arch, nr));
    let endless = syscall.is_some_and(|syscall| match specials.get(syscall) {
        Some(Special::Sleep(Sleep::Endless)) => true,
        Some(Special::Sleep(Sleep::Millis { argument, .. })) => {
            int(registers.argument(syscall.arch, argument)) < 0
        }
        Some(Special::Sleep(Sleep::Timespec { argument, .. })) => {
            registers.argument(syscall.arch, argument) == 0
        }
        _ => false,
    });
    if endless {
        registers.enter_again();
        registers.write(stopped)?;
    }
    Ok(())
}

/// Before the call was entered again, a signal came that its receiver handles: the call ends with EINTR after all.
pub(super) fn end_sleep(stopped: &Stopped, again: Again) -> Result<(), Died> {
    let mut registers = Registers::read(stopped)?;
    registers.end_with_eintr(again.nr);
    if let Some((arch, argument, was, _)) = again.shortened {
        registers.set_argument(arch, argument, was);
    }
    registers.write(stopped)
}

/// Whether a task ignores a signal, by its choice or by default.
pub(super) fn ignores(task: Task, signal: i32) -> bool {
    let by_default = [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH].contains(&signal);
    proc::disposition(task, signal).is_some_and(|disposition| match disposition {
        proc::Disposition::Ignored => true,
        proc::Disposition::Default => by_default,
        proc::Disposition::Handled => false,
    })
}

/// An int in a register.
#[allow(clippy::cast_possible_truncation)]
fn int(register: u64) -> i32 {
    (register as u32).cast_signed()
}
