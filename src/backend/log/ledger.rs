//! Proves that no record is missing between two fences, or reports the loss.

use crate::audit::{Gaps, LossNote};
use crate::event::{Event, Sink};

/// Adds up what is known of records that came, and of such that didn't.
///
/// Every record of audit's, of whatever type, gets the next serial number when it is made. So between two records of the
/// recorder's own every number must come; one that is missing may be the workload's. What the kernel drops before it has
/// a number, it counts (`lost` of auditctl(8) `-s`).
#[derive(Default)]
pub(super) struct Ledger {
    serials: Gaps,
    sequence: Gaps,
    /// Fences of the recorder's own that have not come: they took a number each.
    fences_missing: u64,
    overruns: u64,
    /// What the socket's own counter says.
    drops: Option<u64>,
    /// Messages that printk's rate limit held back: of audit's, or of others that share the limit.
    suppressed: u64,
    broken: Option<String>,
    broken_count: u64,
    /// Records in lines that any user could have written.
    untrusted: u64,
    notes: Vec<String>,
    over: Option<String>,
}

/// Why nothing more comes, if no error happened.
const ENDED: &str = "it came to its end";

const NOT_PRINTED: &str = "the kernel did not print all audit records (kernel.printk_ratelimit)";

impl Ledger {
    /// A record came.
    pub(super) fn serial(&mut self, serial: Option<u64>) {
        if let Some(serial) = serial {
            self.serials.see(serial);
        }
    }

    /// A message of `/dev/kmsg` came.
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
                self.say("which calls the kernel logs was changed meanwhile".to_owned());
            }
        }
    }

    /// The fences that were made and did not come.
    pub(super) fn fences_missing(&mut self, count: u64) {
        self.fences_missing = count;
    }

    /// What the socket's counter of dropped messages says.
    pub(super) fn drops(&mut self, drops: Option<u32>) {
        self.drops = drops.map(u64::from);
    }

    fn say(&mut self, what: String) {
        if !self.notes.contains(&what) {
            self.notes.push(what);
        }
    }

    /// How many serial numbers are missing that no fence took.
    pub(super) fn missing(&self) -> u64 {
        self.serials.missing().saturating_sub(self.fences_missing)
    }

    /// Whether the source said that nothing more will come.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Tells what is lost by the log's own word. It may be a choice of records, and end when it likes.
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

    /// Tells what is lost.
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
            let why = "records in lines that any user can write (logger -t kernel) were skipped";
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
