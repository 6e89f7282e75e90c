//! What each task executes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rustc_hash::FxBuildHasher;

use super::executable_index::{ExecutableIndex, NOBODY};
use crate::event::Task;

/// The program of the run: that of the first task before its first exec event. The execve(2) that starts the workload
/// is thus credited to the workload, not to the recorder.
const PROGRAM: ExecutableIndex = 0;

/// The maximum number of executables. A workload that runs more has copied itself under new names.
pub(super) const MAX_EXECUTABLES: usize = 1 << 14;

/// What a task executes.
#[derive(Debug)]
enum Executable {
    Path(PathBuf),
    /// The task made a call before its fork or exec was reported. The fork event of its parent may still come; then the
    /// task executed its parent's program.
    OfParent {
        /// Children of the task executed the same.
        inherited: bool,
    },
}

/// Whether the event of the fork that made a task was seen.
#[derive(Clone, Copy, Debug)]
enum Birth {
    Seen,
    /// Not yet: calls before its first exec, if there were any, are credited to this [`Executable::OfParent`].
    Unseen(Option<ExecutableIndex>),
}

/// A living task.
#[derive(Clone, Copy, Debug)]
struct Life {
    executable: ExecutableIndex,
    birth: Birth,
}

/// The calls credited to one executable were made by another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recredit {
    pub(super) from: ExecutableIndex,
    pub(super) to: ExecutableIndex,
}

/// The living tasks, and all executables of the run.
#[derive(Debug)]
pub(super) struct Tasks {
    executables: Vec<Executable>,
    /// Places in `executables` that are free again.
    free: Vec<ExecutableIndex>,
    index_of: HashMap<PathBuf, ExecutableIndex>,
    living: HashMap<Task, Life, FxBuildHasher>,
    /// Tasks that exited before the event of their fork, with the [`Executable::OfParent`] of their calls.
    unborn_dead: HashMap<Task, ExecutableIndex, FxBuildHasher>,
    /// The task of the latest call and what it executes: most calls are by the same task as the one before.
    latest: Option<(Task, ExecutableIndex)>,
    seen: u64,
}

impl Tasks {
    pub(super) fn new(program: PathBuf) -> Tasks {
        Tasks {
            executables: vec![Executable::Path(program)],
            free: Vec::new(),
            index_of: HashMap::new(),
            living: HashMap::default(),
            unborn_dead: HashMap::default(),
            latest: None,
            seen: 0,
        }
    }

    /// The number of tasks so far.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// What the task of the latest call executes.
    pub(super) fn latest(&self) -> ExecutableIndex {
        self.latest.map_or(NOBODY, |(_, executable)| executable)
    }

    /// What a task that makes a call executes.
    pub(super) fn call(&mut self, task: Task) -> ExecutableIndex {
        let executable = match self.latest {
            Some((latest, executable)) if latest == task => executable,
            _ => self.executable_of(task),
        };
        self.latest = Some((task, executable));
        executable
    }

    /// What a task executes. A task without an earlier event is counted here: the first is the workload's first task, and
    /// the fork events of others may come later.
    fn executable_of(&mut self, task: Task) -> ExecutableIndex {
        if let Some(life) = self.living.get(&task) {
            return life.executable;
        }
        let life = if self.seen == 0 {
            Life {
                executable: PROGRAM,
                birth: Birth::Seen,
            }
        } else {
            match self.add(Executable::OfParent { inherited: false }) {
                Some(of_parent) => Life {
                    executable: of_parent,
                    birth: Birth::Unseen(Some(of_parent)),
                },
                // As if its fork were never reported.
                None => Life {
                    executable: PROGRAM,
                    birth: Birth::Unseen(None),
                },
            }
        };
        self.insert(task, life);
        life.executable
    }

    /// A task executes a program. `None`: there are too many executables.
    #[must_use]
    pub(super) fn exec(&mut self, task: Task, path: &Path) -> Option<()> {
        // The workload's program gets the path that was executed, not the name that the user gave.
        if self.index_of.is_empty() {
            self.executables[PROGRAM] = Executable::Path(path.to_owned());
            self.index_of.insert(path.to_owned(), PROGRAM);
        }
        let index = self.index_of(path);
        let executable = index.unwrap_or(NOBODY);
        self.latest = None;
        if let Some(life) = self.living.get_mut(&task) {
            life.executable = executable;
        } else {
            let birth = match self.seen {
                0 => Birth::Seen,
                _ => Birth::Unseen(None),
            };
            self.insert(task, Life { executable, birth });
        }
        index.map(|_| ())
    }

