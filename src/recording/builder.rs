//! Builds a [`Run`] from the events of a backend.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustc_hash::FxBuildHasher;

use super::argument_values::CallValues;
use super::counters::{Counter, Counters, MAX_COUNTERS};
use super::executable_index::{ExecutableIndex, IndexSet, NOBODY};
use super::journal::{Journal, RunJournal};
use super::schema::{text_length, whole_ms};
use super::seen::earliest;
use super::{Exit, Run, RunId, Tally};
use crate::escape;
use crate::event::{Event, Sink, Task};
use crate::syscall::Syscall;

/// The program of the run: that of the first task before its first exec event. The execve(2) that starts the workload
/// is thus credited to the workload, not to the recorder.
const PROGRAM: ExecutableIndex = 0;

/// The maximum number of executables. A workload that runs more has copied itself under new names.
const MAX_EXECUTABLES: usize = 1 << 14;

/// The maximum number of reasons why a run is incomplete.
const MAX_REASONS: usize = 256;

/// The maximum size of the executables of all calls in the file, so that any run can be read back.
const MAX_CREDITS: usize = 64 << 20;

/// What a task executes.
#[derive(Debug)]
enum Executable {
    Path(PathBuf),
    /// The task made a call before its fork or exec was reported. The fork event of its parent may still come; then the
    /// task executed its parent's program.
    OfParent {
        /// Children of the task executed the same.
        inherited: bool,
    },
}

/// Whether the event of the fork that made a task was seen.
#[derive(Clone, Copy, Debug)]
enum Birth {
    Seen,
    /// Not yet: calls before its first exec, if there were any, are credited to this [`Executable::OfParent`].
    Unseen(Option<ExecutableIndex>),
}

/// A living task.
#[derive(Clone, Copy, Debug)]
struct Life {
    executable: ExecutableIndex,
    birth: Birth,
}

/// The source of the times of events.
enum Clock {
    /// The start of the run. Events happen when they arrive.
    Running(Instant),
    /// Events are of the past, and no [`Event::Clock`] came yet.
    Unset,
    /// Events happened at the time of the latest [`Event::Clock`], since 1970.
    Set {
        now: Duration,
        earliest: Duration,
        latest: Duration,
    },
}

impl Clock {
    /// Since the start of the run, or since 1970 if the start is not known before the end.
    fn now(&self) -> Option<Duration> {
        match self {
            Clock::Running(start) => Some(start.elapsed()),
            Clock::Unset => None,
            Clock::Set { now, .. } => Some(*now),
        }
    }

    fn set(&mut self, time: SystemTime) {
        let now = (time.duration_since(SystemTime::UNIX_EPOCH)).unwrap_or_default();
        let (earliest, latest) = match *self {
            Clock::Running(_) | Clock::Unset => (now, now),
            Clock::Set {
                earliest, latest, ..
            } => (earliest.min(now), latest.max(now)),
        };
        *self = Clock::Set {
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
    /// Places in `executables` that are free again.
    free: Vec<ExecutableIndex>,
    index_of: HashMap<PathBuf, ExecutableIndex>,
    tasks: HashMap<Task, Life, FxBuildHasher>,
    /// Tasks that exited before the event of their fork, with the [`Executable::OfParent`] of their calls.
    unborn_dead: HashMap<Task, ExecutableIndex, FxBuildHasher>,
    /// The task of the latest call and what it executes: most calls are by the same task as the one before.
    latest: Option<(Task, ExecutableIndex)>,
    counters: Counters,
    /// Who made the first of the calls that were counted in the kernel, and when.
    first_caller: Option<(Duration, ExecutableIndex)>,
    losses: BTreeMap<String, Loss>,
    calls: u64,
    number_of_tasks: u64,
    latest_new: Option<Syscall>,
    /// Gets what is new.
    journal: Option<RunJournal>,
}

impl RunBuilder {
    /// Starts a run of `program` now.
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

    /// Starts a run that was recorded elsewhere, as in a log. Its kernel and machine are unknown, its program is the first
    /// that is executed, and [`Event::Clock`] gives its times.
    #[must_use]
    pub fn of_the_past(backend: &str) -> RunBuilder {
        RunBuilder {
            clock: Clock::Unset,
            ..RunBuilder::new(PathBuf::new(), backend, String::new(), String::new())
        }
    }

    fn new(program: PathBuf, backend: &str, kernel: String, machine: String) -> RunBuilder {
        RunBuilder {
            executables: vec![Executable::Path(program.clone())],
            free: Vec::new(),
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
                aggregated: false,
                lower_bounds: false,
                tasks: None,
                incomplete_because: BTreeSet::new(),
                syscalls: BTreeMap::new(),
                io_uring: BTreeMap::new(),
                runtime: BTreeMap::new(),
                not_observed: BTreeSet::new(),
            },
            clock: Clock::Running(Instant::now()),
            tasks: HashMap::default(),
            unborn_dead: HashMap::default(),
            latest: None,
            counters: Counters::default(),
            first_caller: None,
            losses: BTreeMap::new(),
            calls: 0,
            number_of_tasks: 0,
            latest_new: None,
            journal: None,
        }
    }

    /// Has what is new in the run written to a journal.
    #[must_use]
    pub fn journalled(self, journal: &Journal) -> RunBuilder {
        RunBuilder {
            journal: journal.begin(&self.run),
            ..self
        }
    }

    /// Sets the labels of the run, and the calls that pass unseen.
    #[must_use]
    pub fn of(
        mut self,
        labels: BTreeMap<String, String>,
        not_observed: BTreeSet<Syscall>,
    ) -> RunBuilder {
        self.run.labels = labels;
        self.run.not_observed = not_observed;
        self
    }

    /// The labels of the run.
    #[must_use]
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.run.labels
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.run.id
    }

