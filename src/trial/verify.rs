//! What a profile did to a workload that ran under it: from the events of a run to its denials.
//!
//! The workload runs under the real filter, and each of its calls is seen twice: at its entry, before any filter, with its
//! arguments, and at its end, with what the program got. What the filter answers to the call is what the very program that
//! was loaded says (`bpf.rs`). So nothing is guessed: not from errnos, which the kernel itself gives too, and not from one
//! denial for the next.
//!
//! The command is started by `sc-record run`: what that does until the command is executed is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::enforce::Filter;
use crate::event::{CallOutcome, CallSite, Code, Event, Sink, Task};
use crate::profile::{ARGS, Action, ErrnoRet, Profile};
use crate::recording::Exit;
use crate::syscall::Syscall;

/// What a program got for a call that the filter didn't simply let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Got {
    /// This errno, whatever it came from.
    Errno(i32),
    /// Success.
    Success,
    /// SIGSYS, to handle or to die of.
    Trapped,
    /// The task is gone by this signal.
    Killed(i32),
    /// The call was interrupted, and is restarted or ends with EINTR.
    Interrupted,
    /// The task ended before anything was seen.
    Unknown,
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Got::Errno(errno) => match Errno::from_raw(*errno) {
                Errno::UnknownErrno => write!(f, "errno {errno}"),
                errno => write!(f, "{errno:?}"),
            },
            Got::Success => f.write_str("success"),
            Got::Trapped => f.write_str("SIGSYS"),
            Got::Killed(libc::SIGSYS) => f.write_str("killed by SIGSYS"),
            Got::Killed(signal) => write!(f, "killed by signal {signal}"),
            Got::Interrupted => f.write_str("interrupted"),
            Got::Unknown => f.write_str("unknown"),
        }
    }
}

/// The last errno there is (`MAX_ERRNO`, `linux/err.h`); above 511 they are the kernel's own (`linux/errno.h`).
const MAX_ERRNO: i64 = 4095;
const RESTARTS: std::ops::RangeInclusive<i32> = 512..=516;

impl Got {
    fn of(value: i64) -> Got {
        match i32::try_from(-value) {
            Ok(errno) if RESTARTS.contains(&errno) => Got::Interrupted,
            Ok(errno) if (1..=MAX_ERRNO).contains(&i64::from(errno)) => Got::Errno(errno),
            _ => Got::Success,
        }
    }
}

/// Calls of one kind that the filter didn't simply let through: the same call, answer, program, thread name and place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// What was called.
    pub syscall: Syscall,
    /// What the filter answered.
    pub action: Action,
    /// A rule of the profile says so of this call by its name. Otherwise it is the default action.
    pub by_rule: bool,
    /// What the caller executes; empty if nobody could tell.
    pub executable: PathBuf,
    /// The name of the thread.
    pub thread: String,
    /// Where it was called from.
    pub code: Arc<Code>,
    /// The first of these calls.
    pub first: First,
    /// How many there were.
    pub count: u64,
    /// What the program got, and how often.
    pub got: BTreeMap<Got, u64>,
}

/// The first of some calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Since the command was executed.
    pub after: Duration,
    /// The process.
    pub process: Task,
    /// The address after the instruction that called.
    pub ip: Option<u64>,
    /// The arguments.
    pub args: [u64; ARGS],
}

impl Denial {
    /// Whether the call was kept from being executed, by nobody's decision but the profile's.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        !matches!(self.action, Action::Allow | Action::Log | Action::Notify)
    }

    /// Whether it is something to look into: it was denied. Not that a rule answers ENOSYS to a call that it names, which is
    /// how a profile tells libc to take an older one.
    #[must_use]
    pub fn is_finding(&self) -> bool {
        let meant = self.by_rule && self.action == Action::Errno(ErrnoRet::ENOSYS);
        self.is_denied() && !meant
    }
}

/// How many kinds of denials are told apart. Code that is made at run time could make any number.
const MAX_KINDS: usize = 4096;

/// Takes the events of a run under a profile, with the outcomes of calls.
pub struct Verifier<'a> {
    filter: &'a Filter,
    profile: &'a Profile,
    command: Command,
    tasks: HashMap<Task, Caller>,
    kinds: HashMap<Key, usize>,
    denials: Vec<Denial>,
    /// Denials beyond [`MAX_KINDS`].
    more: u64,
    lost: BTreeSet<String>,
}

/// The command, from the launcher on.
#[derive(Default)]
struct Command {
    task: Option<Task>,
    /// How many programs it executed: the first is the launcher.
    executed: u32,
    /// The launcher's latest call: in the end the execve(2) that starts the command.
    launching: Option<(Syscall, Option<Box<CallSite>>)>,
    started: Option<Instant>,
}

