//! Trials: runs of a command that end within limits, with everything that it started, and what came of them.

use std::collections::BTreeSet;
use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollTimeout;

use crate::recording::Exit;
use crate::sys::exec::Image;
use crate::sys::signal;
use crate::sys::supervise;
use crate::sys::wait::Status;

/// A command to try. It gets nothing on stdin, has no terminal, and writes to files.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What to execute: a path that was looked up in `PATH` already.
    pub path: PathBuf,
    /// Its arguments, the zeroth (its own name) included.
    pub argv: Vec<OsString>,
}

/// When a trial is broken off.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long it may take; `None`: as long as it likes.
    pub time: Option<Duration>,
    /// How many bytes it may write to each of stdout and stderr.
    pub output: u64,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself. What it had left running was killed then.
    Exit(Exit),
    /// It was killed, with everything that it had started, because it took longer than this.
    OutOfTime(Duration),
    /// It was killed because it wrote more than this many bytes.
    TooMuchOutput(u64),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Exit(Exit::Code(code)) => write!(f, "exit {code}"),
            End::Exit(Exit::Signal(signal)) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            End::OutOfTime(limit) => write!(f, "hangs: no end in {:.1} s", limit.as_secs_f64()),
            End::TooMuchOutput(limit) => write!(f, "writes without end: more than {limit} bytes"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    let signal = nix::sys::signal::Signal::try_from(signal).ok()?;
    Some(signal.as_str())
}

/// What came of a trial.
#[derive(Clone, Debug)]
pub struct Tried {
    /// How it ended.
    pub end: End,
    /// How long that took.
    pub elapsed: Duration,
    /// The file with what it wrote to stdout.
    pub stdout: PathBuf,
    /// The file with what it wrote to stderr.
    pub stderr: PathBuf,
}

/// Why a command can't be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The path or an argument holds a NUL byte.
    #[error("{} or one of its arguments has a NUL byte in it", .path.display())]
    Nul {
        /// What was to be executed.
        path: PathBuf,
    },
    /// `/proc` is missing, shows another pid namespace, or has no `children`: what a trial leaves could not be found.
    #[error(
        "/proc does not show the children of processes of this pid namespace, so what a run leaves behind can't be ended"
    )]
    NoProc,
    /// A file for its output can't be made or read.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A process could not be made or waited for.
    #[error("cannot {operation} {}", path.display())]
    Process {
        /// What was tried.
        operation: &'static str,
        /// With which command.
        path: PathBuf,
        /// Why it failed.
        source: Errno,
    },
}

/// How often it is looked whether a trial must be broken off.
const TICK: Duration = Duration::from_millis(20);
const TICK_MS: u16 = 20;

/// Between two looks so much of the limit is used up at most: a trial does not run out of time while this process is
/// stopped (^Z), or the machine sleeps.
const LONGEST_TICK: Duration = Duration::from_millis(500);

impl Trial {
    /// Runs the command; the files of its output are made in `directory`. `None`: it was broken off because `stop` says so.
    ///
    /// A trial ends when the command itself does. Everything that it has left running then is killed, daemons too.
    pub fn run(
        &self,
        directory: &Path,
        limits: Limits,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Tried>, TrialError> {
        let nul = |_| TrialError::Nul {
            path: self.path.clone(),
        };
        let path = CString::new(self.path.as_os_str().as_bytes()).map_err(nul)?;
        let argv = self.argv.iter().map(|arg| CString::new(arg.as_bytes()));
        let image = Image::new(path, argv.collect::<Result<_, _>>().map_err(nul)?);
        check_proc()?;
        signal::keep_children().map_err(self.process("wait for"))?;

        let open = |name: &'static str| {
            let path = directory.join(name);
            // Appending, so that those who open it anew (/dev/stdout) overwrite nothing.
            let file = (OpenOptions::new().create(true).append(true)).open(&path);
            let file = file.and_then(|file| file.set_len(0).map(|()| file));
            match file {
                Ok(file) => Ok((path, file)),
                Err(source) => Err(TrialError::File {
                    operation: "write",
                    path,
                    source,
                }),
            }
        };
        let (stdout, stdout_file) = open("stdout")?;
        let (stderr, stderr_file) = open("stderr")?;
        let stdin = Path::new("/dev/null");
        let stdin = File::open(stdin).map_err(|source| TrialError::File {
            operation: "read",
            path: stdin.to_owned(),
            source,
        })?;

        let start = Instant::now();
        let mut supervised = supervise::spawn(
            &image,
            [stdin.as_fd(), stdout_file.as_fd(), stderr_file.as_fd()],
        )
        .map_err(self.process("start"))?;
        let mut used = Duration::ZERO;
        let end = loop {
            let look = Instant::now();
            match (supervised.wait(PollTimeout::from(TICK_MS))).map_err(self.process("wait for"))? {
                Some(Status::Exited(code)) => break End::Exit(Exit::Code(code)),
                Some(Status::Signaled(signal)) => break End::Exit(Exit::Signal(signal)),
                Some(Status::Stopped { .. }) | None => {}
            }
            if stop() {
                return Ok(None);
            }
            used += look.elapsed().clamp(TICK, LONGEST_TICK);
            if let Some(limit) = limits.time.filter(|limit| used > *limit) {
                break End::OutOfTime(limit);
            }
            let too_long = |file: &File| {
                let metadata = file.metadata();
                metadata.is_ok_and(|metadata| metadata.len() > limits.output)
            };
            if too_long(&stdout_file) || too_long(&stderr_file) {
                break End::TooMuchOutput(limits.output);
            }
        };
        let elapsed = start.elapsed();
        drop(supervised);
        Ok(Some(Tried {
            end,
            elapsed,
            stdout,
            stderr,
        }))
    }

