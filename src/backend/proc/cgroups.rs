//! The cgroups of processes, and the containers that these belong to.

use std::collections::BTreeSet;
use std::fs;

use super::files::{read, stat_after_name};
use crate::event::Task;

/// The first value that `find` makes of the path of one of the process's cgroups. The error: the process is gone, or
/// ends, when the hierarchies of version 1 show the root for it.
pub(in crate::backend) fn find_in_cgroups<T>(
    process: Task,
    find: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Gone> {
    let cgroups = read(process, "cgroup").map_err(|_| Gone)?;
    // HIERARCHY:CONTROLLERS:PATH
    let mut paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    let found = paths.find_map(find);
    let only_version_2 = cgroups.lines().all(|line| line.starts_with("0:"));
    if found.is_some() || only_version_2 || !ends(process) {
        Ok(found)
    } else {
        Err(Gone)
    }
}

/// A process that is gone, or has lost what was asked for because it ends.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::backend) struct Gone;

/// Whether a process is gone or ends.
fn ends(process: Task) -> bool {
    const PF_EXITING: u64 = 0x4;
    let flags = stat_after_name(process).and_then(|fields| fields.get(5).copied());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// The container of a process: by the name of its cgroup.
pub(in crate::backend) fn container_of(process: Task) -> Result<Option<String>, Gone> {
    find_in_cgroups(process, container_in)
}

/// The containers that have processes.
pub(in crate::backend) fn containers() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes
        .filter_map(|process| container_of(Task(process)).ok()?)
        .collect()
}

/// The container to which a cgroup with this path belongs: the first twelve digits of its id.
pub(in crate::backend) fn container_in(path: &str) -> Option<String> {
    let mut numbers = path.split(|c: char| !c.is_ascii_hexdigit());
    let id = numbers.find(|number| number.len() == 64)?;
    Some(id[..12].to_owned())
}
