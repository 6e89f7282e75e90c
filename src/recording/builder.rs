//! From the events of a backend to a [`Run`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::schema::whole_ms;
use super::{Exit, Run, RunId, Tally};
use crate::event::{Event, Sink, Task};
use crate::syscall::Syscall;

/// Which of [`RunBuilder::executables`].
type ExecutableIndex = usize;

/// The program of the run: that of tasks before the first exec that was seen, so that the execve(2) which starts the
/// workload is put down to the workload, not to the recorder.
const PROGRAM: ExecutableIndex = 0;

/// What is counted of one call while the run goes on.
struct Counter {
    count: u64,
    first: Duration,
    /// The executable of the latest call, already in `executables`: most calls are by the same program as the one before.
    latest: ExecutableIndex,
    executables: BTreeSet<ExecutableIndex>,
}

/// What tells the time of the events.
enum Clock {
    /// Events happen when they are told. Since when the run goes.
    Running(Instant),
    /// Events tell the time that they happened at, as that since 1970.
    Told {
        now: Duration,
        earliest: Duration,
        latest: Duration,
    },
}

impl Clock {
    /// Since the start of the run, or since 1970 if the start is not known before the end.
    fn now(&self) -> Duration {
        match self {
            Clock::Running(start) => start.elapsed(),
            Clock::Told { now, .. } => *now,
        }
    }

    fn set(&mut self, time: SystemTime) {
        let now = (time.duration_since(SystemTime::UNIX_EPOCH)).unwrap_or_default();
        let (earliest, latest) = match *self {
            Clock::Running(_) => (now, now),
            Clock::Told {
                earliest, latest, ..
            } => (earliest.min(now), latest.max(now)),
        };
        *self = Clock::Told {
            now,
            earliest,
            latest,
        };
    }
}

/// Counts the events of one run.
pub struct RunBuilder {
    run: Run,
    clock: Clock,
    executables: Vec<PathBuf>,
    program_seen: bool,
    /// The living tasks.
    tasks: HashMap<Task, ExecutableIndex>,
    counters: HashMap<Syscall, Counter>,
    calls: u64,
    latest_new: Option<Syscall>,
}

impl RunBuilder {
    /// Starts to count a run of `program` now.
    #[must_use]
    pub fn start(program: PathBuf, backend: &str) -> RunBuilder {
        let (kernel, machine) = match nix::sys::utsname::uname() {
            Ok(uname) => (
                uname.release().to_string_lossy().into_owned(),
                uname.machine().to_string_lossy().into_owned(),
            ),
            // uname(2) fails for bad pointers only.
            Err(_) => (String::new(), String::new()),
        };
        RunBuilder::new(program, backend, kernel, machine)
    }

    /// Starts to count a run that others saw and noted: where it ran isn't known, and its program is the first that
    /// executes. [`Event::Clock`] tells when it was.
    #[must_use]
    pub fn of_the_past(backend: &str) -> RunBuilder {
        RunBuilder::new(PathBuf::new(), backend, String::new(), String::new())
    }

    fn new(program: PathBuf, backend: &str, kernel: String, machine: String) -> RunBuilder {
        RunBuilder {
            executables: vec![program.clone()],
            program_seen: false,
            run: Run {
                id: RunId::new(),
                started: SystemTime::now(),
                duration: Duration::ZERO,
                tool: concat!("sc-record ", env!("CARGO_PKG_VERSION")).to_owned(),
                program,
                argv: None,
                labels: BTreeMap::new(),
                backend: backend.to_owned(),
                kernel,
                machine,
                no_new_privs: false,
                exit: None,
                tasks: 0,
                incomplete_because: BTreeSet::new(),
                syscalls: BTreeMap::new(),
            },
            clock: Clock::Running(Instant::now()),
            tasks: HashMap::new(),
            counters: HashMap::new(),
            calls: 0,
            latest_new: None,
        }
    }