    fn process(&self, operation: &'static str) -> impl FnOnce(Errno) -> TrialError {
        move |source| TrialError::Process {
            operation,
            path: self.path.clone(),
            source,
        }
    }
}

/// The supervisor finds its children in `/proc`, and kills them by the numbers that it finds there.
fn check_proc() -> Result<(), TrialError> {
    let own = std::fs::read_link("/proc/self").ok();
    let own = own.and_then(|link| link.to_str()?.parse::<u32>().ok());
    let tells = own == Some(std::process::id()) && Path::new("/proc/thread-self/children").exists();
    tells.then_some(()).ok_or(TrialError::NoProc)
}

/// What of a workload's result is compared, beside how it ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compare {
    /// What it wrote to stdout.
    pub stdout: bool,
    /// What it wrote to stderr.
    pub stderr: bool,
}

/// Lines that a workload writes to stderr without its result being another: they are no symptoms. Numbers and names of files
/// in them don't count.
#[derive(Clone, Debug, Default)]
pub struct Usual(BTreeSet<String>);

impl Usual {
    /// The lines of this trial are usual.
    pub fn add(&mut self, tried: &Tried) -> Result<(), TrialError> {
        let bytes = tail(&tried.stderr)?;
        let lines = String::from_utf8_lossy(&bytes);
        self.0.extend(lines.lines().map(shape));
        Ok(())
    }

    fn has(&self, line: &str) -> bool {
        self.0.contains(&shape(line))
    }
}

/// What lines have in common that differ in numbers and names of files only.
fn shape(line: &str) -> String {
    let words = line.split_whitespace();
    let plain = words.filter(|word| !word.contains(|c: char| c == '/' || c.is_ascii_digit()));
    plain.collect::<Vec<_>>().join(" ")
}

