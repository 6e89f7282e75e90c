//! Errors of the binary itself, for which [`hint`](super::hint) knows what to do.

use std::path::PathBuf;

use super::summary::count;

/// A file has the wrong content for the verb.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum WrongFile {
    #[error("{} is a profile, not a recording", .0.display())]
    Profile(PathBuf),
    #[error("{} is a recording, not a profile", .0.display())]
    Recording(PathBuf),
}

/// No record came that was asked for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no record of seccomp came that was asked for")]
pub(crate) struct NoRecord;

/// Names that can't be put into the filter, each with its place in the file.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(crate) struct UnknownNames(pub(crate) Vec<String>);

/// There is no run in what was imported.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(crate) enum Nothing {
    /// In so many lines.
    #[error("no record of seccomp (type 1326) in {}", count(*.0, "line"))]
    Record(u64),
    /// Of so many records.
    #[error("{} of seccomp, but none that was asked for", count(*.0, "record"))]
    AskedFor(u64),
    /// In lines that any user can write.
    #[error("{} of seccomp, but only in lines that any user can write (logger -t kernel)", count(*.0, "record"))]
    Trusted(u64),
    /// In so many lines.
    #[error("no system call in {}", count(*.0, "line"))]
    Call(u64),
}
