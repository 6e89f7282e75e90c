//! How a workload is recorded: the contract of every [`Backend`], and what they share.

use std::ffi::OsString;
use std::path::PathBuf;

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
    /// What to execute: a path, found already ([`Command::find`]).
    pub path: PathBuf,
    /// Its arguments, the zeroth (its own name) included.
    pub argv: Vec<OsString>,
}

/// What a backend knows at the end of a run besides its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How the command ended; `None` if that was not seen (it was left running, or the target was a process).
    pub exit: Option<Exit>,
    /// Whether the workload ran with `no_new_privs` because the backend set it.
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
/// - No task is left behind in a state in which it can't run.
pub trait Backend {
    /// What recordings call it.
    fn name(&self) -> &'static str;

    /// Records the target until it ends, or until the backend's own ending condition holds.
    fn record(
        &mut self,
        target: &Target,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, crate::backend::Error>;
}

/// Why a recording could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {}
