//! One container: its notifications become events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use rustc_hash::{FxBuildHasher, FxHashSet};

use super::NAME_LABEL;
use super::hand_over::{Config, HandOver, image};
use crate::backend::proc;
use crate::backend::{RunEnd, Workload};
use crate::event::{Event, Task};
use crate::syscall::{Arch, Syscall};

/// The number of tasks at which dead ones are removed: a killed task makes no exit(2).
const FEW_TASKS: usize = 1024;

/// Receives the events.
type Sink<'a> = &'a mut dyn FnMut(Event);

pub(super) struct Container {
    phase: Phase,
    no_new_privs: bool,
    /// The living tasks that made a call, with their processes.
    tasks: HashMap<Task, Task, FxBuildHasher>,
    /// The number of tasks at which dead ones are removed next.
    limit: usize,
    /// Tasks whose latest call was execve(2), and the leaders of their processes.
    executing: FxHashSet<Task>,
    /// Losses that are known from the start.
    lost: Vec<String>,
}

/// The program that runs under the filter.
enum Phase {
    /// The runtime, before it executes the workload's program.
    Runtime,
    /// The runtime has called execve(2). `image` is what the process executed before.
    Execs {
        process: Task,
        image: Option<(u64, u64)>,
    },
    Workload,
}

/// The calls that create or end programs and tasks.
struct Special {
    exec: BTreeSet<Syscall>,
    exit: BTreeSet<Syscall>,
    exit_group: BTreeSet<Syscall>,
}

static SPECIAL: std::sync::LazyLock<Special> = std::sync::LazyLock::new(|| {
    let named = |names: &[&str]| {
        let arches = Arch::ALL.iter().copied();
        let on = |arch| {
            names
                .iter()
                .filter_map(move |n| Syscall::from_name(arch, n))
        };
        arches.flat_map(on).collect()
    };
    Special {
        exec: named(&["execve", "execveat"]),
        exit: named(&["exit"]),
        exit_group: named(&["exit_group"]),
    }
});

impl Container {
    pub(super) fn new(hand_over: &HandOver) -> (Container, Workload) {
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
                    "the container's configuration can't be read ({error}): its profile may let calls pass that are not recorded"
                ));
                BTreeSet::new()
            }
        };
        if state.resumed {
            lost.push("the agent that recorded the container before has ended".to_owned());
        }
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
        let container = Container {
            phase: if state.resumed {
                Phase::Workload
            } else {
                Phase::Runtime
            },
            no_new_privs: false,
            tasks: HashMap::default(),
            limit: FEW_TASKS,
            executing: FxHashSet::default(),
            lost,
        };
        let workload = Workload {
            program: PathBuf::new(),
            labels,
            not_observed,
        };
        (container, workload)
    }

    /// Reports the losses that are known from the start.
    pub(super) fn begun(&self, sink: Sink<'_>) {
        for why in &self.lost {
            let why = why.clone();
            sink(Event::Lost { count: None, why });
        }
    }

    /// A task enters a call, and waits for the agent.
    pub(super) fn entered(&mut self, thread: i32, arch: u32, nr: i32, sink: Sink<'_>) {
        let task = Task(thread);
        let Some(syscall) = Syscall::from_audit(arch, nr) else {
            let why = format!("calls of an unknown ABI ({arch:#x}) were made");
            return sink(Event::Lost {
                count: Some(1),
                why,
            });
        };
        let execs = SPECIAL.exec.contains(&syscall);
        match self.phase {
            Phase::Workload => {}
            Phase::Runtime if execs => {
                let process = proc::process_of(task).unwrap_or(task);
                let image = proc::image_of(process);
                self.phase = Phase::Execs { process, image };
                // It counts as the workload's first call, as with every backend.
                self.tasks.insert(process, process);
                return sink(Event::Syscall {
                    task: process,
                    syscall,
                    site: None,
                });
            }
            Phase::Runtime => return sink(Event::Runtime { syscall, count: 1 }),
            Phase::Execs { process, image } => {
                // Other threads of the runtime may be making calls until execve(2) ends them.
                let is_executed = match (image, proc::image_of(process)) {
                    (Some(before), Some(now)) => before != now,
                    _ => task == process,
                };
                if !is_executed && execs {
                    // A signal interrupted it, or it failed and another path is tried.
                    return sink(Event::Syscall {
                        task: process,
                        syscall,
                        site: None,
                    });
                }
                if !is_executed {
                    if task == process {
                        // The execve(2) failed.
                        self.phase = Phase::Runtime;
                    }
                    return sink(Event::Runtime { syscall, count: 1 });
                }
                self.phase = Phase::Workload;
                self.executing.insert(process);
            }
        }
        self.workload_entered(task, syscall, execs, sink);
    }

    fn workload_entered(&mut self, task: Task, syscall: Syscall, execs: bool, sink: Sink<'_>) {
        let is_new = !self.tasks.contains_key(&task);
        if is_new || (!self.executing.is_empty() && self.executing.remove(&task)) {
            if is_new {
                self.forget_the_dead(sink);
                let process = proc::process_of(task).unwrap_or(task);
                self.tasks.insert(task, process);
            }
            self.no_new_privs |= proc::has_no_new_privs(task) == Some(true);
            let executable = proc::executable_of(task);
            sink(Event::Exec { task, executable });
        }
        sink(Event::Syscall {
            task,
            syscall,
            site: None,
        });
        if execs {
            let process = self.tasks.get(&task).copied();
            self.executing
                .extend([Some(task), process].into_iter().flatten());
        } else if SPECIAL.exit.contains(&syscall) {
            self.tasks.remove(&task);
            sink(Event::Exit { task });
        } else if SPECIAL.exit_group.contains(&syscall) {
            let process = self.tasks.get(&task).copied().unwrap_or(task);
            self.forget(sink, |_, of| of == process);
        }
    }

    fn forget(&mut self, sink: Sink<'_>, is_gone: impl Fn(Task, Task) -> bool) {
        let executing = &mut self.executing;
        self.tasks.retain(|&task, &mut process| {
            let gone = is_gone(task, process);
            if gone {
                executing.remove(&task);
                sink(Event::Exit { task });
            }
            !gone
        });
    }

    fn forget_the_dead(&mut self, sink: Sink<'_>) {
        if self.tasks.len() >= self.limit {
            self.forget(sink, |task, _| proc::is_gone(task));
            self.limit = FEW_TASKS.max(2 * self.tasks.len());
        }
    }

    pub(super) fn end(&mut self, sink: Sink<'_>) -> RunEnd {
        if !matches!(self.phase, Phase::Workload) {
            let why = "the container ended before its program ran".to_owned();
            sink(Event::Lost { count: None, why });
        }
        RunEnd {
            exit: None,
            no_new_privs: self.no_new_privs,
        }
    }
}
