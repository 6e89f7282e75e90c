//! Reads the profiles and recordings that verbs get as arguments.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sc_record::profile::Profile;
use sc_record::recording::{MergedName, Recording};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::load::{self, Loaded};
use crate::cli::ReadArgs;

/// What a file is.
pub(super) enum Input {
    Profile(Profile),
    Recording(Recording),
}

/// `-` is stdin.
pub(super) fn path_of(path: &Path) -> &Path {
    if path == Path::new("-") {
        Path::new("/dev/stdin")
    } else {
        path
    }
}

/// Reads a profile of any format.
pub(super) fn profile(path: &Path, args: &ReadArgs) -> anyhow::Result<Loaded> {
    load::load(path_of(path), args, None, false)
}

/// Reads a file that may be either. A broken file counts as what it looks like.
pub(super) fn either(path: &Path, args: &ReadArgs) -> anyhow::Result<Input> {
    #[derive(Deserialize)]
    struct Fields {
        schema: Option<IgnoredAny>,
        runs: Option<IgnoredAny>,
    }
    let file = path.display();
    // Once: it may be a pipe.
    let bytes = std::fs::read(path_of(path)).with_context(|| format!("cannot read {file}"))?;
    let is_recording = match serde_json::from_slice::<Fields>(&bytes) {
        Ok(fields) => fields.schema.is_some() || fields.runs.is_some(),
        Err(_) => memchr::memmem::find(&bytes, b"\"schema\"").is_some(),
    };
    if !is_recording {
        let parsed = load::parse(&bytes, args, None, false).with_context(|| format!("{file}"))?;
        return Ok(Input::Profile(parsed.profile));
    }
    if path == Path::new("-") {
        let recording = Recording::parse(&bytes).map_err(|error| error.at(path));
        return recording.map(Input::Recording).map_err(anyhow::Error::msg);
    }
    Ok(Input::Recording(Recording::load(path)?))
}

/// The runs of several recordings.
pub(super) fn recordings(paths: &[PathBuf], name: MergedName<'_>) -> anyhow::Result<Recording> {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path_of(path).to_owned()).collect();
    Ok(Recording::load_all(&paths, name)?)
}

/// `1 run`, `2 runs`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
