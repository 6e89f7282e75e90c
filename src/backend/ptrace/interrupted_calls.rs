//! Calls that ended only because the recorder's presence woke the tracee.
//!
//! The kernel drops a signal that its receiver ignores without waking it. It does wake a tracee, because the tracer is
//! told about every signal (`sig_ignored` of the kernel). Most calls are then restarted (`restart_syscall(2)`), but some
//! end with EINTR (signal(7), "Interruption of system calls", last list), which they would not without a recorder. Such a
//! call is entered again as it was, without a change of its arguments. If it has a limit, the recorder ends it when its
//! time is up, counted from its first entry, with the result that the kernel gives then.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::time::TimeVal;

use super::arch::{CallEntry, CallRegisters, Registers};
use super::special_table::{Limit, Sleep, SpecialCall, SpecialTable};
use super::stop::{Died, Stopped};
use super::tracee::{Again, Sleeping};
use crate::backend::proc;
use crate::event::Task;
use crate::sys::pidfd;
use crate::sys::ptrace::SyscallInfo;
use crate::syscall::Syscall;

/// If the tracee is just returning from a call with EINTR, and only the recorder is the reason: makes it enter the call
/// again, or ends the call by its limit.
pub(super) fn go_on(
    stopped: &Stopped,
    specials: &SpecialTable,
    sleeping: Option<Sleeping>,
) -> Result<Option<Again>, Died> {
    let Some((mut registers, info, syscall)) = returned_eintr(stopped, sleeping)? else {
        return Ok(None);
    };
    let sleep = match specials.get(syscall) {
        Some(SpecialCall::Sleep(sleep)) => sleep,
        Some(SpecialCall::Final) => return Ok(None),
        _ => Sleep {
            limit: Limit::Endless,
            timed_out: 0,
        },
    };
    let since = sleeping.map_or_else(Instant::now, |sleeping| sleeping.since);
    let entry = sleeping.and_then(|sleeping| sleeping.entry);
    let until = match time_of(stopped, &registers, entry, syscall, sleep.limit) {
        Time::Endless => None,
        // No sum: it has as good as no limit.
        Time::Limited(time) => since.checked_add(time),
        Time::Unknown => return Ok(None),
    };
    if until.is_some_and(|until| until <= Instant::now()) {
        registers.set_result(-i64::from(sleep.timed_out));
        registers.write(stopped)?;
        return Ok(None);
    }
    registers.enter_again(entry);
    registers.write(stopped)?;
    Ok(Some(Again {
        syscall,
        ip: info.ip,
        until,
    }))
}

/// The call from which the tracee is just returning with EINTR.
pub(super) fn returned_eintr(
    stopped: &Stopped,
    sleeping: Option<Sleeping>,
) -> Result<Option<(Registers, SyscallInfo, Syscall)>, Died> {
    let info = stopped.syscall_info()?;
    let registers = Registers::read(stopped)?;
    let entry = sleeping.and_then(|sleeping| sleeping.entry);
    let number = registers.number();
    let syscall = number.and_then(|number| Syscall::from_audit(info.arch, number));
    let ended = syscall.filter(|syscall| registers.returned_eintr(syscall.arch, entry));
    Ok(ended.map(|syscall| (registers, info, syscall)))
}

/// How long a call lasts at most, from its entry on.
enum Time {
    Endless,
    Limited(Duration),
    /// That can't be found out.
    Unknown,
}

