//! Reports on stdout.

use std::io::{self, Write};

use anyhow::Context;

/// Writes a report to stdout.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    (stdout.write_all(text.as_bytes()))
        .and_then(|()| stdout.flush())
        .context("can't write the report to stdout")
}
