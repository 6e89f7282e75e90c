//! Calls that ended only because the recorder's presence woke the tracee.
//!
//! The kernel drops a signal that its receiver ignores without waking it. It does wake a tracee, because the tracer is
//! told about every signal (`sig_ignored` of the kernel). Most calls are then restarted (`restart_syscall(2)`), but some
//! end with EINTR (signal(7), "Interruption of system calls", last list), which they would not without a recorder. Such a
//! call is entered again, for the rest of its time.

use std::time::Duration;

use super::arch::{CallRegisters, Registers};
use super::special_table::{Sleep, Special, SpecialTable};
use super::stop::{Died, Stopped};
use super::tracee::{Again, Sleeping};
use crate::backend::proc;
use crate::event::Task;
use crate::syscall::Syscall;

/// At the delivery of a signal: if the receiver ignores it and it ended this sleep, the call is entered again.
pub(super) fn sleep_on(
    stopped: &Stopped,
    signal: i32,
    sleeping: Sleeping,
) -> Result<Option<Again>, Died> {
    let arch = sleeping.syscall.arch;
    let mut registers = Registers::read(stopped)?;
    if !registers.returned_eintr(sleeping.entry) || !ignores(stopped.task(), signal) {
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
        // The limit is in the tracee's memory, which other threads may read.
        Sleep::Timespec { .. } | Sleep::Endless => return Ok(None),
    };
    registers.enter_again(sleeping.entry);
    registers.write(stopped)?;
    Ok(Some(Again {
        syscall: sleeping.syscall,
        shortened,
    }))
}

/// At a stop that the recorder asked for: if it ended an endless sleep, the call is entered again.
pub(super) fn sleep_on_after_interrupt(
    stopped: &Stopped,
    specials: &SpecialTable,
    sleeping: Option<Sleeping>,
) -> Result<(), Died> {
    let entry = sleeping.and_then(|sleeping| sleeping.entry);
    let arch = stopped.syscall_info()?.arch;
    let mut registers = Registers::read(stopped)?;
    if !registers.returned_eintr(entry) {
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
        registers.enter_again(entry);
        registers.write(stopped)?;
    }
    Ok(())
}

/// Before the call was entered again, a signal arrived that the receiver handles: the call ends with EINTR after all.
pub(super) fn end_sleep(stopped: &Stopped, again: Again) -> Result<(), Died> {
    let mut registers = Registers::read(stopped)?;
    registers.end_with_eintr(again.syscall.audit_nr());
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
