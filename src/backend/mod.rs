//! The backends that record workloads: their contract [`Backend`], and their shared code.
//!
//! A backend takes a [`Target`], delivers to a [`Collector`] and obeys a [`Stop`]. [`Session`](crate::session::Session)
//! joins them, and [`BackendChoice`] picks the backend.

pub mod agent;
mod choice;
mod collector;
mod ebpf;
pub mod init;
mod interest;
mod job;
mod launch;
mod listener;
pub mod log;
mod memory;
mod notify;
mod proc;
pub mod ptrace;
pub mod signals;
mod stop;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use nix::errno::Errno;

pub use agent::Agent;
pub use choice::{BackendChoice, NoBackend};
pub use collector::{Collector, Notice, OneRun, RunEnd, Workload, WorkloadId};
pub use ebpf::{Each, Ebpf, remove_cgroups};
pub use interest::Interest;
pub use job::Job;
pub use log::{Follow, Log};
pub use notify::Notify;
pub use ptrace::Ptrace;
pub use stop::{Interruptible, Stop};
pub use target::{Command, Over, Scope, Target, Until, is_container_init};

use crate::event::Task;

/// A way to record.
///
/// The duties of an implementation:
///
/// - Every system call that a task of the target enters is in an [`Event::Syscall`](crate::event::Event::Syscall) or in
///   a count of its run, from the execve(2) that starts a command on. Where that can't be promised, it sends an
///   [`Event::Lost`](crate::event::Event::Lost): silence means that nothing was lost.
/// - It asks the kernel for the ABI at every call.
/// - The workload behaves as it would without the recorder.
/// - However the recorder ends, every task can run on.
/// - The [`Stop`] ends the recording soon, also while the backend waits; its reason becomes an
///   [`Event::Lost`](crate::event::Event::Lost) of every run that has not ended.
/// - It reports to the [`Job`] of a command what happens to the command.
///
/// A backend that records a single workload delivers through [`OneRun`].
pub trait Backend: Send + Sync {
    /// Its name in recordings and on the command line.
    fn name(&self) -> &'static str;

    /// Tries whether it can record the target here and now, without starting or disturbing it. This may take some
    /// seconds where the kernel answers through other programs.
    fn probe(&self, target: &Target) -> Result<Promise, Unavailable>;

    /// Records the target until it ends. Returns an error only if it could not begin or had to give up; the error is
    /// then the reason why unfinished runs are incomplete.
    fn record(
        &self,
        target: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error>;
}

/// The data that a backend would deliver for a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The detail of the events.
    pub detail: Detail,
    /// Whether it can report a [`CallSite`](crate::event::CallSite).
    pub call_sites: bool,
    /// How it records, as a phrase for the user.
    pub how: String,
}

/// The detail of a backend's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// One event per call, in order, with its task.
    PerCall,
    /// Final counts per system call and executable, without tasks or order.
    Aggregate,
}

/// Why a backend can't record a target.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// It doesn't record such targets.
    #[error("it can't record {0}")]
    Target(&'static str),
    /// A capability is missing (capabilities(7)).
    #[error("{what} needs {capability}, which is missing")]
    Capability {
        /// The denied operation.
        what: &'static str,
        /// The capability that allows it.
        capability: &'static str,
    },
    /// The kernel lacks a feature, or it is switched off.
    #[error("the kernel has no {0}")]
    Feature(String),
    /// A setting of the machine or of the recorder's environment forbids it.
    #[error("{0}")]
    Forbidden(String),
    /// An attempt failed.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

impl Unavailable {
    /// Wraps an error of the backend's own type.
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
        /// The backend.
        backend: &'static str,
        /// The reason.
        source: Unavailable,
    },
    /// The command can't be executed.
    #[error("can't execute {}", path.display())]
    Exec {
        /// The file to execute.
        path: PathBuf,
        /// The errno of execve(2).
        source: Errno,
    },
    /// The path or an argument holds a NUL byte.
    #[error("{} or one of its arguments contains a NUL byte", path.display())]
    Nul {
        /// The file to execute.
        path: PathBuf,
    },
    /// The process could not be created.
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
        /// Its tracer (`TracerPid` of proc(5)).
        tracer: i32,
    },
    /// A ptrace(2) request or a wait failed, and not because the task died.
    #[error("{operation} of task {task} failed")]
    Task {
        /// The request.
        operation: &'static str,
        /// Its task.
        task: Task,
        /// The errno.
        source: Errno,
    },
    /// Runtimes can't connect to the socket.
    #[error("can't listen at {}", path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No record of the target arrived.
    #[error("no matching seccomp audit record arrived{}", OfOthers(.others))]
    NoRecord {
        /// The programs whose records arrived, with their containers, and how many each had.
        others: BTreeMap<String, u64>,
    },
    /// The recording was stopped before anything was recorded.
    #[error("nothing was recorded: {0}")]
    Stopped(String),
    /// The recorder panicked: the message and the place.
    #[error("sc-record failed: {0}")]
    Panic(String),
    /// Another system call of the recorder failed.
    #[error("{operation} failed")]
    System {
        /// The call.
        operation: &'static str,
        /// The errno.
        source: Errno,
    },
}

impl Error {
    /// Whether the backend failed before the command could start: another backend can still record it.
    #[must_use]
    pub fn is_before_start(&self) -> bool {
        matches!(
            self,
            Error::Unavailable { .. }
                | Error::Filter(_)
                | Error::Task {
                    operation: "PTRACE_SEIZE",
                    ..
                }
        )
    }

    /// Whether there was no workload: it failed to start, or was never seen.
    pub(crate) fn is_start_failure(&self) -> bool {
        matches!(
            self,
            Error::Exec { .. }
                | Error::Nul { .. }
                | Error::Fork(_)
                | Error::Filter(_)
                | Error::NoRecord { .. }
        )
    }

    /// Wraps the reason why a backend can't record.
    fn unavailable(backend: &'static str) -> impl Fn(Unavailable) -> Error + Copy {
        move |source| Error::Unavailable { backend, source }
    }

    /// Wraps the error of a system call from [`std::io`].
    fn io(operation: &'static str) -> impl Fn(std::io::Error) -> Error {
        move |error| Error::System {
            operation,
            source: errno_of(&error),
        }
    }

    /// Wraps the errno of a system call.
    fn system(operation: &'static str) -> impl Fn(Errno) -> Error {
        move |source| Error::System { operation, source }
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    (error.raw_os_error()).map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |chain, cause| {
        format!("{chain}: {cause}")
    })
}

/// The records of other programs, as the end of a sentence.
struct OfOthers<'a>(&'a BTreeMap<String, u64>);

impl fmt::Display for OfOthers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 8;
        if self.0.is_empty() {
            return Ok(());
        }
        let programs: Vec<_> = self.0.keys().take(MOST).map(String::as_str).collect();
        let more = if self.0.len() > MOST { ", …" } else { "" };
        let records: u64 = self.0.values().sum();
        write!(
            f,
            ", but {records} of others: {}{more}",
            programs.join(", ")
        )
    }
}
