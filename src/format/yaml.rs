//! Reading and writing YAML, for every format that is YAML.

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Location, Spanned};

use super::error::LineStarts;
use super::error::{ParseError, Position};

/// All documents of a text.
pub(super) fn documents<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, ParseError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| form(&error, text))
}

/// Positions in a text from `serde_saphyr`, whose columns are characters and whose lines also end at a carriage return.
pub(super) struct YamlPositions(LineStarts);

impl YamlPositions {
    pub(super) fn of(text: &str) -> YamlPositions {
        YamlPositions(LineStarts::of(text.as_bytes()))
    }

    pub(super) fn at<T>(&self, part: &Spanned<T>) -> Option<Position> {
        self.position(part.referenced)
    }

    fn position(&self, location: Location) -> Option<Position> {
        let offset = location.span().byte_offset()?;
        self.0.position(usize::try_from(offset).ok()?)
    }
}

fn form(error: &Error, text: &str) -> ParseError {
    let position = error
        .location()
        .and_then(|location| YamlPositions::of(text).position(location));
    let message = error.to_string();
    // The first line ends with the position; further lines repeat it.
    let first = message.lines().next().unwrap_or_default();
    let message = match first.rfind(" at line ") {
        Some(place) => &first[..place],
        None => first,
    };
    ParseError::form(position, message)
}

/// A string as a scalar: plain if it is unambiguous, otherwise in double quotes, as in JSON.
pub(super) fn scalar(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let first = text.bytes().next();
    let is_plain = first.is_some_and(|byte| byte.is_ascii_alphabetic() || b"_/".contains(&byte))
        && text.bytes().all(plain)
        && !is_word_of_yaml(text);
    if is_plain {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // YAML's printable characters, except some that editors and older readers don't accept.
            ' '..='~'
            | '\u{a1}'..='\u{2027}'
            | '\u{202f}'..='\u{d7ff}'
            | '\u{e000}'..='\u{fefe}'
            | '\u{ff00}'..='\u{fffd}' => quoted.push(c),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a plain scalar means a value in YAML 1.1 or 1.2, as `no` for Norway.
fn is_word_of_yaml(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    words.contains(&lower.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        let check = |text, written: &str| assert_eq!(scalar(text), written);
        check("read", "read");
        check("profiles/app.json", "profiles/app.json");
        check("no", "\"no\"");
        check("1", "\"1\"");
        check("-", "\"-\"");
        check("a: b", "\"a: b\"");
        check("", "\"\"");
        check("\u{85}", "\"\\U00000085\"");
    }

    #[test]
    fn lines_are_counted_as_everywhere_else() {
        let check = |text: &str, line, column| {
            let error = documents::<Vec<u8>>(text).unwrap_err();
            assert_eq!(error.position, Position { line, column }, "{text:?}");
        };
        check("- 1\n- a\n", 2, 3);
        check("- 1\r\n- a\r\n", 2, 3);
        check("- 1\r- a\r", 1, 7);
        check("# \u{e9}\r- 1\r\n- 2\n- a\n", 3, 3);
    }

    proptest! {
        #[test]
        fn every_string_reads_back(text in any::<String>()) {
            let written = format!("- {}\n", scalar(&text));
            let back: Vec<Vec<String>> = documents(&written).unwrap();
            prop_assert_eq!(back, [[text]]);
        }
    }
}
