//! Receives the events of the runs that a backend records.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Target;
use crate::event::{Event, Sink};
use crate::recording::Exit;

/// Names a workload from its [`Collector::begin`] to its [`Collector::end`]. The backend chooses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadId(pub u64);

/// What is known of a workload when its run begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// The program, as it was called; empty where the first that executes is the program.
    pub program: PathBuf,
    /// What tells it from the backend's other workloads: labels of its run.
    pub labels: BTreeMap<String, String>,
}

/// What is known at the end of a run besides its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunEnd {
    /// How the command ended; `None` if that was not seen.
    pub exit: Option<Exit>,
    /// Whether the backend made the workload run with `no_new_privs`.
    pub no_new_privs: bool,
}

/// What the user may want to know while a recording goes on. It is not part of any run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something that takes time, or needs the user.
    Progress(String),
    /// What was chosen, and why.
    Choice(String),
}

/// Takes the runs of many workloads at once.
///
/// Each run is `begin`, any number of `event`s, `end`, under one id; runs interleave freely. No call of the workload that
/// is made after `begin` returned is missing, or an [`Event::Lost`] says so. A run without an `end` did not end: it is
/// incomplete, or, where it has no call at all, never began.
///
/// The workload may wait while a method runs.
pub trait Collector {
    /// A run begins now.
    fn begin(&mut self, id: WorkloadId, workload: Workload);

    /// The next event of a run that has begun.
    fn event(&mut self, id: WorkloadId, event: Event);

    /// A run ends. Its id may name another one from now on.
    fn end(&mut self, id: WorkloadId, end: RunEnd);

    /// Tells the user something.
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
        let workload = Workload {
            program: target.program(),
            ..Workload::default()
        };
        collector.begin(OneRun::ID, workload);
        OneRun { collector }
    }

    /// Tells the user something.
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
