//! Why a file can't be written.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be written. The old file is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call failed.
    #[error("can't {operation} {}", path.display())]
    Io {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// The file is a directory, a device, a pipe or a socket.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// The file.
        path: PathBuf,
    },
    /// A symbolic link on the path belongs to another user.
    #[error(
        "can't write {}: the symbolic link {} on the way belongs to user {owner} and is not followed",
        path.display(),
        link.display()
    )]
    Link {
        /// The file.
        path: PathBuf,
        /// The name of the link.
        link: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// Another process has held the file's lock for a minute.
    #[error("another process keeps {} locked", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
}

/// Converts a failure to an [`Error::Io`].
pub(super) fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}
