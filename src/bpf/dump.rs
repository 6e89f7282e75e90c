//! The filters that a process has.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::InvalidProgram;
use super::program::Program;
use crate::event::Task;
use crate::sys::ptrace::{self, Metadata};
use crate::sys::wait::{Patience, Status, wait_for};

/// How long a task may take to stop. One that doesn't is in a call that nothing interrupts.
const PATIENCE: Duration = Duration::from_secs(5);

/// What proc(5) tells of a task's seccomp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The name of the thread.
    pub comm: String,
    /// How it is confined.
    pub mode: Mode,
    /// How many filters it has (`Seccomp_filters`, Linux 5.9).
    pub filters: Option<u32>,
    /// `no_new_privs` is set.
    pub no_new_privs: bool,
    /// Who traces it.
    pub tracer: Option<i32>,
}

/// `Seccomp` of `/proc/PID/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Disabled,
    /// It may read, write, and exit.
    Strict,
    /// By filters.
    Filter,
}

/// A filter of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Its program.
    pub program: Program,
    /// Whether it has what it refuses logged; `None` where the kernel doesn't tell (before Linux 4.16).
    pub logs: Option<bool>,
}

/// Why the filters of a task can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DumpError {
    /// There is no such task.
    #[error("there is no process or thread {0}")]
    NoTask(i32),
    /// proc(5) can't be read.
    #[error("cannot read /proc/{pid}/status")]
    Status {
        /// The task.
        pid: i32,
        /// Why.
        source: io::Error,
    },
    /// Somebody else traces it.
    #[error("{pid} is traced by {tracer} already")]
    Traced {
        /// The task.
        pid: i32,
        /// Its tracer.
        tracer: i32,
    },
    /// It may not be traced.
    #[error("cannot attach to {pid}")]
    Attach {
        /// The task.
        pid: i32,
        /// Why.
        source: Errno,
    },
    /// It doesn't stop.
    #[error("{0} does not stop: it is in a call that nothing interrupts")]
    Uninterruptible(i32),
    /// The kernel doesn't give its filters.
    #[error("cannot read filter {index} of {pid}")]
    Read {
        /// The task.
        pid: i32,
        /// Which of the filters, from 0, the oldest.
        index: usize,
        /// Why.
        source: Errno,
    },
    /// The kernel gave what it would not take.
    #[error("filter {index} of {pid} can't be read")]
    Invalid {
        /// The task.
        pid: i32,
        /// Which of the filters.
        index: usize,
        /// Why.
        source: InvalidProgram,
    },
}

/// What proc(5) tells of a task's seccomp. Anybody may ask.
pub fn confinement(pid: i32) -> Result<Confinement, DumpError> {
    let status = match fs::read_to_string(format!("/proc/{pid}/status")) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DumpError::NoTask(pid));
        }
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {
            return Err(DumpError::NoTask(pid));
        }
        Err(source) => return Err(DumpError::Status { pid, source }),
    };
    let field = |key: &str| {
        let mut lines = status.lines();
        lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
    };
    Ok(Confinement {
        comm: field("Name").unwrap_or_default().to_owned(),
        mode: match field("Seccomp") {
            Some("1") => Mode::Strict,
            Some("2") => Mode::Filter,
            _ => Mode::Disabled,
        },
        filters: field("Seccomp_filters").and_then(|number| number.parse().ok()),
        no_new_privs: field("NoNewPrivs") == Some("1"),
        tracer: (field("TracerPid").and_then(|pid| pid.parse().ok())).filter(|&pid| pid != 0),
    })
}

/// The filters of a task, the oldest first (`PTRACE_SECCOMP_GET_FILTER`, Linux 4.4). It is stopped for that moment, and runs
/// on as it did. Needs `CAP_SYS_ADMIN` in the initial user namespace, and no filter on the caller.
pub fn filters(pid: i32) -> Result<Vec<Loaded>, DumpError> {
    let task = Task(pid);
    match ptrace::seize(task) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Err(DumpError::NoTask(pid)),
        Err(source) => {
            let tracer = confinement(pid)?.tracer;
            return Err(match tracer {
                Some(tracer) => DumpError::Traced { pid, tracer },
                None => DumpError::Attach { pid, source },
            });
        }
    }
    let signal = stop(task)?;
    let read = read_all(task);
    // Gone meanwhile: then there is nothing to let go of.
    let _ = ptrace::detach(task, signal);
    read
}

/// Stops a tracee, and gives the signal that it stopped for, which it must get in the end (0: none).
fn stop(task: Task) -> Result<i32, DumpError> {
    let gone = || DumpError::NoTask(task.0);
    nix::sys::ptrace::interrupt(Pid::from_raw(task.0)).map_err(|_| gone())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match wait_for(task, Patience::Poll) {
            Ok(Some((_, Status::Stopped { signal, event }))) => {
                return Ok(if event == 0 { signal } else { 0 });
            }
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            // It is let go of when this process ends, which is at once.
            Ok(None) => return Err(DumpError::Uninterruptible(task.0)),
            Err(Errno::EINTR) => {}
            Ok(Some(_)) | Err(_) => return Err(gone()),
        }
    }
}

fn read_all(task: Task) -> Result<Vec<Loaded>, DumpError> {
    let pid = task.0;
    let mut filters = Vec::new();
    loop {
        let index = filters.len();
        let instructions = match ptrace::seccomp_filter(task, index) {
            Ok(instructions) => instructions,
            // There are no more. EINVAL: there never was one.
            Err(Errno::ENOENT | Errno::EINVAL) => return Ok(filters),
            Err(source) => return Err(DumpError::Read { pid, index, source }),
        };
        let program = Program::new(instructions);
        let program = program.map_err(|source| DumpError::Invalid { pid, index, source })?;
        let logs = ptrace::seccomp_metadata(task, index).ok();
        let logs = logs.map(|Metadata { flags }| flags & libc::SECCOMP_FILTER_FLAG_LOG != 0);
        filters.push(Loaded { program, logs });
    }
}
