//! The names of workloads.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::escape::is_unsafe;

/// The name of a workload. It is also the name of its files (`recordings/NAME.json`), so it is one component of a path:
/// not empty, at most 200 bytes long, without `/` and characters that control or format text, and neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

/// The maximum length: with its prefix and suffix, a file name has at most 255 bytes.
const MAX_BYTES: usize = 200;

impl Name {
    /// The name of a workload that is started by this command: its file name without its ending.
    #[must_use]
    pub fn of_command(command: &Path) -> Name {
        let stem = command.file_stem().unwrap_or_default().to_string_lossy();
        let mut printable = stem.replace(is_unsafe, "_");
        let mut length = printable.len().min(MAX_BYTES);
        while !printable.is_char_boundary(length) {
            length -= 1;
        }
        printable.truncate(length);
        // `..` and `/` have no file name.
        printable
            .parse()
            .unwrap_or_else(|_| Name("workload".into()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Name, BadName> {
        let bad = |c: char| c == '/' || is_unsafe(c);
        if matches!(text, "" | "." | "..") || text.len() > MAX_BYTES || text.contains(bad) {
            return Err(BadName(text.to_owned()));
        }
        Ok(Name(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A text that can't be the name of a workload.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{0:?} can't be the name of a workload: it is also a file name, so it has 1 to {MAX_BYTES} bytes, no `/`, and no characters \
     that control or format text"
)]
pub struct BadName(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_gives_the_name_of_its_workload() {
        let check = |command: &str, name: &str| {
            assert_eq!(Name::of_command(Path::new(command)).as_str(), name);
        };
        check("./integration-tests.sh", "integration-tests");
        check("/usr/bin/git", "git");
        check("a.tar.gz", "a.tar");
        check(".hidden", ".hidden");
        check("x/..", "workload");
        check("/", "workload");
        check("", "workload");
        check("a\nb\u{202e}", "a_b_");
        check(&"ä".repeat(127), &"ä".repeat(100));
    }

    #[test]
    fn a_name_is_one_component_of_a_path() {
        let long = "x".repeat(201);
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "/",
            "a\0b",
            "a\nb",
            "a\u{202e}b",
            "a\u{200b}",
            &long,
        ] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        for good in ["a", "a b", "...", ".a", "größe", "-x"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
    }
}
