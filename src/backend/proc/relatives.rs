//! The process of a task, its relatives, and its ids in pid namespaces.

use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::files::{field, held, number_in_status, read, stat_after_name};
use crate::event::Task;

/// The process that a task belongs to.
pub(in crate::backend) fn process_of(task: Task) -> Option<Task> {
    number_in_status(task, "Tgid:").map(Task)
}

/// This process.
pub(in crate::backend) fn myself() -> Task {
    Task(nix::unistd::getpid().as_raw())
}

/// The parent of a process (0: in another pid namespace); `None` if the process is gone.
pub(in crate::backend) fn parent_of(process: Task) -> Option<Task> {
    let parent = *stat_after_name(process)?.first()?;
    i32::try_from(parent).ok().map(Task)
}

/// A process and its ancestors in this pid namespace, the nearest first.
pub(in crate::backend) fn ancestors(process: Task) -> impl Iterator<Item = Task> {
    std::iter::successors(Some(process), |&process| parent_of(process))
        .take_while(|process| process.0 > 0)
}

/// Whether a task belongs to the init of its pid namespace.
pub(in crate::backend) fn is_init(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    // One id per namespace, its own last.
    field(&status, "NStgid:").is_some_and(|ids| ids.split_ascii_whitespace().last() == Some("1"))
}

/// The threads of a process.
pub(in crate::backend) fn threads_of(process: Task) -> Vec<Task> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = format!("{process}/task");
    let open = |held| Dir::openat(held, path.as_str(), flags, Mode::empty()).ok();
    let entries = held().ok().and_then(open);
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok().map(Task))
        .collect()
}

/// Whether this kernel lists the children of threads (`CONFIG_PROC_CHILDREN`).
pub(in crate::backend) fn lists_children() -> bool {
    Path::new("/proc/thread-self/children").exists()
}

/// The children of a thread (`CONFIG_PROC_CHILDREN`): the processes that it created and has not lost to a reaper.
pub(in crate::backend) fn children_of(process: Task, thread: Task) -> Vec<Task> {
    let children = read(process, &format!("task/{thread}/children")).unwrap_or_default();
    children
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok().map(Task))
        .collect()
}

/// The ids of a task per pid namespace, from that of proc(5) inward.
pub(in crate::backend) fn ids_of(task: Task) -> Option<Vec<i32>> {
    let status = read(task, "status").ok()?;
    let ids = field(&status, "NSpid:")?.split_ascii_whitespace();
    ids.map(|id| id.parse().ok()).collect()
}

/// The task that `parent` created, given the id that it has in the parent's pid namespace.
pub(in crate::backend) fn created_by(parent: Task, id: i32) -> Option<Task> {
    let depth = ids_of(parent)?.len();
    if depth == 1 {
        return Some(Task(id));
    }
    let process = process_of(parent)?;
    // With CLONE_PARENT, it is a child of its creator's parent.
    let mut candidates = threads_of(process);
    for relative in [Some(process), number_in_status(process, "PPid:").map(Task)] {
        for thread in relative.map(threads_of).unwrap_or_default() {
            candidates.extend(children_of(relative?, thread));
        }
    }
    let is_it = |task: &Task| ids_of(*task).is_some_and(|ids| ids.get(depth - 1) == Some(&id));
    candidates.into_iter().find(is_it)
}
