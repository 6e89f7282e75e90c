//! What the program knows about a format.

use super::detect::Outline;
use super::error::{ParseError, RenderError};
use super::reading::{Parsed, ReadState};
use super::writing::{Companion, Output};
use crate::profile::{Edit, Profile};

/// A row of the table of formats.
pub(super) struct FormatRow {
    /// The name on the command line.
    pub(super) name: &'static str,
    /// The end of the names of such files, after the dot.
    pub(super) extension: &'static str,
    /// What it is, in a few words.
    pub(super) about: &'static str,
    /// Whether it is the OCI specification's JSON or a dialect: a profile reads back from it rule by rule.
    pub(super) is_oci: bool,
    /// Whether a JSON text is in this format.
    pub(super) json: fn(&Outline<'_>) -> bool,
    /// Whether a line shows that a text is in this format.
    pub(super) line: fn(&str) -> bool,
    pub(super) read: FormatReader,
    pub(super) write: Writer,
    /// Makes the file that goes with the profile of a workload.
    pub(super) companion: Option<fn(&str) -> Companion>,
    pub(super) edit: Option<EditText>,
}

/// Changes a text and leaves the rest of it as it is; `None` if the text can't be changed so.
pub(super) type EditText = fn(&str, &Profile, &Edit) -> Option<String>;

pub(super) enum FormatReader {
    Text(fn(&str, &mut ReadState<'_>) -> Result<Parsed, ParseError>),
    Bytes(fn(&[u8], &mut ReadState<'_>) -> Result<Parsed, ParseError>),
}

pub(super) enum Writer {
    Text(fn(&Profile, &mut Output<'_>) -> Result<String, RenderError>),
    Bytes(fn(&Profile, &mut Output<'_>) -> Result<Vec<u8>, RenderError>),
}
