//! The names of workloads.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// The name of a workload. It is also the name of its files (`recordings/NAME.json`), so it is one component of a path:
/// not empty, without `/` and control characters, and neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// The name of a workload that is started by this command: its file name without its ending.
    #[must_use]
    pub fn of_command(command: &Path) -> Name {
        let stem = command.file_stem().unwrap_or_default().to_string_lossy();
        let printable = stem.replace(char::is_control, "_");
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
        let bad = |c: char| c == '/' || c.is_control();
        if matches!(text, "" | "." | "..") || text.contains(bad) {
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
    "{0:?} can't be the name of a workload: it is also a file name, so it is not empty and has no `/`"
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
        check("a\nb", "a_b");
    }

    #[test]
    fn a_name_is_one_component_of_a_path() {
        for bad in ["", ".", "..", "a/b", "/", "a\0b", "a\nb"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        for good in ["a", "a b", "...", ".a", "größe", "-x"] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
    }
}
