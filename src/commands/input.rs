//! Reads the profiles and recordings that verbs get as arguments.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use itertools::Itertools;
use sc_record::escape;
use sc_record::input::{FileKind, read_file};
use sc_record::profile::{Policy, Profile, generate};
use sc_record::recording::{
    ExecutableFilter, FileError, MergedName, Recording, looks_like_recording,
};
use sc_record::review::reachable::Reachable;

use super::load::{self, Loaded};
use crate::cli::{CodeArgs, PolicyArg, ReadArgs};
use crate::ui::failure::Content;

/// What a file is.
#[derive(Clone)]
pub(super) enum InputFile {
    Profile(Profile),
    Recording(Recording),
}

/// Reads a profile of any format.
pub(super) fn profile(path: &Path, args: &ReadArgs) -> anyhow::Result<Loaded> {
    load::load(path, args, None, false)
}

/// Reads a profile or a recording.
pub(super) fn either(path: &Path, args: &ReadArgs) -> anyhow::Result<InputFile> {
    // Read once, since it may be a pipe.
    let bytes = read_file(path, FileKind::Recording)?;
    if looks_like_recording(&bytes) {
        return parse_recording(path, &bytes).map(InputFile::Recording);
    }
    let parsed = load::parse(path, &bytes, args, None, false)?;
    Ok(InputFile::Profile(parsed.profile))
}

/// Reads a recording; `-` is stdin.
pub(super) fn recording(path: &Path) -> anyhow::Result<Recording> {
    parse_recording(path, &read_file(path, FileKind::Recording)?)
}

fn parse_recording(path: &Path, bytes: &[u8]) -> anyhow::Result<Recording> {
    Recording::parse(bytes).map_err(|problem| {
        let file = path.to_owned();
        let error = FileError::Parse {
            path: file,
            problem,
        };
        load::not(Content::Recording, path, bytes, error.into())
    })
}

/// The error for a recording that takes no run. It says what else the file is.
pub(super) fn not_recording(error: FileError) -> anyhow::Error {
    let FileError::Parse { path, .. } = &error else {
        return error.into();
    };
    let path = path.clone();
    match read_file(&path, FileKind::Recording) {
        Ok(bytes) => load::not(Content::Recording, &path, &bytes, error.into()),
        Err(_) => error.into(),
    }
}

/// The runs of several recordings.
pub(super) fn recordings(paths: &[PathBuf], name: MergedName<'_>) -> anyhow::Result<Recording> {
    Recording::load_all(paths, name, recording)
}

/// What the programs of a recording can call, if that is asked for.
pub(super) fn reachable(
    args: &CodeArgs,
    recording: Option<&Recording>,
) -> anyhow::Result<Option<Reachable>> {
    if !args.reach {
        return Ok(None);
    }
    let recording = recording.context("--reach needs a recording: --recording FILE")?;
    programs_of(recording, &args.with).map(Some)
}

/// What the programs of a recording can call.
pub(super) fn programs_of(recording: &Recording, with: &[PathBuf]) -> anyhow::Result<Reachable> {
    let mut all = Reachable::new(with.to_vec());
    all.add_recording(recording)?;
    some_analysed(&all)?;
    Ok(all)
}

/// Fails if no program could be analysed.
pub(super) fn some_analysed(reachable: &Reachable) -> anyhow::Result<()> {
    anyhow::ensure!(
        !reachable.bounds().is_empty(),
        "none of the programs that were recorded can be analysed{}",
        (reachable.skipped().iter())
            .map(|(path, why)| format!("\n  {}: {why}", escape::path(path)))
            .join("")
    );
    Ok(())
}

/// The calls of a recording that executables of the filter made. `file` is named in messages.
pub(super) fn by_executables(
    recording: Recording,
    filter: &ExecutableFilter,
    file: &str,
) -> anyhow::Result<Recording> {
    if filter.is_empty() {
        return Ok(recording);
    }
    let all = (recording.executables().iter())
        .map(|path| path.display())
        .join(", ");
    let left = recording.by_executables(filter);
    for named in &left.unmatched {
        let message = format!("{file}: no call was made by {}", named.display());
        if filter.only.contains(named) {
            let all = if all.is_empty() {
                "none is recorded"
            } else {
                &all
            };
            anyhow::bail!("{message}; the executables are: {all}");
        }
        say!("sc-record: warning: {message}");
    }
    if !left.unattributed.is_empty() {
        say!(
            "sc-record: warning: {file}: these calls stay, since no executable is recorded for them: {}",
            left.unattributed.iter().join(", ")
        );
    }
    Ok(left.recording)
}

/// A recording counts as the profile that `generate` writes for it.
pub(super) fn as_profile(input: InputFile, policy: PolicyArg) -> anyhow::Result<Profile> {
    match input {
        InputFile::Profile(profile) => Ok(profile),
        InputFile::Recording(recording) => {
            let policy = Policy {
                extent: policy.into(),
                ..Policy::default()
            };
            generated(&recording, policy)
        }
    }
}

/// The profile that `generate` writes for a recording.
pub(super) fn generated(recording: &Recording, policy: Policy) -> anyhow::Result<Profile> {
    let generated = generate(recording, policy).with_context(|| {
        let name = &recording.name;
        format!("no profile can be generated from the recording of {name}")
    })?;
    Ok(generated.profile)
}

/// `1 run`, `2 runs`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// `3 times`, `at least 3 times`.
pub(super) fn times(number: u64, exact: bool) -> String {
    let at_least = if exact { "" } else { "at least " };
    let number = usize::try_from(number).unwrap_or(usize::MAX);
    format!("{at_least}{}", count(number, "time"))
}
