//! What a line of a log is: a record of seccomp, another record, a note of loss, or nothing of audit's.
//!
//! Anybody may write text into a log. So a line counts as the kernel's only with what a log puts before the kernel's own
//! lines: no prefix, a time in brackets, facility 0, or the tag `kernel:`.

use std::time::SystemTime;

use memchr::memmem::Finder;

use super::loss::Note;
use super::record;
use super::time;
use crate::audit::text::digits;

/// One line, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form<'a> {
    /// A record of seccomp, from `audit(` on.
    Record(&'a [u8]),
    /// A record of seccomp without its header, as a journal has it.
    Headless {
        body: &'a [u8],
        time: Option<SystemTime>,
        serial: Option<u64>,
    },
    /// A record of another type, and its serial number if the kernel counted it.
    Other(Option<u64>),
    /// Calls may have got lost.
    Note(Note),
    /// The line between the events that ausearch(8) found.
    Found,
    /// Anything else.
    Nothing,
}

/// Tells the forms apart.
pub(crate) struct Forms {
    type_: Finder<'static>,
    headless: Finder<'static>,
    suppressed: Finder<'static>,
    audit: Finder<'static>,
    journald: Finder<'static>,
}

impl Forms {
    pub(crate) fn new() -> Forms {
        Forms {
            type_: Finder::new("type="),
            headless: Finder::new("SECCOMP auid="),
            suppressed: Finder::new(" callbacks suppressed"),
            audit: Finder::new("udit"),
            journald: Finder::new(" kernel messages"),
        }
    }

    /// The form of a line of any log that has one line per record.
    pub(crate) fn of<'a>(&self, line: &'a [u8]) -> Form<'a> {
        let line = trim_start(line);
        // auditd, ausearch(8), dmesg(1) without times.
        let own = line.strip_prefix(b"node=").and_then(after_word);
        if let Some(record) = own.unwrap_or(line).strip_prefix(b"type=") {
            return of_type(record);
        }
        if line.starts_with(b"----") {
            return Form::Found;
        }
        match self.type_.find(line) {
            Some(at) if is_header(&line[at + 5..]) => {
                let (prefix, record) = (&line[..at], &line[at + 5..]);
                let trusted = match of_kernel(prefix) {
                    Some(message) => matches!(message, b"" | b"audit: "),
                    None => is_auditd(prefix) && after_word(record).is_some_and(is_msg),
                };
                if trusted {
                    of_type(record)
                } else {
                    Form::Nothing
                }
            }
            _ => self.of_untyped(line),
        }
    }

    /// The form of a message that is known to be the kernel's.
    pub(crate) fn of_kernel_message(message: &[u8]) -> Form<'_> {
        match (message.strip_prefix(b"audit: ").unwrap_or(message)).strip_prefix(b"type=") {
            Some(record) if is_header(record) => of_type(record),
            _ => Note::of_kernel(message).map_or(Form::Nothing, Form::Note),
        }
    }

    fn of_untyped<'a>(&self, line: &'a [u8]) -> Form<'a> {
        if let Some(at) = self.headless.find(line) {
            // journalctl(1): … host audit[31624]: SECCOMP auid=…, without anything before it with -o cat.
            if at == 0 || syslog_tag(&line[..at]) == Some(b"audit") {
                return Form::Headless {
                    body: &line[at + "SECCOMP ".len()..],
                    time: time::of_prefix(line),
                    serial: None,
                };
            }
            return Form::Nothing;
        }
        let note = if self.audit.find(line).is_some() || self.suppressed.find(line).is_some() {
            match of_kernel(line) {
                Some(message) => Note::of_kernel(message),
                None => Note::of_daemon(line),
            }
        } else if self.journald.find(line).is_some() {
            Note::of_daemon(line)
        } else {
            None
        };
        note.map_or(Form::Nothing, Form::Note)
    }
}

/// The form of a record, from its type on.
fn of_type(text: &[u8]) -> Form<'_> {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (kind, record) = (&text[..end], &text[end..]);
    let record = record.strip_prefix(b" ").unwrap_or(record);
    let record = record.strip_prefix(b"msg=").unwrap_or(record);
    match kind {
        b"SECCOMP" | b"1326" | b"UNKNOWN[1326]" => Form::Record(record),
        // The daemon counts its own.
        kind if kind.starts_with(b"DAEMON_") => Form::Other(None),
        _ => Form::Other(serial(record)),
    }
}

