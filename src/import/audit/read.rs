//! From the lines of a log to what each of them is.

use std::io::{self, Read};

use memchr::memmem;

use super::journal::{self, Entry};
use crate::audit::{Form, Forms, kmsg_sequence};
use crate::import::lines::Lines;

/// So much of a line is read. The kernel's records have less than 9 KB (`MAX_AUDIT_MESSAGE_LENGTH`, linux/audit.h); an
/// entry of a journal has all of its fields in one line of JSON.
const LONGEST_LINE: usize = 1 << 20;

/// What a line, or an entry of several, tells.
pub(crate) enum Told<'a> {
    /// What it is.
    Form(Form<'a>),
    /// It is one of `/dev/kmsg`, with this number. What else it is comes next.
    Sequence(u64),
    /// It is JSON that can't be read, and why.
    BadJson(String),
}

/// An entry of a journal that is being read, field by field (`-o export`).
#[derive(Default)]
struct Export {
    entry: Entry<'static>,
    /// Of the entry's message.
    line: u64,
}

/// Reads a log to its end. Everything is told with the number of its line, from 1; `lines` counts them.
pub(crate) fn read(
    reader: impl Read,
    forms: &Forms,
    lines: &mut u64,
    take: &mut dyn FnMut(u64, Told<'_>),
) -> io::Result<()> {
    let mut export: Option<Export> = None;
    let mut input = Lines::new(reader, LONGEST_LINE);
    let read = read_lines(&mut input, forms, &mut export, take);
    if let Some(export) = export {
        take(export.line, Told::Form(export.entry.form(forms)));
    }
    *lines = input.number();
    read
}

fn read_lines(
    lines: &mut Lines<impl Read>,
    forms: &Forms,
    export: &mut Option<Export>,
    take: &mut dyn FnMut(u64, Told<'_>),
) -> io::Result<()> {
    while let Some(line) = lines.next()? {
        let (text, number) = (line.text, line.number);
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
                    take(entry.line, Told::Form(entry.entry.form(forms)));
                }
                // A field that is not text: the name, its length, that many bytes, and a newline.
                None => {
                    if let Some(length) = lines.number_le()? {
                        lines.skip(length.saturating_add(1))?;
                    }
                }
            },
            None => line_of_its_own(text, number, forms, take),
        }
    }
    Ok(())
}

fn line_of_its_own(text: &[u8], number: u64, forms: &Forms, take: &mut dyn FnMut(u64, Told<'_>)) {
    if let Some(sequence) = kmsg_sequence(text) {
        take(number, Told::Sequence(sequence));
    }
    let Some(json) = journal::json(text) else {
        take(number, Told::Form(forms.of(text)));
        return;
    };
    if !may_matter(json) {
        return;
    }
    match Entry::of_json(json) {
        Ok(entry) => take(number, Told::Form(entry.form(forms))),
        Err(error) => take(number, Told::BadJson(format!("bad JSON: {error}"))),
    }
}

/// Whether an entry of a journal can be a record or a note of loss. Most are not, and needn't be taken apart.
fn may_matter(json: &[u8]) -> bool {
    memmem::find(json, b"audi").is_some() || memmem::find(json, b"Missed ").is_some()
}
