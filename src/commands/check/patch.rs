//! The patch that repairs the profile.

use std::path::Path;

use sc_record::atomic_file::{FilePlace, LockedFile};
use sc_record::format::{self, EditError};
use sc_record::input::{FileKind, read_file};
use sc_record::profile::Edit;
use similar::TextDiff;

use super::profile_file::ProfileFile;

/// The patch of a profile, if there is one.
pub(super) enum Patch {
    /// No change is needed.
    None,
    /// The change.
    Text {
        /// A unified diff, for `patch -p1` and `git apply`.
        diff: String,
        /// The changed file.
        new: String,
    },
    /// A change is needed, but the file can't be changed.
    Impossible(EditError),
}

impl Patch {
    pub(super) fn new(file: &ProfileFile, edit: &Edit) -> Patch {
        if edit.is_empty() {
            return Patch::None;
        }
        let format = file.parsed.format;
        let Ok(text) = std::str::from_utf8(&file.bytes) else {
            return Patch::Impossible(EditError::Format(format));
        };
        match format::edit(format, text, edit) {
            Ok(new) if new == text => Patch::None,
            Ok(new) => Patch::Text {
                diff: unified(&file.path, text, &new),
                new,
            },
            Err(error) => Patch::Impossible(error),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Patch::Text { diff, .. } => Some(diff),
            Patch::None | Patch::Impossible(_) => None,
        }
    }

    /// Changes the file, unless it was changed since it was read.
    pub(super) fn apply(&self, file: &ProfileFile) -> anyhow::Result<()> {
        let Patch::Text { new, .. } = self else {
            return Ok(());
        };
        let path = file.path.display();
        let place = FilePlace::find(&file.path)?;
        let locked = LockedFile::lock(&place)?;
        let now = read_file(&file.path, FileKind::Profile)?;
        anyhow::ensure!(
            now == file.bytes,
            "{path} was changed since it was checked: check again"
        );
        locked.replace(new.as_bytes())?;
        Ok(())
    }
}

/// The differences as diff(1) and git show them.
fn unified(path: &Path, old: &str, new: &str) -> String {
    let name = name(path);
    // What follows a tab isn't part of the name: without one, a name can't have spaces.
    let tab = if name.contains(' ') { "\t" } else { "" };
    let diff = TextDiff::from_lines(old, new);
    let mut diff = diff.unified_diff();
    diff.context_radius(3)
        .header(&format!("a/{name}{tab}"), &format!("b/{name}{tab}"));
    diff.to_string()
}

/// The path relative to the directory where the patch applies: the current one, or the root of the file system.
fn name(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok());
    let path = relative.unwrap_or(path);
    let path = path
        .strip_prefix("/")
        .or(path.strip_prefix("./"))
        .unwrap_or(path);
    path.to_string_lossy().into_owned()
}
