//! Classifies the lines of logs: a seccomp record, another audit record, a message about lost records, or none of these.
//!
//! Any user can write text into a log. So a line counts as the kernel's only if its format shows that: a line of auditd's log,
//! of dmesg(1) with a time or a facility, or of `/dev/kmsg`. The tags of syslog don't, since `logger -t kernel` writes the same,
//! and nor does a message without any prefix (`journalctl -o cat`). A journal entry names its transport.

use std::time::SystemTime;

use memchr::memmem::Finder;

use self::LineOrigin::{AnyUser, Trusted};
use super::loss::{LossNote, setting_changed};
use super::record;
use super::time;
use crate::input::text::digits;

/// The class of a line in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogLine<'a> {
    /// A seccomp record, from `audit(` on.
    Seccomp(&'a [u8]),
    /// A seccomp record without its header, as in a journal.
    SeccompBody {
        body: &'a [u8],
        time: Option<SystemTime>,
        serial: Option<u64>,
    },
    /// A record of another type, and its serial number if the kernel assigned it.
    OtherRecord(Option<u64>),
    /// A message about lost records.
    Loss(LossNote),
    /// The line that ausearch(8) prints between events.
    AusearchSeparator,
    /// A seccomp record in a line that any user could have written.
    Untrusted,
    /// Anything else.
    Unrelated,
}

/// Who can have written a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineOrigin {
    /// The kernel, auditd, or root.
    Trusted,
    AnyUser,
}

/// Classifies lines.
pub(crate) struct Classifier {
    /// Whether to believe lines that any user could have written.
    trust_syslog: bool,
    type_: Finder<'static>,
    headless: Finder<'static>,
    suppressed: Finder<'static>,
    audit: Finder<'static>,
    journald: Finder<'static>,
}

impl Classifier {
    pub(crate) fn new(trust_syslog: bool) -> Classifier {
        Classifier {
            trust_syslog,
            type_: Finder::new("type="),
            headless: Finder::new("SECCOMP auid="),
            suppressed: Finder::new(" callbacks suppressed"),
            audit: Finder::new("udit"),
            journald: Finder::new(" kernel messages"),
        }
    }

    /// Classifies a line of a log with one record per line.
    pub(crate) fn of<'a>(&self, line: &'a [u8]) -> LogLine<'a> {
        let (line, origin) = self.with_origin(line);
        self.believe(line, origin)
    }

    /// Drops records of an untrusted origin.
    fn believe<'a>(&self, line: LogLine<'a>, origin: LineOrigin) -> LogLine<'a> {
        match line {
            _ if origin == Trusted || self.trust_syslog => line,
            LogLine::Seccomp(_) | LogLine::SeccompBody { .. } => LogLine::Untrusted,
            // A forged serial number could hide a gap.
            LogLine::OtherRecord(_) => LogLine::Unrelated,
            // A forged loss makes a run incomplete, which is safe.
            line => line,
        }
    }

    fn with_origin<'a>(&self, line: &'a [u8]) -> (LogLine<'a>, LineOrigin) {
        let line = trim_start(line);
        // auditd, ausearch(8).
        let own = line.strip_prefix(b"node=").and_then(after_word);
        if let Some(record) = own.unwrap_or(line).strip_prefix(b"type=") {
            return (of_type(record), Trusted);
        }
        if line.starts_with(b"----") {
            return (LogLine::AusearchSeparator, Trusted);
        }
        match self.type_.find(line) {
            Some(at) if is_header(&line[at + 5..]) => {
                let (prefix, record) = (&line[..at], &line[at + 5..]);
                match of_kernel(prefix) {
                    Some((b"" | b"audit: ", origin)) => (of_type(record), origin),
                    None if is_auditd(prefix) && after_word(record).is_some_and(is_msg) => {
                        (of_type(record), AnyUser)
                    }
                    _ => (LogLine::Unrelated, AnyUser),
                }
            }
            _ => (self.of_untyped(line), AnyUser),
        }
    }

    /// Classifies a line that a log shipper read, of auditd's own log or of another file.
    pub(super) fn of_file<'a>(&self, line: &'a [u8], is_auditd: bool) -> LogLine<'a> {
        let (line, origin) = self.with_origin(line);
        self.believe(line, if is_auditd { origin } else { AnyUser })
    }

    /// Classifies a message that a daemon logged, which any user can pretend to be unless `by_root`.
    pub(super) fn of_daemon<'a>(&self, message: &'a [u8], by_root: bool) -> LogLine<'a> {
        match self.with_origin(message).0 {
            record @ (LogLine::Seccomp(_) | LogLine::OtherRecord(_)) => {
                self.believe(record, if by_root { Trusted } else { AnyUser })
            }
            _ => LogLine::Unrelated,
        }
    }

    /// Classifies a message that is known to be the kernel's.
    pub(crate) fn of_kernel_message(message: &[u8]) -> LogLine<'_> {
        match (message.strip_prefix(b"audit: ").unwrap_or(message)).strip_prefix(b"type=") {
            Some(record) if is_header(record) => of_type(record),
            _ => LossNote::of_kernel(message).map_or(LogLine::Unrelated, LogLine::Loss),
        }
    }

    fn of_untyped<'a>(&self, line: &'a [u8]) -> LogLine<'a> {
        if let Some(at) = self.headless.find(line) {
            // journalctl(1): … host audit[31624]: SECCOMP auid=…, without a prefix with -o cat.
            if at == 0 || syslog_tag(&line[..at]) == Some(b"audit") {
                return LogLine::SeccompBody {
                    body: &line[at + "SECCOMP ".len()..],
                    time: time::of_prefix(line),
                    serial: None,
                };
            }
            return LogLine::Unrelated;
        }
        let note = if self.audit.find(line).is_some() || self.suppressed.find(line).is_some() {
            match of_kernel(line) {
                Some((message, _)) => LossNote::of_kernel(message),
                None => LossNote::of_daemon(line),
            }
        } else if self.journald.find(line).is_some() {
            LossNote::of_daemon(line)
        } else {
            None
        };
        note.map_or(LogLine::Unrelated, LogLine::Loss)
    }
}

