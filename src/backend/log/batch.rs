//! Batches of raw messages. Another thread parses them, so that the reading thread only reads.

use std::time::SystemTime;

use super::socket::{AUDIT_CONFIG_CHANGE, AUDIT_SECCOMP, Message};
use crate::audit::{
    BadRecord, Classifier, LogLine, LossNote, Record, kmsg_sequence, setting_changed,
};

/// When a batch is handed on though there is more to read.
const FULL: usize = 64 << 10;

/// Messages in the order in which they came.
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// How much of `bytes` is used.
    length: usize,
    items: Vec<Item>,
}

struct Item {
    kind: Kind,
    /// Where its bytes end: they start where those of the item before end.
    end: usize,
}

/// What came.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A datagram of the audit socket.
    Datagram,
    /// What one read of `/dev/kmsg` gives.
    Kmsg,
    /// A record of seccomp, from `audit(` on.
    Record,
    /// One without its header, as a journal has it.
    Headless {
        time: Option<SystemTime>,
        serial: Option<u64>,
    },
    /// A record of another type.
    Other(Option<u64>),
    /// A seccomp record in a line that any user could have written.
    Untrusted,
    /// A line of a log that tells of loss.
    Note(LossNote),
    /// What can't be read, and why.
    Broken(String),
    /// The reader was too slow (ENOBUFS of the socket, EPIPE of `/dev/kmsg`).
    Overrun,
    /// Reading failed for good, or the log has come to its end.
    Over(Option<String>),
}

/// One message, taken apart.
pub(super) enum Heard<'a> {
    Record(Record<'a>),
    /// A record of another type, and its serial number.
    Other(Option<u64>),
    Broken(String),
    /// A seccomp record in a line that any user could have written.
    Untrusted,
    Note(LossNote),
    /// A message of `/dev/kmsg` came, with this number.
    Sequence(u64),
    Overrun,
    /// Nothing more will come.
    Over(Option<String>),
}

impl Batch {
    pub(super) fn new() -> Batch {
        Batch {
            bytes: vec![0; FULL],
            length: 0,
            items: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Room for the bytes of the next item; `None`: hand the batch on first.
    pub(super) fn room(&mut self, longest: usize) -> Option<&mut [u8]> {
        let end = self.length + longest;
        if end > self.bytes.len() && self.length == 0 {
            self.bytes.resize(end, 0);
        }
        self.bytes.get_mut(self.length..end)
    }

    /// An item of the first so many bytes of the room.
    pub(super) fn push(&mut self, kind: Kind, bytes: usize) {
        self.length += bytes;
        let end = self.length;
        self.items.push(Item { kind, end });
    }

    /// Takes the messages apart, one after another.
    pub(super) fn for_each(&self, classifier: &Classifier, take: &mut dyn FnMut(Heard<'_>)) {
        let mut start = 0;
        for item in &self.items {
            let bytes = &self.bytes[start..item.end];
            start = item.end;
            match &item.kind {
                Kind::Datagram => of_datagram(bytes, take),
                Kind::Kmsg => {
                    // What follows the first line are properties of the device that a driver prints about.
                    let line = bytes.split(|&byte| byte == b'\n').next();
                    let line = line.unwrap_or_default();
                    if let Some(number) = kmsg_sequence(line) {
                        take(Heard::Sequence(number));
                    }
                    of_line(classifier.of(line), take);
                }
                Kind::Record => take(of_record(Record::parse(bytes))),
                Kind::Headless { time, serial } => {
                    take(of_record(Record::parse_headless(bytes, *time, *serial)));
                }
                Kind::Other(serial) => take(Heard::Other(*serial)),
                Kind::Untrusted => take(Heard::Untrusted),
                Kind::Note(note) => take(Heard::Note(*note)),
                Kind::Broken(why) => take(Heard::Broken(why.clone())),
                Kind::Overrun => take(Heard::Overrun),
                Kind::Over(why) => take(Heard::Over(why.clone())),
            }
        }
    }
}

fn of_datagram(bytes: &[u8], take: &mut dyn FnMut(Heard<'_>)) {
    match Message::of(bytes) {
        Some(message) if message.kind == AUDIT_SECCOMP => {
            take(of_record(Record::parse(message.text())));
        }
        Some(message) if message.kind == AUDIT_CONFIG_CHANGE => {
            let text = message.text();
            take(
                setting_changed(text)
                    .map_or_else(|| Heard::Other(crate::audit::serial(text)), Heard::Note),
            );
        }
        Some(message) if message.is_record() => {
            take(Heard::Other(crate::audit::serial(message.text())));
        }
        // Answers to requests.
        _ => {}
    }
}

fn of_line(line: LogLine<'_>, take: &mut dyn FnMut(Heard<'_>)) {
    match line {
        LogLine::Seccomp(text) => take(of_record(Record::parse(text))),
        LogLine::SeccompBody { body, time, serial } => {
            take(of_record(Record::parse_headless(body, time, serial)));
        }
        LogLine::OtherRecord(serial) => take(Heard::Other(serial)),
        LogLine::Loss(note) => take(Heard::Note(note)),
        LogLine::Untrusted => take(Heard::Untrusted),
        LogLine::AusearchSeparator | LogLine::Unrelated => {}
    }
}

fn of_record(record: Result<Record<'_>, BadRecord>) -> Heard<'_> {
    match record {
        Ok(record) => Heard::Record(record),
        Err(error) => Heard::Broken(error.to_string()),
    }
}