#[derive(Default)]
struct Caller {
    executable: Arc<PathBuf>,
    /// Which kind its latest call is, if it is a denial.
    latest: Option<usize>,
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    syscall: Syscall,
    action: Action,
    executable: Arc<PathBuf>,
    thread: Option<Arc<[u8]>>,
    code: Arc<Code>,
}

/// What became of a run under a profile.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Whether the command was executed at all.
    pub started: bool,
    /// What the filter didn't simply let through, in the order in which it came.
    pub denials: Vec<Denial>,
    /// How many more calls there were than kinds can be told apart.
    pub more: u64,
    /// Why denials may be missing.
    pub incomplete_because: BTreeSet<String>,
}

impl<'a> Verifier<'a> {
    /// For a run under this filter, which is that of this profile.
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

    /// The run is over.
    #[must_use]
    pub fn finish(mut self) -> Verified {
        let open: Vec<usize> = (self.tasks.values_mut())
            .filter_map(|caller| caller.latest.take())
            .collect();
        for kind in open {
            self.got(kind, Got::Unknown);
        }
        Verified {
            started: self.command.started.is_some(),
            denials: self.denials,
            more: self.more,
            incomplete_because: self.lost,
        }
    }

    fn called(&mut self, task: Task, syscall: Syscall, site: Option<&CallSite>) {
        // What is not of interest is let through, whatever its arguments.
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
        let key = Key {
            syscall,
            action,
            executable: Arc::clone(&executable),
            thread: site.thread.clone(),
            code: Arc::clone(&site.code),
        };
        let kind = match self.kinds.get(&key) {
            Some(&kind) => kind,
            None if self.denials.len() >= MAX_KINDS => {
                self.more += 1;
                self.caller(task).latest = None;
                return;
            }
            None => {
                let thread = site.thread.as_deref().unwrap_or_default();
                self.denials.push(Denial {
                    syscall,
                    action,
                    by_rule: self.is_by_rule(syscall, action),
                    executable: executable.as_ref().clone(),
                    thread: String::from_utf8_lossy(thread).into_owned(),
                    code: Arc::clone(&site.code),
                    first: First {
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

    fn is_by_rule(&self, syscall: Syscall, action: Action) -> bool {
        let name = syscall.name().unwrap_or_default();
        (self.profile.rules.iter())
            .any(|rule| rule.action() == action && rule.names().iter().any(|n| *n == name))
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
            // The signal is what it gets.
            CallOutcome::Returned(_) if ends_with_signal => return,
            CallOutcome::Returned(value) => Got::of(value),
            CallOutcome::Trapped => Got::Trapped,
            CallOutcome::Died(Exit::Signal(signal)) => Got::Killed(signal),
            // The status of a thread is that of its process once that has ended, too.
            CallOutcome::Died(Exit::Code(_)) if action == Some(Action::KillThread) => {
                Got::Killed(libc::SIGSYS)
            }
            CallOutcome::Died(Exit::Code(_)) => Got::Unknown,
        };
        self.caller(task).latest = None;
        self.got(kind, got);
    }

    fn got(&mut self, kind: usize, got: Got) {
        if let Some(denial) = self.denials.get_mut(kind) {
            *denial.got.entry(got).or_default() += 1;
        }
    }

    /// What is known of a task. One whose fork was not told of yet is asked for what it executes: it is stopped.
    fn caller(&mut self, task: Task) -> &mut Caller {
        self.tasks.entry(task).or_insert_with(|| Caller {
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
            // The call that started it is the workload's.
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
                self.tasks.entry(child).or_insert(Caller {
                    executable,
                    latest: None,
                });
            }
            Event::Exit { task } => {
                if let Some(kind) = self.tasks.remove(&task).and_then(|caller| caller.latest) {
                    self.got(kind, Got::Unknown);
                }
            }
            Event::Lost { why, .. } => {
                self.lost.insert(why);
            }
            Event::Outcome { .. } | Event::Calls { .. } | Event::Clock { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::{OnUnknown, compile};
    use crate::profile::Rule;
    use crate::syscall::Arch;

    /// A profile that refuses, and has rules of every kind.
    fn profile() -> Profile {
        let rule = |name: &str, action| Rule::new(vec![name.into()], action, Vec::new()).unwrap();
        let mut profile = Profile::new(Action::Errno(ErrnoRet::EPERM));
        profile.rules = vec![
            rule("execve", Action::Allow),
            rule("read", Action::Allow),
            rule("clone3", Action::Errno(ErrnoRet::ENOSYS)),
            rule("mount", Action::KillProcess),
            rule("unshare", Action::Trap),
            rule("setns", Action::Log),
        ];
        profile
    }

    const LAUNCHER: Task = Task(10);

    struct Scene {
        events: Vec<Event>,
    }

    impl Scene {
        /// The launcher executed the command.
        fn new() -> Scene {
            let mut scene = Scene { events: Vec::new() };
            scene.call(LAUNCHER, "execve");
            scene.exec(LAUNCHER, "/usr/bin/sc-record");
            scene.call(LAUNCHER, "mount");
            scene.returned(LAUNCHER, -1);
            scene.call(LAUNCHER, "execve");
            scene.exec(LAUNCHER, "/bin/app");
            scene.returned(LAUNCHER, 0);
            scene
        }

        fn call(&mut self, task: Task, name: &str) {
            let syscall = Syscall::from_name(Arch::NATIVE, name).unwrap();
            let site = CallSite {
                args: Some([1, 2, 3, 4, 5, 6]),
                ip: Some(0x1000),
                code: Arc::new(Code::File {
                    path: "/lib/libc.so.6".into(),
                    offset: 0x10,
                    deleted: false,
                }),
                executable: None,
                process: Some(Task(7)),
                thread: Some(Arc::from(&b"worker"[..])),
            };
            self.events.push(Event::Syscall {
                task,
                syscall,
                site: Some(Box::new(site)),
            });
        }

        fn exec(&mut self, task: Task, path: &str) {
            self.events.push(Event::Exec {
                task,
                executable: path.into(),
            });
        }

        fn outcome(&mut self, task: Task, outcome: CallOutcome) {
            self.events.push(Event::Outcome { task, outcome });
        }

        fn returned(&mut self, task: Task, value: i64) {
            self.outcome(task, CallOutcome::Returned(value));
        }

        /// `NAME ACTION xCOUNT: GOT…` of each denial, a mark in front of findings.
        fn verify(self) -> Vec<String> {
            let profile = profile();
            let filter = compile(&profile, OnUnknown::Fail).unwrap();
            let mut verifier = Verifier::new(&profile, &filter);
            for event in self.events {
                verifier.event(event);
            }
            let outcome = verifier.finish();
            assert!(outcome.started);
            let line = |denial: &Denial| {
                let got: Vec<_> = (denial.got.iter())
                    .map(|(got, times)| format!("{got} x{times}"))
                    .collect();
                let mark = if denial.is_finding() { "!" } else { "" };
                let Denial {
                    syscall,
                    action,
                    executable,
                    ..
                } = denial;
                format!(
                    "{mark}{syscall} {action} by {}: {}",
                    executable.display(),
                    got.join(", ")
                )
            };
            outcome.denials.iter().map(line).collect()
        }
    }

    #[test]
    fn what_the_launcher_does_is_left_out() {
        assert_eq!(Scene::new().verify(), Vec::<String>::new());
    }

    #[test]
    fn denials_are_told_with_what_the_program_got() {
        let mut scene = Scene::new();
        let (task, child) = (LAUNCHER, Task(11));
        for _ in 0..2 {
            scene.call(task, "uname");
            scene.returned(task, -1);
        }
        scene.call(task, "read");
        scene.returned(task, -9);
        scene.call(task, "clone3");
        scene.returned(task, -38);
        scene.call(task, "setns");
        scene.returned(task, -9);
        scene.events.push(Event::Fork {
            parent: task,
            child,
        });
        scene.call(child, "unshare");
        scene.returned(child, 272);
        scene.outcome(child, CallOutcome::Trapped);
        scene.exec(child, "/bin/other");
        scene.call(child, "uname");
        scene.returned(child, -1);
        scene.call(child, "mount");
        scene.returned(child, 165);
        scene.outcome(child, CallOutcome::Died(Exit::Signal(libc::SIGSYS)));
        scene.events.push(Event::Exit { task: child });
        assert_eq!(
            scene.verify(),
            [
                "!uname SCMP_ACT_ERRNO(EPERM) by /bin/app: EPERM x2",
                "clone3 SCMP_ACT_ERRNO(ENOSYS) by /bin/app: ENOSYS x1",
                "setns SCMP_ACT_LOG by /bin/app: EBADF x1",
                "!unshare SCMP_ACT_TRAP by /bin/app: SIGSYS x1",
                "!uname SCMP_ACT_ERRNO(EPERM) by /bin/other: EPERM x1",
                "!mount SCMP_ACT_KILL_PROCESS by /bin/other: killed by SIGSYS x1",
            ]
        );
    }

    #[test]
    fn a_task_that_ends_in_its_call_got_something_unknown() {
        let mut scene = Scene::new();
        scene.call(LAUNCHER, "uname");
        assert_eq!(
            scene.verify(),
            ["!uname SCMP_ACT_ERRNO(EPERM) by /bin/app: unknown x1"]
        );
    }
}
