//! Reads the seccomp filters of a running task.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::instruction::InvalidProgram;
use super::program::Program;
use crate::event::Task;
use crate::sys::ptrace::{self, FilterMetadata};
use crate::sys::wait::{Patience, WaitStatus, wait_for};

/// How long to wait for a task to stop. One in an uninterruptible call doesn't.
const PATIENCE: Duration = Duration::from_secs(5);

/// A task's seccomp state, as proc(5) shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confinement {
    /// The thread's name.
    pub comm: String,
    /// The seccomp mode.
    pub mode: SeccompMode,
    /// The number of filters (`Seccomp_filters`, Linux 5.9).
    pub filters: Option<u32>,
    /// Whether `no_new_privs` is set.
    pub no_new_privs: bool,
    /// The tracer's pid.
    pub tracer: Option<i32>,
}

/// `Seccomp` of `/proc/PID/status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeccompMode {
    /// No seccomp.
    Disabled,
    /// Strict mode: `read`, `write`, `exit` and `rt_sigreturn` only.
    Strict,
    /// Filters.
    Filter,
}

/// A filter of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFilter {
    /// The program.
    pub program: Program,
    /// Whether denials are logged (`SECCOMP_FILTER_FLAG_LOG`); `None` before Linux 4.16, which doesn't report it.
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
    #[error("can't read /proc/{pid}/status")]
    Status {
        /// The task.
        pid: i32,
        /// The cause.
        source: io::Error,
    },
    /// It already has a tracer.
    #[error("{pid} is already traced by {tracer}")]
    Traced {
        /// The task.
        pid: i32,
        /// The tracer.
        tracer: i32,
    },
    /// Attaching is not permitted.
    #[error("can't attach to {pid}")]
    Attach {
        /// The task.
        pid: i32,
        /// The cause.
        source: Errno,
    },
    /// It doesn't stop.
    #[error("{0} does not stop: it is in an uninterruptible system call")]
    Uninterruptible(i32),
    /// The kernel refuses to show a filter.
    #[error("can't read filter {index} of {pid}")]
    Read {
        /// The task.
        pid: i32,
        /// The filter's index; 0 is the oldest.
        index: usize,
        /// The cause.
        source: Errno,
    },
    /// The program is invalid.
    #[error("filter {index} of {pid} is not a valid program")]
    Invalid {
        /// The task.
        pid: i32,
        /// The filter's index; 0 is the oldest.
        index: usize,
        /// The cause.
        source: InvalidProgram,
    },
}

/// Reads a task's seccomp state from proc(5). It needs no privilege.
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
            Some("1") => SeccompMode::Strict,
            Some("2") => SeccompMode::Filter,
            _ => SeccompMode::Disabled,
        },
        filters: field("Seccomp_filters").and_then(|number| number.parse().ok()),
        no_new_privs: field("NoNewPrivs") == Some("1"),
        tracer: (field("TracerPid").and_then(|pid| pid.parse().ok())).filter(|&pid| pid != 0),
    })
}

/// Reads the filters of a task, the oldest first (`PTRACE_SECCOMP_GET_FILTER`, Linux 4.4). The task is stopped meanwhile.
/// Needs `CAP_SYS_ADMIN` in the initial user namespace, and a caller without filters.
pub fn filters(pid: i32) -> Result<Vec<TaskFilter>, DumpError> {
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
    // Fails only if the task is gone.
    let _ = ptrace::detach(task, signal);
    read
}

/// Stops a tracee. Returns the signal that it stopped for, which must be delivered when it continues (0: none).
fn stop(task: Task) -> Result<i32, DumpError> {
    let gone = || DumpError::NoTask(task.0);
    nix::sys::ptrace::interrupt(Pid::from_raw(task.0)).map_err(|_| gone())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match wait_for(task, Patience::Poll) {
            Ok(Some((_, WaitStatus::Stopped { signal, event }))) => {
                return Ok(if event == 0 { signal } else { 0 });
            }
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            // The kernel detaches it when this process ends.
            Ok(None) => return Err(DumpError::Uninterruptible(task.0)),
            Err(Errno::EINTR) => {}
            Ok(Some(_)) | Err(_) => return Err(gone()),
        }
    }
}

fn read_all(task: Task) -> Result<Vec<TaskFilter>, DumpError> {
    let pid = task.0;
    let mut filters = Vec::new();
    loop {
        let index = filters.len();
        let instructions = match ptrace::seccomp_filter(task, index) {
            Ok(instructions) => instructions,
            // ENOENT: no more filters. EINVAL: no filters at all.
            Err(Errno::ENOENT | Errno::EINVAL) => return Ok(filters),
            Err(source) => return Err(DumpError::Read { pid, index, source }),
        };
        let program = Program::new(instructions);
        let program = program.map_err(|source| DumpError::Invalid { pid, index, source })?;
        let logs = ptrace::seccomp_metadata(task, index).ok();
        let logs = logs.map(|FilterMetadata { flags }| flags & libc::SECCOMP_FILTER_FLAG_LOG != 0);
        filters.push(TaskFilter { program, logs });
    }
}
