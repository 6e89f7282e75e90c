//! Finds the directories of cgroup hierarchies that a scope names (cgroups(7)).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::backend::{Scope, proc};

/// `struct cgroup_key` of `record/shared.h`: the inode number, and the hierarchy's id.
pub(super) type CgroupKey = [u64; 2];

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// As in `/proc/PID/cgroup`; 0: version 2.
    id: u32,
    /// Where it is mounted.
    root: PathBuf,
}

/// The topmost directories in scope, with their names; none if no cgroup is.
pub(super) fn in_scope(scope: &Scope) -> io::Result<Vec<(CgroupKey, OsString)>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let mut keys = Vec::new();
    for hierarchy in hierarchies(&mounts, &own) {
        let mut directories = Vec::new();
        match scope {
            Scope::Cgroup(path) => {
                // The user may give the directory instead.
                let path = path.strip_prefix(&hierarchy.root).unwrap_or(path);
                let path = path.strip_prefix("/").unwrap_or(path);
                directories.push(hierarchy.root.join(path));
            }
            Scope::Container(part) => find(
                &hierarchy.root,
                &NamePart::Text(part.to_owned()),
                &mut directories,
            ),
            Scope::Containers(_) => find(&hierarchy.root, &NamePart::Id, &mut directories),
            Scope::ContainerOf { process, .. } => {
                let its = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
                let path = path_in(&its, hierarchy.id);
                let path = path.filter(|path| Some(*path) != path_in(&own, hierarchy.id));
                let path = path.and_then(|path| path.strip_prefix('/'));
                directories.extend(path.map(|path| hierarchy.root.join(path)));
            }
            Scope::Everything => directories.push(hierarchy.root),
        }
        // One that is gone, or not in this hierarchy.
        for path in directories {
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            // The upper half is the key's padding.
            let key = [metadata.ino(), u64::from(hierarchy.id)];
            keys.push((key, path.file_name().unwrap_or_default().to_owned()));
        }
    }
    Ok(keys)
}

/// Whether the hierarchy of version 2 is mounted.
pub(super) fn has_version_2() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    hierarchies(&mounts, "")
        .iter()
        .any(|hierarchy| hierarchy.id == 0)
}

/// Removes the cgroups with this name, and those below them that have no process.
pub fn remove_cgroups(name: &str) {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    for hierarchy in hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")) {
        let mut found = Vec::new();
        find(
            &hierarchy.root,
            &NamePart::Text(name.to_owned()),
            &mut found,
        );
        for directory in found {
            remove(&directory);
        }
    }
}

fn remove(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    // One with processes stays.
    let _ = fs::remove_dir(directory);
}

/// The path in a hierarchy, by `/proc/PID/cgroup`.
fn path_in(cgroups: &str, hierarchy: u32) -> Option<&str> {
    cgroups.lines().find_map(|line| {
        let (id, rest) = line.split_once(':')?;
        let (_, path) = rest.split_once(':')?;
        (id.parse() == Ok(hierarchy)).then_some(path)
    })
}

/// Part of the names of monitors' cgroups: `conmon`, `libpod-conmon-ID.scope`.
const MONITOR: &str = "conmon";

/// What the names of cgroups contain.
#[derive(Clone, Debug)]
pub(super) enum NamePart {
    /// This text. If longer than `MAX_NAME`, it is cut.
    Text(String),
    /// The id of a container.
    Id,
}

/// The directories with these names, without those below them.
fn find(directory: &Path, named: &NamePart, found: &mut Vec<PathBuf>) {
    // One that is gone meanwhile has no tasks.
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name();
        let has = |part: &str| memchr::memmem::find(name.as_bytes(), part.as_bytes()).is_some();
        // What a container's monitor starts is no part of the container.
        if has(MONITOR) && !matches!(named, NamePart::Text(part) if part.contains(MONITOR)) {
            continue;
        }
        let is_it = match named {
            NamePart::Text(part) => has(part),
            NamePart::Id => name.to_str().and_then(proc::container_in).is_some(),
        };
        if is_it {
            found.push(entry.path());
        } else {
            find(&entry.path(), named, found);
        }
    }
}

/// The hierarchies that are mounted whole. `mounts` is `/proc/self/mountinfo`, `own` is `/proc/self/cgroup`.
fn hierarchies(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let mut hierarchies: Vec<Hierarchy> = Vec::new();
    for mount in mounts.lines() {
        let Some((mount, filesystem)) = mount.split_once(" - ") else {
            continue;
        };
        let mut filesystem = filesystem.split(' ');
        let id = match (filesystem.next(), filesystem.nth(1)) {
            (Some("cgroup2"), _) => Some(0),
            (Some("cgroup"), Some(options)) => id_of(options, own),
            _ => None,
        };
        let mut fields = mount.split(' ').skip(3);
        let (Some(id), Some("/"), Some(root)) = (id, fields.next(), fields.next()) else {
            continue;
        };
        if hierarchies.iter().all(|hierarchy| hierarchy.id != id) {
            hierarchies.push(Hierarchy {
                id,
                root: root.into(),
            });
        }
    }
    hierarchies
}

/// The id of the hierarchy of version 1 that is mounted with these options: its controllers are among them.
fn id_of(options: &str, own: &str) -> Option<u32> {
    own.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id = fields.next()?.parse().ok()?;
        let first = fields.next()?.split(',').next()?;
        let is_it = !first.is_empty() && options.split(',').any(|option| option == first);
        is_it.then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found_by_their_mounts() {
        let mounts = "24 1 0:22 / /proc rw - proc proc rw\n\
            33 32 0:28 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n\
            36 32 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            37 32 0:31 /part /mnt rw shared:9 - cgroup cgroup rw,memory\n\
            38 32 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        let own = "5:cpu,cpuacct:/a\n4:memory:/\n1:name=systemd:/init\n0::/\n";
        let found = hierarchies(mounts, own);
        let found: Vec<(u32, &str)> = found
            .iter()
            .map(|hierarchy| (hierarchy.id, hierarchy.root.to_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                (0, "/sys/fs/cgroup/unified"),
                (5, "/sys/fs/cgroup/cpu,cpuacct"),
                (1, "/sys/fs/cgroup/systemd")
            ]
        );
    }
}
