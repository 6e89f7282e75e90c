//! Reads the profiles and recordings that verbs get as arguments.

use std::path::Path;

use anyhow::Context;
use sc_record::profile::Profile;
use sc_record::recording::Recording;
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

/// Reads what may be either. What is broken counts as what it looks like.
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

/// All runs of several recordings of one workload.
pub(super) fn recordings<'a>(
    paths: impl IntoIterator<Item = &'a Path>,
) -> anyhow::Result<Recording> {
    let mut united: Option<Recording> = None;
    for path in paths {
        let recording = Recording::load(path_of(path))?;
        united = Some(match united {
            None => recording,
            Some(one) => one
                .merge(recording)
                .with_context(|| format!("cannot unite {} with the others", path.display()))?,
        });
    }
    united.context("there is no recording")
}

/// `1 run`, `2 runs`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
