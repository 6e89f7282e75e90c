//! Recordings on the disk: read, and changed by one process at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use super::{MergeError, Name, ParseError, Recording, RunId, journal};
use crate::atomic_file::{self, FilePlace, LockedFile, write_atomically};
use crate::input::{FileKind, ReadError, read_any, read_file, require_text};

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
    /// Its new content could not be read back.
    #[error("the new content of {} can't be read back", path.display())]
    NotReadable {
        /// Which.
        path: PathBuf,
        /// Why; `None` if other calls were read than were written.
        source: Option<ParseError>,
    },
    /// The new runs don't fit to those in the file.
    #[error("can't add to {}", path.display())]
    Merge {
        /// Which.
        path: PathBuf,
        /// Why.
        source: MergeError,
    },
    /// The runs of two files don't fit together.
    #[error("can't merge {} and {}", left.display(), right.display())]
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

    /// The content for this file. It is read back, so that no run is written that [`Recording::load`] can't read.
    pub fn content(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        let text = self.render();
        if text.len() > MAX_BYTES {
            return Err(FileError::Full {
                path: path.to_owned(),
            });
        }
        let not_readable = |source| FileError::NotReadable {
            path: path.to_owned(),
            source,
        };
        let read = Recording::parse(&text).map_err(|problem| not_readable(Some(problem)))?;
        let [written, read] = [self, &read].map(|recording| {
            let runs = recording.calls_by_run();
            runs.flat_map(|(id, calls)| calls.map(move |call| (id, call)))
        });
        if written.eq(read) {
            Ok(text)
        } else {
            Err(not_readable(None))
        }
    }
}

/// The size that a run probably needs in its file.
const RUN_BYTES: u64 = 16 << 10;

/// What a run will be added to.
#[derive(Debug)]
pub struct Prepared {
    /// The recording, if the file exists.
    pub recording: Option<Recording>,
    /// Runs of recorders that were killed, which are in it now.
    pub recovered: Vec<RunId>,
}

/// Checks that a run can be added to a recording, before the run: the file can be locked, read and replaced. Takes in the
/// journals that killed recorders left.
pub fn prepare(place: &FilePlace, earlier: Earlier) -> Result<Prepared, FileError> {
    if place.is_special() {
        let path = place.path().to_owned();
        return Err(atomic_file::Error::NotRegular { path }.into());
    }
    place.check_writable(RUN_BYTES)?;
    let mut prepared = Prepared {
        recording: None,
        recovered: Vec::new(),
    };
    if !place.has_directory() {
        return Ok(prepared);
    }
    let file = LockedFile::lock(place)?;
    let mut taken = match read(&file).and_then(|old| take_in(&file, old)) {
        // Whatever it is, it will be set aside.
        Err(_) if earlier == Earlier::SetAside => return Ok(prepared),
        taken => taken?,
    };
    prepared.recording = taken.recording.take();
    if let Some(recording) = &prepared.recording {
        let content = recording.content(place.path())?;
        place.check_writable(content.len() as u64 + RUN_BYTES)?;
        if !taken.journals.is_empty() {
            file.replace(&content)?;
            prepared.recovered.clone_from(&taken.recovered);
            taken.remove_journals(&file);
        }
    }
    Ok(prepared)
}

/// Changes a recording on the disk, and returns the new one. `change` gets the recording of the file, if the file exists,
/// with the runs of journals that killed recorders left, and returns the one to write. The file is locked from before it is
/// read until it is written, so that two processes can add to it. It is written whole or not at all.
pub fn update(
    place: &FilePlace,
    earlier: Earlier,
    change: impl FnOnce(Option<Recording>) -> Result<Recording, MergeError>,
) -> Result<Recording, FileError> {
    let file = LockedFile::lock(place)?;
    let mut taken = match earlier {
        Earlier::Keep => take_in(&file, read(&file)?)?,
        Earlier::SetAside => {
            set_aside(&file)?;
            TakenIn::default()
        }
    };
    let new = change(taken.recording.take()).map_err(|source| FileError::Merge {
        path: place.path().to_owned(),
        source,
    })?;
    file.replace(&new.content(place.path())?)?;
    taken.remove_journals(&file);
    Ok(new)
}

fn read(file: &LockedFile<'_>) -> Result<Option<Recording>, FileError> {
    let path = file.place().path();
    let Some(opened) = file.open()? else {
        return Ok(None);
    };
    let text = read_any(opened, path, FileKind::Recording)?;
    require_text(&text, path)?;
    parse(path, &text).map(Some)
}

fn set_aside(file: &LockedFile<'_>) -> Result<(), FileError> {
    let Some(opened) = file.open()? else {
        return Ok(());
    };
    let old = read_any(opened, file.place().path(), FileKind::Recording)?;
    let mut backup = file.place().name().to_owned();
    backup.push(".bak");
    Ok(file.place().beside(backup)?.write(&old)?)
}

/// A recording with the runs of journals.
#[derive(Default)]
struct TakenIn {
    recording: Option<Recording>,
    recovered: Vec<RunId>,
    /// Locked, so that nobody else takes them in.
    journals: Vec<(OsString, Flock<File>)>,
}

impl TakenIn {
    fn remove_journals(self, file: &LockedFile<'_>) {
        for (name, _) in &self.journals {
            file.remove(name);
        }
    }
}

/// Adds the runs of the journals that killed recorders left beside a recording. A journal that can't be read stays.
fn take_in(file: &LockedFile<'_>, recording: Option<Recording>) -> Result<TakenIn, FileError> {
    let mut taken = TakenIn {
        recording,
        ..TakenIn::default()
    };
    for (name, lock) in file.left_journals() {
        let Ok(opened) = lock.try_clone() else {
            continue;
        };
        let path = file.place().path().with_file_name(&name);
        let text = read_any(opened, &path, FileKind::Recording)?;
        let journal = journal::parse(&text);
        let fits = |recording: &Recording| {
            (journal.iter()).all(|journalled| journalled.name == recording.name)
        };
        if !taken.recording.as_ref().is_none_or(fits) {
            continue;
        }
        if let Some(journalled) = journal {
            match &mut taken.recording {
                Some(recording) => {
                    // The recorder may have been killed after it had added the whole run.
                    let known: BTreeSet<RunId> =
                        recording.calls_by_run().map(|(id, _)| id).collect();
                    let new = journalled.runs.into_values();
                    for run in new.filter(|run| !known.contains(&run.id)) {
                        taken.recovered.push(run.id);
                        recording.runs.insert(run.id, run);
                    }
                }
                none => {
                    taken.recovered.extend(journalled.runs.keys());
                    *none = Some(journalled);
                }
            }
        }
        taken.journals.push((name, lock));
    }
    Ok(taken)
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
        // A file of seccompiler can have a thread of this name.
        Err(error) if error.is_data() => false,
        Err(_) => memchr::memmem::find(text, b"\"schema\"").is_some(),
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Recording, FileError> {
    Recording::parse(text).map_err(|problem| FileError::Parse {
        path: path.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests;
