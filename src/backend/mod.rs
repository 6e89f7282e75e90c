//! How a workload is recorded: the contract of every [`Backend`], and what they share.
//!
//! A backend takes a [`Target`], delivers to a [`Collector`] and obeys a [`Stop`]. [`Session`](crate::session::Session)
//! joins them, and [`Choice`] picks the backend.

mod choice;
mod collector;
mod interest;
mod job;
mod launch;
pub mod log;
mod proc;
pub mod ptrace;
pub mod signals;
mod stop;
mod target;

use std::path::PathBuf;

use nix::errno::Errno;

pub use choice::{Choice, NoBackend};
pub use collector::{Collector, Notice, OneRun, RunEnd, Workload, WorkloadId};
pub use interest::Interest;
pub use job::Job;
pub use log::{Follow, Log};
pub use ptrace::Ptrace;
pub use stop::{Interruptible, Stop};
pub use target::{Command, Scope, Target, Until};

use crate::event::Task;

/// A way to record.
///
/// The duties of an implementation:
///
/// - Every system call that a task of the target enters is in an [`Event::Syscall`](crate::event::Event::Syscall) or in a
///   count of its run, from the execve(2) that starts a command on. What can't be promised gives an
///   [`Event::Lost`](crate::event::Event::Lost): silence means that nothing was lost.
/// - The ABI is read from the kernel at every call.
/// - The workload behaves as it would without the recorder.
/// - No task is left behind in a state in which it can't run, whichever way the recorder ends.
/// - The [`Stop`] ends the recording soon, wherever it waits; its reason is then an [`Event::Lost`](crate::event::Event::Lost)
///   of every run that has not ended.
/// - What happens to a command is reported to its [`Job`].
///
/// A backend that records a single workload delivers through [`OneRun`].
pub trait Backend: Send + Sync {
    /// What recordings and the command line call it.
    fn name(&self) -> &'static str;

    /// Finds out by trying whether it can record the target here and now. The target is neither started nor disturbed. It may
    /// take some seconds where the kernel answers through other programs.
    fn probe(&self, target: &Target) -> Result<Promise, Unavailable>;

    /// Records the target until it ends. Returns an error only if it could not begin, or had to give up: runs that have
    /// begun and not ended are then incomplete for this reason.
    fn record(
        &self,
        target: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error>;
}

/// What a backend would deliver for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// How much is told of each call.
    pub detail: Detail,
    /// Whether a [`CallSite`](crate::event::CallSite) is given where one is wanted.
    pub call_sites: bool,
    /// How it records, as a phrase for the user.
    pub how: String,
}

/// How much a backend tells of each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// One event per call, in order, with its task.
    PerCall,
    /// Final counts per system call and executable, without tasks or order.
    Aggregate,
}

/// What keeps a backend from recording a target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// It doesn't record such targets.
    #[error("it can't record {0}")]
    Target(&'static str),
    /// A capability is missing (capabilities(7)).
    #[error("{what} needs {capability}, which is missing")]
    Capability {
        /// What was tried.
        what: &'static str,
        /// What allows it.
        capability: &'static str,
    },
    /// The kernel lacks a feature, or it is switched off.
    #[error("the kernel has no {0}")]
    Feature(String),
    /// A rule of this machine or of the recorder's surroundings refuses it.
    #[error("{0}")]
    Forbidden(String),
    /// It was tried, and failed for a reason of its own.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Unavailable {
    /// A backend's own error.
    pub fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Unavailable {
        Unavailable::Failed(Box::new(error))
    }
}

/// Why a recording could not be made, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The backend can't record this target here.
    #[error("the {backend} backend can't record")]
    Unavailable {
        /// Which.
        backend: &'static str,
        /// What is missing.
        source: Unavailable,
    },
    /// The command can't be executed.
    #[error("can't execute {}", path.display())]
    Exec {
        /// What was to be executed.
        path: PathBuf,
        /// What execve(2) said.
        source: Errno,
    },
    /// The path or an argument holds a NUL byte.
    #[error("{} or one of its arguments contains a NUL byte", path.display())]
    Nul {
        /// What was to be executed.
        path: PathBuf,
    },
    /// A process could not be made.
    #[error("can't start a process for the workload")]
    Fork(#[source] Errno),
    /// The recording filter could not be loaded.
    #[error("can't load the recording filter into the workload")]
    Filter(#[source] Errno),
    /// There is no process with this id.
    #[error("there is no process {0}")]
    NoProcess(Task),
    /// The process is a thread of the kernel.
    #[error("process {process} ({name}) is a kernel thread, which makes no system calls")]
    KernelThread {
        /// The process.
        process: Task,
        /// Its name.
        name: String,
    },
    /// The process is the init of the recorder's own pid namespace.
    #[error("process 1 is init: every process here descends from it, sc-record too")]
    Init,
    /// The process belongs to another tracer.
    #[error("task {task} is already traced by process {tracer}")]
    Traced {
        /// The task.
        task: Task,
        /// Who traces it (`TracerPid` of proc(5)).
        tracer: i32,
    },
    /// A request of ptrace(2), or a wait, failed for another reason than the death of the task.
    #[error("{operation} of task {task} failed")]
    Task {
        /// What was requested.
        operation: &'static str,
        /// Of which task.
        task: Task,
        /// What the kernel said.
        source: Errno,
    },
    /// The recording was stopped before anything was recorded.
    #[error("nothing was recorded: {0}")]
    Stopped(String),
    /// The recorder itself failed: its message and place.
    #[error("sc-record failed: {0}")]
    Panic(String),
    /// Another system call of the recorder's own failed.
    #[error("{operation} failed")]
    System {
        /// Which.
        operation: &'static str,
        /// What the kernel said.
        source: Errno,
    },
}

impl Error {
    /// Whether the workload did not start.
    pub(crate) fn is_of_start(&self) -> bool {
        matches!(
            self,
            Error::Exec { .. } | Error::Nul { .. } | Error::Fork(_) | Error::Filter(_)
        )
    }

    /// A failed system call, as [`std::io`] reports it.
    fn io(operation: &'static str) -> impl Fn(std::io::Error) -> Error {
        move |error| Error::System {
            operation,
            source: errno_of(&error),
        }
    }

    /// A failed system call.
    fn system(operation: &'static str) -> impl Fn(Errno) -> Error {
        move |source| Error::System { operation, source }
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    (error.raw_os_error()).map_or(Errno::UnknownErrno, Errno::from_raw)
}
