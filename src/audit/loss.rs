//! Signs of lost records: messages of the kernel and of daemons, and gaps in the numbers of other records.

use std::collections::VecDeque;

use crate::input::text::digits;

/// A message about lost records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossNote {
    /// printk's rate limit suppressed this many messages (`kernel.printk_ratelimit`).
    Suppressed(u64),
    /// The kernel's count of lost records since boot (`audit_lost`).
    LostSinceBoot(u64),
    /// Why the kernel lost a record (kernel/audit.c).
    Kernel(&'static str),
    /// This many kernel messages were overwritten before journald read them.
    Journald(u64),
    /// auditd stopped writing or couldn't read.
    Auditd(&'static str),
    /// The kernel was set to log other seccomp records than before. The record of that has this serial number.
    SettingChanged(Option<u64>),
}

/// The messages of `audit_log_lost`, and others that the kernel prints when it drops a record (kernel/audit.c, 2.6 to 6.18).
const KERNEL: &[&str] = &[
    "backlog limit exceeded",
    "kauditd hold queue overflow",
    "kauditd retry queue overflow",
    "netlink_unicast sending to audit_pid",
    "out of memory in audit_log_start",
    "out of memory in audit_expand",
    "rate limit exceeded",
];

/// Texts of `CONFIG_CHANGE` records that matter for seccomp records: a change of `actions_logged`, a rule of the
/// exclude list, or that later changes leave no record.
const SETTINGS: [&str; 4] = [
    "op=seccomp-logging ",
    " list=5 ",
    " list=exclude ",
    "audit_enabled=0 ",
];

/// The change that a `CONFIG_CHANGE` record (from `audit(` on) reports, if it matters for seccomp records.
pub(crate) fn setting_changed(record: &[u8]) -> Option<LossNote> {
    let has = |text: &&str| memchr::memmem::find(record, text.as_bytes()).is_some();
    SETTINGS
        .iter()
        .any(has)
        .then(|| LossNote::SettingChanged(super::record::serial(record)))
}

impl LossNote {
    /// Parses a kernel message without its time.
    #[must_use]
    pub fn of_kernel(message: &[u8]) -> Option<LossNote> {
        if let Some(front) = message.strip_suffix(b" callbacks suppressed") {
            let colon = memchr::memmem::rfind(front, b": ")?;
            // The rate limit is shared: the next function to print reports, under its own name, all suppressed
            // messages. Only if that name is audit's, the suppressed messages include audit's.
            let by_audit = memchr::memmem::find(&front[..colon], b"audit").is_some();
            return digits(&front[colon + 2..])
                .filter(|_| by_audit)
                .map(LossNote::Suppressed);
        }
        let message = message.strip_prefix(b"audit: ")?;
        if let Some(total) = message.strip_prefix(b"audit_lost=") {
            let end = total.iter().position(|byte| !byte.is_ascii_digit());
            return digits(&total[..end.unwrap_or(total.len())]).map(LossNote::LostSinceBoot);
        }
        let known = KERNEL
            .iter()
            .find(|&&why| message.starts_with(why.as_bytes()));
        known.map(|why| LossNote::Kernel(why))
    }

    /// Parses a line that a daemon wrote to syslog.
    #[must_use]
    pub fn of_daemon(line: &[u8]) -> Option<LossNote> {
        let has = |text: &str| memchr::memmem::find(line, text.as_bytes());
        if let Some(at) = has("]: Missed ")
            && has("systemd-journald[").is_some_and(|daemon| daemon < at)
        {
            let count = line[at + "]: Missed ".len()..].strip_suffix(b" kernel messages")?;
            return digits(count).map(LossNote::Journald);
        }
        has("auditd")?;
        if has("Audit daemon is suspending logging").is_some() {
            return Some(LossNote::Auditd("suspended logging"));
        }
        if has("Error receiving audit netlink packet (No buffer space").is_some() {
            return Some(LossNote::Auditd(
                "could not read as fast as the kernel sent",
            ));
        }
        None
    }
}

/// The missing numbers of a sequence.
///
/// Numbers can come out of order (two CPUs log at once), repeatedly (the records of one event share theirs), and restart (a
/// boot).
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    next: Option<u64>,
    /// The latest missing ranges: start and end (exclusive).
    open: VecDeque<(u64, u64)>,
    /// How many numbers are missing in older ranges.
    missed: u64,
}

impl Gaps {
    /// How late a number can be. One that is further back means a boot.
    const WINDOW: u64 = 1 << 16;
    /// The maximum number of ranges that late numbers can fill.
    const RANGES: usize = 64;

