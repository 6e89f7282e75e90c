//! Which processes are asked for: trees, and containers.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::connector::{Connector, ProcessEvent};
use crate::backend::Error;
use crate::event::Task;

/// Knows whether a process belongs to a tree or to a container.
pub(super) struct Tracker {
    known: Arc<Mutex<Known>>,
    /// Looks at processes of containers while they are there.
    watch: Option<Watch>,
}

struct Known {
    connector: Option<Arc<Connector>>,
    /// Events are missing, so that a process that isn't known may be a member all the same.
    blind: bool,
    tree: Option<HashSet<i32>>,
    container: Option<Container>,
}

impl Tracker {
    /// Starts to track the processes of these trees, or all, as far as they are in this container, or any.
    pub(super) fn new(roots: &[i32], container: Option<&str>) -> Result<Tracker, Error> {
        let wanted = !roots.is_empty() || container.is_some();
        // Before the first look at /proc, so that nothing happens in between.
        let connector = wanted
            .then(|| Connector::open().ok().map(Arc::new))
            .flatten();
        let mut tree = None;
        if !roots.is_empty() {
            let parents = parents();
            if let Some(&missing) = roots.iter().find(|root| !parents.contains_key(root)) {
                return Err(Error::NoProcess(Task(missing)));
            }
            let of_tree = |&process: &i32| descends(process, roots, &parents);
            tree = Some(parents.keys().copied().filter(of_tree).collect());
        }
        let known = Arc::new(Mutex::new(Known {
            blind: connector.is_none(),
            connector,
            tree,
            container: container.map(Container::new),
        }));
        let watch = match container {
            Some(_) => Watch::start(&known),
            None => None,
        };
        Ok(Tracker { known, watch })
    }

    /// Whether a process is asked for; `None` if it is gone and that can't be told any more.
    pub(super) fn is_member(&mut self, process: i32) -> Option<bool> {
        lock(&self.known).is_member(process)
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

/// What is known holds whoever panicked meanwhile.
fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    fn is_member(&mut self, process: i32) -> Option<bool> {
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
        match &mut self.container {
            Some(container) if of_tree == Some(true) => container.has(process),
            _ => of_tree,
        }
    }

    /// Takes the events that have come: of all processes that made a call whose record has come.
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
                    if let Some(container) = &mut self.container {
                        container.made(parent, child);
                    }
                }
                ProcessEvent::Exec { process } => {
                    if let Some(container) = &mut self.container {
                        container.executes(process);
                    }
                }
                // Records of its last calls may still come.
                ProcessEvent::Exit { .. } => {}
                ProcessEvent::Overrun => self.blind = true,
            }
        }
    }
}

/// A new process is in a set if its parent is. Its number may have been another process's.
fn inherit(set: &mut HashSet<i32>, parent: i32, child: i32) {
    if set.contains(&parent) {
        set.insert(child);
    } else {
        set.remove(&child);
    }
}

/// Who is in a container.
struct Container {
    id: String,
    members: HashSet<i32>,
    /// Processes that were logged, and are not in it. What they start isn't either: an engine moves only processes that it
    /// starts itself into a container, and isn't logged.
    strangers: HashSet<i32>,
    /// The process that made each, of all that were made: one that is gone was where its parent was.
    parents: HashMap<i32, i32>,
}

/// Longer chains of processes that are gone aren't looked through.
const MAX_GENERATIONS: usize = 100;

impl Container {
    fn new(id: &str) -> Container {
        Container {
            id: id.to_owned(),
            members: HashSet::new(),
            strangers: HashSet::new(),
            parents: HashMap::new(),
        }
    }

    fn made(&mut self, parent: i32, child: i32) {
        self.parents.insert(child, parent);
        inherit(&mut self.members, parent, child);
        inherit(&mut self.strangers, parent, child);
    }

    /// A process executes a program: what an engine moved into a container does so next, and may not be there for long.
    fn executes(&mut self, process: i32) {
        if is_in(process, &self.id) == Some(true) {
            self.members.insert(process);
        }
    }

    /// Whether a process is in it; `None` if that can't be told any more.
    fn has(&mut self, process: i32) -> Option<bool> {
        if self.members.contains(&process) {
            return Some(true);
        }
        let found = match is_in(process, &self.id) {
            Some(found) => found,
            None if self.strangers.contains(&process) => false,
            None if self.descends_from_member(process) => true,
            None => return None,
        };
        let set = if found {
            &mut self.members
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
                self.members.contains(&ancestor) || is_in(ancestor, &self.id) == Some(true)
            })
    }
}

/// A thread that takes the events as they come.
struct Watch {
    thread: JoinHandle<()>,
    is_over: Arc<AtomicBool>,
}

/// How often is looked whether the watch is over.
const LOOK: Duration = Duration::from_millis(50);

impl Watch {
    /// `None` if there are no events, or no thread can be had: processes are then looked at when their records come.
    fn start(known: &Arc<Mutex<Known>>) -> Option<Watch> {
        let connector = lock(known).connector.clone()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let (known, over) = (Arc::clone(known), Arc::clone(&is_over));
        let watch = move || {
            while !over.load(Ordering::Relaxed) {
                connector.wait(LOOK);
                lock(&known).catch_up();
            }
        };
        let thread = std::thread::Builder::new().name("containers".to_owned());
        let thread = thread.spawn(watch).ok()?;
        Some(Watch { thread, is_over })
    }

    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It can't have panicked and left anything half done that somebody still needs.
        let _ = self.thread.join();
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
