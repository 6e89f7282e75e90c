//! From the events of a backend to a [`Run`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxBuildHasher;

use super::counters::{Counter, Counters, IndexSet, MAX_COUNTERS};
use super::schema::whole_ms;
use super::{Exit, Run, RunId, Tally};
use crate::event::{Event, Sink, Task};
use crate::syscall::Syscall;

/// Which of [`RunBuilder::executables`].
type ExecutableIndex = usize;

/// The program of the run: that of the first task before the first exec that was seen, so that the execve(2) which
/// starts the workload is put down to the workload, not to the recorder.
const PROGRAM: ExecutableIndex = 0;

/// What a task runs.
#[derive(Debug)]
enum Executable {
    Path(PathBuf),
    /// A task called before any event told where it came from: its parent's fork may be told of later, and then it ran
    /// what its parent runs.
    OfParent,
    /// The same as another, which is not this one, and was not `SameAs` when this was set.
    SameAs(ExecutableIndex),
}

/// A living task.
#[derive(Clone, Copy, Debug)]
struct Life {
    executable: ExecutableIndex,
    /// What it ran at first, an [`Executable::OfParent`], if its fork was not told of yet.
    unborn: Option<ExecutableIndex>,
}

/// What tells the time of the events.
enum Clock {
    /// Events happen when they are told. Since when the run goes.
    Running(Instant),
    /// Events are of the past, and none has told its time.
    Untold,
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
            Clock::Untold => Duration::ZERO,
            Clock::Told { now, .. } => *now,
        }
    }

    fn set(&mut self, time: SystemTime) {
        let now = (time.duration_since(SystemTime::UNIX_EPOCH)).unwrap_or_default();
        let (earliest, latest) = match *self {
            Clock::Running(_) | Clock::Untold => (now, now),
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

/// How many calls were lost for one reason.
#[derive(Default)]
struct Loss {
    known: u64,
    more: bool,
}

/// Counts the events of one run.
pub struct RunBuilder {
    run: Run,
    clock: Clock,
    executables: Vec<Executable>,
    index_of: HashMap<PathBuf, ExecutableIndex>,
    tasks: HashMap<Task, Life, FxBuildHasher>,
    /// Of the tasks that ended before their fork was told of: what they ran at first.
    unborn_dead: HashMap<Task, ExecutableIndex, FxBuildHasher>,
    /// The task of the latest call and what it runs: most calls are by the same task as the one before.
    latest: Option<(Task, ExecutableIndex)>,
    counters: Counters,
    losses: BTreeMap<String, Loss>,
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
        RunBuilder {
            clock: Clock::Untold,
            ..RunBuilder::new(PathBuf::new(), backend, String::new(), String::new())
        }
    }

    fn new(program: PathBuf, backend: &str, kernel: String, machine: String) -> RunBuilder {
        RunBuilder {
            executables: vec![Executable::Path(program.clone())],
            index_of: HashMap::new(),
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
            tasks: HashMap::default(),
            unborn_dead: HashMap::default(),
            latest: None,
            counters: Counters::default(),
            losses: BTreeMap::new(),
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
            Clock::Untold => Duration::ZERO,
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
        self.run.incomplete_because = (self.losses.iter())
            .map(|(why, loss)| match loss {
                Loss { known: 0, .. } => why.clone(),
                Loss { known, more: false } => format!("{why} ({known} lost)"),
                Loss { known, more: true } => format!("{why} (at least {known} lost)"),
            })
            .collect();

        let program = path_of(&self.executables, PROGRAM);
        if let (true, Some(program)) = (self.run.program.as_os_str().is_empty(), program) {
            self.run.program.clone_from(program);
        }
        self.run.syscalls = (self.counters.into_iter())
            .map(|counter| {
                let executables = counter.executables.iter();
                let paths = executables.filter_map(|index| path_of(&self.executables, index));
                let tally = Tally {
                    count: counter.count,
                    first_ms: whole_ms(counter.first.saturating_sub(start)),
                    executables: paths.cloned().collect(),
                };
                (counter.syscall, tally)
            })
            .collect();
        self.run
    }

    fn count(&mut self, task: Task, syscall: Syscall, count: u64) {
        self.calls = self.calls.saturating_add(count);
        let executable = match self.latest {
            Some((latest, executable)) if latest == task => executable,
            _ => self.executable_of(task),
        };
        self.latest = Some((task, executable));
        let Some(counter) = self.counters.get(syscall) else {
            self.count_new(syscall, count, executable);
            return;
        };
        counter.count = counter.count.saturating_add(count);
        if let Clock::Told { now, .. } = self.clock {
            counter.first = counter.first.min(now);
        }
        if counter.latest != executable {
            counter.latest = executable;
            counter.executables.insert(executable);
        }
    }

    #[cold]
    fn count_new(&mut self, syscall: Syscall, count: u64, executable: ExecutableIndex) {
        let mut executables = IndexSet::default();
        executables.insert(executable);
        let added = self.counters.add(Counter {
            syscall,
            count,
            first: self.clock.now(),
            latest: executable,
            executables,
        });
        if added.is_some() {
            self.latest_new = Some(syscall);
        } else {
            let why = format!("the workload made more than {MAX_COUNTERS} different calls");
            self.lost(Some(count), &why);
        }
    }

    /// What a task runs. One that no event told of before starts to be counted here: the first is the workload itself,
    /// and of the others the fork may be told of later.
    fn executable_of(&mut self, task: Task) -> ExecutableIndex {
        if let Some(life) = self.tasks.get(&task) {
            return life.executable;
        }
        let life = if self.run.tasks == 0 {
            Life {
                executable: PROGRAM,
                unborn: None,
            }
        } else {
            self.executables.push(Executable::OfParent);
            let of_parent = self.executables.len() - 1;
            Life {
                executable: of_parent,
                unborn: Some(of_parent),
            }
        };
        self.tasks.insert(task, life);
        self.run.tasks += 1;
        life.executable
    }

    fn exec(&mut self, task: Task, path: PathBuf) {
        // The workload's own program goes by the path that was seen, not by the name that it was called by.
        if self.index_of.is_empty() {
            self.executables[PROGRAM] = Executable::Path(path.clone());
            self.index_of.insert(path.clone(), PROGRAM);
        }
        let executables = &mut self.executables;
        let executable = *self.index_of.entry(path).or_insert_with_key(|path| {
            executables.push(Executable::Path(path.clone()));
            executables.len() - 1
        });
        self.latest = None;
        if let Some(life) = self.tasks.get_mut(&task) {
            life.executable = executable;
        } else {
            self.run.tasks += 1;
            let unborn = None;
            self.tasks.insert(task, Life { executable, unborn });
        }
    }

    fn fork(&mut self, parent: Task, child: Task) {
        let executable = self.executable_of(parent);
        let unborn = match self.tasks.get_mut(&child) {
            Some(life) => life.unborn.take(),
            None => self.unborn_dead.remove(&child),
        };
        if let Some(unborn) = unborn {
            // The child's calls came before this event, perhaps its exec and its exit too.
            self.same(unborn, executable);
            return;
        }
        // A new task. If one of this id is there still, its end was not told.
        self.latest = None;
        self.run.tasks += 1;
        self.tasks.insert(child, Life { executable, unborn });
    }

    fn exit(&mut self, task: Task) {
        self.latest = None;
        let life = self.tasks.remove(&task);
        if let Some(unborn) = life.and_then(|life| life.unborn) {
            self.unborn_dead.insert(task, unborn);
        }
    }

    /// Notes that an [`Executable::OfParent`] is that of the parent.
    fn same(&mut self, of_parent: ExecutableIndex, parents: ExecutableIndex) {
        let parents = representative(&self.executables, parents);
        if parents != of_parent {
            self.executables[of_parent] = Executable::SameAs(parents);
        }
    }

    fn lost(&mut self, count: Option<u64>, why: &str) {
        if !self.losses.contains_key(why) {
            self.losses.insert(why.to_owned(), Loss::default());
        }
        let Some(loss) = self.losses.get_mut(why) else {
            return;
        };
        match count {
            Some(count) => loss.known = loss.known.saturating_add(count),
            None => loss.more = true,
        }
    }
}

/// The one that others are the same as.
fn representative(executables: &[Executable], mut index: ExecutableIndex) -> ExecutableIndex {
    while let Some(&Executable::SameAs(other)) = executables.get(index) {
        index = other;
    }
    index
}

/// The path of an executable; the program's for a task whose fork was never told. `None` if nothing is known of it.
fn path_of(executables: &[Executable], index: ExecutableIndex) -> Option<&PathBuf> {
    let of = |index| match executables.get(index) {
        Some(Executable::Path(path)) => Some(path),
        _ => None,
    };
    let path = of(representative(executables, index)).or_else(|| of(PROGRAM))?;
    (!path.as_os_str().is_empty()).then_some(path)
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
            Event::Exec { task, executable } => self.exec(task, executable),
            Event::Fork { parent, child } => self.fork(parent, child),
            Event::Exit { task } => self.exit(task),
            Event::Clock { now } => self.clock.set(now),
            Event::Lost { count, why } => self.lost(count, &why),
            Event::Outcome { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
