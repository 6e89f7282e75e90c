//! Tracks which processes belong to the target: process trees and containers.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::connector::{Connector, ProcessEvent};
use super::containers::{ContainerLookup, Whereabouts};
use crate::backend::{Error, Scope, Target, proc};
use crate::event::Task;

/// Knows which processes belong to a tree or to a container.
pub(super) struct Tracker {
    known: Arc<Mutex<KnownMembers>>,
    /// Checks processes of containers while they live.
    watch: Option<ProcessWatch>,
}

struct KnownMembers {
    connector: Option<Arc<Connector>>,
    /// Events are missing, so an unknown process may be a member.
    blind: bool,
    tree: Option<HashSet<i32>>,
    members: Option<Membership>,
    /// `None`: containers aren't told apart.
    containers: Option<ContainerLookup>,
}

impl Tracker {
    /// Starts to track the processes of a target, and their containers if these are to be told apart.
    pub(super) fn new(target: &Target) -> Result<Tracker, Error> {
        let each_container = target.each_container().is_some();
        let scope = match target.scope() {
            Some(scope @ (Scope::Cgroup(_) | Scope::Container(_))) => Some(scope),
            Some(Scope::Everything | Scope::Containers(_) | Scope::ContainerOf { .. }) | None => {
                None
            }
        };
        let root = match target {
            Target::Process(process) => Some(process.0),
            Target::Scope(_) | Target::Command(_) => None,
        };
        // Before reading /proc, so that no process is missed in between.
        let connector = (scope.is_some() || root.is_some() || each_container)
            .then(|| Connector::open().ok().map(Arc::new))
            .flatten();
        let mut tree = None;
        if let Some(root) = root {
            let parents = parents();
            if !parents.contains_key(&root) {
                return Err(Error::NoProcess(Task(root)));
            }
            let of_tree = |&process: &i32| descends(process, root, &parents);
            tree = Some(parents.keys().copied().filter(of_tree).collect());
        }
        let known = Arc::new(Mutex::new(KnownMembers {
            blind: connector.is_none(),
            connector,
            tree,
            members: scope.cloned().map(Membership::new),
            containers: each_container.then(ContainerLookup::default),
        }));
        lock(&known).take_running();
        let watch = if scope.is_some() || each_container {
            ProcessWatch::start(&known)
        } else {
            None
        };
        Ok(Tracker { known, watch })
    }

    /// Whether a process belongs to the target; `None` if it is gone and this is unknown.
    pub(super) fn is_member(&mut self, process: i32) -> Option<bool> {
        lock(&self.known).is_member(process)
    }

    /// The container of a process.
    pub(super) fn container_of(&mut self, process: i32) -> Whereabouts {
        let mut known = lock(&self.known);
        known.catch_up();
        let containers = known.containers.as_mut();
        containers.map_or(Whereabouts::Unknown, |all| all.of(process))
    }

    /// Whether a process of the target was seen under a seccomp filter.
    pub(super) fn saw_filtered(&mut self) -> bool {
        let mut known = lock(&self.known);
        known.catch_up();
        let tree = known.tree.iter().flatten().copied();
        let has_filter = tree.map(Task).any(proc::has_filter);
        has_filter || known.members.as_mut().is_some_and(Membership::saw_filtered)
    }

    /// Whether a process of the scope was seen.
    pub(super) fn saw_process(&mut self) -> bool {
        if self.scope_has_processes() {
            return true;
        }
        let mut known = lock(&self.known);
        known.catch_up();
        known.members.as_ref().is_none_or(|members| members.seen)
    }

    /// Whether a process is in the scope now.
    pub(super) fn scope_has_processes(&self) -> bool {
        let known = lock(&self.known);
        let scope = known.members.as_ref().map(|members| &members.scope);
        scope.is_some_and(|scope| {
            parents()
                .into_keys()
                .any(|process| is_in(process, scope) == Some(true))
        })
    }

    /// Whether every process of the tree has ended.
    pub(super) fn tree_has_ended(&mut self) -> bool {
        let mut known = lock(&self.known);
        known.catch_up();
        let gone = |process: &i32| fs::metadata(format!("/proc/{process}")).is_err();
        known
            .tree
            .as_ref()
            .is_some_and(|tree| tree.iter().all(gone))
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if let Some(watch) = self.watch.take() {
            watch.end();
        }
    }
}

