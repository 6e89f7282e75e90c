//! Builds a [`Run`] from the events of a backend.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::argument_values::CallValues;
use super::clock::Clock;
use super::clock::whole_ms;
use super::counters::{Counter, Counters, MAX_COUNTERS};
use super::executable_index::{ExecutableIndex, IndexSet, NOBODY};
use super::journal::{Journal, RunJournal};
use super::schema::text_length;
use super::seen::earliest;
use super::tasks::{MAX_EXECUTABLES, Recredit, Tasks};
use super::{Run, RunId, Tally};
use crate::escape;
use crate::event::Exit;
use crate::event::{Event, Sink, Task};
use crate::syscall::Syscall;

/// The maximum number of reasons why a run is incomplete.
const MAX_REASONS: usize = 256;

/// The maximum size of the executables of all calls in the file, so that any run can be read back.
const MAX_CREDITS: usize = 64 << 20;

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
    tasks: Tasks,
    counters: Counters,
    /// Who made the first of the calls that were counted in the kernel, and when.
    first_caller: Option<(Duration, ExecutableIndex)>,
    losses: BTreeMap<String, Loss>,
    calls: u64,
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
            tasks: Tasks::new(program.clone()),
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
            counters: Counters::default(),
            first_caller: None,
            losses: BTreeMap::new(),
            calls: 0,
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
        self.tasks.seen()
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
        let start = self.clock.finish(&mut self.run);
        self.run.started = whole_milliseconds(self.run.started);
        self.run.duration = Duration::from_millis(whole_ms(self.run.duration));
        self.run.exit = exit;
        self.run.no_new_privs = no_new_privs;
        let tasks = self.tasks.seen();
        self.run.tasks = (tasks > 0 || !self.run.aggregated).then_some(tasks);
        self.run.incomplete_because = (self.losses.iter())
            .map(|(why, loss)| match loss {
                Loss { known: 0, .. } => why.clone(),
                Loss { known, more: false } => format!("{why} ({known} lost)"),
                Loss { known, more: true } => format!("{why} (at least {known} lost)"),
            })
            .collect();

        let first_caller = (self.first_caller).and_then(|(_, first)| self.tasks.path(first));
        let program = self.tasks.program().or(first_caller);
        if let (true, Some(program)) = (self.run.program.as_os_str().is_empty(), program) {
            self.run.program = program.to_owned();
        }
        self.run.syscalls = (self.counters.into_iter())
            .map(|counter| {
                let path_of = |index| self.tasks.path(index).map(Path::to_owned);
                let values = counter.values.as_ref();
                let tally = Tally {
                    count: counter.count,
                    first_ms: (counter.first).map(|first| whole_ms(first.saturating_sub(start))),
                    executables: counter.executables.iter().filter_map(path_of).collect(),
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
        let executable = self.tasks.call(task);
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
    ) -> (ExecutableIndex, Option<Duration>) {
        self.run.aggregated = true;
        self.calls = self.calls.saturating_add(count);
        let executable = executable.map_or(NOBODY, |path| self.index_of(path));
        let since = self.clock.zero(&self.run);
        let first = first.map(|first| first.duration_since(since).unwrap_or_default());
        if let Some(first) = first
            && (self.first_caller).is_none_or(|(earlier, _)| first < earlier)
        {
            self.first_caller = Some((first, executable));
        }
        let Some(counter) = self.counters.get(syscall) else {
            self.count_new(syscall, count, first, executable);
            return (executable, first);
        };
        counter.count = counter.count.saturating_add(count);
        counter.first = earliest(counter.first, first);
        if counter.credit(executable) {
            self.journal_call(syscall, executable);
        }
        (executable, first)
    }

    /// Adds the arguments of the latest call.
    fn arguments(&mut self, syscall: Syscall, args: &[u64; 6]) {
        let executable = self.tasks.latest();
        self.add_arguments(syscall, args, 1, self.clock.now(), executable);
    }

    fn add_arguments(
        &mut self,
        syscall: Syscall,
        args: &[u64; 6],
        count: u64,
        first: Option<Duration>,
        executable: ExecutableIndex,
    ) {
        if let Some(counter) = self.counters.get(syscall) {
            if counter.values.is_none() {
                counter.values = CallValues::new(syscall).map(Box::new);
            }
            if let Some(values) = &mut counter.values {
                values.add(args, count, first, executable);
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
        journal.call(syscall, first, self.tasks.known_path(executable));
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

    fn exec(&mut self, task: Task, path: &Path) {
        if self.tasks.exec(task, path).is_none() {
            self.too_many_executables();
        }
    }

    fn index_of(&mut self, path: &Path) -> ExecutableIndex {
        self.tasks.index_of(path).unwrap_or_else(|| {
            self.too_many_executables();
            NOBODY
        })
    }

    fn too_many_executables(&mut self) {
        let why = format!(
            "the workload executed more than {MAX_EXECUTABLES} different programs: who made some calls is unknown"
        );
        self.lost(None, why);
    }

    fn fork(&mut self, parent: Task, child: Task) {
        if let Some(Recredit { from, to }) = self.tasks.fork(parent, child) {
            self.counters.recredit(from, to);
        }
    }

    /// Removes the executables of all calls if they are too many to be written.
    fn limit_credits(&mut self) {
        let lengths: Vec<usize> = (self.tasks.paths())
            .map(|path| path.map_or(0, text_length))
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
                args,
            } => {
                let (executable, first) =
                    self.counted(syscall, executable.as_deref(), count, first);
                if let Some(args) = args {
                    self.add_arguments(syscall, &args, count, first, executable);
                }
            }
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
            Event::Exit { task } => self.tasks.exit(task),
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
