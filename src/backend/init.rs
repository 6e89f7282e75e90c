//! Pid 1 of a pid namespace, as which `unshare -pf` or a container engine can start the recorder.
//!
//! Orphans of the namespace become its children. Unless it waits for them, they stay zombies, and the init of a namespace inside of
//! this one doesn't end before they are gone.

use super::proc;
use crate::event::Task;
use crate::sys::init;
use crate::sys::signal::Received;

/// If this process is pid 1, goes on in a child of it, which gets no orphans. Pid 1 itself waits for all its children, passes
/// signals on, and ends as the child does. Must be called before the process has threads or opens files.
pub fn split() -> nix::Result<()> {
    const INIT: Task = Task(1);
    if proc::myself() == INIT {
        return init::split(is_for_recorder);
    }
    Ok(())
}

/// Whether a signal that reached pid 1 is meant for the recorder, and didn't reach it: neither one of the workload, nor one of the
/// terminal. Of the latter, a hangup reaches the session leader alone.
fn is_for_recorder(received: &Received) -> bool {
    if received.code == libc::SI_KERNEL {
        return received.signal == libc::SIGHUP;
    }
    let mut senders = proc::ancestors(Task(received.sender));
    !proc::is_of_this_namespace() || senders.all(|ancestor| ancestor != proc::myself())
}
