//! Reads and writes the files of every format.

use super::detect::detect;
use super::error::{LineStarts, ParseError, ParseErrorKind, RenderError};
use super::name::Format;
use super::reading::{MAX_BYTES, Parsed, ReadState, Reading};
use super::row::{FormatReader, Writer};
use super::writing::{Output, Writing, Written};
use crate::profile::Profile;

/// Reads a profile. Conditions of Docker's dialect are resolved for [`Machine::default`](super::Machine::default).
pub fn parse(format: Format, bytes: &[u8]) -> Result<Profile, ParseError> {
    read(bytes, Some(format), &Reading::default()).map(|parsed| parsed.profile)
}

/// Reads a profile, in the given format or in the one that its content shows.
pub fn read(
    bytes: &[u8],
    format: Option<Format>,
    reading: &Reading<'_>,
) -> Result<Parsed, ParseError> {
    let error = |offset, kind| ParseError::new(LineStarts::of(bytes).position(offset), kind);
    if bytes.len() > MAX_BYTES {
        return Err(error(MAX_BYTES, ParseErrorKind::TooLong(MAX_BYTES)));
    }
    let format = format.unwrap_or_else(|| detect(bytes));
    let mut input = ReadState::new(format, reading);
    let mut parsed = match format.row().read {
        FormatReader::Bytes(read) => read(bytes, &mut input)?,
        FormatReader::Text(read) => {
            let text = std::str::from_utf8(bytes)
                .map_err(|invalid| error(invalid.valid_up_to(), ParseErrorKind::NotUtf8))?;
            read(text, &mut input)?
        }
    };
    parsed.lost = input.into_lost();
    Ok(parsed)
}

/// Writes a profile in a format that is text. The text is a function of the profile, and ends with a newline.
pub fn render(format: Format, profile: &Profile) -> Result<String, RenderError> {
    let written = write(format, profile, &Writing::default())?;
    String::from_utf8(written.bytes).map_err(|_| RenderError::Text {
        format,
        why: "it is not text".to_owned(),
    })
}

/// Writes a profile. The bytes are a function of the profile and the options.
pub fn write(
    format: Format,
    profile: &Profile,
    writing: &Writing<'_>,
) -> Result<Written, RenderError> {
    let mut out = Output::new(format, writing);
    let bytes = match format.row().write {
        Writer::Text(write) => write(profile, &mut out)?.into_bytes(),
        Writer::Bytes(write) => write(profile, &mut out)?,
    };
    Ok(Written {
        bytes,
        lost: out.into_lost(),
        companion: format.row().companion.map(|make| make(writing.name)),
    })
}

impl Parsed {
    /// Writes what was read, in another format or in the same one. What only the dialects of one family can express is kept
    /// within the family: from Docker's to Docker's or Podman's, and from one resource to another.
    pub fn write(&self, format: Format, writing: &Writing<'_>) -> Result<Written, RenderError> {
        let mut out = Output::new(format, writing);
        let text = (self.extras.as_ref()).and_then(|extras| extras.render(&mut out));
        let Some(text) = text else {
            return write(format, &self.profile, writing);
        };
        Ok(Written {
            bytes: text?.into_bytes(),
            lost: out.into_lost(),
            companion: None,
        })
    }
}
