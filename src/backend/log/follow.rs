//! Follows the records of programs that others start (pods, containers, services) under a profile whose default action is
//! `SCMP_ACT_LOG`.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use super::containers::{Current, RunsByContainer, Whereabouts};
use super::intake::Intake;
use super::login::recorder_of;
use super::tracker::Tracker;
use super::translate::Translator;
use super::{AuditReading, AuditSourceError, IntakeMessage, NAME, is_logged, lost};
use crate::audit::{Record, Selection};
use crate::backend::launch::{launch, started};
use crate::backend::{
    Backend, Collector, Command, Detail, Error, Notice, Over, Promise, RunEnd, Scope, Stop, Target,
    Unavailable, Until, proc,
};
use crate::event::{Event, Exit, Sink, Task};
use crate::syscall::Syscall;

/// Records the logged calls of a process or a scope that runs under a filter with `SCMP_ACT_LOG`.
///
/// Ends by the [`Stop`], after the set times, when the source ends, or with the last process of a [`Target::Process`].
#[derive(Clone, Debug, Default)]
pub struct Follow {
    /// How records are read.
    pub reading: AuditReading,
    /// If not empty: only threads with one of these names. The kernel keeps 15 bytes of a name, so only these are
    /// compared.
    pub comms: Vec<OsString>,
    /// If not empty: only processes that execute one of these files.
    pub exes: Vec<OsString>,
    /// Calls that the profile of the target lets pass without a record.
    pub unlogged: BTreeSet<Syscall>,
    /// Whether that profile is known to log all others: a target without a record then made none of them.
    pub logs_others: bool,
    /// If given, the target's records go there, and the run has none of their calls. A target without records is then no error.
    pub records: Option<TakeRecord>,
    /// Ends the recording after this time.
    pub duration: Option<Duration>,
    /// Ends the recording after this time without a record of the target.
    pub idle: Option<Duration>,
}

/// Takes records, with the container of each if containers are told apart.
#[derive(Clone)]
pub struct TakeRecord(pub Arc<RecordTaker>);

type RecordTaker = dyn Fn(&Record<'_>, Option<&str>) + Send + Sync;

impl fmt::Debug for TakeRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TakeRecord")
    }
}

/// After how long to say that no process of the target was seen.
const LONG: Duration = Duration::from_secs(10);

/// How often to check whether the recording must end.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Refuses what can't be followed.
fn check(target: &Target) -> Result<(), Unavailable> {
    match target {
        Target::Command(Command { starts: None, .. }) => Err(Unavailable::Target(
            "a command: it follows programs that others start",
        )),
        target if matches!(target.scope(), Some(Scope::ContainerOf { .. })) => Err(
            Unavailable::Target("a container that is named by a process"),
        ),
        Target::Command(_) | Target::Process(_) | Target::Scope(_) => Ok(()),
    }
}

impl Backend for Follow {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        check(target)?;
        let source = if self.reading.source.may_be_elsewhere() {
            self.reading.source.clone()
        } else {
            Intake::probe(&self.reading)?.source().clone()
        };
        Ok(Promise {
            detail: Detail::PerCall,
            call_sites: false,
            how: format!("audit records from {source}"),
        })
    }

    fn record(
        &self,
        target: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error> {
        check(target).map_err(Error::unavailable(NAME))?;
        let elsewhere = self.reading.source.may_be_elsewhere();
        if !elsewhere && !is_logged() {
            return Err(AuditSourceError::NotLogged.into());
        }
        let tracker = Tracker::new(target)?;
        let current = target.each_container().map(|_| Current::default());
        let mut intake = if elsewhere {
            Intake::begin(&self.reading)?
        } else {
            Intake::open(&self.reading, None, stop)?
        };
        let mut taker = Taker {
            tracker,
            none: none_of(target),
            by_record: Selection {
                comms: self.comms.clone(),
                exes: self.exes.clone(),
                ..Selection::default()
            },
            translator: Translator::new(),
            already: match self.records {
                Some(_) => HashSet::new(),
                None => filtered_processes(),
            },
            records: self.records.clone(),
            current: current.clone(),
            taken: 0,
            unknown: 0,
            others: BTreeMap::new(),
            in_containers: false,
        };
        let of_each = current.filter(|_| self.records.is_none());
        let mut run = RunsByContainer::begin(collector, target, self.unlogged.clone(), of_each);
        run.notice(Notice::Ready(format!(
            "following audit records from {} until {}",
            intake.source(),
            self.ends(target)
        )));
        let exit = match target {
            Target::Command(command) => {
                let containers = target.each_container();
                self.follow_command(command, containers, &mut intake, &mut taker, &mut run, stop)?
            }
            Target::Process(_) | Target::Scope(_) => {
                let until = Ends {
                    client: None,
                    containers: target.each_container(),
                };
                self.follow(&mut intake, &mut taker, &mut run, stop, until);
                None
            }
        };
        intake.close(None, &mut run, &mut |sink, record| {
            taker.take(record, sink);
        });
        // Without a record, only a filter that would have left one shows that none was to come.
        if taker.taken == 0
            && self.records.is_none()
            && !(self.logs_others && taker.tracker.saw_filtered())
        {
            return Err(Error::NoRecord {
                others: taker.others,
            });
        }
        if self.records.is_some() && !taker.tracker.saw_process() {
            lost(&mut run, taker.none);
        }
        if taker.in_containers && self.records.is_none() {
            run.notice(Notice::Progress(
                "these programs run in containers, and the calls of the runtime before them are not among theirs: generate \
                 --runtime adds them; --container records them"
                    .to_owned(),
            ));
        }
        if taker.unknown > 0 {
            run.event(Event::Lost {
                count: Some(taker.unknown),
                why: "records of processes that ended before they could be identified".to_owned(),
            });
        }
        run.end(RunEnd {
            exit,
            ..RunEnd::default()
        });
        Ok(())
    }
}

