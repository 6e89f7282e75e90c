//! Collects the denials of a workload that runs under a profile.
//!
//! The workload runs under the real filter, and ptrace reports each call twice: at its entry, before any filter, with its
//! arguments, and at its end, with the result. The emulator runs the loaded program on the call. So nothing is guessed from
//! errnos, which the kernel itself returns too, or from earlier denials.
//!
//! `sc-record run` starts the command. Its own calls, before the command is executed, don't count.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::enforce::Filter;
use crate::event::Exit;
use crate::event::{CallOutcome, CallSite, Code, Event, Sink, Task};
use crate::profile::{ARGS, Action, ErrnoRet, Profile};
use crate::syscall::Syscall;

/// The result of a call that the filter didn't just allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenialOutcome {
    /// This errno, whether the filter or the kernel caused it.
    Errno(i32),
    /// Success.
    Success,
    /// SIGSYS.
    Trapped,
    /// This signal killed the task.
    Killed(i32),
    /// The call was interrupted, and restarts or fails with EINTR.
    Interrupted,
    /// The task ended before the result was seen.
    Unknown,
}

impl fmt::Display for DenialOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DenialOutcome::Errno(errno) => match Errno::from_raw(*errno) {
                Errno::UnknownErrno => write!(f, "errno {errno}"),
                errno => write!(f, "{errno:?}"),
            },
            DenialOutcome::Success => f.write_str("success"),
            DenialOutcome::Trapped => f.write_str("SIGSYS"),
            DenialOutcome::Killed(libc::SIGSYS) => f.write_str("killed by SIGSYS"),
            DenialOutcome::Killed(signal) => write!(f, "killed by signal {signal}"),
            DenialOutcome::Interrupted => f.write_str("interrupted"),
            DenialOutcome::Unknown => f.write_str("unknown"),
        }
    }
}

/// The greatest errno (`MAX_ERRNO`, `linux/err.h`); those above 511 are internal to the kernel (`linux/errno.h`).
const MAX_ERRNO: i64 = 4095;
const RESTARTS: std::ops::RangeInclusive<i32> = 512..=516;

impl DenialOutcome {
    fn of(value: i64) -> DenialOutcome {
        match i32::try_from(-value) {
            Ok(errno) if RESTARTS.contains(&errno) => DenialOutcome::Interrupted,
            Ok(errno) if (1..=MAX_ERRNO).contains(&i64::from(errno)) => DenialOutcome::Errno(errno),
            _ => DenialOutcome::Success,
        }
    }
}

/// Calls that the filter didn't just allow, with the same number, action, program, thread name and call site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The system call.
    pub syscall: Syscall,
    /// The filter's action.
    pub action: Action,
    /// What in the filter has the action.
    pub said_by: SaidBy,
    /// The caller's executable; empty if unknown.
    pub executable: PathBuf,
    /// The thread's name.
    pub thread: String,
    /// The call site.
    pub code: Arc<Code>,
    /// The first of these calls.
    pub first: FirstDenial,
    /// The number of calls.
    pub count: u64,
    /// The results, and how often each occurred.
    pub got: BTreeMap<DenialOutcome, u64>,
}

/// The part of a filter that answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaidBy {
    /// A rule with the call's name.
    Rule,
    /// The default action.
    Default,
    /// runc's ENOSYS stub.
    Stub,
}

/// The first call of a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstDenial {
    /// The time since the command was executed.
    pub after: Duration,
    /// The process.
    pub process: Task,
    /// The address of the next instruction.
    pub ip: Option<u64>,
    /// The arguments.
    pub args: [u64; ARGS],
}

impl Denial {
    /// Whether the profile kept the call from being executed.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        !matches!(self.action, Action::Allow | Action::Log | Action::Notify)
    }

    /// Whether it is a finding: a denial, except ENOSYS from a rule with the call's name, which makes libc use an older call.
    #[must_use]
    pub fn is_finding(&self) -> bool {
        let is_intended =
            self.said_by == SaidBy::Rule && self.action == Action::Errno(ErrnoRet::ENOSYS);
        self.is_denied() && !is_intended
    }
}

