//! Takes records from a source, from the opening fence to the closing fence.

use std::io::PipeWriter;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::inotify::Inotify;

use super::audit_source::{AuditReading, AuditSource, AuditSourceError, Opened};
use super::batch::{Batch, ParsedItem};
use super::fence::Fence;
use super::ledger::Ledger;
use super::reader::RecordReader;
use super::socket::{AuditSocket, AuditStatus};
use super::{IntakeMessage, SETTINGS_CHANGED, lost};
use crate::audit::{Classifier, Record};
use crate::backend::{Stop, errno_of};
use crate::event::{Event, Sink};

/// How many batches may wait to be parsed (32 MB). Then the reader waits, and the kernel drops records once its buffer
/// is full.
const WAITING: usize = 512;
/// When to make another fence: the record of the last may have been dropped.
const REPEAT_INTERVAL: Duration = Duration::from_millis(500);
/// How long to wait for the record of a fence. The kernel delivers at once; a daemon that writes a log may take longer.
const SOCKET_PATIENCE: Duration = Duration::from_secs(5);
const LOG_PATIENCE: Duration = Duration::from_secs(10);
/// How long a probe waits. A slower source can still be chosen by name.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait for the closing fence, and for late records, after the recording was stopped.
const ENDED_PATIENCE: Duration = Duration::from_secs(1);
/// A task takes a serial number first and queues its record later; it may be preempted in between, or the virtual CPU that
/// it is on. How long to wait for such records unless the recording was stopped, and how often to look.
const LATE_PATIENCE: Duration = Duration::from_secs(10);
const LATE_INTERVAL: Duration = Duration::from_millis(20);

/// A source that is being read.
pub(super) struct Intake {
    opened: Arc<Opened>,
    messages: Receiver<IntakeMessage>,
    sender: SyncSender<IntakeMessage>,
    /// Closing it ends the reader.
    stop: Option<PipeWriter>,
    reader: Option<JoinHandle<()>>,
    classifier: Classifier,
    ledger: Ledger,
    fences: Vec<MadeFence>,
    /// The index of the first fence that arrived: records count from there on.
    opening: Option<usize>,
    latest_seen: usize,
    /// This process as records name it, in the initial pid namespace.
    own_process: Option<i32>,
    /// Its executable as records name it.
    own_exe: Vec<u8>,
    before: Before,
    /// Shows writes to `actions_logged`: the kernel records them only while audit is enabled.
    writes: Option<Inotify>,
    /// When reading began, if the source may not be this kernel's.
    begun: Option<Instant>,
    /// How long the source may take to deliver a fence.
    patience: Duration,
    /// The preferred sources, and why they don't work.
    tried: Vec<(AuditSource, AuditSourceError)>,
}

struct MadeFence {
    fence: Fence,
    seen: bool,
}

/// Counters at the opening fence.
#[derive(Default)]
struct Before {
    drops: Option<u32>,
    /// The answer to the request for audit's status; `None`: not requested yet.
    status: Option<nix::Result<AuditStatus>>,
}

impl Intake {
    /// Opens the source, or the first that delivers. `patience` limits the wait for each; `None`: the usual time for
    /// its kind.
    pub(super) fn open(
        reading: &AuditReading,
        patience: Option<Duration>,
        stop: &Stop,
    ) -> Result<Intake, AuditSourceError> {
        if !super::is_logged() {
            return Err(AuditSourceError::NotLogged);
        }
        let candidates = reading.candidates();
        let mut tried = Vec::new();
        for source in &candidates {
            let intake =
                Intake::of(source, reading).and_then(|intake| intake.opened(patience, stop));
            match intake {
                Ok(mut intake) => {
                    intake.tried = tried;
                    return Ok(intake);
                }
                Err(error) if candidates.len() == 1 => return Err(error),
                Err(error) => tried.push((source.clone(), error)),
            }
        }
        Err(AuditSourceError::None(tried))
    }

    /// Opens a source only to check that one delivers, and soon.
    pub(super) fn probe(reading: &AuditReading) -> Result<Intake, AuditSourceError> {
        let never = Stop::new().map_err(|source| AuditSourceError::System {
            operation: "eventfd",
            source,
        })?;
        Intake::open(reading, Some(PROBE_PATIENCE), &never)
    }

