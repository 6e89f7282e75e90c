//! The tasks of a trace: which task a line belongs to, parents, and executables.

use std::path::PathBuf;

use super::importer::{ONLY_TASK, StraceImporter, TracedTask};
use super::line::Leader;
use super::log::TraceLog;

use crate::event::{Event, Exit, Task};

impl StraceImporter<'_> {
    /// The task of a line.
    pub(super) fn id(&mut self, leader: &Leader, resumed: bool, log: &mut TraceLog) -> i32 {
        let Some(pid) = leader.pid else {
            // Without a pid there is only one task: the remaining one, if there were more before.
            let id = log.pid.unwrap_or_else(|| match self.tasks.keys().next() {
                Some(&left) if self.tasks.len() == 1 => left,
                _ => ONLY_TASK,
            });
            log.bare |= id == ONLY_TASK;
            return id;
        };
        if log.only_pid == Some(pid) {
            return ONLY_TASK;
        }
        let unknown = !self.tasks.contains_key(&pid) && !log.attached.contains(&pid);
        if log.bare && log.only_pid.is_none() && unknown {
            let only = self.tasks.get(&ONLY_TASK);
            let forks = only
                .and_then(|task| task.pending.as_ref())
                .is_some_and(|call| call.forks);
            // Now that there are several tasks, the one without a pid gets one. If it is creating a task, this is the new one.
            if resumed || !forks {
                log.only_pid = Some(pid);
                return ONLY_TASK;
            }
        }
        pid
    }

    /// Adds a task if it is new.
    pub(super) fn add_task(&mut self, id: i32, name: &str, log: &TraceLog) {
        if self.tasks.contains_key(&id) {
            return;
        }
        let mut parents = self.forking.iter();
        if let (Some(&parent), None) = (parents.next(), parents.next()) {
            self.forked(parent, id);
            return;
        }
        // strace's own child executes the command, with strace's ABI.
        let own = self.tasks.is_empty() && name == "execve" || self.names.is_one() || log.noted;
        let image = self.images.add(own.then_some(self.names.native()));
        let tracee = TracedTask {
            image,
            noted: None,
            latest: None,
            pending: None,
            called: false,
            placed: false,
        };
        self.tasks.insert(id, tracee);
    }

    pub(super) fn executes(&mut self, id: i32, executable: PathBuf, log: &TraceLog) {
        let Some(task) = self.tasks.get_mut(&id) else {
            return;
        };
        let old = task.image;
        task.placed = true;
        task.latest = None;
        let arch = if log.noted {
            // strace prints changes only.
            task.noted
                .or(self.images.arch(old))
                .or(Some(self.names.native()))
        } else {
            self.names.is_one().then_some(self.names.native())
        };
        task.image = self.images.add(arch);
        let held = self.images.leave(old);
        self.release(id, held, self.names.native());
        self.output.event(Event::Exec {
            task: Task(id),
            executable,
        });
    }

    pub(super) fn forked(&mut self, parent: i32, child: i32) {
        let Some(of) = self.tasks.get(&parent) else {
            return;
        };
        let (image, noted) = (of.image, of.noted);
        match self.tasks.get_mut(&child) {
            Some(known) if known.placed => return,
            Some(known) => known.placed = true,
            None => {
                let tracee = TracedTask {
                    image: self.images.share(image),
                    noted,
                    latest: None,
                    pending: None,
                    called: false,
                    placed: true,
                };
                self.tasks.insert(child, tracee);
            }
        }
        self.output.event(Event::Fork {
            parent: Task(parent),
            child: Task(child),
        });
    }

    /// A thread that isn't the leader calls execve(2): the leader ends, and the thread gets its id.
    pub(super) fn supersede(&mut self, leader: &Leader, by: i32, log: &mut TraceLog) {
        let id = self.id(leader, false, log);
        let Some(thread) = self.tasks.remove(&by) else {
            return;
        };
        self.forking.remove(&id);
        if self.forking.remove(&by) {
            self.forking.insert(id);
        }
        if let Some(gone) = self.tasks.insert(id, thread) {
            let held = self.images.leave(gone.image);
            self.release(id, held, self.names.native());
        }
        self.output.event(Event::Exit { task: Task(by) });
    }

    pub(super) fn end(&mut self, leader: &Leader, exit: Option<Exit>, log: &mut TraceLog) {
        self.exits = true;
        let id = self.id(leader, false, log);
        if self.first == Some(id) {
            self.summary.exit = exit;
        }
        self.end_task(id);
    }

    fn end_task(&mut self, id: i32) {
        self.forking.remove(&id);
        let Some(task) = self.tasks.remove(&id) else {
            return;
        };
        let held = self.images.leave(task.image);
        self.release(id, held, self.names.native());
        self.output.event(Event::Exit { task: Task(id) });
    }

    /// Ends all tasks at the end of a log.
    pub(super) fn end_tasks(&mut self, name: &str) {
        let mut living: Vec<i32> = self.tasks.keys().copied().collect();
        living.sort_unstable();
        let cut_off = living.iter().filter(|id| self.tasks[id].called).count();
        if self.exits && cut_off > 0 {
            let why = format!("{name} ends before {cut_off} of its tasks");
            self.output.lost(None, why);
        }
        for id in living {
            self.end_task(id);
        }
    }
}