/// The maximum number of denials. Code that is generated at run time can have any number of call sites.
const MAX_DENIALS: usize = 4096;

/// Takes the events of a run under a profile.
pub struct Verifier<'a> {
    filter: &'a Filter,
    profile: &'a Profile,
    command: Command,
    tasks: HashMap<Task, CallingTask>,
    kinds: HashMap<DenialKey, usize>,
    denials: Vec<Denial>,
    /// Calls beyond [`MAX_DENIALS`].
    more: u64,
    lost: BTreeSet<String>,
}

/// The command, starting with the launcher.
#[derive(Default)]
struct Command {
    task: Option<Task>,
    /// The number of executed programs; the first is the launcher.
    executed: u32,
    /// The launcher's latest call. The last one is the execve(2) that starts the command.
    launching: Option<(Syscall, Option<Box<CallSite>>)>,
    started: Option<Instant>,
}

#[derive(Default)]
struct CallingTask {
    executable: Arc<PathBuf>,
    /// The index of the denial that its latest call belongs to.
    latest: Option<usize>,
}

#[derive(PartialEq, Eq, Hash)]
struct DenialKey {
    syscall: Syscall,
    action: Action,
    executable: Arc<PathBuf>,
    thread: Option<Arc<[u8]>>,
    code: Arc<Code>,
}

/// The result of a run under a profile.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Whether the command was executed.
    pub started: bool,
    /// The denials, in order of their first calls.
    pub denials: Vec<Denial>,
    /// The number of calls beyond the maximum number of denials.
    pub more: u64,
    /// Why denials may be missing.
    pub incomplete_because: BTreeSet<String>,
}

