//! Reads whole files. The size is checked before anything is read.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The content of a file, which determines the maximum size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A profile in any format.
    Profile,
    /// A recording: thousands of runs, or millions if they are folded.
    Recording,
    /// The saved results of an interrupted search.
    SavedResults,
}

impl FileKind {
    /// The maximum size in bytes. Unit tests reach that of recordings, so theirs is smaller.
    #[must_use]
    pub const fn max_bytes(self) -> usize {
        match self {
            FileKind::Profile => 16 << 20,
            FileKind::Recording if cfg!(test) => 4 << 20,
            FileKind::Recording => 256 << 20,
            FileKind::SavedResults => 64 << 20,
        }
    }

    fn name(self) -> &'static str {
        match self {
            FileKind::Profile => "profile",
            FileKind::Recording => "recording",
            FileKind::SavedResults => "file of saved results",
        }
    }
}

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refuses.
    #[error("can't read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is a device, which may have no end.
    #[error("{} is a device, not a {}", path.display(), kind.name())]
    Device {
        /// The file.
        path: PathBuf,
        /// The expected content.
        kind: FileKind,
    },
    /// It is too large.
    #[error("{} is larger than {} bytes, so it is not a {}", path.display(), kind.max_bytes(), kind.name())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The expected content.
        kind: FileKind,
    },
    /// It has no content.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It starts with a byte order mark.
    #[error("{} starts with a byte order mark: save it as UTF-8 without one", path.display())]
    ByteOrderMark {
        /// The file.
        path: PathBuf,
    },
}

impl ReadError {
    /// Whether the file doesn't exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, ReadError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads a file that has content; `-` is stdin.
pub fn read_file(path: &Path, kind: FileKind) -> Result<Vec<u8>, ReadError> {
    let file = if path == Path::new("-") {
        (io::stdin().as_fd().try_clone_to_owned()).map(File::from)
    } else {
        File::open(path)
    };
    let file = file.map_err(|source| ReadError::Io {
        path: path.to_owned(),
        source,
    })?;
    let bytes = read_any(file, path, kind)?;
    require_text(&bytes, path)?;
    Ok(bytes)
}

/// Refuses a file without content, or with a byte order mark.
pub(crate) fn require_text(bytes: &[u8], path: &Path) -> Result<(), ReadError> {
    let path = || path.to_owned();
    if bytes.is_empty() {
        return Err(ReadError::Empty { path: path() });
    }
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if marks.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(ReadError::ByteOrderMark { path: path() });
    }
    Ok(())
}

/// Reads a file that can have any content, or none.
pub(crate) fn read_any(file: File, path: &Path, kind: FileKind) -> Result<Vec<u8>, ReadError> {
    let io = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    let too_large = || ReadError::TooLarge {
        path: path.to_owned(),
        kind,
    };
    let metadata = file.metadata().map_err(io)?;
    if is_endless(&file, &metadata) {
        return Err(ReadError::Device {
            path: path.to_owned(),
            kind,
        });
    }
    let limit = kind.max_bytes() as u64;
    if metadata.is_file() && metadata.len() > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(too_large());
    }
    Ok(bytes)
}

/// Whether a file is a device that may have no end: any but a terminal and `/dev/null`.
pub(crate) fn is_endless(file: &File, metadata: &std::fs::Metadata) -> bool {
    /// `/dev/null` (`Documentation/admin-guide/devices.txt` of the kernel).
    const NULL: u64 = libc::makedev(1, 3);
    let kind = metadata.file_type();
    let ends = metadata.rdev() == NULL || file.is_terminal();
    kind.is_block_device() || kind.is_char_device() && !ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &Path, expected: &str) {
        let error = read_file(path, FileKind::Recording).unwrap_err();
        assert_eq!(error.to_string(), format!("{}{expected}", path.display()));
    }

    #[test]
    fn a_file_that_can_not_be_of_its_kind_is_refused_before_it_is_read() {
        check(Path::new("/dev/zero"), " is a device, not a recording");
        check(Path::new("/dev/null"), " is empty");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        File::create(&path).unwrap().set_len(3 << 30).unwrap();
        let limit = FileKind::Recording.max_bytes();
        let too_large = format!(" is larger than {limit} bytes, so it is not a recording");
        check(&path, &too_large);
        for mark in ["\u{feff}{}".as_bytes(), b"\xff\xfe{\0", b"\xfe\xff\0{"] {
            std::fs::write(&path, mark).unwrap();
            check(
                &path,
                " starts with a byte order mark: save it as UTF-8 without one",
            );
        }
        std::fs::write(&path, "").unwrap();
        check(&path, " is empty");
        std::fs::remove_file(&path).unwrap();
        assert!(
            read_file(&path, FileKind::Profile)
                .unwrap_err()
                .is_not_found()
        );
    }

    #[test]
    fn a_pipe_without_end_is_read_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut fifo = File::options().write(true).open(path).unwrap();
                io::copy(&mut io::repeat(b' '), &mut fifo).unwrap_err()
            })
        };
        let limit = FileKind::Recording.max_bytes();
        let too_large = format!(" is larger than {limit} bytes, so it is not a recording");
        check(&path, &too_large);
        assert_eq!(writer.join().unwrap().kind(), io::ErrorKind::BrokenPipe);
    }
}
