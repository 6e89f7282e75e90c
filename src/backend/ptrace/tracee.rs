//! The state of each tracee between its stops.

use std::collections::HashMap;
use std::fmt;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::ptrace::Options;
use rustc_hash::FxBuildHasher;

use super::arch::{AtExit, CallEntry, CallRegisters, Registers};
use super::clone_args::{Copies, CopySlot, Room};
use super::recording_filter::RecordingFilter;
use super::stop::{Died, Stopped};
use crate::backend::proc;
use crate::event::Task;
use crate::sys::ptrace::Resume;
use crate::syscall::{Arch, Syscall};

/// How a task stops at its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stops {
    /// The recording filter: once, at the entry.
    Filter,
    /// `PTRACE_SYSCALL`: at the entry, before any filter, and at the exit. If the task has the recording filter too, that
    /// stops it once more in between.
    Syscalls,
}

/// A seccomp mode as the workload knows it: the recording filter isn't the workload's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seccomp {
    /// None.
    Disabled,
    /// Strict mode. The recorder enforces it: where the recording filter is loaded, the kernel can't.
    Strict,
    /// A filter of the workload's own.
    Filter,
}

/// The state of one tracee.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent")]
pub(super) struct Tracee {
    pub(super) stops: Stops,
    /// Its current call was counted at the syscall-enter-stop.
    pub(super) counted: bool,
    /// Whether to report the outcome of its current call.
    pub(super) reports_outcome: bool,
    /// The mode that it set itself.
    pub(super) seccomp: Seccomp,
    /// It set `no_new_privs` itself, or inherited it from one that did.
    pub(super) no_new_privs: bool,
    /// What to do at the exit of its current call.
    pub(super) on_exit: Option<OnExit>,
    /// What to restore at its next stop.
    pub(super) undo: Option<Undo>,
    /// Its latest call, if that is one that has a limit and that a signal ends with EINTR.
    pub(super) sleeping: Option<Sleeping>,
    /// Its latest call ended, or will end, by a signal that it doesn't ignore, or by a stop.
    pub(super) disturbed: bool,
    /// The recorder interrupted it, wherever it was: in how many of its next stops that can show. The first one can have
    /// been under way before.
    pub(super) interrupted: u8,
    /// Its process has or had other threads.
    pub(super) has_threads: bool,
    /// It stopped before its parent stopped for having made it.
    pub(super) early: bool,
    /// The recorder makes it enter a call a second time.
    pub(super) again: Option<Again>,
    /// Its latest call was made into another one and is entered again: the call and the address after it.
    pub(super) replayed: Option<(Syscall, u64)>,
    /// Signals that it gets once it has entered that call again.
    pub(super) deferred: Vec<Deferred>,
    /// Where its process has room for arguments of clone3(2), as far as known.
    pub(super) room: Option<Room>,
    /// When the recorder ends its current call, because the limit of that call is up.
    pub(super) until: Option<Instant>,
}

impl Tracee {
    pub(super) fn new(stops: Stops) -> Tracee {
        Tracee {
            stops,
            counted: false,
            reports_outcome: false,
            seccomp: Seccomp::Disabled,
            no_new_privs: false,
            on_exit: None,
            undo: None,
            sleeping: None,
            disturbed: false,
            interrupted: 0,
            has_threads: false,
            early: false,
            again: None,
            replayed: None,
            deferred: Vec::new(),
            room: None,
            until: None,
        }
    }

    /// The recorder is about to interrupt it (`PTRACE_INTERRUPT`).
    pub(super) fn interrupt(&mut self) {
        self.interrupted = 2;
    }

    /// Whether its stop, a trap or another one, can show that the recorder interrupted it.
    pub(super) fn may_show_interrupt(&mut self, is_trap: bool) -> bool {
        let before = self.interrupted;
        self.interrupted = if is_trap { 0 } else { before.saturating_sub(1) };
        before > 0
    }

    /// How to resume it.
    pub(super) fn resume(&self) -> Resume {
        let awaits_call = self.deferred.iter().any(|deferred| !deferred.is_sent);
        if self.stops == Stops::Syscalls || self.on_exit.is_some() || awaits_call {
            Resume::Syscall
        } else {
            Resume::Cont
        }
    }
}

