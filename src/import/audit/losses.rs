//! Adds up the losses that a source shows.

use std::collections::BTreeSet;

use crate::audit::{Gaps, LossNote};
use crate::import::output::ImportOutput;

/// The losses that a source shows.
pub(super) struct SourceLosses {
    name: String,
    serials: Gaps,
    sequence: Gaps,
    /// Records that can't be read.
    broken: u64,
    /// Records in lines that any user could have written.
    untrusted: u64,
    /// Whether there are records of other types, so types were not filtered.
    has_other_records: bool,
    /// Whether there are unrelated lines, so lines were not filtered.
    has_unrelated_lines: bool,
    /// Whether the source is the output of ausearch(8).
    is_ausearch: bool,
    suppressed: u64,
    journald: u64,
    /// The kernel's count of lost records: in its first and its latest message.
    since_boot: Option<(u64, u64)>,
    reasons: BTreeSet<String>,
}

impl SourceLosses {
    pub(super) fn new(name: String) -> SourceLosses {
        SourceLosses {
            name,
            serials: Gaps::default(),
            sequence: Gaps::default(),
            broken: 0,
            untrusted: 0,
            has_other_records: false,
            has_unrelated_lines: false,
            is_ausearch: false,
            suppressed: 0,
            journald: 0,
            since_boot: None,
            reasons: BTreeSet::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn seccomp_record(&mut self, serial: Option<u64>) {
        if let Some(serial) = serial {
            self.serials.see(serial);
        }
    }

    pub(super) fn other_record(&mut self, serial: Option<u64>) {
        if let Some(serial) = serial {
            self.has_other_records = true;
            self.serials.see(serial);
        }
    }

    pub(super) fn broken_record(&mut self) {
        self.broken += 1;
    }

    pub(super) fn untrusted_record(&mut self) {
        self.untrusted += 1;
    }

    pub(super) fn ausearch(&mut self) {
        self.is_ausearch = true;
    }

    pub(super) fn unrelated_line(&mut self) {
        self.has_unrelated_lines = true;
    }

    /// The sequence number of a line of /dev/kmsg.
    pub(super) fn kmsg_sequence(&mut self, number: u64) {
        self.sequence.see(number);
    }

    pub(super) fn note(&mut self, note: LossNote) {
        match note {
            LossNote::Suppressed(count) => self.suppressed = self.suppressed.saturating_add(count),
            LossNote::Journald(count) => self.journald = self.journald.saturating_add(count),
            LossNote::LostSinceBoot(total) => {
                let first = match self.since_boot {
                    Some((first, latest)) if latest <= total => first,
                    // Another boot.
                    _ => total,
                };
                self.since_boot = Some((first, total));
            }
            LossNote::Kernel(why) => {
                self.reasons
                    .insert(format!("the kernel dropped records: {why}"));
            }
            LossNote::SettingChanged(serial) => {
                if let Some(serial) = serial {
                    self.serials.see(serial);
                }
                let why = "the kernel's logging settings were changed meanwhile";
                self.reasons.insert(why.to_owned());
            }
            LossNote::Auditd(what) => {
                self.reasons.insert(format!("auditd {what}"));
            }
        }
    }

    /// Reports the losses.
    ///
    /// Gaps in the numbers count only if the source seems unfiltered: records of all types share one sequence, so those of one
    /// type always have gaps.
    pub(super) fn report(self, assume_complete: bool, output: &mut ImportOutput<'_>) {
        let mut lost = |count: u64, why: &str| {
            if count > 0 {
                output.lost(Some(count), format!("{}: {why}", self.name));
            }
        };
        lost(self.broken, "records can't be read");
        lost(
            self.untrusted,
            "skipped records in lines that any user can write (logger -t kernel)",
        );
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
            if self.has_other_records && !self.is_ausearch {
                lost(
                    self.serials.missing(),
                    "serial numbers of records are missing",
                );
            }
            if self.has_unrelated_lines {
                lost(
                    self.sequence.missing(),
                    "sequence numbers of kernel messages are missing",
                );
            }
        }
        for reason in self.reasons {
            output.lost(None, format!("{}: {reason}", self.name));
        }
    }
}
