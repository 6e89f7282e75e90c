//! Escapes text from outside where it is shown.
//!
//! Names, paths and reasons can hold newlines, sequences that control a terminal, characters that can't be seen or that change
//! the direction of the text (Unicode TR 36), and commands of CI systems (`::error::`).

use std::fmt::{self, Display, Write};
use std::path::Path;

/// A text as one line: every unsafe character is escaped.
#[derive(Clone, Copy, Debug)]
pub struct Line<T>(pub T);

/// A text of several lines: newlines and tabs stay.
#[derive(Clone, Copy, Debug)]
pub struct Lines<T>(pub T);

/// A path as one line.
#[must_use]
pub fn path(path: &Path) -> Line<std::path::Display<'_>> {
    Line(path.display())
}

/// JSON with the same characters escaped, as JSON does it.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: Display> Display for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut hashes = 0;
        for character in self.0.to_string().chars() {
            // `##[` begins a command of GitHub's runner anywhere in a line, and occurs in strings only.
            let is_command = hashes > 1 && character == '[';
            hashes = if character == '#' { hashes + 1 } else { 0 };
            if character == '\n' || !is_unsafe(character) && !is_command {
                f.write_char(character)?;
                continue;
            }
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(f, "\\u{unit:04x}")?;
            }
        }
        Ok(())
    }
}

impl<T: Display> Display for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, "", f)
    }
}

impl<T: Display> Display for Lines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(&self.0, "\n\t", f)
    }
}

/// Writes a text with all unsafe characters escaped, except those in `keep`.
fn escape(text: &dyn Display, keep: &'static str, to: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut escaping = Escaping {
        to,
        keep,
        start: Start::Blank,
    };
    write!(escaping, "{text}")?;
    escaping.end()
}

/// Whether a text can be shown as it is.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    !text.contains(is_unsafe)
}

/// Control characters, and those that format text without being seen (the general categories Cc, Cf, Zl and Zp).
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// What a line has begun with.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    /// Nothing but spaces.
    Blank,
    /// A colon, which may be half of a command.
    Colon,
    /// Other characters; the latest was not `#`.
    Text,
    /// A `#`, which may be the first character of `##[`.
    Hash,
    /// Two of them or more.
    Hashes,
}

struct Escaping<'a, 'b> {
    to: &'a mut fmt::Formatter<'b>,
    keep: &'static str,
    start: Start,
}

impl Escaping<'_, '_> {
    /// Writes what was held back.
    fn end(&mut self) -> fmt::Result {
        match std::mem::replace(&mut self.start, Start::Text) {
            Start::Colon => self.to.write_char(':'),
            _ => Ok(()),
        }
    }
}

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match (self.start, character) {
                (Start::Blank, ':') => {
                    self.start = Start::Colon;
                    continue;
                }
                // A command of GitHub's runner, which looks at the start of the line.
                (Start::Colon, ':') => {
                    self.start = Start::Text;
                    self.to.write_str("\\u{3a}:")?;
                    continue;
                }
                // Its older form, which is one anywhere in a line.
                (Start::Hashes, '[') => {
                    self.start = Start::Text;
                    self.to.write_str("\\u{5b}")?;
                    continue;
                }
                _ => {}
            }
            if self.start == Start::Colon {
                self.to.write_char(':')?;
            }
            self.start = match (self.start, character) {
                (_, '\n') if self.keep.contains('\n') => Start::Blank,
                (Start::Blank, ' ' | '\t') => Start::Blank,
                (Start::Hash | Start::Hashes, '#') => Start::Hashes,
                (_, '#') => Start::Hash,
                _ => Start::Text,
            };
            if self.keep.contains(character) || !is_unsafe(character) {
                self.to.write_char(character)?;
            } else if matches!(character, '\n' | '\r' | '\t') {
                write!(self.to, "{}", character.escape_default())?;
            } else {
                write!(self.to, "{}", character.escape_unicode())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_or_a_runner_would_act_on_is_escaped() {
        let check = |text: &str, line: &str, lines: &str| {
            assert_eq!(Line(text).to_string(), line);
            assert_eq!(Lines(text).to_string(), lines);
        };
        let both = |text, escaped| check(text, escaped, escaped);
        both("größe 日本", "größe 日本");
        check("a\nb\tc\r", "a\\nb\\tc\\r", "a\nb\tc\\r");
        both("\u{1b}[31m\u{9b}m", "\\u{1b}[31m\\u{9b}m");
        both(
            "a\u{202e}b\u{200b}\u{feff}",
            "a\\u{202e}b\\u{200b}\\u{feff}",
        );
        both("::error::x", "\\u{3a}:error::x");
        check(
            "a\n  ::error::x",
            "a\\n  ::error::x",
            "a\n  \\u{3a}:error::x",
        );
        both("a::b :c", "a::b :c");
        both(":", ":");
        both(": a", ": a");
        both("x ##[error] # a", "x ##\\u{5b}error] # a");
    }

    #[test]
    fn json_keeps_its_meaning_and_has_nothing_that_a_terminal_or_a_runner_would_act_on() {
        let text = "\u{1b}\u{9b}\u{202e}\u{e0041}\u{7f} ##[error] [#";
        let json = Json(serde_json::json!({ text: [text] })).to_string();
        assert!(is_plain(&json) && !json.contains("##["), "{json}");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read, serde_json::json!({ text: [text] }));
    }

    proptest! {
        #[test]
        fn no_text_becomes_a_command_or_a_second_line(text in "[ \\t\n\r:#\\[a\u{1b}\u{9b}\u{202e}\u{e0041}]{0,12}") {
            let line = Line(&text).to_string();
            prop_assert!(is_plain(&line));
            prop_assert!(!line.trim_start().starts_with("::") && !line.contains("##["));
            for line in Lines(&text).to_string().split('\n') {
                prop_assert!(is_plain(&line.replace('\t', "")));
                prop_assert!(!line.trim_start().starts_with("::") && !line.contains("##["));
            }
        }
    }
}