/// Classifies a record, from its type on.
fn of_type(text: &[u8]) -> LogLine<'_> {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (kind, record) = (&text[..end], &text[end..]);
    let record = record.strip_prefix(b" ").unwrap_or(record);
    let record = record.strip_prefix(b"msg=").unwrap_or(record);
    match kind {
        b"SECCOMP" | b"1326" | b"UNKNOWN[1326]" => LogLine::Seccomp(record),
        b"CONFIG_CHANGE" | b"1305" | b"UNKNOWN[1305]" => setting_changed(record).map_or_else(
            || LogLine::OtherRecord(record::serial(record)),
            LogLine::Loss,
        ),
        // auditd numbers its own records.
        kind if kind.starts_with(b"DAEMON_") => LogLine::OtherRecord(None),
        _ => LogLine::OtherRecord(record::serial(record)),
    }
}

/// Whether a text in a line is a record, from its type on: `1326 audit(`, `SECCOMP msg=audit(`.
fn is_header(text: &[u8]) -> bool {
    after_word(text).is_some_and(|record| record.starts_with(b"audit(") || is_msg(record))
}

fn is_msg(record: &[u8]) -> bool {
    record.starts_with(b"msg=audit(")
}

/// The message in a line of the kernel, without the log's prefix, and who can have written such a line. `None` if the line isn't
/// the kernel's.
fn of_kernel(line: &[u8]) -> Option<(&[u8], LineOrigin)> {
    match line {
        // dmesg -r: <5>[   12.345678] …; syslog's wire format: <5>…. The number's upper bits are the facility.
        [b'<', rest @ ..] => {
            let end = memchr::memchr(b'>', rest)?;
            is_facility_kernel(&rest[..end])?;
            let rest = &rest[end + 1..];
            of_unnumbered(rest.strip_prefix(b"1 ").unwrap_or(rest))
        }
        _ => of_unnumbered(line),
    }
}