    /// A task makes another. The child's calls that came before are to be credited to what the parent executes.
    #[must_use]
    pub(super) fn fork(&mut self, parent: Task, child: Task) -> Option<Recredit> {
        let executable = self.executable_of(parent);
        if let Some(Executable::OfParent { inherited }) = self.executables.get_mut(executable) {
            *inherited = true;
        }
        let life = self.living.get_mut(&child);
        let unborn = match life.map(|life| std::mem::replace(&mut life.birth, Birth::Seen)) {
            // The events of the child came before this one: calls, or an exec, or both.
            Some(Birth::Unseen(of_parent)) => Some(of_parent),
            // Another task had this id, and its exit was not reported.
            Some(Birth::Seen) => None,
            None => self.unborn_dead.remove(&child).map(Some),
        };
        match unborn {
            Some(Some(of_parent)) => self.resolve(child, of_parent, executable),
            Some(None) => None,
            None => {
                self.latest = None;
                let birth = Birth::Seen;
                self.insert(child, Life { executable, birth });
                None
            }
        }
    }

    pub(super) fn exit(&mut self, task: Task) {
        self.latest = None;
        let life = self.living.remove(&task);
        if let Some(Birth::Unseen(Some(of_parent))) = life.map(|life| life.birth) {
            self.unborn_dead.insert(task, of_parent);
        }
    }

    fn insert(&mut self, task: Task, life: Life) {
        self.seen += 1;
        self.living.insert(task, life);
    }

    /// Replaces the [`Executable::OfParent`] of a task by what its parent executes.
    fn resolve(
        &mut self,
        child: Task,
        of_parent: ExecutableIndex,
        parents: ExecutableIndex,
    ) -> Option<Recredit> {
        let inherited = match self.executables.get(of_parent) {
            Some(Executable::OfParent { inherited }) if of_parent != parents => *inherited,
            _ => return None,
        };
        self.latest = None;
        let replace = |life: &mut Life| {
            if life.executable == of_parent {
                life.executable = parents;
            }
        };
        if inherited {
            self.living.values_mut().for_each(replace);
        } else {
            self.living.get_mut(&child).map(replace);
        }
        self.free.push(of_parent);
        Some(Recredit {
            from: of_parent,
            to: parents,
        })
    }

    /// The index of an executable. `None`: there are too many.
    pub(super) fn index_of(&mut self, path: &Path) -> Option<ExecutableIndex> {
        if let Some(&index) = self.index_of.get(path) {
            return Some(index);
        }
        let index = self.add(Executable::Path(path.to_owned()))?;
        self.index_of.insert(path.to_owned(), index);
        Some(index)
    }

    fn add(&mut self, executable: Executable) -> Option<ExecutableIndex> {
        if let Some(index) = self.free.pop() {
            self.executables[index] = executable;
            return Some(index);
        }
        if self.executables.len() >= MAX_EXECUTABLES {
            return None;
        }
        self.executables.push(executable);
        Some(self.executables.len() - 1)
    }

    /// The path of an executable, as far as it is known by now.
    pub(super) fn known_path(&self, index: ExecutableIndex) -> Option<&Path> {
        match self.executables.get(index) {
            Some(Executable::Path(path)) if !path.as_os_str().is_empty() => Some(path),
            _ => None,
        }
    }

    /// The path of an executable. For a task whose fork was never reported, that of the program; `None` if that is
    /// unknown too.
    pub(super) fn path(&self, index: ExecutableIndex) -> Option<&Path> {
        let known = matches!(self.executables.get(index), Some(Executable::Path(_)));
        self.known_path(if known { index } else { PROGRAM })
    }

    /// The path of the program of the run.
    pub(super) fn program(&self) -> Option<&Path> {
        self.known_path(PROGRAM)
    }

    /// The paths of all executables, by index.
    pub(super) fn paths(&self) -> impl Iterator<Item = Option<&Path>> {
        (0..self.executables.len()).map(|index| self.path(index))
    }
}
