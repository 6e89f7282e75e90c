//! Why a file can't be read or written, and the place in it.

use std::fmt;

use super::name::Format;
use crate::profile::{NoSuchArg, RuleError};
use crate::syscall::Arch;

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In bytes, from 1. 0 is before the first byte of the line.
    pub column: usize,
}

impl Position {
    pub(super) const START: Position = Position { line: 1, column: 1 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Where the lines of a text begin, so that many offsets are found without counting lines again.
#[derive(Clone, Debug)]
pub(super) struct LineStarts {
    starts: Vec<usize>,
    end: usize,
}

impl LineStarts {
    pub(super) fn of(text: &[u8]) -> LineStarts {
        let after_newline = memchr::memchr_iter(b'\n', text).map(|offset| offset + 1);
        LineStarts {
            starts: std::iter::once(0).chain(after_newline).collect(),
            end: text.len(),
        }
    }

    /// The position of the byte at `offset`, from 0; `None` beyond the end of the text.
    pub(super) fn position(&self, offset: usize) -> Option<Position> {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line.checked_sub(1)?)?;
        (offset <= self.end).then_some(Position {
            line,
            column: offset - start + 1,
        })
    }
}

/// Something that one format can express and another can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Its place in the file that was read.
    pub position: Option<Position>,
    /// What it is, with the part of the profile.
    pub what: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// Why a text is not a profile, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {kind}")]
pub struct ParseError {
    /// Where.
    pub position: Position,
    /// Why.
    pub kind: ParseErrorKind,
}

impl ParseError {
    pub(super) fn new(position: Option<Position>, kind: ParseErrorKind) -> ParseError {
        ParseError {
            position: position.unwrap_or(Position::START),
            kind,
        }
    }

    /// The text doesn't have the form of the format.
    pub(super) fn form(position: Option<Position>, message: impl Into<String>) -> ParseError {
        ParseError::new(position, ParseErrorKind::Form(message.into()))
    }
}

/// Why a text is not a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The file is not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// The text doesn't have the form of the format.
    #[error("{0}")]
    Form(String),
    /// The file is in another format.
    #[error("`{field}` is not a field of the {expected} format: {is}")]
    OtherFormat {
        /// The field that shows it.
        field: String,
        /// The format that it was read as.
        expected: Format,
        /// What it is.
        is: &'static str,
    },
    /// The file is longer than any profile.
    #[error("the file is longer than {} MiB, the limit for a profile", .0 >> 20)]
    TooLong(usize),
    /// It has a part that no profile can hold.
    #[error("{0}")]
    Unsaid(String),
    /// It has a part that is invalid in any profile.
    #[error("{path}: {invalid}")]
    Invalid {
        /// The part, as a path in the format.
        path: String,
        /// The problem.
        invalid: Invalid,
    },
}

/// Why a part is invalid in any profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A rule has no names, or a name that no call can have.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A comparison is of an argument that doesn't exist.
    #[error(transparent)]
    Arg(#[from] NoSuchArg),
    /// An errno goes with an action that has none. The OCI specification makes it an error; runc and crun differ in
    /// what they do.
    #[error("{action} has no errno: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have")]
    NoErrno {
        /// The action.
        action: &'static str,
    },
    /// A number doesn't fit into the return value of a filter.
    #[error("{number} is too great: {action} takes 0 to {max}")]
    ErrnoTooGreat {
        /// The action.
        action: &'static str,
        /// The number.
        number: u32,
        /// The greatest that the action takes.
        max: u16,
    },
    /// An architecture that the specification doesn't have.
    #[error("{0} is not an architecture of the OCI specification, and runc refuses it")]
    Architecture(String),
    /// The path of the listener is empty.
    #[error("the path of a socket can't be empty")]
    EmptyListenerPath,
    /// Two lists of ABIs.
    #[error("`architectures` and `archMap` exclude each other in Docker's dialect")]
    TwoArchLists,
    /// A rule has two lists of names.
    #[error("`name` and `names` exclude each other in Docker's dialect")]
    TwoNames,
    /// No errno has this name.
    #[error("{0:?} is neither the name of an errno nor a number")]
    ErrnoName(String),
    /// An errno is given by name and by number, and they differ.
    #[error("two different errnos are given: {name} and {number}")]
    ErrnoTwice {
        /// By its name.
        name: String,
        /// By its number.
        number: u32,
    },
    /// A condition names an unknown architecture.
    #[error("{0:?} is not an architecture")]
    ConditionArch(String),
    /// A condition names no capability.
    #[error("{0:?} is not a capability, such as CAP_SYS_ADMIN")]
    ConditionCap(String),
    /// A condition names no version of Linux.
    #[error("{0:?} is not a version of Linux, such as 5.10")]
    KernelVersion(String),
    /// Metadata without a listener.
    #[error("it needs listenerPath: without a listener, there is nobody to send it to")]
    MetadataWithoutListener,
}

/// What a format can't express.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The format has no name for an ABI.
    #[error("the {format} format has no name for {arch}")]
    Architecture {
        /// The format.
        format: Format,
        /// The ABI.
        arch: Arch,
    },
    /// The format can't express a part of the profile.
    #[error("the {format} format can't express this: {lost}")]
    Unsaid {
        /// The format.
        format: Format,
        /// What it can't express.
        lost: Lost,
    },
    /// The profile can't be compiled.
    #[error("the profile can't be compiled: {why}")]
    Compile {
        /// Why.
        why: String,
    },
    /// The text could not be made.
    #[error("the {format} format: {why}")]
    Text {
        /// The format.
        format: Format,
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_a_line_and_a_column() {
        let lines = LineStarts::of(b"a\n\nbc");
        let at = |offset| lines.position(offset).map(|at| (at.line, at.column));
        assert_eq!(at(0), Some((1, 1)));
        assert_eq!(at(1), Some((1, 2)));
        assert_eq!(at(2), Some((2, 1)));
        assert_eq!(at(4), Some((3, 2)));
        assert_eq!(at(5), Some((3, 3)));
        assert_eq!(at(6), None);
    }
}