fn of_unnumbered(line: &[u8]) -> Option<(&[u8], LineOrigin)> {
    match line {
        // dmesg; journalctl -o short-monotonic: [ 2374.414547] host kernel: …
        [b'[', ..] => of_syslog(line).or_else(|| Some((without_times(line), Trusted))),
        [b'0'..=b'9', ..] => {
            if let Some((priority, message)) = kmsg(line) {
                is_facility_kernel(priority)?;
                return Some((message, Trusted));
            }
            of_syslog(line).or_else(|| {
                // dmesg --time-format=iso: 2026-11-21T23:47:17,681332+00:00 …; syslog writes no comma.
                let time = &line[..memchr::memchr(b' ', line)?];
                let is_dmesg = time.contains(&b',') && time.contains(&b'T');
                is_dmesg.then(|| (&line[time.len() + 1..], Trusted))
            })
        }
        // dmesg -x: kern  :notice: [   12.345678] …
        _ if line.starts_with(b"kern  :") => {
            let level = &line[b"kern  :".len()..];
            let message = &level[memchr::memchr(b':', level)? + 1..];
            Some((without_times(message), Trusted))
        }
        // dmesg -t; journalctl -o cat.
        _ if line.starts_with(b"audit: ") || line.starts_with(b"kauditd_") => Some((line, AnyUser)),
        b"" => Some((line, AnyUser)),
        _ => of_syslog(line),
    }
}

/// The priority and the message of a line of /dev/kmsg: `5,398,2315681332,-;…`.
fn kmsg(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = &line[..line.len().min(64)];
    let end = memchr::memchr(b';', head)?;
    let comma = memchr::memchr(b',', &head[..end])?;
    digits(&head[..comma])?;
    Some((&head[..comma], &line[end + 1..]))
}

/// The sequence number of a line of /dev/kmsg.
pub(crate) fn kmsg_sequence(line: &[u8]) -> Option<u64> {
    kmsg(line)?;
    digits(line.split(|&byte| byte == b',').nth(1)?)
}

/// The message after the tag `kernel:`, without the fields of RFC 5424 and the times of `printk.time`.
fn of_syslog(line: &[u8]) -> Option<(&[u8], LineOrigin)> {
    // The tag follows the date and the host. A later one is part of the message.
    let head = &line[..line.len().min(400)];
    for at in memchr::memchr_iter(b' ', head) {
        if line[..at].ends_with(b":") {
            break;
        }
        for tag in [&b" kernel:"[..], b" kernel - - -"] {
            if let Some(message) = line[at..].strip_prefix(tag) {
                return Some((without_times(message), AnyUser));
            }
        }
    }
    None
}

/// Whether a prefix is that of a line from an audit daemon: `… audisp-syslog[12]: `, `… tag_audit_log: node=host `.
fn is_auditd(prefix: &[u8]) -> bool {
    let prefix = match memchr::memmem::rfind(prefix, b" node=") {
        Some(at) => &prefix[..=at],
        None => prefix,
    };
    syslog_tag(prefix).is_some_and(|tag| memchr::memmem::find(tag, b"audi").is_some())
}

/// The tag at the end of a prefix, without its pid: `audit` of `… host audit[12]: `. `None` if there is another tag before,
/// since the second is then part of the message, as in /dev/kmsg.
fn syslog_tag(prefix: &[u8]) -> Option<&[u8]> {
    let prefix = prefix.strip_suffix(b": ")?;
    let start = memchr::memrchr(b' ', prefix).map_or(0, |at| at + 1);
    let (before, word) = prefix.split_at(start);
    if kmsg(prefix).is_some() || memchr::memmem::find(before, b": ").is_some() {
        return None;
    }
    Some(&word[..memchr::memchr(b'[', word).unwrap_or(word.len())])
}

/// Removes leading brackets: `[   12.345678] `, `[Sat Nov 21 23:47:17 2026] `, `[    T1]`.
fn without_times(mut line: &[u8]) -> &[u8] {
    line = line.trim_ascii_start();
    while let [b'[', rest @ ..] = line
        && let Some(end) = memchr::memchr(b']', rest)
    {
        line = rest[end + 1..].trim_ascii_start();
    }
    line
}

fn is_facility_kernel(priority: &[u8]) -> Option<()> {
    (digits(priority)? >> 3 == 0).then_some(())
}

fn after_word(line: &[u8]) -> Option<&[u8]> {
    Some(&line[memchr::memchr(b' ', line)? + 1..])
}

/// Removes a byte order mark, and the zeros that a crash leaves in a file.
fn trim_start(line: &[u8]) -> &[u8] {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    match line {
        [0, ..] => {
            let start = line.iter().position(|&byte| byte != 0);
            &line[start.unwrap_or(line.len())..]
        }
        _ => line,
    }
}
