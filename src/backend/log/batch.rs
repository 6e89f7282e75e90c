//! Batches of raw messages. Another thread parses them, so that the reading thread only reads.

use std::time::SystemTime;

use super::socket::{AUDIT_CONFIG_CHANGE, AUDIT_SECCOMP, AuditMessage};
use crate::audit::{
    BadRecord, Classifier, LogLine, LossNote, Record, kmsg_sequence, setting_changed,
};

/// The size at which a batch is handed on although there is more to read.
const FULL: usize = 64 << 10;

/// Messages in the order in which they came.
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// How much of `bytes` is used.
    length: usize,
    items: Vec<Item>,
}

struct Item {
    kind: MessageKind,
    /// The end of its bytes; they start at the end of the item before.
    end: usize,
}

/// The kind of an item.
#[derive(Clone, Debug)]
pub(super) enum MessageKind {
    /// A datagram of the audit socket.
    Datagram,
    /// The result of one read of `/dev/kmsg`.
    Kmsg,
    /// A seccomp record, from `audit(` on.
    Record,
    /// A seccomp record without its header, as in a journal.
    Headless {
        time: Option<SystemTime>,
        serial: Option<u64>,
    },
    /// A record of another type.
    Other(Option<u64>),
    /// A seccomp record in a line that any user could have written.
    Untrusted,
    /// A message about lost records.
    Note(LossNote),
    /// An item that can't be read, and why.
    Broken(String),
    /// The reader was too slow (ENOBUFS of the socket, EPIPE of `/dev/kmsg`).
    Overrun,
    /// Reading failed for good (with the error), or the log has ended.
    Over(Option<String>),
}

/// One parsed message.
pub(super) enum ParsedItem<'a> {
    Record(Record<'a>),
    /// A record of another type, and its serial number.
    Other(Option<u64>),
    Broken(String),
    /// A seccomp record in a line that any user could have written.
    Untrusted,
    Note(LossNote),
    /// The sequence number of a message of `/dev/kmsg`.
    Sequence(u64),
    Overrun,
    /// No more messages will come.
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

    /// Room for the bytes of the next item. `None`: the batch must be handed on first.
    pub(super) fn room(&mut self, longest: usize) -> Option<&mut [u8]> {
        let end = self.length + longest;
        if end > self.bytes.len() && self.length == 0 {
            self.bytes.resize(end, 0);
        }
        self.bytes.get_mut(self.length..end)
    }

    /// Adds an item, whose bytes are the first `bytes` of the room.
    pub(super) fn push(&mut self, kind: MessageKind, bytes: usize) {
        self.length += bytes;
        let end = self.length;
        self.items.push(Item { kind, end });
    }

    /// Parses the messages one after another.
    pub(super) fn for_each(&self, classifier: &Classifier, take: &mut dyn FnMut(ParsedItem<'_>)) {
        let mut start = 0;
        for item in &self.items {
            let bytes = &self.bytes[start..item.end];
            start = item.end;
            match &item.kind {
                MessageKind::Datagram => of_datagram(bytes, take),
                MessageKind::Kmsg => {
                    // The lines after the first are properties of the device (`SUBSYSTEM=`, `DEVICE=`).
                    let line = bytes.split(|&byte| byte == b'\n').next();
                    let line = line.unwrap_or_default();
                    if let Some(number) = kmsg_sequence(line) {
                        take(ParsedItem::Sequence(number));
                    }
                    of_line(classifier.of(line), take);
                }
                MessageKind::Record => take(of_record(Record::parse(bytes))),
                MessageKind::Headless { time, serial } => {
                    take(of_record(Record::parse_headless(bytes, *time, *serial)));
                }
                MessageKind::Other(serial) => take(ParsedItem::Other(*serial)),
                MessageKind::Untrusted => take(ParsedItem::Untrusted),
                MessageKind::Note(note) => take(ParsedItem::Note(*note)),
                MessageKind::Broken(why) => take(ParsedItem::Broken(why.clone())),
                MessageKind::Overrun => take(ParsedItem::Overrun),
                MessageKind::Over(why) => take(ParsedItem::Over(why.clone())),
            }
        }
    }
}

fn of_datagram(bytes: &[u8], take: &mut dyn FnMut(ParsedItem<'_>)) {
    match AuditMessage::of(bytes) {
        Some(message) if message.kind == AUDIT_SECCOMP => {
            take(of_record(Record::parse(message.text())));
        }
        Some(message) if message.kind == AUDIT_CONFIG_CHANGE => {
            let text = message.text();
            take(setting_changed(text).map_or_else(
                || ParsedItem::Other(crate::audit::serial(text)),
                ParsedItem::Note,
            ));
        }
        Some(message) if message.is_record() => {
            take(ParsedItem::Other(crate::audit::serial(message.text())));
        }
        // Answers to requests.
        _ => {}
    }
}

fn of_line(line: LogLine<'_>, take: &mut dyn FnMut(ParsedItem<'_>)) {
    match line {
        LogLine::Seccomp(text) => take(of_record(Record::parse(text))),
        LogLine::SeccompBody { body, time, serial } => {
            take(of_record(Record::parse_headless(body, time, serial)));
        }
        LogLine::OtherRecord(serial) => take(ParsedItem::Other(serial)),
        LogLine::Loss(note) => take(ParsedItem::Note(note)),
        LogLine::Untrusted => take(ParsedItem::Untrusted),
        LogLine::AusearchSeparator | LogLine::Unrelated => {}
    }
}

fn of_record(record: Result<Record<'_>, BadRecord>) -> ParsedItem<'_> {
    match record {
        Ok(record) => ParsedItem::Record(record),
        Err(error) => ParsedItem::Broken(error.to_string()),
    }
}
