//! The events that a backend reports, in the order in which the kernel reported them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::escape;
use crate::syscall::{Operation, Syscall};

/// A thread of the workload, by its id (gettid(2)) in the pid namespace of the recorder. The kernel reuses ids: an id
/// identifies a task from its [`Event::Fork`] to its [`Event::Exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Task(pub i32);

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The caller of a call, the address and the arguments. A backend reports it only for calls of
/// [`Interest`](crate::backend::Interest), as far as it can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// The six argument registers in full: the upper half of an `int` argument can hold junk.
    pub args: Option<[u64; 6]>,
    /// The address of the instruction after the call.
    pub ip: Option<u64>,
    /// The code at `ip`.
    pub code: Arc<Code>,
    /// The executable of the process.
    pub executable: Option<Arc<Path>>,
    /// The process of the task, by its id in the pid namespace of the recorder.
    pub process: Option<Task>,
    /// The name of the thread (at most 15 bytes, `PR_SET_NAME` of prctl(2)).
    pub thread: Option<Arc<[u8]>>,
}

/// The memory that holds an instruction (`/proc/PID/maps`, proc(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A mapped file: a program or a library.
    File {
        /// Its path in the workload's mount namespace.
        path: PathBuf,
        /// The offset in the file. It can differ from the address in the program: segments can be loaded at other
        /// addresses than their offsets.
        offset: u64,
        /// Whether the file has been removed or replaced since.
        deleted: bool,
    },
    /// Memory that the kernel names: `[vdso]`, `[stack]`, `[heap]`, `[anon:NAME]`.
    Named {
        /// The name, with its brackets.
        name: String,
        /// The offset in this memory.
        offset: u64,
    },
    /// Memory without a file: code that was generated at run time.
    Anonymous,
    /// Unknown: the process was gone, or its maps can't be read.
    #[default]
    Unknown,
}

impl fmt::Display for Code {
    /// `/lib/libc.so.6+0x10e1d4`: a path and the offset in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Code::File {
                path,
                offset,
                deleted,
            } => {
                let deleted = if *deleted { " (deleted)" } else { "" };
                write!(f, "{}+{offset:#x}{deleted}", escape::path(path))
            }
            Code::Named { name, offset } => write!(f, "{}+{offset:#x}", escape::Line(name)),
            Code::Anonymous => f.write_str("anonymous memory"),
            Code::Unknown => f.write_str("unknown"),
        }
    }
}

/// How the command of a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It returned this status (0 to 255).
    Code(i32),
    /// This signal ended it (1 to 64; real-time ones too).
    Signal(i32),
}

impl Exit {
    /// The status that a shell gives for it: the code, or 128 and the signal.
    #[must_use]
    pub fn shell_status(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal(signal) => 128 + signal,
        }
    }
}

/// The outcome of a call. A call that a filter answers with SIGSYS can have two: its return, and the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// It returned this result, or a negative errno. Meaningless for a call that ended with SIGSYS.
    Returned(i64),
    /// A filter sent SIGSYS to the task (`SYS_SECCOMP`, sigaction(2)).
    Trapped,
    /// The task is gone.
    Died(Exit),
}

/// An event in the workload, or in its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A task entered a system call. Whether the call was then refused, interrupted or restarted makes no difference.
    Syscall {
        /// The caller.
        task: Task,
        /// The call.
        syscall: Syscall,
        /// The call site, if wanted.
        site: Option<Box<CallSite>>,
    },
    /// The arguments of the call of the latest [`Event::Syscall`]: the six registers. Those of clone3(2) begin with the flags,
    /// which it has in memory. For calls in whose arguments the [`Interest`](crate::backend::Interest) is.
    Arguments {
        /// The call.
        syscall: Syscall,
        /// The registers.
        args: [u64; 6],
    },
    /// The outcome of a task's latest call that was reported with its call site. Backends that stop tasks only once per
    /// call don't report it.
    Outcome {
        /// The caller.
        task: Task,
        /// The outcome.
        outcome: CallOutcome,
    },
    /// A task entered a system call several times. For backends that count, or read counts.
    Calls {
        /// The caller.
        task: Task,
        /// The call.
        syscall: Syscall,
        /// How often, since the previous event for this task and call. At least 1.
        count: u64,
    },
    /// Calls that were counted in the kernel, without tasks or order.
    Counted {
        /// The call.
        syscall: Syscall,
        /// The executable of the callers, if known.
        executable: Option<Arc<Path>>,
        /// How often, since the previous event for this call and executable. At least 1.
        count: u64,
        /// When the first of these calls was entered, if known.
        first: Option<SystemTime>,
        /// The arguments of each of these calls, as in [`Event::Arguments`], if recorded. Registers whose arguments carry no
        /// choice are 0.
        args: Option<[u64; 6]>,
    },
    /// The workload submitted an operation to `io_uring`: what it does goes past seccomp.
    Submitted {
        /// The operation.
        operation: Operation,
        /// The executable of the process, if known.
        executable: Option<Arc<Path>>,
        /// How often, since the previous event for this operation. At least 1.
        count: u64,
    },
    /// A container runtime entered a call under the workload's filter, before it executed the workload's program.
    Runtime {
        /// What was called.
        syscall: Syscall,
        /// How often, since the previous event for this call. At least 1.
        count: u64,
    },
    /// A task now runs this program: execve(2) succeeded, or the task was running when the backend attached to it.
    Exec {
        /// The task, under the id that it has from now on (that of the thread group leader).
        task: Task,
        /// The path from `/proc/PID/exe`.
        executable: PathBuf,
    },
    /// A task created another, process or thread, by fork, vfork, clone or clone3.
    Fork {
        /// The caller.
        parent: Task,
        /// The new task.
        child: Task,
    },
    /// A task is gone.
    Exit {
        /// The task.
        task: Task,
    },
    /// The time of the events from here on. Imports send it, with times that may descend. Without it, an event happens
    /// when it is reported.
    Clock {
        /// The time.
        now: SystemTime,
    },
    /// From here on, calls that were reported for an executable may be made again without a report.
    CountsAreLowerBounds,
    /// Calls may be missing from the events. A run with such an event is incomplete.
    Lost {
        /// How many, if known.
        count: Option<u64>,
        /// The reason, as a sentence for the user without a full stop.
        why: String,
    },
}

/// Takes the events of one run.
pub trait Sink {
    /// Takes the next event. The workload may wait until it returns.
    fn event(&mut self, event: Event);
}

impl<F: FnMut(Event)> Sink for F {
    fn event(&mut self, event: Event) {
        self(event);
    }
}
