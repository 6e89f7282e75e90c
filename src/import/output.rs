//! The result of an import: events, lines that can't be read, and errors.

use std::fmt;
use std::io;

use crate::event::{Event, Sink};

/// A line that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// The source's name.
    pub source: String,
    /// The line number, from 1.
    pub line: u64,
    /// The problem, as a sentence without a full stop.
    pub what: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.what)
    }
}

/// Why a source can't be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file can't be opened.
    #[error("can't open {name}")]
    Open {
        /// The file.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// Reading failed.
    #[error("can't read {name}")]
    Read {
        /// The source's name.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// The file is not text, but another program can convert it.
    #[error("{name} is {what}; import the output of `{with}`")]
    NotText {
        /// The file.
        name: String,
        /// The kind of file.
        what: &'static str,
        /// The command that converts it.
        with: String,
    },
}

/// Reports an error that ended the reading of a source. A damaged file (a truncated compressed one, or one with trailing
/// garbage) is a loss: the part that was read counts.
pub(super) fn report_read(
    read: io::Result<()>,
    name: &str,
    lines: u64,
    output: &mut ImportOutput<'_>,
) -> Result<(), ImportError> {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let Err(source) = read else { return Ok(()) };
    if !matches!(source.kind(), UnexpectedEof | InvalidData | InvalidInput) {
        let name = name.to_owned();
        return Err(ImportError::Read { name, source });
    }
    let what = format!("the rest can't be read: {source}");
    output.bad_line(name, lines, what.clone());
    output.lost(None, format!("{name}: {what}"));
    Ok(())
}

/// Takes the events and the bad lines of an import.
pub(super) struct ImportOutput<'a> {
    pub(super) sink: &'a mut dyn Sink,
    pub(super) report: &'a mut dyn FnMut(BadLine),
}

impl ImportOutput<'_> {
    pub(super) fn event(&mut self, event: Event) {
        self.sink.event(event);
    }

    pub(super) fn lost(&mut self, count: Option<u64>, why: String) {
        self.event(Event::Lost { count, why });
    }

    pub(super) fn bad_line(&mut self, source: &str, line: u64, what: impl Into<String>) {
        (self.report)(BadLine {
            source: source.to_owned(),
            line,
            what: what.into(),
        });
    }
}
