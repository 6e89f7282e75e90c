//! Receives the events of the runs that a backend records.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Target;
use crate::event::{Event, Exit, Sink};
use crate::syscall::Syscall;

/// Identifies a workload from its [`Collector::begin`] to its [`Collector::end`]. The backend chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId(pub u64);

/// A workload, as known when its run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The program, as it was called. If empty, the first program that is executed counts.
    pub program: PathBuf,
    /// Labels of the run, which distinguish it from the backend's other workloads.
    pub labels: BTreeMap<String, String>,
    /// Calls that the backend lets pass without an event.
    pub not_observed: BTreeSet<Syscall>,
}

/// Facts about a finished run that are not events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunEnd {
    /// How the command ended; `None` if that was not seen.
    pub exit: Option<Exit>,
    /// Whether the backend made the workload run with `no_new_privs`.
    pub no_new_privs: bool,
}

/// A message for the user while a recording goes on. It is not part of any run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// What the recorder did not start is recorded from now on.
    Ready(String),
    /// Something that takes time, or needs the user.
    Progress(String),
    /// A choice, with its reason.
    Choice(String),
}

/// Receives the runs of many workloads at once.
///
/// Each run is `begin`, any number of `event`s, `end`, under one id; runs interleave freely. Every call that the
/// workload makes after `begin` returned is reported; where one may be missing, there is an [`Event::Lost`]. A run
/// without an `end` is incomplete, or, if it has no calls, never began.
///
/// The workload may wait while a method runs.
pub trait Collector {
    /// A run begins now.
    fn begin(&mut self, id: WorkloadId, workload: Workload);

    /// The next event of a run that has begun.
    fn event(&mut self, id: WorkloadId, event: Event);

    /// A run ends. Its id may be reused from now on.
    fn end(&mut self, id: WorkloadId, end: RunEnd);

    /// Passes a message on to the user.
    fn notice(&mut self, notice: Notice);
}

/// The run of a backend that records one workload at a time, as a [`Sink`].
pub struct OneRun<'a> {
    collector: &'a mut (dyn Collector + Send),
}

impl<'a> OneRun<'a> {
    const ID: WorkloadId = WorkloadId(0);

    /// Begins the run of a target.
    pub fn begin(collector: &'a mut (dyn Collector + Send), target: &Target) -> OneRun<'a> {
        OneRun::begin_without(collector, target, BTreeSet::new())
    }

    /// Begins the run of a target, in which these calls pass unseen.
    pub fn begin_without(
        collector: &'a mut (dyn Collector + Send),
        target: &Target,
        not_observed: BTreeSet<Syscall>,
    ) -> OneRun<'a> {
        let workload = Workload {
            program: target.program(),
            not_observed,
            ..Workload::default()
        };
        collector.begin(OneRun::ID, workload);
        OneRun { collector }
    }

    /// Passes a message on to the user.
    pub fn notice(&mut self, notice: Notice) {
        self.collector.notice(notice);
    }

    /// Ends the run.
    pub fn end(self, end: RunEnd) {
        self.collector.end(OneRun::ID, end);
    }
}

impl Sink for OneRun<'_> {
    fn event(&mut self, event: Event) {
        self.collector.event(OneRun::ID, event);
    }
}

/// The runs of a target: one, or one for each workload, by a key that tells them apart. What is not of one workload is of all.
pub(super) enum Runs<'a, K> {
    One(OneRun<'a>),
    Each(RunOfEach<'a, K>),
}

/// One run for each workload.
pub(super) struct RunOfEach<'a, K> {
    collector: &'a mut (dyn Collector + Send),
    begun: BTreeMap<K, WorkloadId>,
}

impl<K: Ord> Runs<'_, K> {
    pub(super) fn notice(&mut self, notice: Notice) {
        match self {
            Runs::One(run) => run.notice(notice),
            Runs::Each(runs) => runs.collector.notice(notice),
        }
    }

    pub(super) fn end(self, end: RunEnd) {
        match self {
            Runs::One(run) => run.end(end),
            Runs::Each(runs) => {
                for id in runs.begun.into_values() {
                    runs.collector.end(id, end);
                }
            }
        }
    }
}

impl<K: Ord> Sink for Runs<'_, K> {
    fn event(&mut self, event: Event) {
        match self {
            Runs::One(run) => run.event(event),
            Runs::Each(runs) => runs.event_of_those(|_| true, &event),
        }
    }
}

impl<'a, K: Ord> RunOfEach<'a, K> {
    pub(super) fn new(collector: &'a mut (dyn Collector + Send)) -> RunOfEach<'a, K> {
        RunOfEach {
            collector,
            begun: BTreeMap::new(),
        }
    }

    /// An event of a workload. With the first, its run begins.
    pub(super) fn event_of(&mut self, key: K, event: Event, workload: impl FnOnce(&K) -> Workload) {
        let next = WorkloadId(self.begun.len() as u64);
        let id = *self.begun.entry(key).or_insert_with_key(|key| {
            self.collector.begin(next, workload(key));
            next
        });
        self.collector.event(id, event);
    }

    /// An event of the workloads with such keys.
    pub(super) fn event_of_those(&mut self, which: impl Fn(&K) -> bool, event: &Event) {
        for (_, &id) in self.begun.iter().filter(|(key, _)| which(key)) {
            self.collector.event(id, event.clone());
        }
    }
}