    fn of(source: &AuditSource, reading: &AuditReading) -> Result<Intake, AuditSourceError> {
        let opened = Arc::new(Opened::open(source, reading.receive_buffer)?);
        let (sender, messages) = sync_channel(WAITING);
        let system = |operation| {
            move |error: std::io::Error| AuditSourceError::System {
                operation,
                source: errno_of(&error),
            }
        };
        let (stopped, stop) = std::io::pipe().map_err(system("pipe"))?;
        let thread = std::thread::Builder::new().name("audit reader".to_owned());
        let (shared, out) = (Arc::clone(&opened), sender.clone());
        let trust_syslog = reading.trust_syslog;
        let reader = thread
            .spawn(move || shared.reader.read(stopped.as_fd(), &out, trust_syslog))
            .map_err(system("starting a thread"))?;
        Ok(Intake {
            patience: patience(&opened.reader),
            opened,
            messages,
            sender,
            stop: Some(stop),
            reader: Some(reader),
            classifier: Classifier::new(trust_syslog),
            ledger: Ledger::default(),
            fences: Vec::new(),
            opening: None,
            latest_seen: 0,
            own_process: None,
            own_exe: Vec::new(),
            before: Before::default(),
            writes: super::watch_settings().ok(),
            begun: None,
            tried: Vec::new(),
        })
    }

    /// Opens a log that may be another machine's, and counts everything in it from now on. If the log is this kernel's,
    /// the fence will appear in it.
    pub(super) fn begin(reading: &AuditReading) -> Result<Intake, AuditSourceError> {
        let source = &reading.source;
        let mut intake = Intake::of(source, reading)?;
        intake.before.status = Some(AuditSocket::open().and_then(|socket| socket.status()));
        intake.opening = Some(0);
        intake.begun = Some(Instant::now());
        // If no call can be logged here, the log is another machine's.
        if let (AuditSource::File(_), Ok(fence)) = (source, Fence::make()) {
            intake.fences.push(MadeFence { fence, seen: false });
        }
        Ok(intake)
    }

    /// Whether the source has ended.
    pub(super) fn is_over(&self) -> bool {
        self.ledger.is_over()
    }

    /// Checks that the source delivers, and begins the ledger.
    fn opened(
        mut self,
        patience: Option<Duration>,
        stop: &Stop,
    ) -> Result<Intake, AuditSourceError> {
        self.patience = patience.unwrap_or(self.patience);
        // Before the fence, so that every later loss shows.
        self.before.status = Some(AuditSocket::open().and_then(|socket| socket.status()));
        let seen = self.fence(Some(stop), &mut |_| {});
        let seen = seen.map_err(|source| AuditSourceError::System {
            operation: "making a call that is logged",
            source,
        })?;
        if !seen {
            return Err(AuditSourceError::Silent(self.patience));
        }
        self.before.drops = self.opened.drops();
        Ok(self)
    }

    /// The source of the records, and the preferred ones that don't work.
    pub(super) fn into_source(mut self) -> (AuditSource, Vec<(AuditSource, AuditSourceError)>) {
        (self.opened.source.clone(), std::mem::take(&mut self.tried))
    }

    /// The source of the records.
    pub(super) fn source(&self) -> &AuditSource {
        &self.opened.source
    }

    /// The executable of this process, as records name it.
    pub(super) fn own_exe(&self) -> &[u8] {
        &self.own_exe
    }

    /// Sends messages of threads other than the reader.
    pub(super) fn sender(&self) -> SyncSender<IntakeMessage> {
        self.sender.clone()
    }

    /// The next message; `None`: none came within `patience`.
    pub(super) fn next(&self, patience: Option<Duration>) -> Option<IntakeMessage> {
        match patience {
            // It can't fail: `self.sender` lives.
            None => self.messages.recv().ok(),
            Some(patience) => self.messages.recv_timeout(patience).ok(),
        }
    }

