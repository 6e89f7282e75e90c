//! Recordings on the disk: read, and changed by one process at a time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{MergeError, Name, ParseError, Recording, RunId};
use crate::atomic_file::{self, LockedFile, write_atomically};
use crate::input::{FileKind, ReadError, read_any, read_file};

const MAX_BYTES: usize = FileKind::Recording.max_bytes();

/// Why a recording could not be read or changed. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It can't be read.
    #[error(transparent)]
    Input(#[from] ReadError),
    /// It is not a recording, or this build can't read it.
    #[error("{}", problem.at(path))]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        problem: ParseError,
    },
    /// It would become too large to be read back.
    #[error("{} would be larger than {MAX_BYTES} bytes", path.display())]
    Full {
        /// Which.
        path: PathBuf,
    },
    /// The new runs don't fit to those in the file.
    #[error("cannot add to {}", path.display())]
    Merge {
        /// Which.
        path: PathBuf,
        /// Why.
        source: MergeError,
    },
    /// The runs of two files don't fit together.
    #[error("cannot merge {} and {}", left.display(), right.display())]
    MergeFiles {
        /// The one.
        left: PathBuf,
        /// The other.
        right: PathBuf,
        /// Why.
        source: MergeError,
    },
    /// No file was given.
    #[error("there is no recording")]
    NoFile,
    /// It can't be locked or written.
    #[error(transparent)]
    Write(#[from] atomic_file::Error),
}

/// The name of the recording that several files are merged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergedName<'a> {
    /// Theirs, which must be the same.
    Same,
    /// That of the first file. Several workloads can share a profile.
    First,
    /// This.
    Given(&'a Name),
}

/// What happens to the earlier runs of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// The change gets them.
    Keep,
    /// They are left out. The old file is kept with `.bak` after its name.
    SetAside,
}

impl Recording {
    /// Reads a file.
    pub fn load(path: &Path) -> Result<Recording, FileError> {
        parse(path, &read_file(path, FileKind::Recording)?)
    }

    /// Merges files that `load` reads.
    pub fn load_all<E: From<FileError>>(
        paths: &[PathBuf],
        name: MergedName<'_>,
        mut load: impl FnMut(&Path) -> Result<Recording, E>,
    ) -> Result<Recording, E> {
        let (first, rest) = paths.split_first().ok_or(FileError::NoFile)?;
        let mut merged = load(first)?;
        if let MergedName::Given(name) = name {
            merged.name = name.clone();
        }
        // The file that each run was met in first, for the error.
        let mut origins: BTreeMap<RunId, &Path> = BTreeMap::new();
        origins.extend(merged.calls_by_run().map(|(id, _)| (id, first.as_path())));
        for path in rest {
            let mut recording = load(path)?;
            if name != MergedName::Same {
                recording.name = merged.name.clone();
            }
            for (id, _) in recording.calls_by_run() {
                origins.entry(id).or_insert(path);
            }
            merged = merged.merge(recording).map_err(|source| {
                let left = match &source {
                    MergeError::Runs { id, .. } | MergeError::Folded { id } => origins.get(id),
                    MergeError::Names { .. } => None,
                };
                FileError::MergeFiles {
                    left: left.unwrap_or(&first.as_path()).to_path_buf(),
                    right: path.clone(),
                    source,
                }
            })?;
        }
        Ok(merged)
    }

    /// Replaces a file: whole, or not at all ([`write_atomically`]). [`update`] adds to it instead.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        Ok(write_atomically(path, &self.content(path)?)?)
    }

    /// The content for this file, which [`Recording::load`] can read back.
    pub fn content(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        let text = self.render();
        if text.len() > MAX_BYTES {
            return Err(FileError::Full {
                path: path.to_owned(),
            });
        }
        Ok(text)
    }
}

/// Changes a recording on the disk, and returns the new one. `change` gets the recording of the file, if the file exists,
/// and returns the one to write. The file is locked from before it is read until it is written, so that two processes can
/// add to it. It is written whole or not at all.
pub fn update(
    path: &Path,
    earlier: Earlier,
    change: impl FnOnce(Option<Recording>) -> Result<Recording, MergeError>,
) -> Result<Recording, FileError> {
    let file = LockedFile::lock(path)?;
    let read = match earlier {
        Earlier::Keep => read_file(file.path(), FileKind::Recording),
        Earlier::SetAside => read_any(file.path(), FileKind::Recording),
    };
    let old = match read {
        Err(error) if error.is_not_found() => None,
        Ok(old) if earlier == Earlier::SetAside => {
            write_atomically(&backup_of(file.path()), &old)?;
            None
        }
        old => Some(parse(path, &old?)?),
    };
    let new = change(old).map_err(|source| FileError::Merge {
        path: path.to_owned(),
        source,
    })?;
    file.replace(&new.content(path)?)?;
    Ok(new)
}

/// Whether a text is meant to be a recording, even if it is not a valid one.
#[must_use]
pub fn looks_like_recording(text: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Fields {
        schema: Option<u64>,
    }
    match serde_json::from_slice::<Fields>(text) {
        Ok(fields) => fields.schema.is_some(),
        Err(_) => [b"\"schema\"".as_slice(), b"\"runs\""]
            .iter()
            .all(|key| memchr::memmem::find(text, key).is_some()),
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Recording, FileError> {
    Recording::parse(text).map_err(|problem| FileError::Parse {
        path: path.to_owned(),
        problem,
    })
}

/// Where [`Earlier::SetAside`] keeps the old file: its name and `.bak`.
fn backup_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".bak");
    name.into()
}

#[cfg(test)]
mod tests;
