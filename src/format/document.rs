//! Generates the text of a recording's profile, for every verb that writes a profile.

use super::error::RenderError;
use super::file::write;
use super::name::Format;
use super::writing::{Writing, Written};
use crate::profile::{GenerateError, Generated, Policy, generate};
use crate::recording::Recording;

/// A profile as it is written to a file, with the reasons for its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// The profile, and its reasons.
    pub generated: Generated<'a>,
    /// Its file.
    pub written: Written,
}

/// What to do with recorded calls without a name, which can't be in a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUnnamed {
    /// Return an error.
    #[default]
    Fail,
    /// Leave them out of the profile. They are in [`Generated::unnamed`].
    Skip,
}

/// Why a recording has no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// There is nothing to generate one from.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// Calls were recorded that can't be in one.
    #[error("no profile can allow calls without a name: {}", first(.0))]
    Unnamed(Vec<String>),
    /// The format can't express it.
    #[error(transparent)]
    Render(#[from] RenderError),
}

/// The first calls of a list, which can have thousands, and the number of the others.
fn first(calls: &[String]) -> String {
    const MOST: usize = 5;
    let shown = calls[..calls.len().min(MOST)].join("; ");
    match calls.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown}; and {more} more"),
    }
}

/// Generates and writes the profile of a workload. The same calls give the same bytes, whichever runs recorded them. What the
/// format can't express is an error, or is left out and listed with `lossy`.
pub fn document<'a>(
    recording: &'a Recording,
    policy: Policy,
    format: Format,
    on_unnamed: OnUnnamed,
    writing: &Writing<'_>,
) -> Result<Document<'a>, DocumentError> {
    let generated = generate(recording, policy)?;
    if on_unnamed == OnUnnamed::Fail && !generated.unnamed.is_empty() {
        let unnamed = generated.unnamed.iter().map(ToString::to_string);
        return Err(DocumentError::Unnamed(unnamed.collect()));
    }
    let executables = recording.executables();
    let writing = Writing {
        name: recording.name.as_str(),
        executables: Some(&executables),
        ..*writing
    };
    let written = write(format, &generated.profile, &writing)?;
    Ok(Document { generated, written })
}
