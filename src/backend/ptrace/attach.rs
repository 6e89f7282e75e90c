//! Seizing a process that runs already, with its threads and its descendants.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::sys::ptrace as requests;
use nix::unistd::Pid;

use super::{OPTIONS, seize};
use crate::backend::{Error, proc};
use crate::event::Task;

/// Seizes the tree, and interrupts every task of it so that its calls are seen from then on. Tasks that a seized one
/// makes come by themselves; so when a whole round finds nothing new, nothing is missing.
pub(super) fn seize_tree(process: Task) -> Result<BTreeSet<Task>, Error> {
    let recorder = Task(nix::unistd::getpid().as_raw());
    let mut seized = BTreeSet::new();
    loop {
        let before = seized.len();
        let mut processes = vec![process];
        while let Some(process) = processes.pop() {
            // The tree of a shell that started this recorder has the recorder in it.
            if process == recorder {
                continue;
            }
            for thread in proc::threads_of(process) {
                if !seized.contains(&thread) {
                    seize_thread(thread, &mut seized)?;
                }
                processes.extend(proc::children_of(process, thread));
            }
        }
        if seized.is_empty() {
            return Err(Error::NoProcess(process));
        }
        if seized.len() == before {
            return Ok(seized);
        }
    }
}

fn seize_thread(thread: Task, seized: &mut BTreeSet<Task>) -> Result<(), Error> {
    match seize(thread, OPTIONS) {
        Ok(()) => {
            seized.insert(thread);
            // It dies as it likes: its wait status tells.
            let _ = requests::interrupt(Pid::from_raw(thread.0));
            Ok(())
        }
        // Made by a seized task meanwhile: it is a tracee already.
        Err(Error::Traced { tracer, .. }) if is_this_thread(tracer) => {
            seized.insert(thread);
            Ok(())
        }
        // Gone meanwhile, or a zombie.
        Err(Error::Task {
            source: Errno::ESRCH,
            ..
        }) => Ok(()),
        Err(Error::Task {
            source: Errno::EPERM,
            ..
        }) if proc::is_gone(thread) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `TracerPid` names the tracer's thread group, whose threads share an id for proc(5).
fn is_this_thread(tracer: i32) -> bool {
    tracer == nix::unistd::getpid().as_raw() || tracer == nix::unistd::gettid().as_raw()
}
