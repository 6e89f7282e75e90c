//! One execution of a workload, and what was seen of it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::event::Exit;
use crate::syscall::{Operation, Syscall};

/// The identity of a run, unique over all machines: a version 7 UUID (RFC 9562), so that ids sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(pub uuid::Uuid);

impl RunId {
    /// A new id.
    #[must_use]
    pub fn new() -> RunId {
        RunId(uuid::Uuid::now_v7())
    }
}

impl Default for RunId {
    fn default() -> RunId {
        RunId::new()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What one run recorded of one system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How often it was entered. At least 1.
    pub count: u64,
    /// When it was first entered, in milliseconds since the start of the run; `None` if the backend doesn't know.
    pub first_ms: Option<u64>,
    /// The executables of the tasks that called it.
    pub executables: BTreeSet<PathBuf>,
    /// The values of its arguments that carry a choice, by register. None of an argument of which a call's value was not
    /// recorded, except that there are many.
    pub args: BTreeMap<u8, ArgumentValues>,
}

/// The maximum number of values of an argument that a run keeps.
pub const MAX_VALUES: usize = 64;

/// What one run recorded of one argument of a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgumentValues {
    /// Every value.
    Each(BTreeMap<u64, ValueTally>),
    /// More than [`MAX_VALUES`].
    Many,
}

/// What one run recorded of one value of an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueTally {
    /// How many calls had it. At least 1.
    pub count: u64,
    /// When it was first seen, in milliseconds since the start of the run, if known.
    pub first_ms: Option<u64>,
    /// The executables of the tasks that used it.
    pub executables: BTreeSet<PathBuf>,
}

/// One execution of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// When it started, in whole milliseconds, which is what files keep.
    pub started: SystemTime,
    /// How long it took, in whole milliseconds.
    pub duration: Duration,
    /// The recorder: `sc-record 0.1.0`.
    pub tool: String,
    /// The program that was run, as it was called.
    pub program: PathBuf,
    /// The whole command line, kept on request only: command lines carry secrets.
    pub argv: Option<Vec<OsString>>,
    /// The user's labels.
    pub labels: BTreeMap<String, String>,
    /// The backend: `ptrace`, `log`, …
    pub backend: String,
    /// The backend counted in the kernel: it saw no order of calls.
    pub aggregated: bool,
    /// Calls that were seen once for an executable may have been made more often than counted.
    pub lower_bounds: bool,
    /// The kernel's release (uname(2)).
    pub kernel: String,
    /// The machine's hardware name (uname(2)).
    pub machine: String,
    /// Whether the workload ran with `no_new_privs` (prctl(2)), under which setuid programs get no privileges.
    pub no_new_privs: bool,
    /// How the command ended; `None` if that was not seen.
    pub exit: Option<Exit>,
    /// How many tasks (processes and threads) were recorded; `None` if the backend doesn't know.
    pub tasks: Option<u64>,
    /// Why calls may be missing. Empty: the run is complete.
    pub incomplete_because: BTreeSet<String>,
    /// What was called.
    pub syscalls: BTreeMap<Syscall, Tally>,
    /// What was submitted to `io_uring`, and how often. Only the ebpf backend sees it.
    pub io_uring: BTreeMap<Operation, u64>,
    /// What the container runtime called under the workload's filter before it executed the program, and how often.
    pub runtime: BTreeMap<Syscall, u64>,
    /// Calls that were allowed without being recorded. The workload may have made them.
    pub not_observed: BTreeSet<Syscall>,
}

impl Run {
    /// Whether every call of the workload is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.incomplete_because.is_empty()
    }

    /// Whether the run was recorded to find what a profile lacks: calls that every program makes passed unseen.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        let mut passed = self.not_observed.iter();
        passed.any(|call| call.name().as_deref() == Some("execve"))
    }
}
