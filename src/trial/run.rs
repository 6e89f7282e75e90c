//! Runs a command within limits, and ends everything that it started.

use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollTimeout;

use crate::event::Exit;
use crate::sys::exec::ExecImage;
use crate::sys::signal;
use crate::sys::supervise;
use crate::sys::wait::WaitStatus;

/// A command to run. Its stdin is empty, it has no terminal, and its output goes to files.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The file to execute, already looked up in `PATH`.
    pub path: PathBuf,
    /// The arguments, including the name at index 0.
    pub argv: Vec<OsString>,
}

/// When to break off a trial.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The maximum duration; `None` for no limit.
    pub time: Option<Duration>,
    /// The maximum number of bytes on each of stdout and stderr.
    pub output: u64,
}

impl Limits {
    /// No limits.
    pub const NONE: Limits = Limits {
        time: None,
        output: u64::MAX,
    };
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialEnd {
    /// The command ended. Processes that it left running were killed.
    Exit(Exit),
    /// It was killed with everything that it had started, because it took longer than this.
    OutOfTime(Duration),
    /// It was killed because it wrote more than this many bytes.
    TooMuchOutput(u64),
}

impl fmt::Display for TrialEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrialEnd::Exit(Exit::Code(code)) => write!(f, "exit {code}"),
            TrialEnd::Exit(Exit::Signal(signal)) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            TrialEnd::OutOfTime(limit) => {
                write!(f, "hangs: did not end in {:.1} s", limit.as_secs_f64())
            }
            TrialEnd::TooMuchOutput(limit) => write!(f, "writes too much: more than {limit} bytes"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    let signal = nix::sys::signal::Signal::try_from(signal).ok()?;
    Some(signal.as_str())
}

/// The outcome of a trial.
#[derive(Clone, Debug)]
pub struct TrialResult {
    /// How it ended.
    pub end: TrialEnd,
    /// The duration.
    pub elapsed: Duration,
    /// The file with its stdout.
    pub stdout: PathBuf,
    /// The file with its stderr.
    pub stderr: PathBuf,
}

/// Why a trial can't run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The path or an argument contains a NUL byte.
    #[error("{}: the path or an argument contains a NUL byte", .path.display())]
    Nul {
        /// The command.
        path: PathBuf,
    },
    /// `/proc` is missing, shows another pid namespace, or has no `children`, so the processes of a trial can't be found.
    #[error(
        "/proc does not show the children of processes in this pid namespace, so the processes of a run can't be ended"
    )]
    NoProc,
    /// A file for the output can't be created or read.
    #[error("can't {operation} {}", path.display())]
    File {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A process can't be created or waited for.
    #[error("can't {operation} {}", path.display())]
    Process {
        /// The operation.
        operation: &'static str,
        /// The command.
        path: PathBuf,
        /// The cause.
        source: Errno,
    },
}

/// The interval at which the limits are checked.
const TICK: Duration = Duration::from_millis(20);
const TICK_MS: u16 = 20;

/// The maximum time that counts between two checks, so that a trial doesn't run out of time while this process is stopped (^Z)
/// or the machine sleeps.
const LONGEST_TICK: Duration = Duration::from_millis(500);

