//! Notes the callers of calls that a profile does not simply allow.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

use super::values::{self, Choice};
use super::{Answer, Answers};
use crate::event::{CallSite, Code, Event, Task};
use crate::profile::{ARGS, Action};
use crate::syscall::Syscall;

/// How many callers of one call are distinguished.
pub const MAX_CALLERS: usize = 32;

/// How many different calls are distinguished: a workload can call numbers at random.
const MAX_CALLS: usize = 4096;

/// Evaluates a profile for the events of one run.
#[derive(Debug)]
pub struct Watch {
    answers: Answers,
    simply_allowed: FxHashSet<Syscall>,
    start: Instant,
    calls: FxHashMap<Syscall, Watched>,
}

/// The observations of a call that a profile does not simply allow.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// How often it was made and allowed.
    pub allowed: u64,
    /// The rules that applied then.
    pub held: BTreeSet<usize>,
    /// How often it was made and not allowed.
    pub denied: WatchedCalls,
    /// How often it was made and is undecided.
    pub undecided: WatchedCalls,
}

/// Calls with one outcome.
#[derive(Clone, Debug, Default)]
pub struct WatchedCalls {
    /// How many.
    pub count: u64,
    /// When the first was made, since the start of the run.
    pub first: Duration,
    /// The actions that the profile may have.
    pub actions: BTreeSet<Action>,
    /// The rules that apply, or may apply.
    pub rules: BTreeSet<usize>,
    /// Their callers; at most [`MAX_CALLERS`].
    pub callers: Vec<Caller>,
    /// How many were made by others.
    pub by_others: u64,
    /// The arguments that carry a choice, of the calls whose arguments are known; at most [`MAX_CALLERS`] different ones.
    pub(super) choices: BTreeSet<Choice>,
    /// There were other arguments.
    pub(super) other_choices: bool,
}

/// A piece of code that makes a call, in threads of one name of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The executable of the process; `None` if unknown.
    pub executable: Option<Arc<Path>>,
    /// The name of the thread.
    pub thread: Option<Arc<[u8]>>,
    /// Where the call is made.
    pub code: Arc<Code>,
    /// The process that made the first of them.
    pub process: Option<Task>,
    /// The thread that did.
    pub task: Task,
    /// The arguments of the first.
    pub args: Option<[u64; ARGS]>,
    /// The address after the instruction of the first.
    pub ip: Option<u64>,
    /// How many.
    pub count: u64,
    /// When the first was made, since the start of the run.
    pub first: Duration,
}

impl Watch {
    /// Starts watching.
    #[must_use]
    pub fn start(answers: Answers) -> Watch {
        let simply_allowed = answers.always_executed().into_iter().collect();
        Watch {
            answers,
            simply_allowed,
            start: Instant::now(),
            calls: FxHashMap::default(),
        }
    }

    /// Takes an event.
    pub fn look(&mut self, event: &Event) {
        match event {
            Event::Syscall {
                task,
                syscall,
                site,
            } if !self.simply_allowed.contains(syscall) => {
                self.called(*task, *syscall, site.as_deref(), 1);
            }
            Event::Calls {
                task,
                syscall,
                count,
            } if !self.simply_allowed.contains(syscall) => {
                self.called(*task, *syscall, None, *count);
            }
            _ => {}
        }
    }

    fn called(&mut self, task: Task, syscall: Syscall, site: Option<&CallSite>, count: u64) {
        if self.calls.len() >= MAX_CALLS && !self.calls.contains_key(&syscall) {
            return;
        }
        let args = site.and_then(|site| site.args.as_ref());
        let answer = self.answers.answer(syscall, args);
        let watched = self.calls.entry(syscall).or_default();
        let tally = match answer.executes() {
            Some(true) => {
                watched.allowed = watched.allowed.saturating_add(count);
                watched.held.extend(answer.rules);
                return;
            }
            Some(false) => &mut watched.denied,
            None => &mut watched.undecided,
        };
        tally.add_choice(args.and_then(|args| values::choice(syscall, args)));
        tally.add(task, site, count, answer, self.start);
    }

    /// The observations of each call that the profile does not simply allow.
    #[must_use]
    pub fn into_calls(self) -> FxHashMap<Syscall, Watched> {
        self.calls
    }
}

impl WatchedCalls {
    fn add_choice(&mut self, choice: Option<Choice>) {
        let is_kept =
            |choice: &Choice| self.choices.len() < MAX_CALLERS || self.choices.contains(choice);
        match choice.filter(is_kept) {
            Some(choice) => {
                self.choices.insert(choice);
            }
            None => self.other_choices = true,
        }
    }

    fn add(
        &mut self,
        task: Task,
        site: Option<&CallSite>,
        count: u64,
        answer: Answer,
        start: Instant,
    ) {
        if self.count == 0 {
            self.first = start.elapsed();
        }
        self.count = self.count.saturating_add(count);
        self.actions.extend(answer.actions);
        self.rules.extend(answer.rules);
        let known = self.callers.iter().position(|caller| caller.is(site));
        let Some(site) = site.filter(|_| known.is_some() || self.callers.len() < MAX_CALLERS)
        else {
            self.by_others = self.by_others.saturating_add(count);
            return;
        };
        match known.and_then(|known| self.callers.get_mut(known)) {
            Some(caller) => caller.count = caller.count.saturating_add(count),
            None => self.callers.push(Caller {
                executable: site.executable.clone(),
                thread: site.thread.clone(),
                code: Arc::clone(&site.code),
                process: site.process,
                task,
                args: site.args,
                ip: site.ip,
                count,
                first: start.elapsed(),
            }),
        }
    }
}

impl Caller {
    fn is(&self, site: Option<&CallSite>) -> bool {
        site.is_some_and(|site| {
            self.code == site.code
                && self.thread == site.thread
                && self.executable == site.executable
                // Without a place in a file, the address identifies the call site.
                && (matches!(*site.code, Code::File { .. }) || self.ip == site.ip)
        })
    }
}