/// A signal that arrived while a call, made into another one, was still to be entered again. Delivered at once, it would not interrupt
/// the call as it does natively.
pub(super) struct Deferred {
    pub(super) info: libc::siginfo_t,
    /// It was sent again.
    pub(super) is_sent: bool,
}

impl fmt::Debug for Deferred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {}, sent: {}", self.info.si_signo, self.is_sent)
    }
}

/// What to do when a call returns.
#[derive(Debug)]
pub(super) enum OnExit {
    /// If it succeeded, a filter of the workload's own is loaded.
    OwnFilter { all_threads: bool },
    /// If it succeeded, the task is in strict mode.
    StrictMode,
    /// Hide the recording filter from `PR_GET_SECCOMP`.
    HideFilter,
    /// If it succeeded, `no_new_privs` is set by the workload.
    NoNewPrivs,
    /// Hide the recording filter's `no_new_privs` from `PR_GET_NO_NEW_PRIVS`.
    HideNoNewPrivs,
    /// The recorder made it fail: it must not succeed because of the recording filter's `no_new_privs`.
    Refused {
        undo: Undo,
        fails: Errno,
        natively: Errno,
    },
    /// If it failed, the recorder is the reason.
    Tracing,
    /// If it made a task and no stop reported that, the task escaped. Restore what was changed.
    Clone3 {
        undo: Option<Undo>,
        /// Where the kernel finds the arguments, if not in memory that the workload can change.
        copy: Option<CopySlot>,
    },
    /// If it ended with EINTR, find out whether a signal is the reason.
    Sleep,
    /// Restore what was changed.
    Undo(Undo),
    /// The fast path has to do with it.
    FastPath(AtExit),
}

impl OnExit {
    /// What to restore in the caller, and in the task that it makes.
    pub(super) fn undo(&self) -> Option<&Undo> {
        match self {
            OnExit::Clone3 { undo, .. } => undo.as_ref(),
            OnExit::Undo(undo) => Some(undo),
            _ => None,
        }
    }
}

/// A change of a tracee's registers or memory that it must not find.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    /// Of arguments of a call, and of its number, as `struct seccomp_data` has it.
    Arguments {
        arch: Arch,
        changes: Vec<ArgumentChange>,
        was_call: Option<i32>,
    },
    /// Of a word of memory.
    Memory { address: u64, was: u64, is: u64 },
}

/// A change of an argument, counted from 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArgumentChange {
    pub(super) index: usize,
    pub(super) was: u64,
    pub(super) is: u64,
}

impl Undo {
    /// Changes arguments of the call that a tracee enters.
    pub(super) fn of_arguments(
        stopped: &Stopped,
        arch: Arch,
        changes: Vec<ArgumentChange>,
    ) -> Result<Undo, Died> {
        Undo::of_call(stopped, arch, changes, None)
    }

    /// Changes arguments of the call that a tracee enters, and makes the first of these calls the second.
    pub(super) fn of_call(
        stopped: &Stopped,
        arch: Arch,
        changes: Vec<ArgumentChange>,
        calls: Option<(Syscall, Syscall)>,
    ) -> Result<Undo, Died> {
        let mut registers = Registers::read(stopped)?;
        for change in &changes {
            registers.set_argument(arch, change.index, change.is);
        }
        if let Some((_, is)) = calls {
            registers.set_call(is.audit_nr());
        }
        registers.write(stopped)?;
        Ok(Undo::Arguments {
            arch,
            changes,
            was_call: calls.map(|(was, _)| was.audit_nr()),
        })
    }

    /// Restores the tracee's own values, unless the tracee changed them since or died. Returns whether it did.
    pub(super) fn apply(&self, stopped: &Stopped) -> bool {
        match self {
            Undo::Arguments {
                arch,
                changes,
                was_call,
            } => {
                let Ok(mut registers) = Registers::read(stopped) else {
                    return false;
                };
                let kept = |change: &&ArgumentChange| Registers::keeps_argument(change.index);
                for change in changes.iter().filter(kept) {
                    if registers.argument(*arch, change.index) != change.is {
                        return false;
                    }
                    registers.set_argument(*arch, change.index, change.was);
                }
                // The kernel restarts the call by its number.
                if let Some(nr) = was_call {
                    registers.set_call(*nr);
                }
                registers.write(stopped).is_ok()
            }
            Undo::Memory { address, was, is } => {
                stopped.read_word(*address) == Some(*is) && stopped.write_word(*address, *was)
            }
        }
    }
}

