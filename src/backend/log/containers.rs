//! One run per container.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use crate::backend::collector::{RunOfEach, Runs};
use crate::backend::proc::{self, Gone};
use crate::backend::{Collector, Notice, OneRun, RunEnd, Target, Workload};
use crate::event::{Event, Sink, Task};
use crate::syscall::Syscall;

/// The containers of processes, which are asked for when their records arrive: many are gone by then.
#[derive(Default)]
pub(super) struct ContainerLookup(HashMap<i32, Whereabouts>);

/// Where a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Whereabouts {
    In(String),
    Outside,
    /// It is gone.
    #[default]
    Unknown,
}

impl ContainerLookup {
    /// A process that ran before its events were seen. One outside may still be moved.
    pub(super) fn take_running(&mut self, process: i32) {
        if let Ok(Some(id)) = proc::container_of(Task(process)) {
            self.0.insert(process, Whereabouts::In(id));
        }
    }

    /// A new process is where its parent is.
    pub(super) fn created(&mut self, parent: i32, child: i32) {
        match self.0.get(&parent).cloned() {
            Some(of_parent) => self.0.insert(child, of_parent),
            // An earlier process may have had its pid.
            None => self.0.remove(&child),
        };
    }

    /// Engines move a process before it executes a program.
    pub(super) fn executes(&mut self, process: i32) {
        if !self.look(process) && self.0.get(&process) == Some(&Whereabouts::Outside) {
            // It may have been moved before it executed this program.
            self.0.remove(&process);
        }
    }

    /// Looks where a process is. Returns whether it is still there.
    fn look(&mut self, process: i32) -> bool {
        let found = match proc::container_of(Task(process)) {
            Ok(Some(id)) => Whereabouts::In(id),
            Ok(None) => Whereabouts::Outside,
            Err(Gone) => return false,
        };
        self.0.insert(process, found);
        true
    }

    /// The container of a process.
    pub(super) fn of(&mut self, process: i32) -> Whereabouts {
        // The runtime's process may have been moved since.
        if !matches!(self.0.get(&process), Some(Whereabouts::In(_))) {
            self.look(process);
        }
        self.0.get(&process).cloned().unwrap_or_default()
    }
}

/// The container of the next events; `None`: all.
pub(super) type Current = Rc<RefCell<Option<String>>>;

/// Where the events of a target go: to its run, or to that of the current container.
pub(super) struct RunsByContainer<'a> {
    runs: Runs<'a, String>,
    not_observed: BTreeSet<Syscall>,
    current: Current,
}

impl<'a> RunsByContainer<'a> {
    /// `each`: each container has a run.
    pub(super) fn begin(
        collector: &'a mut (dyn Collector + Send),
        target: &Target,
        not_observed: BTreeSet<Syscall>,
        each: Option<Current>,
    ) -> RunsByContainer<'a> {
        RunsByContainer {
            runs: match each {
                None => {
                    let not_observed = not_observed.clone();
                    Runs::One(OneRun::begin_without(collector, target, not_observed))
                }
                Some(_) => Runs::Each(RunOfEach::new(collector)),
            },
            not_observed,
            current: each.unwrap_or_default(),
        }
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.runs.notice(notice);
    }

    pub(super) fn end(self, end: RunEnd) {
        self.runs.end(end);
    }
}

impl Sink for RunsByContainer<'_> {
    fn event(&mut self, event: Event) {
        let current = self.current.borrow().clone();
        match (&mut self.runs, current) {
            (Runs::Each(runs), Some(container)) => {
                runs.event_of(container, event, |container| Workload {
                    labels: [("container".to_owned(), container.clone())].into(),
                    not_observed: self.not_observed.clone(),
                    ..Workload::default()
                });
            }
            (runs, _) => runs.event(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_gone_when_it_shows_that_it_executed_is_known_only_inside() {
        // No process has this id.
        const GONE: i32 = i32::MAX;
        for (before, after) in [
            (Whereabouts::Outside, Whereabouts::Unknown),
            (
                Whereabouts::In("c".to_owned()),
                Whereabouts::In("c".to_owned()),
            ),
        ] {
            let mut containers = ContainerLookup(HashMap::from([(GONE, before.clone())]));
            assert_eq!(containers.of(GONE), before);
            containers.executes(GONE);
            assert_eq!(containers.of(GONE), after);
        }
    }
}
