//! Follows the records of programs that others start (pods, containers, services) under a profile whose default action is
//! `SCMP_ACT_LOG`.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use super::intake::Intake;
use super::login::recorder_of;
use super::tracker::Tracker;
use super::translate::Translator;
use super::{AuditReading, AuditSourceError, Message, NAME, is_logged, lost};
use crate::audit::{Record, Selection};
use crate::backend::{
    Backend, Collector, Detail, Error, Notice, OneRun, Promise, RunEnd, Scope, Stop, Target,
    Unavailable, proc,
};
use crate::event::{Event, Sink, Task};

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
    /// Ends the recording after this time.
    pub duration: Option<Duration>,
    /// Ends the recording after this time without a record of the target.
    pub idle: Option<Duration>,
}

/// How often to check whether the recording must end.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// Refuses what can't be followed.
fn check(target: &Target) -> Result<(), Unavailable> {
    match target {
        Target::Command(_) => Err(Unavailable::Target(
            "a command: it follows programs that others start",
        )),
        Target::Scope(Scope::ContainerOf { .. }) => Err(Unavailable::Target(
            "a container that is named by a process",
        )),
        Target::Process(_) | Target::Scope(_) => Ok(()),
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
        check(target).map_err(|source| Error::Unavailable {
            backend: NAME,
            source,
        })?;
        let elsewhere = self.reading.source.may_be_elsewhere();
        if !elsewhere && !is_logged() {
            return Err(AuditSourceError::NotLogged.into());
        }
        let tracker = Tracker::new(target)?;
        let mut intake = if elsewhere {
            Intake::begin(&self.reading)?
        } else {
            Intake::open(&self.reading, None, stop)?
        };
        let mut taker = Taker {
            tracker,
            by_record: Selection {
                comms: self.comms.clone(),
                exes: self.exes.clone(),
                ..Selection::default()
            },
            translator: Translator::new(),
            already: filtered_processes(),
            unknown: 0,
        };
        let mut run = OneRun::begin(collector, target);
        run.notice(Notice::Progress(format!(
            "following audit records from {} until {}",
            intake.source(),
            self.ends(target)
        )));
        self.follow(&mut intake, &mut taker, &mut run, stop);
        intake.close(None, &mut run, &mut |sink, record| {
            taker.take(record, sink);
        });
        if taker.unknown > 0 {
            run.event(Event::Lost {
                count: Some(taker.unknown),
                why: "records of processes that ended before they could be identified".to_owned(),
            });
        }
        run.end(RunEnd::default());
        Ok(())
    }
}

impl Follow {
    /// When the recording ends, as text for the user.
    fn ends(&self, target: &Target) -> String {
        let duration = self.duration.map(|time| format!("{time:?} have passed"));
        let idle = (self.idle).map(|time| format!("none has arrived for {time:?}"));
        let process = match target {
            Target::Process(process) => Some(format!("process {process} and its children end")),
            Target::Command(_) | Target::Scope(_) => None,
        };
        let ends = [
            Some("it is interrupted".to_owned()),
            duration,
            idle,
            process,
        ];
        ends.into_iter().flatten().collect::<Vec<_>>().join(", or ")
    }

    fn follow(&self, intake: &mut Intake, taker: &mut Taker, sink: &mut dyn Sink, stop: &Stop) {
        let start = Instant::now();
        let mut latest = start;
        while !stop.is_requested() && !intake.is_over() {
            let now = Instant::now();
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
                Some(Message::Batch(batch)) => {
                    let mut took = false;
                    intake.process(&batch, &mut |record| took |= taker.take(record, sink));
                    if took {
                        latest = Instant::now();
                    }
                }
                None if taker.tracker.tree_has_ended() => break,
                Some(_) | None => {}
            }
        }
    }
}

/// Takes the records of the target.
struct Taker {
    tracker: Tracker,
    by_record: Selection,
    translator: Translator,
    /// Processes that may have made calls under their filter before the recording began.
    already: HashSet<i32>,
    /// How many records can't be assigned to a process.
    unknown: u64,
}

impl Taker {
    /// Takes a record if it is the target's, and returns whether it is.
    fn take(&mut self, record: &Record<'_>, sink: &mut dyn Sink) -> bool {
        if !self.by_record.includes(record) {
            return false;
        }
        match self.tracker.is_member(record.pid) {
            Some(true) => {}
            Some(false) => return false,
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
        self.translator.translate(record, sink);
        true
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
