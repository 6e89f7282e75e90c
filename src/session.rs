//! One recording: joins a backend, a target and the builders of its runs.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use crate::backend::{
    self, Backend, Collector, Error, Notice, RunEnd, Stop, Target, Workload, WorkloadId,
};
use crate::event::{Event, Sink};
use crate::panic;
use crate::recording::{Journal, Run, RunBuilder};

/// A recording that can begin.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    /// The backend to record with.
    pub backend: &'a dyn Backend,
    /// The target to record.
    pub target: &'a Target,
    /// Ends the recording early.
    pub stop: &'a Stop,
    /// The journal for new calls.
    pub journal: Option<&'a Journal>,
}

/// Observes a recording.
pub trait Observer {
    /// A run begins. It may get a journal of its own.
    fn begin(&mut self, run: RunBuilder) -> RunBuilder {
        run
    }

    /// The next event of a run, which its builder is about to count.
    fn event(&mut self, _event: &Event, _run: &RunBuilder) {}

    /// A message for the user.
    fn notice(&mut self, notice: Notice);
}

impl Session<'_> {
    /// Records a target that is one workload.
    pub fn record(&self, observer: &mut (dyn Observer + Send)) -> Result<Run, Error> {
        let mut only = None;
        self.record_each(observer, &mut |run| only = Some(run))?;
        only.ok_or_else(|| Error::Stopped(self.stop.reason().unwrap_or("no run began").to_owned()))
    }

    /// Records a target of many workloads, and passes each run to `each` when it ends. If the backend fails, runs with
    /// calls are passed as incomplete; if there are none, the error is returned.
    pub fn record_each(
        &self,
        observer: &mut (dyn Observer + Send),
        each: &mut (dyn FnMut(Run) + Send),
    ) -> Result<(), Error> {
        let mut runs = Runs {
            backend: self.backend.name(),
            journal: self.journal,
            open: HashMap::default(),
            observer,
            each,
        };
        let recorded = panic::catch(|| self.backend.record(self.target, &mut runs, self.stop));
        let failure = match recorded {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(panic) => Error::Panic(panic),
        };
        match (failure, self.stop.reason()) {
            (failure, _) if failure.is_start_failure() => Err(failure),
            (failure, _) if runs.abandon(&failure) => Ok(()),
            (_, Some(reason)) => Err(Error::Stopped(reason.to_owned())),
            (failure, None) => Err(failure),
        }
    }
}

/// Builds all runs of a recording.
struct Runs<'a> {
    backend: &'static str,
    journal: Option<&'a Journal>,
    open: HashMap<WorkloadId, OpenRun, FxBuildHasher>,
    observer: &'a mut (dyn Observer + Send),
    each: &'a mut (dyn FnMut(Run) + Send),
}

/// A run that has begun and not ended.
struct OpenRun {
    builder: RunBuilder,
    /// The builder or the observer panicked: the run takes no more events.
    is_broken: bool,
}

impl Runs<'_> {
    /// Ends the runs that the backend left open, as incomplete. Returns whether any of them had calls.
    fn abandon(&mut self, why: &Error) -> bool {
        self.open.retain(|_, open| open.builder.calls() > 0);
        let open: Vec<WorkloadId> = self.open.keys().copied().collect();
        for &id in &open {
            let why = format!("the recording broke off: {}", backend::chain(why));
            self.event(id, Event::Lost { count: None, why });
            self.end(id, RunEnd::default());
        }
        !open.is_empty()
    }
}

impl Collector for Runs<'_> {
    fn begin(&mut self, id: WorkloadId, workload: Workload) {
        let builder = RunBuilder::start(workload.program, self.backend)
            .of(workload.labels, workload.not_observed);
        let open = OpenRun {
            builder: match self.journal {
                Some(journal) => builder.journalled(journal),
                None => self.observer.begin(builder),
            },
            is_broken: false,
        };
        self.open.insert(id, open);
    }

    fn event(&mut self, id: WorkloadId, event: Event) {
        let Some(open) = self.open.get_mut(&id) else {
            return;
        };
        if open.is_broken {
            return;
        }
        let counted = panic::catch(|| {
            self.observer.event(&event, &open.builder);
            open.builder.event(event);
        });
        if let Err(why) = counted {
            open.is_broken = true;
            let why = Error::Panic(why).to_string();
            open.builder.event(Event::Lost { count: None, why });
        }
    }

    fn end(&mut self, id: WorkloadId, end: RunEnd) {
        if let Some(open) = self.open.remove(&id) {
            let mut run = open.builder.finish(end.exit, end.no_new_privs);
            run.not_observed
                .retain(|call| !run.syscalls.contains_key(call));
            (self.each)(run);
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.observer.notice(notice);
    }
}

#[cfg(test)]
mod tests;
