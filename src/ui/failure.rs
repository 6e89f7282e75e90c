//! Errors of the binary itself; [`hint`](super::hint) has advice for them.

use std::path::PathBuf;

use super::summary::count;

/// A file has the wrong content for the verb.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} is {}, not {}", path.display(), is.name(), wanted.name())]
pub(crate) struct WrongFile {
    pub(crate) path: PathBuf,
    pub(crate) is: Content,
    pub(crate) wanted: Content,
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Profile,
    Recording,
    Audit,
    Strace,
}

impl Content {
    fn name(self) -> &'static str {
        match self {
            Content::Profile => "a profile",
            Content::Recording => "a recording",
            Content::Audit => "an audit log",
            Content::Strace => "the output of strace",
        }
    }
}

/// Names that can't be compiled into the filter, each with its place in the file.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(crate) struct UnknownNames(pub(crate) Vec<String>);

/// The imported text contains no run.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Nothing {
    /// No seccomp record in this many lines.
    #[error("no seccomp record (type 1326) in {}", count(*.0, "line"))]
    Record(u64),
    /// None of this many records was selected.
    #[error("{}, but none matches", count(*.0, "seccomp record"))]
    Selected(u64),
    /// This many records, all in lines that any user can write.
    #[error("{}, but only in lines that any user can write (logger -t kernel)", count(*.0, "seccomp record"))]
    Trusted(u64),
    /// No system call in this many lines.
    #[error("no system call in {}", count(*.0, "line"))]
    Call(u64),
}
