//! Which processes are asked for: trees, and containers.

use std::collections::{HashMap, HashSet};
use std::fs;

use super::connector::{Connector, ProcessEvent};
use crate::backend::Error;
use crate::event::Task;

/// Knows whether a process belongs to a tree or to a container.
pub(super) struct Tracker {
    connector: Option<Connector>,
    /// Events are missing, so that a process that isn't known may be a member all the same.
    blind: bool,
    tree: Option<HashSet<i32>>,
    container: Option<Container>,
}

struct Container {
    id: String,
    members: HashSet<i32>,
    /// Processes that were logged, and are not in it. What they start isn't either: an engine moves only processes that it
    /// starts itself into a container, and isn't logged.
    strangers: HashSet<i32>,
}

impl Tracker {
    /// Starts to track the processes of these trees, or all, as far as they are in this container, or any.
    pub(super) fn new(roots: &[i32], container: Option<&str>) -> Result<Tracker, Error> {
        let wanted = !roots.is_empty() || container.is_some();
        // Before the first look at /proc, so that nothing happens in between.
        let connector = wanted.then(|| Connector::open().ok()).flatten();
        let mut tree = None;
        if !roots.is_empty() {
            let parents = parents();
            if let Some(&missing) = roots.iter().find(|root| !parents.contains_key(root)) {
                return Err(Error::NoProcess(Task(missing)));
            }
            let of_tree = |&process: &i32| descends(process, roots, &parents);
            tree = Some(parents.keys().copied().filter(of_tree).collect());
        }
        let container = container.map(|id| Container {
            id: id.to_owned(),
            members: HashSet::new(),
            strangers: HashSet::new(),
        });
        Ok(Tracker {
            blind: connector.is_none(),
            connector,
            tree,
            container,
        })
    }

    /// Whether a process is asked for; `None` if it is gone and that can't be told any more.
    pub(super) fn is_member(&mut self, process: i32) -> Option<bool> {
        self.catch_up();
        let of_tree = match &mut self.tree {
            None => Some(true),
            Some(tree) if tree.contains(&process) => Some(true),
            Some(_) if !self.blind => Some(false),
            Some(tree) => {
                let member =
                    ancestors(process).map(|chain| chain.iter().any(|id| tree.contains(id)));
                if member == Some(true) {
                    tree.insert(process);
                }
                member
            }
        };
        if of_tree != Some(true) {
            return of_tree;
        }
        match &mut self.container {
            None => Some(true),
            Some(container) if container.members.contains(&process) => Some(true),
            Some(container) => {
                match is_in(process, &container.id) {
                    Some(true) => container.members.insert(process),
                    Some(false) => container.strangers.insert(process),
                    None if container.strangers.contains(&process) => return Some(false),
                    None => return None,
                };
                Some(container.members.contains(&process))
            }
        }
    }

    /// Whether every process of the tree has ended.
    pub(super) fn tree_has_ended(&mut self) -> bool {
        self.catch_up();
        let gone = |process: &i32| fs::metadata(format!("/proc/{process}")).is_err();
        self.tree.as_ref().is_some_and(|tree| tree.iter().all(gone))
    }

    /// Takes the events that have come: of all processes that made a call whose record has come.
    fn catch_up(&mut self) {
        let Some(connector) = &self.connector else {
            return;
        };
        while let Some(event) = connector.next() {
            let container = self.container.as_mut();
            let (members, strangers) = container
                .map(|container| (&mut container.members, &mut container.strangers))
                .unzip();
            let sets = [self.tree.as_mut(), members, strangers]
                .into_iter()
                .flatten();
            match event {
                // The number may have been another process's.
                ProcessEvent::Fork { parent, child } => sets.for_each(|set| {
                    if set.contains(&parent) {
                        set.insert(child);
                    } else {
                        set.remove(&child);
                    }
                }),
                // Records of its last calls may still come.
                ProcessEvent::Exit { .. } => {}
                ProcessEvent::Overrun => self.blind = true,
            }
        }
    }
}

/// Whether the container's id is in the path of one of the process's cgroups; `None` if the process is gone.
fn is_in(process: i32, container: &str) -> Option<bool> {
    let cgroups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    // HIERARCHY:CONTROLLERS:PATH
    let mut paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    Some(paths.any(|path| path.split('/').any(|part| part.contains(container))))
}

/// The parent of each process.
fn parents() -> HashMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            Some((process, parent_of(process)?))
        })
        .collect()
}

/// The process and its ancestors; `None` if it is gone.
fn ancestors(process: i32) -> Option<Vec<i32>> {
    let mut chain = vec![process];
    let mut parent = parent_of(process)?;
    while parent > 0 {
        chain.push(parent);
        parent = parent_of(parent).unwrap_or(0);
    }
    Some(chain)
}

fn descends(process: i32, roots: &[i32], parents: &HashMap<i32, i32>) -> bool {
    let mut ancestor = Some(process);
    // No chain is longer, unless numbers were reused while they were read.
    for _ in 0..=parents.len() {
        match ancestor {
            Some(id) if roots.contains(&id) => return true,
            Some(id) => ancestor = parents.get(&id).copied(),
            None => return false,
        }
    }
    false
}

fn parent_of(process: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}
