//! Copies the workload's output to files, without changing where it goes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use anyhow::Context;
use nix::sys::stat::fstat;
use nix::unistd::{dup2_stderr, dup2_stdout};
use sc_record::trial::ComparedStreams;

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn replace(self, by: impl AsFd) -> nix::Result<()> {
        match self {
            Stream::Stdout => dup2_stdout(by),
            Stream::Stderr => dup2_stderr(by),
        }
    }

    fn duplicate(self) -> io::Result<OwnedFd> {
        match self {
            Stream::Stdout => io::stdout().as_fd().try_clone_to_owned(),
            Stream::Stderr => io::stderr().as_fd().try_clone_to_owned(),
        }
    }
}

/// Whether stderr can be copied without a visible effect: it is no terminal, and no other stream goes to the same place, so
/// the order of output doesn't change.
pub(super) fn stderr_is_apart() -> bool {
    use std::io::IsTerminal;
    let place = |fd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    let (stdout, stderr) = (place(io::stdout().as_fd()), place(io::stderr().as_fd()));
    !io::stderr().is_terminal() && stdout != stderr
}

/// The streams of the workload that are read.
fn streams(compare: ComparedStreams) -> Vec<Stream> {
    let mut streams = Vec::new();
    if compare.stdout {
        streams.push(Stream::Stdout);
    }
    if compare.stderr || stderr_is_apart() {
        streams.push(Stream::Stderr);
    }
    streams
}

/// Copies the output to this process's stdout and stderr, which the workload inherits.
pub(super) struct Tee {
    copies: Vec<Copy>,
    stdout: PathBuf,
    stderr: PathBuf,
}

struct Copy {
    stream: Stream,
    original: OwnedFd,
    thread: JoinHandle<io::Result<()>>,
}

impl Tee {
    /// Sends the compared streams through pipes from now on, and copies them into files of this directory.
    pub(super) fn start(directory: &Path, compare: ComparedStreams) -> anyhow::Result<Tee> {
        let mut tee = Tee {
            copies: Vec::new(),
            stdout: directory.join("stdout"),
            stderr: directory.join("stderr"),
        };
        let streams = streams(compare);
        for stream in [Stream::Stdout, Stream::Stderr] {
            let path = match stream {
                Stream::Stdout => &tee.stdout,
                Stream::Stderr => &tee.stderr,
            };
            let file =
                File::create(path).with_context(|| format!("can't write {}", path.display()))?;
            if streams.contains(&stream) {
                let copy = Copy::start(stream, file).context("can't copy the command's output")?;
                tee.copies.push(copy);
            }
        }
        Ok(tee)
    }

    /// Restores the streams, and returns the files of stdout and stderr.
    pub(super) fn end(self) -> anyhow::Result<(PathBuf, PathBuf)> {
        for copy in self.copies {
            copy.end().context("can't copy the command's output")?;
        }
        Ok((self.stdout, self.stderr))
    }
}

impl Copy {
    fn start(stream: Stream, mut file: File) -> io::Result<Copy> {
        let original = stream.duplicate()?;
        let mut to = File::from(original.try_clone()?);
        let (mut from, pipe) = io::pipe()?;
        stream.replace(&pipe)?;
        let thread = std::thread::Builder::new().name("tee".to_owned());
        let thread = thread.spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let mut open = true;
            loop {
                let length = match from.read(&mut buffer) {
                    Ok(0) => return Ok(()),
                    Ok(length) => length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                };
                // The reader is gone: the workload's next write fails.
                if open && to.write_all(&buffer[..length]).is_err() {
                    open = false;
                }
                file.write_all(&buffer[..length])?;
            }
        })?;
        Ok(Copy {
            stream,
            original,
            thread,
        })
    }

    /// The pipe ends when its last writer does: this process, since the workload has ended.
    fn end(self) -> io::Result<()> {
        self.stream.replace(&self.original)?;
        match self.thread.join() {
            Ok(copied) => copied,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