/// A command that has a container started.
struct Client {
    until: Until,
    has_ended: AtomicBool,
}

/// What a recording ends with.
#[derive(Clone, Copy)]
struct Ends<'a> {
    client: Option<&'a Client>,
    containers: Option<&'a Over>,
}

impl Ends<'_> {
    fn has_come(self, tracker: &mut Tracker) -> bool {
        let containers_are_over = || self.containers.map(|Over(is_over)| is_over());
        match self.client {
            None => containers_are_over().unwrap_or_else(|| tracker.tree_has_ended()),
            Some(client) => {
                client.has_ended.load(Ordering::Relaxed)
                    && (client.until == Until::Exit
                        || containers_are_over().unwrap_or_else(|| !tracker.scope_has_processes()))
            }
        }
    }
}

impl Follow {
    /// When the recording ends, as text for the user.
    fn ends(&self, target: &Target) -> String {
        let duration = self.duration.map(|time| format!("{time:?} have passed"));
        let idle = (self.idle).map(|time| format!("none has arrived for {time:?}"));
        let process = match target {
            Target::Process(process) => Some(format!("process {process} and its children end")),
            Target::Command(_) => Some("the container ends".to_owned()),
            Target::Scope(_) => None,
        };
        let ends = [
            Some("it is interrupted".to_owned()),
            duration,
            idle,
            process,
        ];
        ends.into_iter().flatten().collect::<Vec<_>>().join(", or ")
    }

