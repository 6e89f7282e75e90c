//! Messages on stderr. Write errors are ignored, since the exit status is the workload's.

use std::fmt::Display;
use std::io::Write;

use sc_record::escape::{Json, Line, Lines};

/// Writes one line to stderr.
macro_rules! say {
    ($($arg:tt)*) => {
        crate::ui::say::line(format_args!($($arg)*))
    };
}

/// Writes one line to stderr, with its text escaped.
pub(crate) fn line(text: std::fmt::Arguments<'_>) {
    write(&Line(text));
}

/// Writes the lines of a report to stderr.
pub(crate) fn report(text: &str) {
    write(&Lines(text.trim_end()));
}

/// Writes JSON to stderr.
pub(crate) fn json(value: &serde_json::Value) {
    write(&Json(value));
}

fn write(text: &dyn Display) {
    // Without stderr, there is no place for the error.
    let _ = std::io::stderr().write_fmt(format_args!("{text}\n"));
}
