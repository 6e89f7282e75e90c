//! From what others noted, the kernel's audit records and the output of strace(1), to [`Event`]s.
//!
//! Both kinds of text are read line by line, in bounded memory. What is not of the kind is skipped and counted; what is
//! of the kind and can't be read is a [`Problem`], and a loss.

pub mod audit;
mod lines;
mod source;
pub mod strace;

pub use source::Source;

use std::fmt;
use std::io;

use crate::event::{Event, Sink};

/// A line that couldn't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The name of the source.
    pub source: String,
    /// The number of the line, from 1.
    pub line: u64,
    /// What is wrong, as a sentence for the user without its full stop.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.source, self.line, self.what)
    }
}

/// Why a source couldn't be imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such file, or it can't be opened.
    #[error("can't open {name}")]
    Open {
        /// The file.
        name: String,
        /// What open(2) said.
        source: io::Error,
    },
    /// Reading failed.
    #[error("can't read {name}")]
    Read {
        /// The source's name.
        name: String,
        /// What read(2) said.
        source: io::Error,
    },
    /// The file is not text, but something that another program makes text of.
    #[error("{name} is {what}; import the output of `{with}`")]
    NotText {
        /// The file.
        name: String,
        /// What it is.
        what: &'static str,
        /// What reads it.
        with: String,
    },
}

/// What reading a source to its end came to. A file that is itself bad (a compressed one that was cut off, or is followed by
/// something else) is a loss: what was read of it counts.
fn settle_read(
    read: io::Result<()>,
    name: &str,
    lines: u64,
    output: &mut Output<'_>,
) -> Result<(), Error> {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    let Err(source) = read else { return Ok(()) };
    if !matches!(source.kind(), UnexpectedEof | InvalidData | InvalidInput) {
        let name = name.to_owned();
        return Err(Error::Read { name, source });
    }
    let what = format!("the rest can't be read: {source}");
    output.problem(name, lines, what.clone());
    output.lost(None, format!("{name}: {what}"));
    Ok(())
}

/// What becomes of the events and the problems of an import.
pub(crate) struct Output<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) report: &'a mut dyn FnMut(Problem),
}

impl Output<'_> {
    pub(crate) fn event(&mut self, event: Event) {
        self.sink.event(event);
    }

    pub(crate) fn lost(&mut self, count: Option<u64>, why: String) {
        self.event(Event::Lost { count, why });
    }

    pub(crate) fn problem(&mut self, source: &str, line: u64, what: impl Into<String>) {
        (self.report)(Problem {
            source: source.to_owned(),
            line,
            what: what.into(),
        });
    }
}