/// A call with a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeping {
    pub(super) since: Instant,
    /// Only where the architecture needs it.
    pub(super) entry: Option<CallEntry>,
}

/// A call that will be entered again. Another call, or one from another place, isn't that one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    pub(super) syscall: Syscall,
    /// The address after the instruction that makes the call.
    pub(super) ip: u64,
    /// When its limit is up, if it has one.
    pub(super) until: Option<Instant>,
}

/// All tracees.
pub(super) struct Tracees {
    /// The recording filter, if the command loads it.
    pub(super) filter: Option<RecordingFilter>,
    /// The options of every tracee.
    pub(super) options: Options,
    /// The recording filter needed `no_new_privs`, which the workload would not have without a recorder.
    pub(super) hide_no_new_privs: bool,
    pub(super) known: HashMap<Task, Tracee, FxBuildHasher>,
    pub(super) copies: Copies,
    /// A task has given a socket a limit (`SO_RCVTIMEO`, `SO_SNDTIMEO`).
    pub(super) sockets_have_limits: bool,
}

impl Tracees {
    pub(super) fn new(
        filter: Option<RecordingFilter>,
        options: Options,
        hide_no_new_privs: bool,
    ) -> Tracees {
        Tracees {
            filter,
            options,
            hide_no_new_privs,
            known: HashMap::default(),
            copies: Copies::default(),
            sockets_have_limits: false,
        }
    }

    /// A tracee. One that wasn't known is stopped in the way that is always safe.
    pub(super) fn get(&mut self, task: Task) -> &mut Tracee {
        self.known
            .entry(task)
            .or_insert_with(|| Tracee::new(Stops::Syscalls))
    }

    /// Where the process of a tracee has room for arguments of clone3(2).
    pub(super) fn room_of(&mut self, stopped: &Stopped) -> Option<Room> {
        let room = &mut self.get(stopped.task()).room;
        if room.is_none_or(|room| !room.is_there(stopped)) {
            *room = Room::find(stopped);
        }
        *room
    }

    /// Whether a task would lack the privilege to load a filter or to restrict itself, without a recorder.
    pub(super) fn lacks_privilege(&mut self, task: Task) -> bool {
        self.hide_no_new_privs && !self.get(task).no_new_privs && !proc::is_admin(task)
    }

    /// A task that stopped before its maker reported it may have inherited `no_new_privs`. proc(5) names the process that it
    /// comes from, or belongs to.
    pub(super) fn inherited_no_new_privs(&self, task: Task) -> bool {
        let origins = [proc::process_of(task), proc::parent_of(task)];
        let mut origins = origins.into_iter().flatten();
        self.hide_no_new_privs
            && origins.any(|origin| self.known.get(&origin).is_some_and(|of| of.no_new_privs))
    }

    /// Whether a task that was just made has inherited a filter of the workload's own. That its maker has one by now, or had
    /// none, proves nothing: another thread may load one for all at the same time.
    pub(super) fn inherited_own_filter(&self, task: Task) -> Option<bool> {
        // Beside the recording filter. A recorder that has one itself loads none.
        let own = |count| count > 1;
        self.filter.and_then(|_| proc::filters_of(task).map(own))
    }

    /// Whether a task is about to load a filter for all threads of its process.
    pub(super) fn load_for_all_threads(&self) -> bool {
        self.known.values().any(|tracee| {
            let on_exit = tracee.on_exit.as_ref();
            matches!(on_exit, Some(OnExit::OwnFilter { all_threads: true }))
        })
    }

    /// The other threads of a task's process, and those tasks of which proc(5) doesn't say whether they are.
    pub(super) fn siblings(&mut self, task: Task) -> impl Iterator<Item = (Task, &mut Tracee)> {
        let process = proc::process_of(task);
        let others = self
            .known
            .iter_mut()
            .map(|(&other, tracee)| (other, tracee));
        others.filter(move |(other, _)| {
            let of_other = proc::process_of(*other);
            *other != task && (of_other == process || of_other.is_none() || process.is_none())
        })
    }

    /// Whether the recording filter is loaded in the workload (or may be).
    pub(super) fn use_filter(&self) -> bool {
        self.filter.is_some()
    }
}