impl<'a> Verifier<'a> {
    /// For a run under the filter of a profile.
    #[must_use]
    pub fn new(profile: &'a Profile, filter: &'a Filter) -> Verifier<'a> {
        Verifier {
            filter,
            profile,
            command: Command::default(),
            tasks: HashMap::new(),
            kinds: HashMap::new(),
            denials: Vec::new(),
            more: 0,
            lost: BTreeSet::new(),
        }
    }

    /// Ends the run.
    #[must_use]
    pub fn finish(mut self) -> Verified {
        let open: Vec<usize> = (self.tasks.values_mut())
            .filter_map(|caller| caller.latest.take())
            .collect();
        for kind in open {
            self.got(kind, DenialOutcome::Unknown);
        }
        Verified {
            started: self.command.started.is_some(),
            denials: self.denials,
            more: self.more,
            incomplete_because: self.lost,
        }
    }

    fn called(&mut self, task: Task, syscall: Syscall, site: Option<&CallSite>) {
        // Only calls that the filter may deny are reported with arguments.
        let args = site.and_then(|site| site.args);
        let (Some(site), Some(args)) = (site, args) else {
            self.caller(task).latest = None;
            return;
        };
        let action = self.filter.action(syscall, &args);
        if action == Action::Allow {
            self.caller(task).latest = None;
            return;
        }
        let executable = Arc::clone(&self.caller(task).executable);
        let key = DenialKey {
            syscall,
            action,
            executable: Arc::clone(&executable),
            thread: site.thread.clone(),
            code: Arc::clone(&site.code),
        };
        let kind = match self.kinds.get(&key) {
            Some(&kind) => kind,
            None if self.denials.len() >= MAX_DENIALS => {
                self.more += 1;
                self.caller(task).latest = None;
                return;
            }
            None => {
                let thread = site.thread.as_deref().unwrap_or_default();
                self.denials.push(Denial {
                    syscall,
                    action,
                    said_by: self.said_by(syscall, action),
                    executable: executable.as_ref().clone(),
                    thread: String::from_utf8_lossy(thread).into_owned(),
                    code: Arc::clone(&site.code),
                    first: FirstDenial {
                        after: (self.command.started).map_or(Duration::ZERO, |at| at.elapsed()),
                        process: site.process.unwrap_or(task),
                        ip: site.ip,
                        args,
                    },
                    count: 0,
                    got: BTreeMap::new(),
                });
                let kind = self.denials.len() - 1;
                self.kinds.insert(key, kind);
                kind
            }
        };
        self.denials[kind].count += 1;
        self.caller(task).latest = Some(kind);
    }

    fn said_by(&self, syscall: Syscall, action: Action) -> SaidBy {
        if self.filter.is_by_stub(syscall) {
            return SaidBy::Stub;
        }
        let name = syscall.name().unwrap_or_default();
        let mut rules = self.profile.rules().iter();
        let has =
            rules.any(|rule| rule.action() == action && rule.names().iter().any(|n| *n == name));
        if has { SaidBy::Rule } else { SaidBy::Default }
    }

    fn outcome(&mut self, task: Task, outcome: CallOutcome) {
        let Some(kind) = self.tasks.get(&task).and_then(|caller| caller.latest) else {
            return;
        };
        let action = self.denials.get(kind).map(|denial| denial.action);
        let ends_with_signal = matches!(
            action,
            Some(Action::Trap | Action::KillThread | Action::KillProcess)
        );
        let got = match outcome {
            // The signal is the result.
            CallOutcome::Returned(_) if ends_with_signal => return,
            CallOutcome::Returned(value) => DenialOutcome::of(value),
            CallOutcome::Trapped => DenialOutcome::Trapped,
            CallOutcome::Died(Exit::Signal(signal)) => DenialOutcome::Killed(signal),
            // After the process has ended, its status replaces the thread's.
            CallOutcome::Died(Exit::Code(_)) if action == Some(Action::KillThread) => {
                DenialOutcome::Killed(libc::SIGSYS)
            }
            CallOutcome::Died(Exit::Code(_)) => DenialOutcome::Unknown,
        };
        self.caller(task).latest = None;
        self.got(kind, got);
    }

    fn got(&mut self, kind: usize, got: DenialOutcome) {
        if let Some(denial) = self.denials.get_mut(kind) {
            *denial.got.entry(got).or_default() += 1;
        }
    }

    /// The state of a task. The executable of a task whose fork has not been reported yet is read from proc(5).
    fn caller(&mut self, task: Task) -> &mut CallingTask {
        self.tasks.entry(task).or_insert_with(|| CallingTask {
            executable: Arc::new(
                std::fs::read_link(format!("/proc/{task}/exe")).unwrap_or_default(),
            ),
            latest: None,
        })
    }

    fn executed(&mut self, task: Task, executable: PathBuf) {
        let is_command = *self.command.task.get_or_insert(task) == task;
        if is_command {
            self.command.executed += 1;
        }
        self.caller(task).executable = Arc::new(executable);
        if is_command && self.command.executed == 2 {
            self.command.started = Some(Instant::now());
            // The execve(2) that started it counts for the workload.
            if let Some((syscall, site)) = self.command.launching.take() {
                self.called(task, syscall, site.as_deref());
                self.outcome(task, CallOutcome::Returned(0));
            }
        }
    }
}

impl Sink for Verifier<'_> {
    fn event(&mut self, event: Event) {
        match event {
            Event::Syscall {
                task,
                syscall,
                site,
            } => {
                let command = *self.command.task.get_or_insert(task);
                if self.command.started.is_some() {
                    self.called(task, syscall, site.as_deref());
                } else if task == command {
                    self.command.launching = Some((syscall, site));
                }
            }
            Event::Outcome { task, outcome } if self.command.started.is_some() => {
                self.outcome(task, outcome);
            }
            Event::Exec { task, executable } => self.executed(task, executable),
            Event::Fork { parent, child } => {
                let executable = Arc::clone(&self.caller(parent).executable);
                self.tasks.entry(child).or_insert(CallingTask {
                    executable,
                    latest: None,
                });
            }
            Event::Exit { task } => {
                if let Some(kind) = self.tasks.remove(&task).and_then(|caller| caller.latest) {
                    self.got(kind, DenialOutcome::Unknown);
                }
            }
            Event::Lost { why, .. } => {
                self.lost.insert(why);
            }
            Event::Arguments { .. }
            | Event::Outcome { .. }
            | Event::Runtime { .. }
            | Event::Submitted { .. }
            | Event::Calls { .. }
            | Event::Counted { .. }
            | Event::Clock { .. }
            | Event::CountsAreLowerBounds => {}
        }
    }
}

#[cfg(test)]
mod tests;
