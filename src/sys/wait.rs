//! wait4(2) with raw statuses.

use nix::errno::Errno;

use crate::event::Task;

/// A wait status. Signal numbers are raw, since they can be real-time signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitStatus {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It stopped with this signal, and this `PTRACE_EVENT_*` (0: none).
    Stopped { signal: i32, event: i32 },
}

impl WaitStatus {
    pub(super) fn from_raw(status: i32) -> Option<WaitStatus> {
        if libc::WIFEXITED(status) {
            Some(WaitStatus::Exited(libc::WEXITSTATUS(status)))
        } else if libc::WIFSIGNALED(status) {
            Some(WaitStatus::Signaled(libc::WTERMSIG(status)))
        } else if libc::WIFSTOPPED(status) {
            Some(WaitStatus::Stopped {
                signal: libc::WSTOPSIG(status),
                event: status >> 16,
            })
        } else {
            // WCONTINUED, which only `wait_child` requests.
            None
        }
    }
}

/// Whether a wait may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Until a change of state, or a signal (EINTR).
    Block,
    /// Not at all.
    Poll,
}

/// The next change of state of any child or tracee of the calling thread (`__WALL | __WNOTHREAD`); `None` if there is
/// none yet. ECHILD: there are no children or tracees.
pub(crate) fn wait_any(patience: Patience) -> nix::Result<Option<(Task, WaitStatus)>> {
    wait(-1, patience)
}

/// The same for one task.
pub(crate) fn wait_for(task: Task, patience: Patience) -> nix::Result<Option<(Task, WaitStatus)>> {
    wait(task.0, patience)
}

fn wait(pid: i32, patience: Patience) -> nix::Result<Option<(Task, WaitStatus)>> {
    let flags = libc::__WALL
        | libc::__WNOTHREAD
        | match patience {
            Patience::Block => 0,
            Patience::Poll => libc::WNOHANG,
        };
    let mut status = 0;
    // SAFETY: `status` is a valid place for the status; no rusage is requested.
    let task = unsafe { libc::wait4(pid, &raw mut status, flags, std::ptr::null_mut()) };
    match Errno::result(task)? {
        0 => Ok(None),
        task => Ok(WaitStatus::from_raw(status).map(|status| (Task(task), status))),
    }
}

/// A change of state of a child that isn't traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChildChange {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
    /// It is in a group-stop by this signal.
    Stopped(i32),
    /// It left its group-stop.
    Continued,
}

/// Waits for the next change of state of a child. EINTR: a signal came first.
pub(crate) fn wait_child(task: Task) -> nix::Result<ChildChange> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the status; no rusage is requested.
    let waited = unsafe {
        libc::wait4(
            task.0,
            &raw mut status,
            libc::WUNTRACED | libc::WCONTINUED,
            std::ptr::null_mut(),
        )
    };
    Errno::result(waited)?;
    Ok(match WaitStatus::from_raw(status) {
        Some(WaitStatus::Exited(code)) => ChildChange::Exited(code),
        Some(WaitStatus::Signaled(signal)) => ChildChange::Signaled(signal),
        Some(WaitStatus::Stopped { signal, .. }) => ChildChange::Stopped(signal),
        None => ChildChange::Continued,
    })
}
