//! What one source lost, as far as it shows.

use std::collections::BTreeSet;

use crate::audit::{Gaps, Note};
use crate::import::Output;

/// Adds up what the lines of a source tell of loss.
pub(super) struct Account {
    name: String,
    serials: Gaps,
    sequence: Gaps,
    /// Records that couldn't be read.
    broken: u64,
    /// Whether there are records of other types, so that no type was left out.
    others: bool,
    /// Whether there are lines that have nothing to do with audit, so that no line was left out.
    rest: bool,
    /// Whether ausearch(8) chose what is here.
    found: bool,
    suppressed: u64,
    journald: u64,
    /// The kernel's count of lost records: at the first message of it, and at the latest.
    since_boot: Option<(u64, u64)>,
    reasons: BTreeSet<String>,
}

impl Account {
    pub(super) fn new(name: String) -> Account {
        Account {
            name,
            serials: Gaps::default(),
            sequence: Gaps::default(),
            broken: 0,
            others: false,
            rest: false,
            found: false,
            suppressed: 0,
            journald: 0,
            since_boot: None,
            reasons: BTreeSet::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// A record of seccomp.
    pub(super) fn record(&mut self, serial: Option<u64>) {
        if let Some(serial) = serial {
            self.serials.see(serial);
        }
    }

    /// A record of another type.
    pub(super) fn other(&mut self, serial: Option<u64>) {
        if let Some(serial) = serial {
            self.others = true;
            self.serials.see(serial);
        }
    }

    pub(super) fn broken(&mut self) {
        self.broken += 1;
    }

    pub(super) fn found(&mut self) {
        self.found = true;
    }

    pub(super) fn nothing(&mut self) {
        self.rest = true;
    }

    /// A line of /dev/kmsg, by its number.
    pub(super) fn sequence(&mut self, number: u64) {
        self.sequence.see(number);
    }

    pub(super) fn note(&mut self, note: Note) {
        match note {
            Note::Suppressed(count) => self.suppressed = self.suppressed.saturating_add(count),
            Note::Journald(count) => self.journald = self.journald.saturating_add(count),
            Note::LostSinceBoot(total) => {
                let first = match self.since_boot {
                    Some((first, latest)) if latest <= total => first,
                    // Another boot.
                    _ => total,
                };
                self.since_boot = Some((first, total));
            }
            Note::Kernel(why) => {
                self.reasons
                    .insert(format!("the kernel dropped records: {why}"));
            }
            Note::Auditd(what) => {
                self.reasons.insert(format!("auditd {what}"));
            }
        }
    }

    /// Tells what is lost.
    ///
    /// A gap in the numbers is only told where nothing was left out on purpose, as far as that shows: records of all types
    /// share one sequence of numbers, so those of one type alone always have gaps.
    pub(super) fn settle(self, assume_complete: bool, output: &mut Output<'_>) {
        let mut lost = |count: u64, why: &str| {
            if count > 0 {
                output.lost(Some(count), format!("{}: {why}", self.name));
            }
        };
        lost(self.broken, "records can't be read");
        lost(
            self.suppressed,
            "the kernel did not print all records (kernel.printk_ratelimit)",
        );
        lost(self.journald, "journald missed messages of the kernel");
        if let Some((first, latest)) = self.since_boot {
            lost(
                latest - first + 1,
                "the kernel dropped records (audit_lost)",
            );
        }
        if !assume_complete {
            if self.others && !self.found {
                lost(
                    self.serials.missing(),
                    "serial numbers of records are missing",
                );
            }
            if self.rest {
                lost(
                    self.sequence.missing(),
                    "numbers of the kernel's messages are missing",
                );
            }
        }
        for reason in self.reasons {
            output.lost(None, format!("{}: {reason}", self.name));
        }
    }
}