/// The serial number of a record of any type, from `audit(` on.
pub(crate) fn serial(record: &[u8]) -> Option<u64> {
    let header = record.strip_prefix(b"audit(")?;
    let end = memchr::memchr(b')', header)?;
    Some(record::stamp(&header[..end])?.1)
}

/// Whether this is a record from its type on, in a line that begins otherwise: `1326 audit(`, `SECCOMP msg=audit(`.
fn is_header(text: &[u8]) -> bool {
    after_word(text).is_some_and(|record| record.starts_with(b"audit(") || is_msg(record))
}

fn is_msg(record: &[u8]) -> bool {
    record.starts_with(b"msg=audit(")
}

/// What a line of the kernel's says, without what a log puts before it. `None` if the line isn't the kernel's.
fn of_kernel(line: &[u8]) -> Option<&[u8]> {
    match line {
        // dmesg -r: <5>[   12.345678] …; syslog's wire format: <5>…, where the facility is the number's upper part.
        [b'<', rest @ ..] => {
            let end = memchr::memchr(b'>', rest)?;
            is_facility_kernel(&rest[..end])?;
            let rest = &rest[end + 1..];
            of_unnumbered(rest.strip_prefix(b"1 ").unwrap_or(rest))
        }
        _ => of_unnumbered(line),
    }
}

fn of_unnumbered(line: &[u8]) -> Option<&[u8]> {
    match line {
        // dmesg; journalctl -o short-monotonic: [ 2374.414547] host kernel: …
        [b'[', ..] => of_syslog(line).or_else(|| Some(without_times(line))),
        [b'0'..=b'9', ..] => {
            if let Some((priority, message)) = kmsg(line) {
                is_facility_kernel(priority)?;
                return Some(message);
            }
            of_syslog(line).or_else(|| {
                // dmesg --time-format=iso: 2026-11-21T23:47:17,681332+00:00 …; syslog has no comma there.
                let time = &line[..memchr::memchr(b' ', line)?];
                (time.contains(&b',') && time.contains(&b'T')).then(|| &line[time.len() + 1..])
            })
        }
        // dmesg -x: kern  :notice: [   12.345678] …
        _ if line.starts_with(b"kern  :") => {
            let level = &line[b"kern  :".len()..];
            Some(without_times(&level[memchr::memchr(b':', level)? + 1..]))
        }
        // dmesg -t.
        _ if line.starts_with(b"audit: ") || line.starts_with(b"kauditd_") => Some(line),
        b"" => Some(line),
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

/// The sequence number of a line of /dev/kmsg, which counts all of them.
pub(crate) fn kmsg_sequence(line: &[u8]) -> Option<u64> {
    kmsg(line)?;
    digits(line.split(|&byte| byte == b',').nth(1)?)
}

/// What follows the tag `kernel:`, without what RFC 5424 and a kernel with `printk.time` put behind it.
fn of_syslog(line: &[u8]) -> Option<&[u8]> {
    // The tag follows the date and the host; what comes later is part of the message.
    let head = &line[..line.len().min(400)];
    for at in memchr::memchr_iter(b' ', head) {
        if line[..at].ends_with(b":") {
            break;
        }
        for tag in [&b" kernel:"[..], b" kernel - - -"] {
            if let Some(message) = line[at..].strip_prefix(tag) {
                return Some(without_times(message));
            }
        }
    }
    None
}

/// Whether a line is passed on by a daemon of audit's: `… audisp-syslog[12]: `, `… tag_audit_log: node=host `.
fn is_auditd(prefix: &[u8]) -> bool {
    let prefix = match memchr::memmem::rfind(prefix, b" node=") {
        Some(at) => &prefix[..=at],
        None => prefix,
    };
    syslog_tag(prefix).is_some_and(|tag| memchr::memmem::find(tag, b"audi").is_some())
}

/// The tag that a prefix ends with, without its pid: `audit` of `… host audit[12]: `. `None` if there is one before: then
/// the second is part of a message, as it is in /dev/kmsg.
fn syslog_tag(prefix: &[u8]) -> Option<&[u8]> {
    let prefix = prefix.strip_suffix(b": ")?;
    let start = memchr::memrchr(b' ', prefix).map_or(0, |at| at + 1);
    let (before, word) = prefix.split_at(start);
    if kmsg(prefix).is_some() || memchr::memmem::find(before, b": ").is_some() {
        return None;
    }
    Some(&word[..memchr::memchr(b'[', word).unwrap_or(word.len())])
}

/// Without any number of brackets: `[   12.345678] `, `[Sat Nov 21 23:47:17 2026] `, `[    T1]`.
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

/// Without what files that were written while the machine crashed begin lines with, and a byte order mark.
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
