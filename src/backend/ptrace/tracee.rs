//! The state of each tracee between its stops.

use std::collections::HashMap;
use std::time::Instant;

use nix::sys::ptrace::Options;
use rustc_hash::FxBuildHasher;

use super::arch::{CallRegisters, Entry, Registers};
use super::recording_filter::RecordingFilter;
use super::stop::{Died, Stopped};
use crate::backend::proc;
use crate::event::Task;
use crate::sys::ptrace::Resume;
use crate::syscall::{Arch, Syscall};

/// What stops a task at its calls.
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
    /// Strict mode. Where the recording filter is loaded, the recorder enforces it instead of the kernel.
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
    /// The outcome of its current call is to be reported.
    pub(super) reports_outcome: bool,
    /// The mode that it set itself.
    pub(super) seccomp: Seccomp,
    /// What to do at the exit of its current call.
    pub(super) on_exit: Option<OnExit>,
    /// What to restore at its next stop.
    pub(super) undo: Option<Undo>,
    /// Its latest call, if that is one that has a limit and that a signal ends with EINTR.
    pub(super) sleeping: Option<Sleeping>,
    /// Its latest call ended, or will end, by a signal that it doesn't ignore, or by a stop.
    pub(super) disturbed: bool,
    /// The recorder interrupted it, wherever it was.
    pub(super) interrupted: bool,
    /// It stopped before its parent stopped for having made it.
    pub(super) early: bool,
    /// The recorder makes it enter a call a second time.
    pub(super) again: Option<Again>,
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
            on_exit: None,
            undo: None,
            sleeping: None,
            disturbed: false,
            interrupted: false,
            early: false,
            again: None,
            until: None,
        }
    }

    /// How to resume it.
    pub(super) fn resume(&self) -> Resume {
        if self.stops == Stops::Syscalls || self.on_exit.is_some() {
            Resume::Syscall
        } else {
            Resume::Cont
        }
    }
}

/// What to do when a call returns.
#[derive(Clone, Debug)]
pub(super) enum OnExit {
    /// If it succeeded, a filter of the workload's own is loaded.
    OwnFilter { all_threads: bool },
    /// Hide the recording filter from `PR_GET_SECCOMP`.
    HideFilter,
    /// If it failed, the recorder is the reason.
    Tracing,
    /// If it made a task and no stop reported that, the task escaped. Its arguments are in memory, where another task can
    /// change them after the recorder looked. Restore what was changed.
    Clone3 { undo: Option<Undo> },
    /// Restore what was changed.
    Undo(Undo),
}

/// A change of a tracee's registers or memory that it must not find.
#[derive(Clone, Debug)]
pub(super) enum Undo {
    /// Of an argument of a call, counted from 0.
    Argument {
        arch: Arch,
        index: usize,
        was: u64,
        is: u64,
    },
    /// Of a word of memory.
    Memory { address: u64, was: u64, is: u64 },
}

impl Undo {
    /// Restores the tracee's own value, unless the tracee changed it since or died.
    pub(super) fn apply(&self, stopped: &Stopped) {
        match *self {
            Undo::Argument {
                arch,
                index,
                was,
                is,
            } if Registers::keeps_argument(index) => {
                if let Ok(mut registers) = Registers::read(stopped)
                    && registers.argument(arch, index) == is
                {
                    registers.set_argument(arch, index, was);
                    let _: Result<(), Died> = registers.write(stopped);
                }
            }
            Undo::Argument { .. } => {}
            Undo::Memory { address, was, is } => {
                if stopped.read_word(address) == Some(is) {
                    stopped.write_word(address, was);
                }
            }
        }
    }
}

/// A call with a limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeping {
    pub(super) since: Instant,
    /// Only where the architecture needs it.
    pub(super) entry: Option<Entry>,
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
    pub(super) known: HashMap<Task, Tracee, FxBuildHasher>,
}

impl Tracees {
    pub(super) fn new(filter: Option<RecordingFilter>, options: Options) -> Tracees {
        Tracees {
            filter,
            options,
            known: HashMap::default(),
        }
    }

    /// A tracee. One that wasn't known is stopped in the way that is always safe.
    pub(super) fn get(&mut self, task: Task) -> &mut Tracee {
        self.known
            .entry(task)
            .or_insert_with(|| Tracee::new(Stops::Syscalls))
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
