//! Reads a log, and classifies its lines or journal entries.

use std::io::{self, Read};

use memchr::memmem;

use super::classify::{Classifier, LogLine, kmsg_sequence};
use super::journal::{self, JournalEntry};
use crate::input::lines::LineReader;

/// Longer lines are cut. The kernel's records have less than 9 KB (`MAX_AUDIT_MESSAGE_LENGTH`, linux/audit.h); a journal entry
/// is one line of JSON.
const LONGEST_LINE: usize = 1 << 20;

/// A part of a log.
pub(crate) enum LogItem<'a> {
    /// A line or a journal entry.
    Line(LogLine<'a>),
    /// The sequence number of a line of `/dev/kmsg`; the line follows.
    KmsgSequence(u64),
    /// A line of invalid JSON, and the error.
    BadJson(String),
}

/// A journal entry that is being read field by field (`-o export`).
#[derive(Default)]
struct Export {
    entry: JournalEntry<'static>,
    /// The line of the field `MESSAGE`.
    line: u64,
}

/// Reads a log to its end, and passes each item with its line number, from 1, to `take`. `lines` becomes the number of lines.
pub(crate) fn read_log(
    reader: impl Read,
    classifier: &Classifier,
    lines: &mut u64,
    take: &mut dyn FnMut(u64, LogItem<'_>),
) -> io::Result<()> {
    let mut export: Option<Export> = None;
    let mut input = LineReader::new(reader, LONGEST_LINE);
    let read = read_lines(&mut input, classifier, &mut export, take);
    if let Some(export) = export {
        take(
            export.line,
            LogItem::Line(export.entry.classify(classifier)),
        );
    }
    *lines = input.number();
    read
}

fn read_lines(
    lines: &mut LineReader<impl Read>,
    classifier: &Classifier,
    export: &mut Option<Export>,
    take: &mut dyn FnMut(u64, LogItem<'_>),
) -> io::Result<()> {
    let mut is_dmesg_json = false;
    while let Some(line) = lines.next()? {
        let (text, number) = (line.text, line.number);
        is_dmesg_json |= number == 2 && text.trim_ascii() == b"\"dmesg\": [";
        if is_dmesg_json {
            read_dmesg_json(text, number, take);
            continue;
        }
        if text.starts_with(b"__CURSOR=") {
            export.get_or_insert_default();
        }
        match export {
            Some(entry) => match memchr::memchr(b'=', text) {
                Some(equals) => {
                    if text.starts_with(b"MESSAGE=") {
                        entry.line = number;
                    }
                    entry.entry.set(&text[..equals], &text[equals + 1..]);
                }
                None if text.is_empty() => {
                    let entry = std::mem::take(entry);
                    take(entry.line, LogItem::Line(entry.entry.classify(classifier)));
                }
                // A binary field: the name, the length, that many bytes, and a newline.
                None => {
                    if let Some(length) = lines.number_le()? {
                        lines.skip(length.saturating_add(1))?;
                    }
                }
            },
            None => read_line(text, number, classifier, take),
        }
    }
    Ok(())
}

/// A line of `dmesg -J`, which has one field per line.
fn read_dmesg_json(text: &[u8], number: u64, take: &mut dyn FnMut(u64, LogItem<'_>)) {
    if let Some(json) = text.trim_ascii().strip_prefix(b"\"msg\": ") {
        match serde_json::from_slice::<String>(json) {
            Ok(message) => {
                let line = Classifier::of_kernel_message(message.as_bytes());
                take(number, LogItem::Line(line));
            }
            Err(error) => take(number, LogItem::BadJson(format!("bad JSON: {error}"))),
        }
    }
}

fn read_line(
    text: &[u8],
    number: u64,
    classifier: &Classifier,
    take: &mut dyn FnMut(u64, LogItem<'_>),
) {
    if let Some(sequence) = kmsg_sequence(text) {
        take(number, LogItem::KmsgSequence(sequence));
    }
    let Some(json) = journal::json(text) else {
        take(number, LogItem::Line(classifier.of(text)));
        return;
    };
    if !may_matter(json) {
        return;
    }
    match JournalEntry::of_json(json) {
        Ok(entry) => take(number, LogItem::Line(entry.classify(classifier))),
        Err(error) => take(number, LogItem::BadJson(format!("bad JSON: {error}"))),
    }
}

/// Whether a journal entry can be a record or a message about lost ones. Most can't, and need no parsing.
fn may_matter(json: &[u8]) -> bool {
    memmem::find(json, b"audi").is_some() || memmem::find(json, b"Missed ").is_some()
}
