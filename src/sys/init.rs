//! Two processes in place of pid 1 of a pid namespace: an init, and this program as its child.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{Pid, setpgid};

use super::signal::{self, Received, Set};
use super::supervise::close_all;
use super::wait::{self, Patience, WaitStatus};

/// Forks, and returns in the child. The parent waits for all its children, passes on the signals that `passes` selects, and ends as
/// the child does. Must be called before this process has threads or uses descriptors beyond the standard ones.
pub(crate) fn split(passes: impl Fn(&Received) -> bool) -> nix::Result<()> {
    signal::keep_children()?;
    let inherited = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    // SAFETY: no other thread exists, by the contract of this function, so the child may do whatever the parent may.
    let child = Errno::result(unsafe { libc::fork() })?;
    if child == 0 {
        return inherited.thread_set_mask();
    }
    // What is sent to the process group reaches the child without this process. A session leader can't leave its group.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    // SAFETY: the rest of this process uses no descriptor. Those who read from one of the child's see the child close it.
    unsafe { close_all(libc::STDERR_FILENO + 1, i32::MAX) };
    let all = Set::of(1..=signal::highest());
    loop {
        match all.wait() {
            Ok(received) if received.signal == libc::SIGCHLD => {
                while let Ok(Some((task, status))) = wait::wait_any(Patience::Poll) {
                    if task.0 == child {
                        end_as(status);
                    }
                }
            }
            Ok(received) if passes(&received) => {
                // It may be gone by now.
                let _ = received.forward(child);
            }
            _ => {}
        }
    }
}

/// Pid 1 can't end by a signal that it sends to itself (`pid_namespaces(7)`).
fn end_as(status: WaitStatus) -> ! {
    std::process::exit(match status {
        WaitStatus::Exited(code) => code,
        WaitStatus::Signaled(signal) | WaitStatus::Stopped { signal, .. } => 128 + signal,
    })
}
