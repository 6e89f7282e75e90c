//! One container: its notifications become events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::hand_over::{Config, HandOver, image};
use crate::backend::listener::callers::{Callers, EventTaker, NotifiedCall, TrackedCall};
use crate::backend::proc;
use crate::backend::{Interest, RunEnd, Workload};
use crate::event::{Event, Task};

/// The label with the name of the recording to which a run belongs.
pub const NAME_LABEL: &str = "name";

pub(super) struct RecordedContainer {
    phase: ContainerPhase,
    callers: Callers,
    /// Losses that are known from the start.
    lost: Vec<String>,
    /// Once its notification is taken, only a fatal signal interrupts a call.
    pub(super) waits_killable: bool,
}

/// The program that runs under the filter.
enum ContainerPhase {
    /// The runtime, before it executes the workload's program.
    Runtime,
    /// The runtime has called execve(2). `image` is what the process executed before.
    Execs {
        process: Task,
        image: Option<(u64, u64)>,
    },
    Workload,
}

impl RecordedContainer {
    pub(super) fn new(hand_over: &HandOver, interest: Interest) -> (RecordedContainer, Workload) {
        let state = &hand_over.state;
        let mut lost = Vec::new();
        let config = hand_over.config();
        let not_observed = match config.as_ref().map(Config::not_observed) {
            Ok(Some(calls)) => calls,
            Ok(None) => {
                let why = "the container's profile lets calls pass that it doesn't name";
                lost.push(why.to_owned());
                BTreeSet::new()
            }
            Err(error) => {
                lost.push(format!(
                    "the container's configuration can't be read ({error}): its profile may allow calls that are not recorded"
                ));
                BTreeSet::new()
            }
        };
        if state.resumed {
            lost.push("the agent that recorded the container before has ended".to_owned());
        }
        let waits_killable = config.as_ref().is_ok_and(Config::waits_killable);
        let mut annotations = config.map(|config| config.annotations).unwrap_or_default();
        annotations.extend(state.state.annotations.clone());

        let mut labels = BTreeMap::from([
            (NAME_LABEL.to_owned(), hand_over.name(&annotations)),
            ("container".to_owned(), state.state.id.clone()),
        ]);
        let image = image(&annotations).map(|image| ("image".to_owned(), image.clone()));
        let runtime = hand_over.runtime.clone();
        labels.extend(image);
        labels.extend(runtime.map(|runtime| ("runtime".to_owned(), runtime)));
        if state.pid != state.state.pid && state.state.pid != 0 {
            // A process that was executed in a running container.
            labels.insert("exec".to_owned(), "true".to_owned());
        }
        let container = RecordedContainer {
            phase: if state.resumed {
                ContainerPhase::Workload
            } else {
                ContainerPhase::Runtime
            },
            callers: Callers::new(interest),
            lost,
            waits_killable,
        };
        let workload = Workload {
            program: PathBuf::new(),
            labels,
            not_observed,
        };
        (container, workload)
    }

    /// Reports the losses that are known from the start.
    pub(super) fn begun(&self, sink: EventTaker<'_>) {
        for why in &self.lost {
            let why = why.clone();
            sink(Event::Lost { count: None, why });
        }
    }

    /// The process of a task of it that has made a call, and not ended since.
    pub(super) fn process_of(&self, task: Task) -> Option<Task> {
        self.callers.process_of(task)
    }

    /// A task enters a call, and waits for the agent.
    pub(super) fn entered(&mut self, call: &NotifiedCall<'_>, sink: EventTaker<'_>) {
        self.callers.taken(call.notification);
        let (task, syscall) = (call.task, call.syscall);
        let execs = call.special == Some(TrackedCall::Exec);
        let by = |task| Event::Syscall {
            task,
            syscall,
            site: None,
        };
        match self.phase {
            ContainerPhase::Workload => {}
            ContainerPhase::Runtime if execs => {
                let process = proc::process_of(task).unwrap_or(task);
                let image = proc::image_of(process);
                self.phase = ContainerPhase::Execs { process, image };
                // It counts as the workload's first call, as with every backend.
                self.callers.expect(process);
                return sink(by(process));
            }
            ContainerPhase::Runtime => return sink(Event::Runtime { syscall, count: 1 }),
            ContainerPhase::Execs { process, image } => {
                // Other threads of the runtime may be making calls until execve(2) ends them.
                let is_executed = match (image, proc::image_of(process)) {
                    (Some(before), Some(now)) => before != now,
                    _ => task == process,
                };
                if !is_executed && execs {
                    // A signal interrupted it, or it failed and another path is tried.
                    return sink(by(process));
                }
                if !is_executed {
                    if task == process {
                        // The execve(2) failed.
                        self.phase = ContainerPhase::Runtime;
                    }
                    return sink(Event::Runtime { syscall, count: 1 });
                }
                self.phase = ContainerPhase::Workload;
                self.callers.executed(process);
            }
        }
        self.callers.entered(call, sink);
    }

    pub(super) fn end(&mut self, sink: EventTaker<'_>) -> RunEnd {
        if !matches!(self.phase, ContainerPhase::Workload) {
            let why = "the container ended before its program ran".to_owned();
            sink(Event::Lost { count: None, why });
        }
        if let Some(lost) = self.callers.interrupted() {
            sink(lost);
        }
        RunEnd {
            exit: None,
            no_new_privs: self.callers.no_new_privs,
        }
    }
}