    pub(crate) fn see(&mut self, number: u64) {
        let Some(next) = self.next else {
            self.next = Some(number.saturating_add(1));
            return;
        };
        if number == next {
            self.next = Some(number.saturating_add(1));
        } else if number > next {
            self.open.push_back((next, number));
            self.next = Some(number.saturating_add(1));
            if self.open.len() > Gaps::RANGES {
                self.give_up_first();
            }
        } else if next - number > Gaps::WINDOW || (number < 8 && next > 1000) {
            self.missed = self.missing();
            self.open.clear();
            self.next = Some(number.saturating_add(1));
        } else {
            self.fill(number);
        }
    }

    pub(crate) fn missing(&self) -> u64 {
        let open = self.open.iter().map(|(start, end)| end - start);
        open.fold(self.missed, u64::saturating_add)
    }

    fn fill(&mut self, number: u64) {
        let found = self
            .open
            .iter()
            .rposition(|&(start, end)| (start..end).contains(&number));
        let Some(at) = found else { return };
        let (start, end) = self.open[at];
        self.open.remove(at);
        for part in [(number + 1, end), (start, number)] {
            if part.0 < part.1 {
                self.open.insert(at, part);
            }
        }
        if self.open.len() > Gaps::RANGES {
            self.give_up_first();
        }
    }

    fn give_up_first(&mut self) {
        if let Some((start, end)) = self.open.pop_front() {
            self.missed = self.missed.saturating_add(end - start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(numbers: &[u64]) -> u64 {
        let mut gaps = Gaps::default();
        for &number in numbers {
            gaps.see(number);
        }
        gaps.missing()
    }

    #[test]
    fn a_number_that_never_comes_is_a_gap() {
        assert_eq!(missing(&[]), 0);
        assert_eq!(missing(&[7, 8, 9]), 0);
        assert_eq!(missing(&[7, 8, 12, 13]), 3);
        assert_eq!(missing(&[1, 3, 6]), 3);
    }

    #[test]
    fn late_and_repeated_numbers_are_no_gap() {
        assert_eq!(missing(&[1, 2, 2, 2, 3]), 0);
        assert_eq!(missing(&[1, 3, 2, 4]), 0);
        assert_eq!(missing(&[1, 5, 2, 4, 3, 6]), 0);
        assert_eq!(missing(&[1, 5, 3, 6]), 2);
    }

    #[test]
    fn a_boot_restarts_the_numbers_and_keeps_earlier_gaps() {
        assert_eq!(missing(&[100_000, 100_002, 1, 2, 3]), 1);
        assert_eq!(missing(&[5000, 1, 2, 4]), 1);
        assert_eq!(missing(&[u64::MAX, u64::MAX, 1]), 0);
    }

    #[test]
    fn the_memory_of_gaps_is_bounded() {
        let mut gaps = Gaps::default();
        (0..10_000).for_each(|number| gaps.see(number * 2));
        assert_eq!(gaps.missing(), 9_999);
        assert!(gaps.open.len() <= Gaps::RANGES);
    }

    #[test]
    fn notes_of_loss_are_read() {
        let kernel = |line: &str, note| assert_eq!(LossNote::of_kernel(line.as_bytes()), note);
        let suppressed = Some(LossNote::Suppressed(40));
        kernel("kauditd_printk_skb: 40 callbacks suppressed", suppressed);
        let lost = "audit: audit_lost=126533574 audit_rate_limit=0 audit_backlog_limit=65536";
        kernel(lost, Some(LossNote::LostSinceBoot(126_533_574)));
        let overflow = Some(LossNote::Kernel("kauditd hold queue overflow"));
        kernel("audit: kauditd hold queue overflow", overflow);
        kernel("net_ratelimit: 4 callbacks suppressed", None);
        kernel(
            "audit: type=1400 audit(1.000:1): backlog limit exceeded",
            None,
        );
        let daemon = |line: &str, note| {
            let line = format!("Nov 21 23:48:13 host {line}");
            assert_eq!(LossNote::of_daemon(line.as_bytes()), note);
        };
        let missed = Some(LossNote::Journald(12));
        daemon("systemd-journald[316]: Missed 12 kernel messages", missed);
        let suspended = Some(LossNote::Auditd("suspended logging"));
        let line = "auditd[9]: Audit daemon is suspending logging due to low disk space.";
        daemon(line, suspended);
        daemon("x[316]: Missed 12 kernel messages", None);
    }
}