/// The state is consistent after every step, also if another thread panicked.
fn lock(known: &Mutex<KnownMembers>) -> MutexGuard<'_, KnownMembers> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KnownMembers {
    /// Looks where the running processes are: they may be gone before the records of their children arrive.
    fn take_running(&mut self) {
        if self.members.is_none() && self.containers.is_none() {
            return;
        }
        for process in parents().into_keys() {
            if let Some(members) = &mut self.members {
                members.take_running(process);
            }
            if let Some(containers) = &mut self.containers {
                containers.take_running(process);
            }
        }
    }

    fn is_member(&mut self, process: i32) -> Option<bool> {
        self.catch_up();
        let of_tree = match &mut self.tree {
            None => Some(true),
            Some(tree) if tree.contains(&process) => Some(true),
            Some(_) if !self.blind => Some(false),
            Some(tree) => {
                let member = parent_of(process)
                    .map(|_| proc::ancestors(Task(process)).any(|task| tree.contains(&task.0)));
                if member == Some(true) {
                    tree.insert(process);
                }
                member
            }
        };
        match &mut self.members {
            Some(members) if of_tree == Some(true) => members.has(process),
            _ => of_tree,
        }
    }

    /// Takes the pending events. They cover every process with a call whose record has arrived.
    fn catch_up(&mut self) {
        let Some(connector) = &self.connector else {
            return;
        };
        while let Some(event) = connector.next() {
            match event {
                ProcessEvent::Fork { parent, child } => {
                    if let Some(tree) = &mut self.tree {
                        inherit(tree, parent, child);
                    }
                    if let Some(members) = &mut self.members {
                        members.created(parent, child);
                    }
                    if let Some(containers) = &mut self.containers {
                        containers.created(parent, child);
                    }
                }
                ProcessEvent::Exec { process } => {
                    if let Some(members) = &mut self.members {
                        members.executes(process);
                    }
                    if let Some(containers) = &mut self.containers {
                        containers.executes(process);
                    }
                }
                // Records of its last calls may still come.
                ProcessEvent::Exit { .. } => {}
                ProcessEvent::Overrun => self.blind = true,
            }
        }
    }
}

/// Adds a new process to a set if its parent is in it. Removes it otherwise: an earlier process may have had its pid.
fn inherit(set: &mut HashSet<i32>, parent: i32, child: i32) {
    if set.contains(&parent) {
        set.insert(child);
    } else {
        set.remove(&child);
    }
}

/// The members of a container or cgroup.
struct Membership {
    scope: Scope,
    inside: HashSet<i32>,
    /// Logged processes that are not in it. Their children aren't either: an engine moves only its own children into a
    /// container, and the engine isn't logged.
    strangers: HashSet<i32>,
    /// The parent of each process that was created: a process that is gone was in the cgroup of its parent.
    parents: HashMap<i32, i32>,
    /// Whether there was a member.
    seen: bool,
    /// Whether a member ran under a filter when it executed its program.
    filtered: bool,
}

/// How many generations of ancestors to look through.
const MAX_GENERATIONS: usize = 100;

impl Membership {
    fn new(scope: Scope) -> Membership {
        Membership {
            scope,
            inside: HashSet::new(),
            strangers: HashSet::new(),
            parents: HashMap::new(),
            seen: false,
            filtered: false,
        }
    }

    /// Whether a member was seen under a filter, or is now.
    fn saw_filtered(&mut self) -> bool {
        if !self.filtered {
            let all = parents().into_keys();
            let mut inside = all.filter(|&process| is_in(process, &self.scope) == Some(true));
            self.filtered = inside.any(|process| proc::has_filter(Task(process)));
        }
        self.filtered
    }

    /// Returns whether a running process is in the scope.
    fn take_running(&mut self, process: i32) -> bool {
        let is_inside = is_in(process, &self.scope) == Some(true);
        if is_inside {
            self.inside.insert(process);
            self.seen = true;
        }
        is_inside
    }

