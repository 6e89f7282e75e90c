//! How a workload is recorded: the contract of every [`Backend`], and what they share.

mod control;
mod interest;
mod launch;
pub mod log;
mod proc;
pub mod ptrace;
pub mod signals;

use std::ffi::OsString;
use std::path::PathBuf;

use nix::errno::Errno;

pub use control::Control;
pub use interest::Interest;
pub use log::Log;
pub use ptrace::Ptrace;

use crate::event::{Sink, Task};
use crate::recording::Exit;

/// What is recorded.
#[derive(Clone, Debug)]
pub enum Target {
    /// A program that the backend starts.
    Command(Command),
    /// A process that runs already, with its threads and its descendants.
    Process(Task),
}

/// A program to start. It gets the recorder's own stdin, stdout, stderr, terminal, environment, working directory,
/// signal dispositions and limits.
#[derive(Clone, Debug)]
pub struct Command {
    /// What to execute: a path that was looked up in `PATH` already.
    pub path: PathBuf,
    /// Its arguments, the zeroth (its own name) included.
    pub argv: Vec<OsString>,
}

/// When a recording ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// When no task of the workload is left.
    #[default]
    All,
    /// When the command itself ended. What it left behind runs on unharmed.
    Exit,
}

/// What a backend knows at the end of a run besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How the command ended; `None` if that was not seen.
    pub exit: Option<Exit>,
    /// Whether the backend made the workload run with `no_new_privs`.
    pub no_new_privs: bool,
}

/// A way to record.
///
/// The duties of an implementation:
///
/// - Every system call that a task of the target enters gives an [`Event::Syscall`](crate::event::Event::Syscall), from
///   the execve(2) that starts the command on. What can't be promised gives an
///   [`Event::Lost`](crate::event::Event::Lost): silence means that nothing was lost.
/// - The ABI is read from the kernel at every call.
/// - The workload behaves as it would without the recorder.
/// - No task is left behind in a state in which it can't run, whichever way the recorder ends.
/// - [`Control::end`] ends the recording soon, wherever it waits.
pub trait Backend {
    /// What recordings call it.
    fn name(&self) -> &'static str;

    /// Records the target until it ends, or until the backend's own ending condition holds.
    fn record(
        &self,
        target: &Target,
        sink: &mut (dyn Sink + Send),
        control: &Control,
    ) -> Result<Outcome, Error>;
}

/// Why a recording could not be made, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command can't be executed.
    #[error("can't execute {}", path.display())]
    Exec {
        /// What was to be executed.
        path: PathBuf,
        /// What execve(2) said.
        source: Errno,
    },
    /// The path or an argument holds a NUL byte.
    #[error("{} or one of its arguments has a NUL byte in it", path.display())]
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
    /// The process belongs to another tracer.
    #[error("task {task} is traced by process {tracer} already")]
    Traced {
        /// The task.
        task: Task,
        /// Who traces it (`TracerPid` of proc(5)).
        tracer: i32,
    },
    /// A request of ptrace(2), or a wait, failed for another reason than the death of the task.
    #[error("{operation} of task {task} failed")]
    Task {
        /// What was asked for.
        operation: &'static str,
        /// Of whom.
        task: Task,
        /// What the kernel said.
        source: Errno,
    },
    /// The kernel's audit records can't be had.
    #[error("the log backend can't record")]
    Log(#[from] log::SourceError),
    /// Another system call of the recorder's own failed.
    #[error("{operation} failed")]
    System {
        /// Which.
        operation: &'static str,
        /// What the kernel said.
        source: Errno,
    },
}
