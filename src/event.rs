//! The events that a backend reports, in the order in which the kernel reported them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::syscall::Syscall;

/// A thread of the workload, by its id (gettid(2)) in the pid namespace of the recorder. The kernel reuses ids: one
/// names a task from its [`Event::Fork`] to its [`Event::Exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task(pub i32);

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who made a call, from where, and with what. A backend gives it for calls of [`Interest`](crate::backend::Interest) only, as
/// far as it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// The six argument registers, whole: an `int` argument can carry junk in its upper half.
    pub args: Option<[u64; 6]>,
    /// The address of the instruction after the call.
    pub ip: Option<u64>,
    /// What `ip` is the address of.
    pub code: Arc<Code>,
    /// What the process executes.
    pub executable: Option<Arc<Path>>,
    /// The process that the task belongs to, by the id that it has in the pid namespace of the recorder.
    pub process: Option<Task>,
    /// The name of the thread (at most 15 bytes, `PR_SET_NAME` of prctl(2)).
    pub thread: Option<Arc<[u8]>>,
}

/// Where an instruction comes from (`/proc/PID/maps`, proc(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A file that is mapped: a program, a library.
    File {
        /// The path that the workload's mount namespace has for it.
        path: PathBuf,
        /// How far into the file. Not the address in the program: segments can be loaded elsewhere than they are in the file.
        offset: u64,
        /// The file was removed, or replaced, since.
        deleted: bool,
    },
    /// Memory that the kernel has a name for: `[vdso]`, `[stack]`, `[heap]`, `[anon:NAME]`.
    Named {
        /// The name, with its brackets.
        name: String,
        /// How far into the memory.
        offset: u64,
    },
    /// Memory without a file: code that was made while the program ran.
    Anonymous,
    /// Nobody could tell: the process was gone, or can't be read.
    #[default]
    Unknown,
}

impl fmt::Display for Code {
    /// `/lib/libc.so.6+0x10e1d4`: a path and how far into the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::File {
                path,
                offset,
                deleted,
            } => {
                let deleted = if *deleted { " (deleted)" } else { "" };
                write!(f, "{}+{offset:#x}{deleted}", path.display())
            }
            Code::Named { name, offset } => write!(f, "{name}+{offset:#x}"),
            Code::Anonymous => f.write_str("anonymous memory"),
            Code::Unknown => f.write_str("unknown"),
        }
    }
}

/// What became of a call. One that a filter answers with SIGSYS can have two of these: that the call is over, and the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It is over: the result, or a negative errno. Of a call that ended with SIGSYS it says nothing.
    Returned(i64),
    /// A filter had SIGSYS sent to the task (`SYS_SECCOMP`, sigaction(2)).
    Trapped,
    /// The task is gone.
    Died(crate::recording::Exit),
}

/// Something that happened in the workload, or to the recording of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task entered a system call. Whether the call was then refused, interrupted or restarted makes no difference.
    Syscall {
        /// Who called.
        task: Task,
        /// What was called.
        syscall: Syscall,
        /// From where and with what, if that was asked for.
        site: Option<Box<CallSite>>,
    },
    /// What became of the latest call of a task whose site was told. A backend that stops tasks once per call doesn't know.
    Outcome {
        /// Who called.
        task: Task,
        /// What it got.
        outcome: CallOutcome,
    },
    /// A task entered a system call so many times. For a backend that counts by itself, or reads counts.
    Calls {
        /// Who called.
        task: Task,
        /// What was called.
        syscall: Syscall,
        /// How often, since what was told of it before. At least 1.
        count: u64,
    },
    /// Calls that the backend counted in the kernel: it knows neither the tasks nor the order.
    Counted {
        /// What was called.
        syscall: Syscall,
        /// What the callers executed, if that is known.
        executable: Option<Arc<Path>>,
        /// How often, since the event before for this call and executable. At least 1.
        count: u64,
        /// When the first of these calls was entered, if that is known.
        first: Option<SystemTime>,
    },
    /// A task now runs this program: execve(2) succeeded, or the backend met the task when it already ran.
    Exec {
        /// The task, under the id that it has from now on (that of the thread group leader).
        task: Task,
        /// What `/proc/PID/exe` says.
        executable: PathBuf,
    },
    /// A task made another: fork, vfork, clone or clone3, process or thread alike.
    Fork {
        /// Who called.
        parent: Task,
        /// The new task.
        child: Task,
    },
    /// A task is gone.
    Exit {
        /// The task.
        task: Task,
    },
    /// The events from here on happened at this time. Whoever reads of the past tells it, even if the times don't ascend;
    /// the events of a recorder that sends none happen when they are told.
    Clock {
        /// When.
        now: SystemTime,
    },
    /// Calls may have happened that no event tells of. A run with one of these is incomplete.
    Lost {
        /// How many, if that is known.
        count: Option<u64>,
        /// Why, as a sentence for the user without its full stop.
        why: String,
    },
}

/// Takes the events of one run.
pub trait Sink {
    /// Takes the next event. It is called between two steps of the workload: whatever time it takes, the workload waits.
    fn event(&mut self, event: Event);
}

impl<F: FnMut(Event)> Sink for F {
    fn event(&mut self, event: Event) {
        self(event);
    }
}