/// How the result of a trial differs from that of another, as a sentence for the user without its full stop; `None` if it
/// is the same. A command that a signal ended and a shell that passes that on (128 and the signal) have the same result.
pub fn difference(
    expected: &Tried,
    got: &Tried,
    compare: Compare,
    usual: &Usual,
) -> Result<Option<String>, TrialError> {
    let status = |end| match end {
        End::Exit(exit) => Some(exit.shell_status()),
        End::OutOfTime(_) | End::TooMuchOutput(_) => None,
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

/// The number of the first line, from 1, in which two files differ.
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

/// How much of the end of a file is looked at, and how much of its last line is told.
const TAIL: i64 = 4096;
const LINE: usize = 200;

/// The last line of a file that isn't blank, without control characters, and not too long.
pub fn last_line(path: &Path) -> Result<Option<String>, TrialError> {
    last_line_but(path, &Usual::default())
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

fn last_line_but(path: &Path, usual: &Usual) -> Result<Option<String>, TrialError> {
    let bytes = tail(path)?;
    let text = String::from_utf8_lossy(&bytes);
    // This program's own last line is advice.
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

    const LIMITS: Limits = Limits {
        time: Some(Duration::from_secs(20)),
        output: 1 << 20,
    };

    fn sh(script: &str) -> Trial {
        Trial {
            path: "/bin/sh".into(),
            argv: ["sh", "-c", script].map(OsString::from).to_vec(),
        }
    }

    fn run(script: &str, limits: Limits) -> (Tried, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let tried = sh(script).run(directory.path(), limits, &|| false);
        (tried.unwrap().unwrap(), directory)
    }

    #[test]
    fn a_trial_tells_how_it_ended_and_what_it_wrote() {
        let (tried, _directory) = run("echo out; echo err >&2; read x || exit 3", LIMITS);
        assert_eq!(tried.end, End::Exit(Exit::Code(3)));
        assert_eq!(std::fs::read(&tried.stdout).unwrap(), b"out\n");
        assert_eq!(last_line(&tried.stderr).unwrap().unwrap(), "err");
        let (tried, _directory) = run("kill -SEGV $$", LIMITS);
        assert_eq!(tried.end.to_string(), "killed by SIGSEGV");
    }

    /// Whether somebody still sleeps for this many seconds.
    fn sleeps(seconds: &str) -> bool {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let wanted = format!("sleep\0{seconds}\0");
        entries
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|cmdline| cmdline == wanted.as_bytes())
    }

    #[test]
    fn nothing_outlives_a_trial() {
        // A daemon in a session of its own, whose parents are gone.
        let daemon = |seconds: &str| {
            format!("(setsid sh -c 'sleep {seconds} & setsid sleep {seconds} &' &) ; echo started")
        };
        let (tried, _directory) = run(&daemon("7771.25"), LIMITS);
        assert_eq!(tried.end, End::Exit(Exit::Code(0)));
        assert!(!sleeps("7771.25"));

        let limits = Limits {
            time: Some(Duration::from_millis(300)),
            ..LIMITS
        };
        let script = format!("{}; trap '' TERM; sleep 7772.25", daemon("7772.25"));
        let (tried, _directory) = run(&script, limits);
        assert_eq!(tried.end.to_string(), "hangs: no end in 0.3 s");
        assert!(!sleeps("7772.25"));
    }

    #[test]
    fn output_without_end_is_broken_off() {
        let limits = Limits {
            output: 100_000,
            ..LIMITS
        };
        let (tried, _directory) = run("exec yes", limits);
        assert_eq!(tried.end, End::TooMuchOutput(100_000));
    }

    #[test]
    fn a_trial_stops_when_it_is_asked_to() {
        let directory = tempfile::tempdir().unwrap();
        let tried = sh("sleep 7773.25").run(directory.path(), LIMITS, &|| true);
        assert!(tried.unwrap().is_none());
        assert!(!sleeps("7773.25"));
    }

    #[test]
    fn results_are_compared_as_asked() {
        let check = |a: &str, b: &str, compare: Compare, expected: Option<&str>| {
            let (a, _first) = run(a, LIMITS);
            let (b, _second) = run(b, LIMITS);
            let found = difference(&a, &b, compare, &Usual::default()).unwrap();
            assert_eq!(found.as_deref(), expected);
        };
        let stdout = Compare {
            stdout: true,
            stderr: false,
        };
        let both = Compare {
            stdout: true,
            stderr: true,
        };
        let nothing = Compare::default();
        check("echo a", "echo b", nothing, None);
        check("echo a", "echo b", stdout, Some("stdout differs in line 1"));
        check(
            "echo a; echo b",
            "echo a",
            stdout,
            Some("stdout differs in line 2"),
        );
        check("echo a >&2", "echo b >&2", stdout, None);
        check(
            "echo a >&2",
            "echo b >&2",
            both,
            Some("stderr differs in line 1"),
        );
        let failed = Some("exit 1 instead of exit 0; stderr ends with: no such luck");
        check("exit 0", "echo no such luck >&2; exit 1", nothing, failed);
        check("kill -9 $$", "exit 137", nothing, None);
    }

    #[test]
    fn what_is_always_on_stderr_is_no_symptom() {
        let (fine, _first) = run("echo /tmp/a1: not removed >&2", LIMITS);
        let script = "echo no such luck >&2; echo /tmp/b2: not removed >&2; exit 1";
        let (failed, _second) = run(script, LIMITS);
        let mut usual = Usual::default();
        usual.add(&fine).unwrap();
        let found = difference(&fine, &failed, Compare::default(), &usual).unwrap();
        let expected = "exit 1 instead of exit 0; stderr ends with: no such luck";
        assert_eq!(found.as_deref(), Some(expected));
    }
}
