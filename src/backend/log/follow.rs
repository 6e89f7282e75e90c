//! Following the records of what others start: pods, containers, services, under a profile whose default action is
//! `SCMP_ACT_LOG`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use super::listener::Listener;
use super::session::{has_filter, recorder_of};
use super::source::{Source, SourceError};
use super::teller::Teller;
use super::tracker::Tracker;
use super::{Message, is_logged, lost};
use crate::audit::{Record, Selection};
use crate::backend::{Control, Error};
use crate::event::{Event, Sink};

/// Which records are taken: those for which all that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Of these processes and their descendants.
    pub pids: Vec<i32>,
    /// Of threads of these names. The kernel keeps 15 bytes of a name, and of these no more are compared.
    pub comms: Vec<OsString>,
    /// Of processes that execute these files.
    pub exes: Vec<OsString>,
    /// Of processes in a cgroup whose name has this in it, as those that engines make for containers have their id.
    pub container: Option<String>,
}

/// Records what is logged, until that ends.
#[derive(Clone, Debug)]
pub struct Follow {
    /// Where the records are read.
    pub source: Source,
    /// Whether [`Source::Auto`] may become the audit daemon.
    pub become_auditd: bool,
    /// The size of the socket's receive buffer, in bytes.
    pub receive_buffer: usize,
    /// Which are taken.
    pub scope: Scope,
    /// Ends the recording after so long.
    pub duration: Option<Duration>,
    /// Ends the recording when no record was taken for so long.
    pub idle: Option<Duration>,
}

/// How often is looked whether the recording is to end.
const LOOK: Duration = Duration::from_millis(200);

impl Follow {
    /// Records until [`Control::end`], the time, the end of the source, or that of all processes of
    /// [`Scope::pids`]. Gives the number of records that were taken. From the call of `begins` on, with the source that it
    /// names, none is missed.
    pub fn record(
        &self,
        sink: &mut (dyn Sink + Send),
        control: &Control,
        begins: &mut dyn FnMut(&Source),
    ) -> Result<u64, Error> {
        let of_this_kernel = !matches!(self.source, Source::File(_) | Source::Stdin);
        if of_this_kernel && !is_logged() {
            return Err(SourceError::NotLogged.into());
        }
        let tracker = Tracker::new(&self.scope.pids, self.scope.container.as_deref())?;
        let mut listener = match &self.source {
            // It may be another machine's log, on which no call of the recorder's shows.
            source @ (Source::File(_) | Source::Stdin) => {
                Listener::begin(source, self.receive_buffer)?
            }
            source => Listener::open(
                &source.candidates(self.become_auditd),
                self.receive_buffer,
                control,
            )?,
        };
        let mut taker = Taker {
            tracker,
            by_record: Selection {
                comms: self.scope.comms.clone(),
                exes: self.scope.exes.clone(),
                ..Selection::default()
            },
            teller: Teller::new(),
            already: filtered_processes(),
            taken: 0,
            unknown: 0,
        };
        begins(listener.source());
        let start = Instant::now();
        let mut latest = start;
        while !control.is_ended() && !listener.is_over() {
            let now = Instant::now();
            let ends = [
                self.duration.map(|duration| start + duration),
                self.idle.map(|idle| latest + idle),
            ];
            let left = (ends.into_iter().flatten()).map(|end| end.saturating_duration_since(now));
            let left = left.min().unwrap_or(LOOK);
            if left.is_zero() {
                break;
            }
            let before = taker.taken;
            match listener.next(Some(left.min(LOOK))) {
                Some(Message::Batch(batch)) => {
                    listener.hear(&batch, &mut |record| taker.take(record, sink));
                }
                None if taker.tracker.tree_has_ended() => break,
                Some(_) | None => {}
            }
            if taker.taken > before {
                latest = Instant::now();
            }
        }
        listener.close(None, sink, &mut |sink, record| taker.take(record, sink));
        if taker.unknown > 0 {
            sink.event(Event::Lost {
                count: Some(taker.unknown),
                why: "records of processes that were gone before it could be told whether they were asked for"
                    .to_owned(),
            });
        }
        Ok(taker.taken)
    }
}

/// Takes what is asked for.
struct Taker {
    tracker: Tracker,
    by_record: Selection,
    teller: Teller,
    /// Processes that may have made calls under their filter before the recording began.
    already: HashSet<i32>,
    taken: u64,
    /// Records of which can't be told whether they are asked for.
    unknown: u64,
}

impl Taker {
    fn take(&mut self, record: &Record<'_>, sink: &mut dyn Sink) {
        if !self.by_record.includes(record) {
            return;
        }
        match self.tracker.is_member(record.pid) {
            Some(true) => {}
            Some(false) => return,
            // Another recorder has just started it.
            None if record
                .ses
                .is_some_and(|session| recorder_of(session).is_some()) =>
            {
                return;
            }
            None => {
                self.unknown += 1;
                return;
            }
        }
        self.taken += 1;
        if self.already.remove(&record.pid) {
            let exe = record.exe.as_deref().unwrap_or_default();
            lost(
                sink,
                format!(
                    "the recording began when process {} ({}) already ran",
                    record.pid,
                    std::ffi::OsStr::from_bytes(exe).display()
                ),
            );
        }
        self.teller.tell(record, sink);
    }
}

/// The processes that have a seccomp filter now.
fn filtered_processes() -> HashSet<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.filter(|&process| has_filter(process)).collect()
}
