//! Reports on stdout.

use std::io::{self, Write};

use anyhow::Context;
use sc_record::escape::Lines;

/// Writes a report in words to stdout.
pub(crate) fn report(text: &str) -> anyhow::Result<()> {
    print(&Lines(text).to_string())
}

/// Writes a text to stdout as it is.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    (stdout.write_all(text.as_bytes()))
        .and_then(|()| stdout.flush())
        .context("can't write the report to stdout")
}
