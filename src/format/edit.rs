//! Edits a profile in its text. Unchanged parts keep their bytes, order and layout.

use super::error::{ParseError, RenderError};
use super::file::{parse, render};
use super::name::Format;
use crate::profile::Edit;

/// Why a text can't be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It can't be read.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The format can't express the result.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// The format's files can't be changed in place.
    #[error("profiles in the {0} format can't be changed in place")]
    Format(Format),
    /// Its layout is not supported.
    #[error("the text can't be changed without changing other parts of it")]
    Elsewhere,
}

/// Changes the text of a profile. The new text means the result of [`Edit::apply`].
pub fn edit(format: Format, text: &str, edit: &Edit) -> Result<String, EditError> {
    let profile = parse(format, text.as_bytes())?;
    let edited = edit.apply(&profile);
    if edited == profile {
        return Ok(text.to_owned());
    }
    // Files that this program wrote are written again as a whole.
    if render(format, &profile).is_ok_and(|rendered| rendered == text) {
        return Ok(render(format, &edited)?);
    }
    let in_place = format.row().edit.ok_or(EditError::Format(format))?;
    let new = in_place(text, &profile, edit).ok_or(EditError::Elsewhere)?;
    if parse(format, new.as_bytes()).is_ok_and(|parsed| parsed == edited) {
        Ok(new)
    } else {
        Err(EditError::Elsewhere)
    }
}

#[cfg(test)]
mod tests;
