//! Seizing tasks: one, or a running process with its threads and descendants.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::sys::ptrace::{self as requests, Options};
use nix::unistd::Pid;

use crate::backend::{Error, proc};
use crate::event::Task;

/// The events that the kernel reports for every task and its descendants.
pub(super) const OPTIONS: Options = Options::PTRACE_O_TRACESYSGOOD
    .union(Options::PTRACE_O_TRACEFORK)
    .union(Options::PTRACE_O_TRACEVFORK)
    .union(Options::PTRACE_O_TRACECLONE)
    .union(Options::PTRACE_O_TRACEEXEC)
    .union(Options::PTRACE_O_TRACESECCOMP);

/// Makes a task a tracee of the calling thread, without stopping it.
pub(super) fn seize(task: Task, options: Options) -> Result<(), Error> {
    let seized = requests::seize(Pid::from_raw(task.0), options);
    seized.map_err(|source| match proc::tracer_of(task) {
        Some(tracer) if source == Errno::EPERM => Error::Traced { task, tracer },
        _ => Error::Task {
            operation: "PTRACE_SEIZE",
            task,
            source,
        },
    })
}

/// How often a task that exists may refuse before that is an error.
const REFUSALS: usize = 10;

/// Seizes the tree, and interrupts every task of it so that its calls are seen from then on. Tasks that a seized one
/// makes come by themselves; so when a whole round finds nothing new, nothing is missing.
pub(super) fn seize_tree(process: Task) -> Result<BTreeSet<Task>, Error> {
    let recorder = Task(nix::unistd::getpid().as_raw());
    let mut seized = BTreeSet::new();
    let mut refusals = 0;
    loop {
        let before = seized.len();
        let mut refused = Vec::new();
        let mut processes = vec![process];
        while let Some(process) = processes.pop() {
            // The tree of a shell that started this recorder has the recorder in it.
            if process == recorder {
                continue;
            }
            for thread in proc::threads_of(process) {
                match seize_thread(thread, &mut seized) {
                    Err(error) if is_refusal(&error) => refused.push((thread, error)),
                    result => result?,
                }
                processes.extend(proc::children_of(process, thread));
            }
        }
        // The id of a zombie goes to the thread that calls execve(2), and another tracer can detach: such a task is there now.
        if let Some((_, error)) = (refused.into_iter()).find(|(task, _)| !proc::is_gone(*task)) {
            refusals += 1;
            if refusals == REFUSALS {
                return Err(error);
            }
        } else if seized.is_empty() {
            return Err(Error::NoProcess(process));
        } else if seized.len() == before {
            return Ok(seized);
        }
    }
}

fn seize_thread(thread: Task, seized: &mut BTreeSet<Task>) -> Result<(), Error> {
    if seized.contains(&thread) {
        return Ok(());
    }
    match seize(thread, OPTIONS) {
        // If it died meanwhile, its wait status follows.
        Ok(()) => drop(requests::interrupt(Pid::from_raw(thread.0))),
        // Made by a seized task meanwhile: it is a tracee already.
        Err(Error::Traced { tracer, .. }) if is_this_thread(tracer) => {}
        Err(error) => return Err(error),
    }
    seized.insert(thread);
    Ok(())
}

/// Whether the task may be gone, or a zombie.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error,
        Error::Task {
            source: Errno::ESRCH | Errno::EPERM,
            ..
        }
    )
}

/// `TracerPid` names the tracer's thread group, whose threads share an id for proc(5).
pub(super) fn is_this_thread(tracer: i32) -> bool {
    tracer == nix::unistd::getpid().as_raw() || tracer == nix::unistd::gettid().as_raw()
}
