//! What a backend reports: one [`Event`] after another, in the order in which the kernel told them.

use std::fmt;
use std::path::PathBuf;
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

/// What a task called a system call with. A backend that counts calls only doesn't read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// The six argument registers, whole: an `int` argument can carry junk in its upper half.
    pub args: [u64; 6],
    /// The address of the instruction after the call.
    pub ip: u64,
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
        /// With what, if the backend read it.
        site: Option<CallSite>,
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
