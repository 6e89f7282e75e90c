//! Proves that no record is missing between two fences, or reports the loss.

use super::SETTINGS_CHANGED;
use crate::audit::{Gaps, LossNote};
use crate::event::{Event, Sink};

/// Counts the records that arrived and the signs of those that didn't.
///
/// Every audit record, of whatever type, gets the next serial number when it is made. So every number between two
/// fences must arrive; a missing one may be the workload's. The kernel counts the records that it drops before they get
/// a number (`lost` of auditctl(8) `-s`).
#[derive(Default)]
pub(super) struct Ledger {
    serials: Gaps,
    sequence: Gaps,
    /// Fences that have not arrived: each took a serial number.
    fences_missing: u64,
    overruns: u64,
    /// The socket's counter of dropped messages.
    drops: Option<u64>,
    /// Messages that printk's rate limit suppressed: audit's, or others that share the limit.
    suppressed: u64,
    broken: Option<String>,
    broken_count: u64,
    /// Records in lines that any user could have written.
    untrusted: u64,
    notes: Vec<String>,
    over: Option<String>,
}

/// Why no more records come, if there was no error.
const ENDED: &str = "it ended";

const NOT_PRINTED: &str = "the kernel did not print all audit records (kernel.printk_ratelimit)";

impl Ledger {
    /// A record arrived.
    pub(super) fn serial(&mut self, serial: Option<u64>) {
        if let Some(serial) = serial {
            self.serials.see(serial);
        }
    }

    /// A message of `/dev/kmsg` arrived.
    pub(super) fn sequence(&mut self, number: u64) {
        self.sequence.see(number);
    }

    pub(super) fn overrun(&mut self) {
        self.overruns += 1;
    }

    pub(super) fn broken(&mut self, why: String) {
        self.broken_count += 1;
        self.broken.get_or_insert(why);
    }

    pub(super) fn untrusted(&mut self) {
        self.untrusted += 1;
    }

    pub(super) fn over(&mut self, why: Option<String>) {
        let why = why.unwrap_or_else(|| ENDED.to_owned());
        self.over.get_or_insert(why);
    }

    pub(super) fn note(&mut self, note: LossNote) {
        match note {
            LossNote::Suppressed(count) => self.suppressed = self.suppressed.saturating_add(count),
            LossNote::LostSinceBoot(_) => {}
            LossNote::Kernel(why) => self.say(format!("the kernel dropped records: {why}")),
            LossNote::Journald(count) => {
                self.say(format!("journald missed {count} messages of the kernel"));
            }
            LossNote::Auditd(what) => self.say(format!("auditd {what}")),
            LossNote::SettingChanged(serial) => {
                self.serial(serial);
                self.say(SETTINGS_CHANGED.to_owned());
            }
        }
    }

    /// Sets how many fences were made and did not arrive.
    pub(super) fn fences_missing(&mut self, count: u64) {
        self.fences_missing = count;
    }

    /// Sets the socket's counter of dropped messages.
    pub(super) fn drops(&mut self, drops: Option<u32>) {
        self.drops = drops.map(u64::from);
    }

    fn say(&mut self, what: String) {
        if !self.notes.contains(&what) {
            self.notes.push(what);
        }
    }

    /// How many serial numbers are missing, without those of fences.
    pub(super) fn missing(&self) -> u64 {
        self.serials.missing().saturating_sub(self.fences_missing)
    }

    /// Whether records are missing that nothing is known to have dropped.
    pub(super) fn may_be_late(&self) -> bool {
        self.missing() > 0 && self.overruns == 0 && self.suppressed == 0
    }

    /// Whether the source has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Reports the losses that a log of unknown origin states itself. Such a log may hold a selection of records and
    /// end anywhere.
    pub(super) fn settle_unproven(self, sink: &mut dyn Sink) {
        if self.suppressed > 0 {
            sink.event(Event::Lost {
                count: Some(self.suppressed),
                why: NOT_PRINTED.to_owned(),
            });
        }
        let ledger = Ledger {
            serials: Gaps::default(),
            over: self.over.filter(|why| why != ENDED),
            ..self
        };
        ledger.settle(sink);
    }

    /// Reports all losses.
    pub(super) fn settle(self, sink: &mut dyn Sink) {
        let mut lost = |count: u64, why: &str| {
            sink.event(Event::Lost {
                count: (count > 0).then_some(count),
                why: why.to_owned(),
            });
        };
        let missing = self.missing();
        let dropped = self.drops.unwrap_or(0);
        if self.overruns > 0 || dropped > 0 {
            lost(
                dropped.max(missing).max(self.sequence.missing()),
                "audit records came faster than they could be read, and the kernel dropped some",
            );
        } else if missing > 0 && self.suppressed > 0 {
            lost(missing, NOT_PRINTED);
        } else if missing > 0 {
            lost(missing, "serial numbers of audit records are missing");
        }
        if let Some(why) = self.broken {
            lost(
                self.broken_count,
                &format!("audit records can't be read: {why}"),
            );
        }
        if self.untrusted > 0 {
            let why = "skipped records in lines that any user can write (logger -t kernel)";
            lost(self.untrusted, why);
        }
        for note in self.notes {
            lost(0, &note);
        }
        if let Some(why) = self.over {
            lost(0, &format!("the source of audit records failed: {why}"));
        }
    }
}