    /// How many calls there were so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// How many different ones, over all ABIs.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.counters.len()
    }

    /// How many tasks there were so far.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.run.tasks
    }

    /// The call that was seen for the first time last.
    #[must_use]
    pub fn latest_new(&self) -> Option<Syscall> {
        self.latest_new
    }

    /// Ends the run now.
    #[must_use]
    pub fn finish(mut self, exit: Option<Exit>, no_new_privs: bool) -> Run {
        let start = match self.clock {
            Clock::Running(start) => {
                self.run.duration = start.elapsed();
                Duration::ZERO
            }
            Clock::Told {
                earliest, latest, ..
            } => {
                self.run.started = SystemTime::UNIX_EPOCH + earliest;
                self.run.duration = latest.saturating_sub(earliest);
                earliest
            }
        };
        self.run.started = whole_milliseconds(self.run.started);
        self.run.duration = Duration::from_millis(whole_ms(self.run.duration));
        self.run.exit = exit;
        self.run.no_new_privs = no_new_privs;
        let executables = &self.executables;
        if self.run.program.as_os_str().is_empty() {
            self.run.program.clone_from(&executables[PROGRAM]);
        }
        self.run.syscalls = (self.counters.into_iter())
            .map(|(syscall, counter)| {
                let named = counter
                    .executables
                    .iter()
                    .map(|&index| executables[index].clone())
                    // That of a program nothing is known of.
                    .filter(|executable| !executable.as_os_str().is_empty());
                let tally = Tally {
                    count: counter.count,
                    first_ms: whole_ms(counter.first.saturating_sub(start)),
                    executables: named.collect(),
                };
                (syscall, tally)
            })
            .collect();
        self.run
    }

    fn count(&mut self, task: Task, syscall: Syscall, count: u64) {
        self.calls = self.calls.saturating_add(count);
        let executable = self.executable_of(task);
        let counter = self.counters.entry(syscall).or_insert_with(|| {
            self.latest_new = Some(syscall);
            Counter {
                count: 0,
                first: self.clock.now(),
                latest: executable,
                executables: BTreeSet::from([executable]),
            }
        });
        counter.count = counter.count.saturating_add(count);
        if let Clock::Told { now, .. } = self.clock {
            counter.first = counter.first.min(now);
        }
        if counter.latest != executable {
            counter.latest = executable;
            counter.executables.insert(executable);
        }
    }

    /// The executable of a task. A task that no event told of before (its first call can come before its parent's fork)
    /// starts to be counted here.
    fn executable_of(&mut self, task: Task) -> ExecutableIndex {
        *self.tasks.entry(task).or_insert_with(|| {
            self.run.tasks += 1;
            PROGRAM
        })
    }

    fn index_of(&mut self, executable: &Path) -> ExecutableIndex {
        if !self.program_seen {
            self.program_seen = true;
            executable.clone_into(&mut self.executables[PROGRAM]);
        }
        let known = self
            .executables
            .iter()
            .position(|known| known == executable);
        known.unwrap_or_else(|| {
            self.executables.push(executable.to_owned());
            self.executables.len() - 1
        })
    }
}

/// A time as files keep it, so that a run is the same before and after it is written.
fn whole_milliseconds(time: SystemTime) -> SystemTime {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH);
    SystemTime::UNIX_EPOCH + Duration::from_millis(whole_ms(since_1970.unwrap_or_default()))
}

impl Sink for RunBuilder {
    fn event(&mut self, event: Event) {
        match event {
            Event::Syscall {
                task,
                syscall,
                site: _,
            } => self.count(task, syscall, 1),
            Event::Calls {
                task,
                syscall,
                count,
            } => self.count(task, syscall, count),
            Event::Exec { task, executable } => {
                self.executable_of(task);
                let index = self.index_of(&executable);
                self.tasks.insert(task, index);
            }
            Event::Fork { parent, child } => {
                let executable = self.executable_of(parent);
                self.executable_of(child);
                self.tasks.insert(child, executable);
            }
            Event::Exit { task } => {
                self.tasks.remove(&task);
            }
            Event::Clock { now } => self.clock.set(now),
            Event::Lost { count, why } => {
                self.run.incomplete_because.insert(match count {
                    Some(count) => format!("{why} ({count} lost)"),
                    None => why,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::Arch;

    fn call(task: i32, nr: i32) -> Event {
        Event::Syscall {
            task: Task(task),
            syscall: Syscall {
                arch: Arch::X86_64,
                nr,
            },
            site: None,
        }
    }

    fn clock(secs: u64) -> Event {
        Event::Clock {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(secs),
        }
    }

    #[test]
    fn a_run_of_the_past_has_the_times_that_it_is_told_in_any_order() {
        let mut builder = RunBuilder::of_the_past("audit");
        for event in [
            clock(1000),
            Event::Exec {
                task: Task(7),
                executable: "/bin/a".into(),
            },
            call(7, 0),
            clock(1010),
            call(7, 1),
            clock(990),
            call(7, 0),
            Event::Calls {
                task: Task(8),
                syscall: Syscall {
                    arch: Arch::X86_64,
                    nr: 2,
                },
                count: 5,
            },
        ] {
            builder.event(event);
        }
        assert_eq!(builder.calls(), 8);
        let run = builder.finish(None, false);
        assert_eq!(
            run.started,
            SystemTime::UNIX_EPOCH + Duration::from_secs(990)
        );
        assert_eq!(run.duration, Duration::from_secs(20));
        assert_eq!(run.program, PathBuf::from("/bin/a"));
        assert_eq!((run.kernel.as_str(), run.machine.as_str()), ("", ""));
        let tallies: Vec<_> = run.syscalls.values().collect();
        let firsts: Vec<_> = tallies.iter().map(|t| (t.count, t.first_ms)).collect();
        assert_eq!(firsts, [(2, 0), (1, 20_000), (5, 0)]);
    }

    #[test]
    fn a_program_that_nothing_is_known_of_has_no_name() {
        let mut builder = RunBuilder::of_the_past("strace");
        builder.event(call(0, 0));
        let run = builder.finish(None, false);
        let executables = run.syscalls.values().map(|tally| tally.executables.len());
        assert_eq!(executables.collect::<Vec<_>>(), [0]);
        assert_eq!(run.duration.as_secs(), 0);
    }
}