    /// Follows the container that a command starts. Returns how the command ended.
    fn follow_command(
        &self,
        command: &Command,
        containers: Option<&Over>,
        intake: &mut Intake,
        taker: &mut Taker,
        run: &mut RunsByContainer<'_>,
        stop: &Stop,
    ) -> Result<Option<Exit>, Error> {
        let launched = launch(command, None)?;
        started(command, launched.task());
        let client = Client {
            until: command.until,
            has_ended: AtomicBool::new(false),
        };
        let exit = std::thread::scope(|scope| {
            let client = &client;
            let waiter = std::thread::Builder::new().name("waiter".to_owned());
            let waiter = waiter.spawn_scoped(scope, move || {
                let ended = launched.run(stop);
                client.has_ended.store(true, Ordering::Relaxed);
                ended
            });
            let waiter = waiter.map_err(Error::io("starting a thread"))?;
            let ends = Ends {
                client: Some(client),
                containers,
            };
            self.follow(intake, taker, run, stop, ends);
            (waiter.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        command.job.ended();
        exit
    }

    fn follow(
        &self,
        intake: &mut Intake,
        taker: &mut Taker,
        run: &mut RunsByContainer<'_>,
        stop: &Stop,
        target_ends: Ends<'_>,
    ) {
        let start = Instant::now();
        let mut latest = start;
        let mut is_early = true;
        while !stop.is_requested() && !intake.is_over() {
            let now = Instant::now();
            if is_early && now - start >= LONG {
                is_early = false;
                if !taker.tracker.saw_process() {
                    run.notice(Notice::Progress(format!("{} so far", taker.none)));
                }
            }
            let ends = [
                self.duration.map(|duration| start + duration),
                self.idle.map(|idle| latest + idle),
            ];
            let left = (ends.into_iter().flatten()).map(|end| end.saturating_duration_since(now));
            let left = left.min().unwrap_or(CHECK_INTERVAL);
            if left.is_zero() {
                break;
            }
            match intake.next(Some(left.min(CHECK_INTERVAL))) {
                Some(IntakeMessage::Batch(batch)) => {
                    let mut took = false;
                    intake.process(&batch, &mut |record| took |= taker.take(record, run));
                    if took {
                        latest = Instant::now();
                    }
                }
                None if target_ends.has_come(&mut taker.tracker) => break,
                Some(_) | None => {}
            }
        }
    }
}

/// Takes the records of the target.
struct Taker {
    tracker: Tracker,
    /// What to say if no process of the target was seen.
    none: String,
    by_record: Selection,
    translator: Translator,
    /// Processes that may have made calls under their filter before the recording began.
    already: HashSet<i32>,
    records: Option<TakeRecord>,
    /// Where to say which container the next events are of.
    current: Option<Current>,
    taken: u64,
    /// How many records can't be assigned to a process.
    unknown: u64,
    /// The programs, with their containers, of other records, and how many each had.
    others: BTreeMap<String, u64>,
    /// Whether programs were selected of which some run in a container.
    in_containers: bool,
}

/// How many other programs to keep.
const MAX_OTHERS: usize = 100;

impl Taker {
    /// Takes a record if it is the target's, and returns whether it is.
    fn take(&mut self, record: &Record<'_>, sink: &mut dyn Sink) -> bool {
        if !self.by_record.includes(record) {
            self.other(record);
            return false;
        }
        let (is_member, container) = match &self.current {
            None => (self.tracker.is_member(record.pid), None),
            Some(_) => match self.tracker.container_of(record.pid) {
                Whereabouts::In(container) => (Some(true), Some(container)),
                Whereabouts::Outside => (Some(false), None),
                Whereabouts::Unknown => (None, None),
            },
        };
        match is_member {
            Some(true) => {}
            Some(false) => {
                self.other(record);
                return false;
            }
            // Another recorder has just started this process.
            None if record
                .ses
                .is_some_and(|session| recorder_of(session).is_some()) =>
            {
                return false;
            }
            None => {
                self.unknown += 1;
                return false;
            }
        }
        if let Some(current) = &self.current {
            *current.borrow_mut() = container;
        }
        self.translate(record, sink);
        if let Some(current) = &self.current {
            *current.borrow_mut() = None;
        }
        true
    }

    fn translate(&mut self, record: &Record<'_>, sink: &mut dyn Sink) {
        if self.already.remove(&record.pid) {
            let exe = record.exe.as_deref().unwrap_or_default();
            lost(
                sink,
                format!(
                    "process {} ({}) was already running when the recording began",
                    record.pid,
                    OsStr::from_bytes(exe).display()
                ),
            );
        }
        let selects = !(self.by_record.comms.is_empty() && self.by_record.exes.is_empty());
        if selects && !self.in_containers {
            self.in_containers = proc::ids_of(Task(record.pid)).is_some_and(|ids| ids.len() > 1);
        }
        self.taken += 1;
        if let Some(TakeRecord(take)) = &self.records {
            let container = self.current.as_ref().map(|current| current.borrow());
            take(record, container.as_ref().and_then(|id| id.as_deref()));
            return;
        }
        self.translator.translate(record, sink);
    }

    /// Counts a record that isn't the target's.
    fn other(&mut self, record: &Record<'_>) {
        let exe = record.exe.as_deref().unwrap_or(&record.comm);
        let mut program = OsStr::from_bytes(exe).display().to_string();
        if let Ok(Some(container)) = proc::container_of(Task(record.pid)) {
            program = format!("{program} in {container}");
        }
        if self.others.len() < MAX_OTHERS || self.others.contains_key(&program) {
            *self.others.entry(program).or_default() += 1;
        }
    }
}

fn none_of(target: &Target) -> String {
    match target.scope() {
        Some(Scope::Container(part)) => {
            format!("no container with {part} in the name of its cgroup has run")
        }
        Some(Scope::Cgroup(path)) => format!("no process has run in cgroup {}", path.display()),
        _ => "no process has run".to_owned(),
    }
}

/// The processes that have a seccomp filter now.
fn filtered_processes() -> HashSet<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes
        .filter(|&process| proc::has_filter(Task(process)))
        .collect()
}
