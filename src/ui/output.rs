//! Reports on stdout.

use std::fmt::Display;
use std::io::{self, Write};

use anyhow::Context;
use sc_record::atomic_file::write_atomically;
use sc_record::escape::{Json, Lines};
use serde_json::Value;

use crate::cli::Destination;

/// Writes a result to stdout, as JSON or in words.
pub(crate) fn result(
    as_json: bool,
    json: impl FnOnce() -> Value,
    words: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    if as_json {
        self::json(format_args!("{}\n", json()))
    } else {
        report(&words())
    }
}

/// Writes a report in words to stdout.
pub(crate) fn report(text: &str) -> anyhow::Result<()> {
    print(&Lines(text).to_string())
}

/// Names in indented lines.
pub(crate) fn wrapped(indent: &str, separator: &str, names: &[impl AsRef<str>]) -> String {
    /// The maximum width of a line.
    const WIDTH: usize = 100;
    let mut text = String::new();
    let mut line = indent.to_owned();
    for (index, name) in names.iter().enumerate() {
        if index > 0 && line.len() + name.as_ref().len() + separator.len() > WIDTH {
            text += &format!("{}\n", line.trim_end());
            indent.clone_into(&mut line);
        }
        line += name.as_ref();
        line += if index + 1 < names.len() {
            separator
        } else {
            ""
        };
    }
    format!("{text}{line}\n")
}

/// Writes JSON to stdout.
pub(crate) fn json(text: impl Display) -> anyhow::Result<()> {
    print(&Json(text).to_string())
}

/// Writes a text to a file, to stdout or nowhere.
pub(crate) fn write_to(to: &Destination, text: &str) -> anyhow::Result<()> {
    match to {
        Destination::File(path) => Ok(write_atomically(path, text.as_bytes())?),
        Destination::Stdout => print(text),
        Destination::Nowhere => Ok(()),
    }
}

/// Writes a text to stdout as it is.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    (stdout.write_all(text.as_bytes()))
        .and_then(|()| stdout.flush())
        .context("can't write the report to stdout")
}