    /// Takes the records of a batch, and enters all its items in the ledger. Returns whether a fence was among them.
    pub(super) fn process(&mut self, batch: &Batch, take: &mut dyn FnMut(&Record<'_>)) -> bool {
        let Intake {
            classifier,
            ledger,
            fences,
            opening,
            latest_seen,
            own_process,
            own_exe,
            ..
        } = self;
        let mut seen = false;
        batch.for_each(classifier, &mut |item| {
            if let ParsedItem::Record(record) = &item
                && record.comm.starts_with(Fence::PREFIX)
                && let Some(index) = fences.iter().position(|made| made.fence.is(record))
            {
                fences[index].seen = true;
                *latest_seen = (*latest_seen).max(index);
                seen = true;
                if opening.is_none() {
                    *opening = Some(index);
                    *own_process = Some(record.pid);
                    *own_exe = record.exe.as_deref().unwrap_or_default().to_vec();
                }
                ledger.serial(record.serial);
                return;
            }
            if opening.is_none() {
                return;
            }
            match item {
                ParsedItem::Record(record) => {
                    ledger.serial(record.serial);
                    // The recorder's own calls are logged if another recorder records it. They aren't the workload's.
                    if Some(record.pid) != *own_process {
                        take(&record);
                    }
                }
                ParsedItem::Other(serial) => ledger.serial(serial),
                ParsedItem::Broken(why) => ledger.broken(why),
                ParsedItem::Untrusted => ledger.untrusted(),
                ParsedItem::Note(note) => ledger.note(note),
                ParsedItem::Sequence(number) => ledger.sequence(number),
                ParsedItem::Overrun => ledger.overrun(),
                ParsedItem::Over(why) => ledger.over(why),
            }
        });
        seen
    }

    /// Makes fences until the record of one arrives. Returns whether one did. Once `stop` is requested, it doesn't wait
    /// long.
    pub(super) fn fence(
        &mut self,
        stop: Option<&Stop>,
        take: &mut dyn FnMut(&Record<'_>),
    ) -> nix::Result<bool> {
        let patience = self.patience;
        let first = self.fences.len();
        let mut again = Instant::now();
        let mut give_up = again + patience;
        loop {
            let now = Instant::now();
            let ended = stop.is_some_and(Stop::is_requested);
            if ended {
                give_up = give_up.min(now + ENDED_PATIENCE);
            }
            if now >= give_up {
                return Ok(false);
            }
            if now >= again {
                self.fences.push(MadeFence {
                    fence: Fence::make()?,
                    seen: false,
                });
                again = now + REPEAT_INTERVAL;
            }
            let wait = again.min(give_up).saturating_duration_since(now);
            match self.messages.recv_timeout(wait) {
                Ok(IntakeMessage::Batch(batch)) => {
                    self.process(&batch, take);
                    if self.fences[first..].iter().any(|made| made.seen) {
                        return Ok(true);
                    }
                    if matches!(self.opened.reader, RecordReader::Socket(_)) && !ended {
                        // The kernel is still delivering records from before the fence.
                        give_up = Instant::now() + patience;
                    }
                }
                Ok(_) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }

    /// Makes the closing fence, takes the records before it, and reports all losses since the opening fence. Returns whether the
    /// record of the fence arrived; if not, that is reported unless `stop` is requested.
    pub(super) fn close(
        mut self,
        stop: Option<&Stop>,
        sink: &mut dyn Sink,
        take: &mut dyn FnMut(&mut dyn Sink, &Record<'_>),
    ) -> bool {
        if let Some(begun) = self.begun
            && !self.proves_to_be_ours(begun, &mut |record| take(sink, record))
        {
            lost(
                sink,
                "the log isn't this kernel's, so missing records can't be detected",
            );
            std::mem::take(&mut self.ledger).settle_unproven(sink);
            return false;
        }
        let closing = Instant::now();
        let seen = loop {
            let seen = match self.fence(stop, &mut |record| take(sink, record)) {
                Ok(seen) => seen,
                Err(error) => {
                    lost(
                        sink,
                        format!("the recorder's closing call failed: {}", error.desc()),
                    );
                    false
                }
            };
            let opening = self.opening.unwrap_or(0);
            let unseen = self.fences[opening..self.latest_seen.max(opening)].iter();
            let unseen = unseen.filter(|made| !made.seen).count();
            self.ledger.fences_missing(unseen as u64);
            let patience = if stop.is_some_and(Stop::is_requested) {
                ENDED_PATIENCE
            } else {
                LATE_PATIENCE
            };
            if !seen || !self.ledger.may_be_late() || closing.elapsed() >= patience {
                break seen;
            }
            std::thread::sleep(LATE_INTERVAL);
        };
        if !seen && !stop.is_some_and(Stop::is_requested) {
            lost(
                sink,
                format!(
                    "no record of the recorder's closing call arrived within {} s",
                    self.patience.as_secs()
                ),
            );
        }
        let drops = (self.opened.drops().zip(self.before.drops))
            .map(|(now, before)| now.saturating_sub(before));
        self.ledger.drops(drops);
        std::mem::take(&mut self.ledger).settle(sink);
        self.settle_with_kernel(sink);
        seen
    }

    /// Whether the first fence appears within the patience. Takes the records that have arrived.
    fn proves_to_be_ours(&mut self, begun: Instant, take: &mut dyn FnMut(&Record<'_>)) -> bool {
        let give_up = begun + self.patience;
        loop {
            let proven = self.fences.first().is_some_and(|made| made.seen);
            let wait = if self.fences.is_empty() || self.is_over() || proven {
                Duration::ZERO
            } else {
                give_up.saturating_duration_since(Instant::now())
            };
            match self.messages.recv_timeout(wait) {
                Ok(IntakeMessage::Batch(batch)) => {
                    self.process(&batch, take);
                }
                Ok(_) => {}
                Err(_) => return proven,
            }
        }
    }

    /// Reports the losses that only the kernel's counters and settings show.
    fn settle_with_kernel(&self, sink: &mut dyn Sink) {
        let before = self.before.status.unwrap_or(Err(Errno::EPERM));
        let now = AuditSocket::open().and_then(|socket| {
            let status = socket.status()?;
            Ok((status, socket.may_exclude_seccomp()?))
        });
        match (before, now) {
            (Ok(before), Ok((now, excluded))) => {
                if now.lost != before.lost {
                    sink.event(Event::Lost {
                        count: Some(u64::from(now.lost.wrapping_sub(before.lost))),
                        why: format!(
                            "the kernel's count of lost audit records grew{}",
                            grows_always(now)
                        ),
                    });
                }
                if excluded {
                    lost(
                        sink,
                        "an audit rule may exclude seccomp records (see auditctl -l)",
                    );
                }
            }
            (Err(Errno::EPERM), _) | (_, Err(Errno::EPERM)) => lost(
                sink,
                "the kernel's count of lost audit records can't be read: this needs CAP_AUDIT_CONTROL and the initial \
                 namespaces",
            ),
            (Err(error), _) | (_, Err(error)) => lost(
                sink,
                format!(
                    "the kernel's count of lost audit records can't be read: {}",
                    error.desc()
                ),
            ),
        }
        if !super::is_logged() {
            lost(sink, AuditSourceError::NotLogged.to_string());
        }
        if let Some(writes) = &self.writes
            && writes.read_events().is_ok()
        {
            lost(sink, SETTINGS_CHANGED);
        }
    }
}

/// How long such a source may take to deliver a fence.
fn patience(reader: &RecordReader) -> Duration {
    match reader {
        RecordReader::Socket(_) => SOCKET_PATIENCE,
        // After this many seconds, printk prints the next message for certain.
        RecordReader::Kmsg(_) => {
            let interval = std::fs::read_to_string("/proc/sys/kernel/printk_ratelimit");
            let interval = interval.ok().and_then(|text| text.trim().parse().ok());
            Duration::from_secs(interval.unwrap_or(5)) + Duration::from_secs(2)
        }
        RecordReader::Lines(_) => LOG_PATIENCE,
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.stop = None;
        // This wakes a reader that waits for room: its send fails.
        drop(std::mem::replace(&mut self.messages, sync_channel(0).1));
        if let Some(reader) = self.reader.take() {
            // It doesn't panic. If it did, there would be nothing left to read.
            let _ = reader.join();
        }
    }
}

/// The explanation if the kernel counts delivered records as lost: it also keeps them for a future daemon, and counts
/// those that its queue has no room for (`kauditd_hold_skb`).
fn grows_always(status: AuditStatus) -> &'static str {
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let mut parameters = command_line.split_ascii_whitespace();
    if status.daemon == 0 && parameters.any(|parameter| matches!(parameter, "audit=1" | "audit=on"))
    {
        ", as always with audit=1 and no audit daemon: use --source auditd"
    } else {
        ""
    }
}