    /// The number of calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// The number of different calls so far, over all ABIs.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.counters.len()
    }

    /// The number of tasks so far.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.number_of_tasks
    }

    /// The call that was new last.
    #[must_use]
    pub fn latest_new(&self) -> Option<Syscall> {
        self.latest_new
    }

    /// Ends the run now.
    #[must_use]
    pub fn finish(mut self, exit: Option<Exit>, no_new_privs: bool) -> Run {
        self.limit_credits();
        let start = match self.clock {
            Clock::Running(start) => {
                self.run.duration = start.elapsed();
                Duration::ZERO
            }
            Clock::Unset => Duration::ZERO,
            Clock::Set {
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
        let tasks = self.number_of_tasks;
        self.run.tasks = (tasks > 0 || !self.run.aggregated).then_some(tasks);
        self.run.incomplete_because = (self.losses.iter())
            .map(|(why, loss)| match loss {
                Loss { known: 0, .. } => why.clone(),
                Loss { known, more: false } => format!("{why} ({known} lost)"),
                Loss { known, more: true } => format!("{why} (at least {known} lost)"),
            })
            .collect();

        let program = path_of(&self.executables, PROGRAM).or_else(|| {
            let (_, first) = self.first_caller?;
            path_of(&self.executables, first)
        });
        if let (true, Some(program)) = (self.run.program.as_os_str().is_empty(), program) {
            self.run.program.clone_from(program);
        }
        self.run.syscalls = (self.counters.into_iter())
            .map(|counter| {
                let executables = counter.executables.iter();
                let paths = executables.filter_map(|index| path_of(&self.executables, index));
                let path_of = |index| path_of(&self.executables, index);
                let values = counter.values.as_ref();
                let tally = Tally {
                    count: counter.count,
                    first_ms: (counter.first).map(|first| whole_ms(first.saturating_sub(start))),
                    executables: paths.cloned().collect(),
                    args: values.map_or_else(BTreeMap::new, |values| {
                        values.finish(counter.count, start, path_of)
                    }),
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
            self.count_new(syscall, count, self.clock.now(), executable);
            return;
        };
        counter.count = counter.count.saturating_add(count);
        if let Clock::Set { now, .. } = self.clock {
            counter.first = earliest(counter.first, Some(now));
        }
        if counter.credit(executable) {
            self.journal_call(syscall, executable);
        }
    }

    fn counted(
        &mut self,
        syscall: Syscall,
        executable: Option<&Path>,
        count: u64,
        first: Option<SystemTime>,
    ) {
        self.run.aggregated = true;
        self.calls = self.calls.saturating_add(count);
        let executable = executable.map_or(NOBODY, |path| self.index_of_path(path));
        let since = match self.clock {
            Clock::Running(_) => self.run.started,
            Clock::Unset | Clock::Set { .. } => SystemTime::UNIX_EPOCH,
        };
        let first = first.map(|first| first.duration_since(since).unwrap_or_default());
        if let Some(first) = first
            && (self.first_caller).is_none_or(|(earlier, _)| first < earlier)
        {
            self.first_caller = Some((first, executable));
        }
        let Some(counter) = self.counters.get(syscall) else {
            self.count_new(syscall, count, first, executable);
            return;
        };
        counter.count = counter.count.saturating_add(count);
        counter.first = earliest(counter.first, first);
        if counter.credit(executable) {
            self.journal_call(syscall, executable);
        }
    }

    /// Adds the arguments of the latest call.
    fn arguments(&mut self, syscall: Syscall, args: &[u64; 6]) {
        let now = self.clock.now();
        let executable = self.latest.map_or(NOBODY, |(_, executable)| executable);
        if let Some(counter) = self.counters.get(syscall) {
            if counter.values.is_none() {
                counter.values = CallValues::new(syscall).map(Box::new);
            }
            if let Some(values) = &mut counter.values {
                values.add(args, now, executable);
            }
        }
    }

    /// Journals a call that is new, or new for an executable.
    #[cold]
    fn journal_call(&mut self, syscall: Syscall, executable: ExecutableIndex) {
        let Some(journal) = &self.journal else {
            return;
        };
        let first = self.counters.get(syscall).and_then(|counter| counter.first);
        let executable = match self.executables.get(executable) {
            Some(Executable::Path(path)) if !path.as_os_str().is_empty() => Some(path.as_path()),
            _ => None,
        };
        journal.call(syscall, first, executable);
    }

    #[cold]
    fn count_new(
        &mut self,
        syscall: Syscall,
        count: u64,
        first: Option<Duration>,
        executable: ExecutableIndex,
    ) {
        let counter = Counter::new(syscall, count, first, executable);
        if self.counters.add(counter).is_some() {
            self.latest_new = Some(syscall);
            self.journal_call(syscall, executable);
        } else {
            let why = format!("the workload made more than {MAX_COUNTERS} different calls");
            self.lost(Some(count), why);
        }
    }

    /// What a task executes. A task without an earlier event is counted here: the first is the workload's first task, and
    /// the fork events of others may come later.
    fn executable_of(&mut self, task: Task) -> ExecutableIndex {
        if let Some(life) = self.tasks.get(&task) {
            return life.executable;
        }
        let life = if self.number_of_tasks == 0 {
            Life {
                executable: PROGRAM,
                birth: Birth::Seen,
            }
        } else {
            match self.add_executable(Executable::OfParent { inherited: false }) {
                Some(of_parent) => Life {
                    executable: of_parent,
                    birth: Birth::Unseen(Some(of_parent)),
                },
                // As if its fork were never reported.
                None => Life {
                    executable: PROGRAM,
                    birth: Birth::Unseen(None),
                },
            }
        };
        self.tasks.insert(task, life);
        self.number_of_tasks += 1;
        life.executable
    }

    fn exec(&mut self, task: Task, path: &Path) {
        // The workload's program gets the path that was executed, not the name that the user gave.
        if self.index_of.is_empty() {
            self.executables[PROGRAM] = Executable::Path(path.to_owned());
            self.index_of.insert(path.to_owned(), PROGRAM);
        }
        let executable = self.index_of_path(path);
        self.latest = None;
        if let Some(life) = self.tasks.get_mut(&task) {
            life.executable = executable;
            return;
        }
        let birth = match self.number_of_tasks {
            0 => Birth::Seen,
            _ => Birth::Unseen(None),
        };
        self.number_of_tasks += 1;
        self.tasks.insert(task, Life { executable, birth });
    }

    fn index_of_path(&mut self, path: &Path) -> ExecutableIndex {
        if let Some(&index) = self.index_of.get(path) {
            return index;
        }
        let Some(index) = self.add_executable(Executable::Path(path.to_owned())) else {
            let why = format!(
                "the workload executed more than {MAX_EXECUTABLES} different programs: who made some calls is unknown"
            );
            self.lost(None, why);
            return NOBODY;
        };
        self.index_of.insert(path.to_owned(), index);
        index
    }

    /// `None`: there are too many.
    fn add_executable(&mut self, executable: Executable) -> Option<ExecutableIndex> {
        if let Some(index) = self.free.pop() {
            self.executables[index] = executable;
            return Some(index);
        }
        if self.executables.len() >= MAX_EXECUTABLES {
            return None;
        }
        self.executables.push(executable);
        Some(self.executables.len() - 1)
    }

    fn fork(&mut self, parent: Task, child: Task) {
        let executable = self.executable_of(parent);
        if let Some(Executable::OfParent { inherited }) = self.executables.get_mut(executable) {
            *inherited = true;
        }
        let life = self.tasks.get_mut(&child);
        let unborn = match life.map(|life| std::mem::replace(&mut life.birth, Birth::Seen)) {
            // The events of the child came before this one: calls, or an exec, or both.
            Some(Birth::Unseen(of_parent)) => Some(of_parent),
            // Another task had this id, and its exit was not reported.
            Some(Birth::Seen) => None,
            None => self.unborn_dead.remove(&child).map(Some),
        };
        match unborn {
            Some(Some(of_parent)) => self.resolve(child, of_parent, executable),
            Some(None) => {}
            None => {
                self.latest = None;
                self.number_of_tasks += 1;
                let birth = Birth::Seen;
                self.tasks.insert(child, Life { executable, birth });
            }
        }
    }

    fn exit(&mut self, task: Task) {
        self.latest = None;
        let life = self.tasks.remove(&task);
        if let Some(Birth::Unseen(Some(of_parent))) = life.map(|life| life.birth) {
            self.unborn_dead.insert(task, of_parent);
        }
    }

    /// Replaces the [`Executable::OfParent`] of a task by what its parent executes.
    fn resolve(&mut self, child: Task, of_parent: ExecutableIndex, parents: ExecutableIndex) {
        let inherited = match self.executables.get(of_parent) {
            Some(Executable::OfParent { inherited }) if of_parent != parents => *inherited,
            _ => return,
        };
        self.latest = None;
        self.counters.recredit(of_parent, parents);
        let replace = |life: &mut Life| {
            if life.executable == of_parent {
                life.executable = parents;
            }
        };
        if inherited {
            self.tasks.values_mut().for_each(replace);
        } else {
            self.tasks.get_mut(&child).map(replace);
        }
        self.free.push(of_parent);
    }

    /// Removes the executables of all calls if they are too many to be written.
    fn limit_credits(&mut self) {
        let paths = (0..self.executables.len()).map(|index| path_of(&self.executables, index));
        let lengths: Vec<usize> = paths
            .map(|path| path.map_or(0, |path| text_length(path)))
            .collect();
        let mut length = 0_usize;
        for counter in self.counters.iter_mut() {
            let values = counter.values.iter_mut();
            let values = values.flat_map(|values| values.executables());
            for executables in values.chain([&mut counter.executables]) {
                let lengths = executables.iter().map(|index| lengths[index]);
                length = lengths.fold(length, usize::saturating_add);
            }
        }
        if length > MAX_CREDITS {
            for counter in self.counters.iter_mut() {
                counter.executables = IndexSet::default();
                counter.values = None;
            }
            let why = "the programs that made the calls are too many to be written".to_owned();
            self.lost(None, why);
        }
    }

    fn lost(&mut self, count: Option<u64>, mut why: String) {
        if !escape::is_plain(&why) {
            why = escape::Line(why).to_string();
        }
        if self.losses.len() >= MAX_REASONS && !self.losses.contains_key(&why) {
            why = format!("there are more than {MAX_REASONS} reasons");
        }
        if let Some(journal) = &self.journal
            && !self.losses.contains_key(&why)
        {
            journal.lost(why.clone());
        }
        let loss = self.losses.entry(why).or_default();
        match count {
            Some(count) => loss.known = loss.known.saturating_add(count),
            None => loss.more = true,
        }
    }
}

/// The path of an executable. For a task whose fork was never reported, that of the program; `None` if that is unknown too.
fn path_of(executables: &[Executable], index: ExecutableIndex) -> Option<&PathBuf> {
    let of = |index| match executables.get(index) {
        Some(Executable::Path(path)) => Some(path),
        _ => None,
    };
    let path = of(index).or_else(|| of(PROGRAM))?;
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
            Event::Counted {
                syscall,
                executable,
                count,
                first,
            } => self.counted(syscall, executable.as_deref(), count, first),
            Event::Submitted {
                operation, count, ..
            } => {
                if let (None, Some(journal)) = (self.run.io_uring.get(&operation), &self.journal) {
                    journal.submitted(operation);
                }
                let submitted = self.run.io_uring.entry(operation).or_default();
                *submitted = submitted.saturating_add(count);
            }
            Event::Runtime { syscall, count } => {
                let calls = self.run.runtime.entry(syscall).or_default();
                if let (0, Some(journal)) = (*calls, &self.journal) {
                    journal.runtime(syscall);
                }
                *calls = calls.saturating_add(count);
            }
            Event::Exec { task, executable } => self.exec(task, &executable),
            Event::Fork { parent, child } => self.fork(parent, child),
            Event::Exit { task } => self.exit(task),
            Event::Clock { now } => self.clock.set(now),
            Event::Lost { count, why } => self.lost(count, why),
            Event::Arguments { syscall, args } => self.arguments(syscall, &args),
            Event::CountsAreLowerBounds => self.run.lower_bounds = true,
            Event::Outcome { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
