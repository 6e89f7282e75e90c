//! Compares the outcomes of trials.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::run::{TrialEnd, TrialError, TrialResult};

/// The streams to compare, in addition to the exit status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ComparedStreams {
    /// Compare stdout.
    pub stdout: bool,
    /// Compare stderr.
    pub stderr: bool,
}

/// Lines on stderr that are no symptom, since they also occur with the expected outcome. Numbers and file names in them don't
/// count.
#[derive(Clone, Debug, Default)]
pub struct UsualStderr(BTreeSet<String>);

impl UsualStderr {
    /// Adds the lines of a trial.
    pub fn add(&mut self, tried: &TrialResult) -> Result<(), TrialError> {
        let bytes = tail(&tried.stderr)?;
        let lines = String::from_utf8_lossy(&bytes);
        self.0.extend(lines.lines().map(shape));
        Ok(())
    }

    fn has(&self, line: &str) -> bool {
        self.0.contains(&shape(line))
    }
}

/// A line without numbers and file names.
fn shape(line: &str) -> String {
    let words = line.split_whitespace();
    let plain = words.filter(|word| !word.contains(|c: char| c == '/' || c.is_ascii_digit()));
    plain.collect::<Vec<_>>().join(" ")
}

/// How the outcome of a trial differs from the expected one, as a sentence without a full stop; `None` if it doesn't. A command
/// that a signal kills and a shell that passes this on (status 128 + signal) have the same outcome.
pub fn difference(
    expected: &TrialResult,
    got: &TrialResult,
    compare: ComparedStreams,
    usual: &UsualStderr,
) -> Result<Option<String>, TrialError> {
    let status = |end| match end {
        TrialEnd::Exit(exit) => Some(exit.shell_status()),
        TrialEnd::OutOfTime(_) | TrialEnd::TooMuchOutput(_) => None,
    };
    let how = match status(got.end) {
        None => Some(got.end.to_string()),
        found if found != status(expected.end) => {
            Some(format!("{} instead of {}", got.end, expected.end))
        }
        Some(_) => None,
    };
    if let Some(how) = how {
        return Ok(Some(match last_line_but(&got.stderr, usual)? {
            Some(line) => format!("{how}; stderr ends with: {line}"),
            None => how,
        }));
    }
    let streams = [
        (compare.stdout, "stdout", &expected.stdout, &got.stdout),
        (compare.stderr, "stderr", &expected.stderr, &got.stderr),
    ];
    for (compared, name, expected, got) in streams {
        if compared && let Some(line) = first_difference(expected, got)? {
            return Ok(Some(format!("{name} differs in line {line}")));
        }
    }
    Ok(None)
}

fn open(path: &Path) -> Result<File, TrialError> {
    File::open(path).map_err(failed_to_read(path))
}

fn failed_to_read(path: &Path) -> impl Fn(io::Error) -> TrialError {
    move |source| TrialError::File {
        operation: "read",
        path: path.to_owned(),
        source,
    }
}

/// The first line, from 1, in which two files differ.
fn first_difference(expected: &Path, got: &Path) -> Result<Option<usize>, TrialError> {
    let mut sides = (
        BufReader::new(open(expected)?).bytes(),
        BufReader::new(open(got)?).bytes(),
    );
    let mut line = 1;
    loop {
        let a = sides
            .0
            .next()
            .transpose()
            .map_err(failed_to_read(expected))?;
        let b = sides.1.next().transpose().map_err(failed_to_read(got))?;
        match (a, b) {
            (None, None) => return Ok(None),
            (a, b) if a != b => return Ok(Some(line)),
            (Some(b'\n'), _) => line += 1,
            _ => {}
        }
    }
}

/// How many bytes at the end of a file are read, and how many characters of its last line are reported.
const TAIL: i64 = 4096;
const LINE: usize = 200;

/// The last line of a file that isn't blank, shortened, and without control characters.
pub fn last_line(path: &Path) -> Result<Option<String>, TrialError> {
    last_line_but(path, &UsualStderr::default())
}

/// The end of a file.
fn tail(path: &Path) -> Result<Vec<u8>, TrialError> {
    let mut file = open(path)?;
    let length = file.metadata().map_err(failed_to_read(path))?.len();
    if i64::try_from(length).is_ok_and(|length| length > TAIL) {
        (file.seek(SeekFrom::End(-TAIL))).map_err(failed_to_read(path))?;
    }
    let mut bytes = Vec::new();
    (file.take(TAIL.unsigned_abs()).read_to_end(&mut bytes)).map_err(failed_to_read(path))?;
    Ok(bytes)
}

fn last_line_but(path: &Path, usual: &UsualStderr) -> Result<Option<String>, TrialError> {
    let bytes = tail(path)?;
    let text = String::from_utf8_lossy(&bytes);
    // This program ends with hints.
    let lines = text
        .lines()
        .rev()
        .filter(|line| !line.starts_with("  hint: ") && !usual.has(line));
    let line = lines.map(str::trim).find(|line| !line.is_empty());
    Ok(line.map(|line| {
        let clean = line.chars().map(|c| if c.is_control() { ' ' } else { c });
        let mut short: String = clean.take(LINE + 1).collect();
        if short.chars().count() > LINE {
            short.pop();
            short.push('…');
        }
        short
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::run::tests::{LIMITS, run};

    #[test]
    fn outcomes_are_compared_as_requested() {
        let check = |a: &str, b: &str, compare: ComparedStreams, expected: Option<&str>| {
            let (a, _first) = run(a, LIMITS);
            let (b, _second) = run(b, LIMITS);
            let found = difference(&a, &b, compare, &UsualStderr::default()).unwrap();
            assert_eq!(found.as_deref(), expected);
        };
        let [nothing, stdout, both] = [(false, false), (true, false), (true, true)]
            .map(|(stdout, stderr)| ComparedStreams { stdout, stderr });
        check("echo a", "echo b", nothing, None);
        check("echo a", "echo b", stdout, Some("stdout differs in line 1"));
        let in_2 = Some("stdout differs in line 2");
        check("echo a; echo b", "echo a", stdout, in_2);
        check("echo a >&2", "echo b >&2", stdout, None);
        let on_stderr = Some("stderr differs in line 1");
        check("echo a >&2", "echo b >&2", both, on_stderr);
        let failed = Some("exit 1 instead of exit 0; stderr ends with: no such luck");
        check("exit 0", "echo no such luck >&2; exit 1", nothing, failed);
        check("kill -9 $$", "exit 137", nothing, None);
    }

    #[test]
    fn usual_lines_on_stderr_are_no_symptom() {
        let (fine, _first) = run("echo /tmp/a1: not removed >&2", LIMITS);
        let script = "echo no such luck >&2; echo /tmp/b2: not removed >&2; exit 1";
        let (failed, _second) = run(script, LIMITS);
        let mut usual = UsualStderr::default();
        usual.add(&fine).unwrap();
        let found = difference(&fine, &failed, ComparedStreams::default(), &usual).unwrap();
        let expected = "exit 1 instead of exit 0; stderr ends with: no such luck";
        assert_eq!(found.as_deref(), Some(expected));
    }
}