fn time_of(
    stopped: &Stopped,
    registers: &Registers,
    entry: Option<CallEntry>,
    syscall: Syscall,
    limit: Limit,
) -> Time {
    let argument = |index| match entry {
        // Its register has the result.
        Some(entry) if !Registers::keeps_argument(index) => entry.argument,
        _ => registers.argument(syscall.arch, index),
    };
    match limit {
        Limit::Endless => Time::Endless,
        Limit::Millis(index) => match u64::try_from(int(argument(index))) {
            Ok(millis) => Time::Limited(Duration::from_millis(millis)),
            Err(_) => Time::Endless,
        },
        Limit::Timespec {
            argument: index,
            is_64_bit,
        } => timespec_at(stopped, argument(index), is_64_bit),
        Limit::Receive => time_of_socket(stopped.task(), int(argument(0)), |socket| {
            getsockopt(socket, sockopt::ReceiveTimeout)
        }),
        Limit::Send => time_of_socket(stopped.task(), int(argument(0)), |socket| {
            getsockopt(socket, sockopt::SendTimeout)
        }),
        Limit::Ring => {
            /// `linux/io_uring.h`. With an absolute limit, the call can be entered again as it is.
            const EXT_ARG: u64 = 1 << 3;
            const ABS_TIMER: u64 = 1 << 5;
            if argument(3) & EXT_ARG == 0 || argument(3) & ABS_TIMER != 0 {
                return Time::Endless;
            }
            // `struct io_uring_getevents_arg`: a mask, its size and padding, and the address of the limit.
            match stopped.read_word(argument(4) + 16) {
                Some(address) => timespec_at(stopped, address, true),
                None => Time::Unknown,
            }
        }
    }
}

/// A limit in the tracee's memory.
fn timespec_at(stopped: &Stopped, address: u64, is_64_bit: bool) -> Time {
    if address == 0 {
        return Time::Endless;
    }
    let read = || {
        let first = stopped.read_word(address)?;
        let (seconds, nanoseconds) = if is_64_bit {
            (first, stopped.read_word(address + 8)?)
        } else {
            (first & 0xffff_ffff, first >> 32)
        };
        Some((seconds, u32::try_from(nanoseconds).ok()?))
    };
    read().map_or(Time::Unknown, |(seconds, nanoseconds)| {
        Time::Limited(Duration::new(seconds, nanoseconds))
    })
}

/// A limit that a socket of the tracee has. A file that isn't a socket has none.
fn time_of_socket(task: Task, fd: i32, option: impl Fn(&OwnedFd) -> nix::Result<TimeVal>) -> Time {
    let socket = || {
        // Threads can have descriptors of their own (CLONE_FILES), and outlive the first one of their process.
        let owner = match pidfd::open_thread(task.0) {
            Ok(thread) => thread,
            Err(_) => pidfd::open(proc::process_of(task)?.0).ok()?,
        };
        pidfd::descriptor_of(&owner, fd).ok()
    };
    let Some(socket) = socket() else {
        return Time::Unknown;
    };
    let limit = option(&socket).map_or(Duration::ZERO, |limit| {
        Duration::from_secs(limit.tv_sec().unsigned_abs())
            + Duration::from_micros(limit.tv_usec().unsigned_abs())
    });
    if limit.is_zero() {
        Time::Endless
    } else {
        Time::Limited(limit)
    }
}

/// Before the call was entered again, a signal arrived that the receiver handles: the call ends with EINTR after all.
pub(super) fn end_sleep(stopped: &Stopped, again: Again) -> Result<(), Died> {
    let mut registers = Registers::read(stopped)?;
    registers.end_with_eintr(again.syscall.audit_nr());
    registers.write(stopped)
}

/// Whether a task ignores a signal, by its choice or by default. The init of a pid namespace ignores all but SIGKILL and SIGSTOP by
/// default (`SIGNAL_UNKILLABLE` of the kernel).
pub(super) fn ignores(task: Task, signal: i32) -> bool {
    let by_default = || {
        [libc::SIGCHLD, libc::SIGCONT, libc::SIGURG, libc::SIGWINCH].contains(&signal)
            || (![libc::SIGKILL, libc::SIGSTOP].contains(&signal) && proc::is_init(task))
    };
    proc::disposition(task, signal).is_some_and(|disposition| match disposition {
        proc::Disposition::Ignored => true,
        proc::Disposition::Default => by_default(),
        proc::Disposition::Handled => false,
    })
}

/// An int in a register.
#[allow(clippy::cast_possible_truncation)]
fn int(register: u64) -> i32 {
    (register as u32).cast_signed()
}