    fn created(&mut self, parent: i32, child: i32) {
        self.parents.insert(child, parent);
        inherit(&mut self.inside, parent, child);
        inherit(&mut self.strangers, parent, child);
    }

    /// A process executes a program. After an engine moves a process into a container, this is its next step; it may
    /// not live for long.
    fn executes(&mut self, process: i32) {
        if self.take_running(process) {
            self.filtered |= proc::has_filter(Task(process));
        }
    }

    /// Whether a process is in the scope; `None` if it is gone and this is unknown.
    fn has(&mut self, process: i32) -> Option<bool> {
        if self.inside.contains(&process) {
            return Some(true);
        }
        let found = match is_in(process, &self.scope) {
            Some(found) => found,
            None if self.strangers.contains(&process) => false,
            None if self.descends_from_member(process) => true,
            None => return None,
        };
        self.seen |= found;
        let set = if found {
            &mut self.inside
        } else {
            &mut self.strangers
        };
        set.insert(process);
        Some(found)
    }

    fn descends_from_member(&self, process: i32) -> bool {
        let parent = |process: &i32| self.parents.get(process).copied();
        std::iter::successors(Some(process), parent)
            .take(MAX_GENERATIONS)
            .any(|ancestor| {
                self.inside.contains(&ancestor) || is_in(ancestor, &self.scope) == Some(true)
            })
    }
}

/// A thread that takes events as they arrive.
struct ProcessWatch {
    thread: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
}

/// How often the thread checks whether the watch is over.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl ProcessWatch {
    /// `None` if there are no events or the thread can't be started: processes are then checked when their records
    /// arrive.
    fn start(known: &Arc<Mutex<KnownMembers>>) -> Option<ProcessWatch> {
        let connector = lock(known).connector.clone()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (known, over) = (Arc::clone(known), Arc::clone(&is_over));
        let watch = move || {
            while !over.load(Ordering::Relaxed) {
                connector.wait(CHECK_INTERVAL);
                lock(&known).catch_up();
            }
        };
        let thread = std::thread::Builder::new().name("containers".to_owned());
        let thread = thread.spawn(watch).ok()?;
        Some(ProcessWatch { thread, is_over })
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        // A panic of the thread doesn't matter: nothing needs it any more.
        let _ = self.thread.join();
    }
}

/// Whether one of the process's cgroups is in the scope; `None` if the process is gone.
fn is_in(process: i32, scope: &Scope) -> Option<bool> {
    let found = proc::find_in_cgroups(Task(process), |path| is_path_in(path, scope).then_some(()));
    found.ok().map(|found| found.is_some())
}

fn is_path_in(path: &str, scope: &Scope) -> bool {
    match scope {
        Scope::Everything => true,
        Scope::Cgroup(cgroup) => Path::new(path).starts_with(cgroup),
        Scope::Container(id) => path.split('/').any(|part| part.contains(id)),
        // The first is never asked for, and the second is refused.
        Scope::Containers(_) | Scope::ContainerOf { .. } => false,
    }
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

fn descends(process: i32, root: i32, parents: &HashMap<i32, i32>) -> bool {
    let parent = |process: &i32| parents.get(process).copied();
    // No chain is longer, unless pids were reused meanwhile.
    std::iter::successors(Some(process), parent)
        .take(parents.len() + 1)
        .any(|ancestor| ancestor == root)
}

fn parent_of(process: i32) -> Option<i32> {
    proc::parent_of(Task(process)).map(|parent| parent.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_includes_those_below_it_and_no_others() {
        let check = |scope: &Scope, path, expected| {
            assert_eq!(is_path_in(path, scope), expected, "{path}");
        };
        let cgroup = Scope::Cgroup("/system.slice/app".into());
        check(&cgroup, "/system.slice/app", true);
        check(&cgroup, "/system.slice/app/worker", true);
        check(&cgroup, "/system.slice/app2", false);
        check(&cgroup, "/system.slice", false);
        let container = Scope::Container("abc".to_owned());
        check(&container, "/docker/abc123/init", true);
        check(&container, "/docker/ab", false);
    }
}