impl Trial {
    /// Runs the command, with its output in files in `directory`. `None` if `stop` returned `true`.
    ///
    /// The trial ends with the command itself. Everything that is still running then is killed, including daemons.
    pub fn run(
        &self,
        directory: &Path,
        limits: Limits,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<TrialResult>, TrialError> {
        let nul = |_| TrialError::Nul {
            path: self.path.clone(),
        };
        let path = CString::new(self.path.as_os_str().as_bytes()).map_err(nul)?;
        let argv = self.argv.iter().map(|arg| CString::new(arg.as_bytes()));
        let image = ExecImage::new(path, argv.collect::<Result<_, _>>().map_err(nul)?);
        require_proc()?;
        signal::keep_children().map_err(self.process("wait for"))?;

        let open = |name: &'static str| {
            let path = directory.join(name);
            // Appending, so that a process that opens /dev/stdout overwrites nothing.
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
                Some(WaitStatus::Exited(code)) => break TrialEnd::Exit(Exit::Code(code)),
                Some(WaitStatus::Signaled(signal)) => break TrialEnd::Exit(Exit::Signal(signal)),
                Some(WaitStatus::Stopped { .. }) | None => {}
            }
            if stop() {
                return Ok(None);
            }
            used += look.elapsed().clamp(TICK, LONGEST_TICK);
            if let Some(limit) = limits.time.filter(|limit| used > *limit) {
                break TrialEnd::OutOfTime(limit);
            }
            let too_long = |file: &File| {
                let metadata = file.metadata();
                metadata.is_ok_and(|metadata| metadata.len() > limits.output)
            };
            if too_long(&stdout_file) || too_long(&stderr_file) {
                break TrialEnd::TooMuchOutput(limits.output);
            }
        };
        let elapsed = start.elapsed();
        drop(supervised);
        Ok(Some(TrialResult {
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

/// Fails if `/proc` doesn't show the children of this process. The supervisor kills the pids that it finds there.
fn require_proc() -> Result<(), TrialError> {
    let own = std::fs::read_link("/proc/self").ok();
    let own = own.and_then(|link| link.to_str()?.parse::<u32>().ok());
    let shows_children =
        own == Some(std::process::id()) && Path::new("/proc/thread-self/children").exists();
    shows_children.then_some(()).ok_or(TrialError::NoProc)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::trial) const LIMITS: Limits = Limits {
        time: Some(Duration::from_secs(20)),
        output: 1 << 20,
    };

    fn sh(script: &str) -> Trial {
        Trial {
            path: "/bin/sh".into(),
            argv: ["sh", "-c", script].map(OsString::from).to_vec(),
        }
    }

    pub(in crate::trial) fn run(script: &str, limits: Limits) -> (TrialResult, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let tried = sh(script).run(directory.path(), limits, &|| false);
        (tried.unwrap().unwrap(), directory)
    }

    #[test]
    fn a_trial_returns_its_end_and_its_output() {
        let (tried, _directory) = run("echo out; echo err >&2; read x || exit 3", LIMITS);
        assert_eq!(tried.end, TrialEnd::Exit(Exit::Code(3)));
        assert_eq!(std::fs::read(&tried.stdout).unwrap(), b"out\n");
        assert_eq!(std::fs::read_to_string(&tried.stderr).unwrap(), "err\n");
        let (tried, _directory) = run("kill -SEGV $$", LIMITS);
        assert_eq!(tried.end.to_string(), "killed by SIGSEGV");
    }

    /// Whether a process still sleeps for this many seconds.
    fn sleeps(seconds: &str) -> bool {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let wanted = format!("sleep\0{seconds}\0");
        entries
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|cmdline| cmdline == wanted.as_bytes())
    }

    #[test]
    fn nothing_outlives_a_trial() {
        // A daemon in its own session, whose parents have ended.
        let daemon = |seconds: &str| {
            format!("(setsid sh -c 'sleep {seconds} & setsid sleep {seconds} &' &) ; echo started")
        };
        let (tried, _directory) = run(&daemon("7771.25"), LIMITS);
        assert_eq!(tried.end, TrialEnd::Exit(Exit::Code(0)));
        assert!(!sleeps("7771.25"));

        let limits = Limits {
            time: Some(Duration::from_millis(300)),
            ..LIMITS
        };
        let script = format!("{}; trap '' TERM; sleep 7772.25", daemon("7772.25"));
        let (tried, _directory) = run(&script, limits);
        assert_eq!(tried.end.to_string(), "hangs: did not end in 0.3 s");
        assert!(!sleeps("7772.25"));
    }

    #[test]
    fn endless_output_is_broken_off() {
        let limits = Limits {
            output: 100_000,
            ..LIMITS
        };
        let (tried, _directory) = run("exec yes", limits);
        assert_eq!(tried.end, TrialEnd::TooMuchOutput(100_000));
    }

    #[test]
    fn a_trial_stops_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let tried = sh("sleep 7773.25").run(directory.path(), LIMITS, &|| true);
        assert!(tried.unwrap().is_none());
        assert!(!sleeps("7773.25"));
    }
}
