//! From the events of a backend to a [`Run`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

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
    first_ms: u64,
    /// The executable of the latest call, already in `executables`: most calls are by the same program as the one before.
    latest: ExecutableIndex,
    executables: BTreeSet<ExecutableIndex>,
}

/// Counts the events of one run.
pub struct RunBuilder {
    run: Run,
    clock: Instant,
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
        RunBuilder {
            executables: vec![program.clone()],
            program_seen: false,
            run: Run {
                id: RunId::new(),
                started: SystemTime::now(),
                duration: std::time::Duration::ZERO,
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
            clock: Instant::now(),
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
        self.run.duration = self.clock.elapsed();
        self.run.exit = exit;
        self.run.no_new_privs = no_new_privs;
        let executables = &self.executables;
        self.run.syscalls = (self.counters.into_iter())
            .map(|(syscall, counter)| {
                let named = counter
                    .executables
                    .iter()
                    .map(|&index| executables[index].clone());
                let tally = Tally {
                    count: counter.count,
                    first_ms: counter.first_ms,
                    executables: named.collect(),
                };
                (syscall, tally)
            })
            .collect();
        self.run
    }

    fn count(&mut self, task: Task, syscall: Syscall) {
        self.calls += 1;
        let executable = self.executable_of(task);
        let counter = self.counters.entry(syscall).or_insert_with(|| {
            self.latest_new = Some(syscall);
            Counter {
                count: 0,
                first_ms: u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX),
                latest: executable,
                executables: BTreeSet::from([executable]),
            }
        });
        counter.count += 1;
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

impl Sink for RunBuilder {
    fn event(&mut self, event: Event) {
        match event {
            Event::Syscall {
                task,
                syscall,
                site: _,
            } => self.count(task, syscall),
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
            Event::Lost { count, why } => {
                self.run.incomplete_because.insert(match count {
                    Some(count) => format!("{why} ({count} lost)"),
                    None => why,
                });
            }
        }
    }
}
