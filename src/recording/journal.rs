//! What is new in a run, written while the run goes on: of a recorder that is killed, at most the last second is lost.
//!
//! The journal is a file beside the recording, `.FILE.ID.journal`. Each line is a checksum (CRC-32) and a recording of the
//! run with the calls that are new since the line before. A line is written when something is new, at most every
//! [`BATCH`], and is on the disk (fdatasync(2)) before the next one is written: that holds for the loss of power too.
//! A run that ends before the first line has no journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::clock::whole_ms;
use super::{Folded, Name, Recording, Run, RunId, Tally};
use crate::atomic_file::{Error, FilePlace, JournalFile};
use crate::sys::signal;
use crate::syscall::{Operation, Syscall};

/// How long what is new is collected before it is written.
const BATCH: Duration = Duration::from_millis(250);

/// The size from which on the executables of calls are left out.
const MAX_BYTES: usize = 32 << 20;

/// Why a run from a journal is incomplete.
const KILLED: &str =
    "the recorder was killed: calls of the last second may be missing, and counts are unknown";
const DAMAGED: &str = "the recorder's journal is damaged: calls may be missing";

/// The journal of the runs of one recording, which are not in its file yet. It is removed when this is dropped.
#[derive(Debug)]
pub struct Journal {
    sender: Option<Sender<JournalMessage>>,
    thread: Option<JoinHandle<WrittenCalls>>,
}

/// A journal that has ended.
#[derive(Debug, Default)]
struct WrittenCalls {
    file: Option<JournalFile>,
    length: usize,
    failure: Option<Error>,
}

#[derive(Debug)]
enum JournalMessage {
    Begin(Box<Run>),
    Call {
        id: RunId,
        syscall: Syscall,
        first_ms: Option<u64>,
        executable: Option<PathBuf>,
    },
    Submitted {
        id: RunId,
        operation: Operation,
    },
    Runtime {
        id: RunId,
        syscall: Syscall,
    },
    Lost {
        id: RunId,
        why: String,
    },
}

/// The part of one run.
#[derive(Debug)]
pub(super) struct RunJournal {
    id: RunId,
    sender: Sender<JournalMessage>,
}

impl Journal {
    /// Starts the journal of a recording. Its runs get these labels.
    pub fn start(
        of: &FilePlace,
        name: Name,
        labels: BTreeMap<String, String>,
    ) -> Result<Journal, Error> {
        let place = of.beside(of.name().to_owned())?;
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || {
            signal::Set::of(1..=signal::highest()).block();
            write(&place, &name, &labels, &receiver)
        });
        let thread = thread.map_err(|source| Error::Io {
            operation: "start the journal of",
            path: of.path().to_owned(),
            source,
        })?;
        Ok(Journal {
            sender: Some(sender),
            thread: Some(thread),
        })
    }

    /// A run begins.
    pub(super) fn begin(&self, run: &Run) -> Option<RunJournal> {
        let sender = self.sender.clone()?;
        let _ = sender.send(JournalMessage::Begin(Box::new(run.clone())));
        Some(RunJournal { id: run.id, sender })
    }

    /// The runs could not be saved elsewhere: the journal stays.
    pub fn keep(mut self) {
        self.end();
    }

    /// Removes the journal, since its runs are saved. Gives the reason if it could not be written.
    #[must_use]
    pub fn remove(mut self) -> Option<Error> {
        self.end_and_remove()
    }

    fn end(&mut self) -> WrittenCalls {
        self.sender = None;
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        ended.unwrap_or_default()
    }

    fn end_and_remove(&mut self) -> Option<Error> {
        let WrittenCalls { file, failure, .. } = self.end();
        if let Some(file) = file {
            file.remove();
        }
        failure
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end();
        } else {
            self.end_and_remove();
        }
    }
}

impl RunJournal {
    /// A call is new, or new for an executable.
    pub(super) fn call(
        &self,
        syscall: Syscall,
        first: Option<Duration>,
        executable: Option<&Path>,
    ) {
        let _ = self.sender.send(JournalMessage::Call {
            id: self.id,
            syscall,
            first_ms: first.map(whole_ms),
            executable: executable.map(Path::to_owned),
        });
    }

    /// A call of the container runtime is new.
    pub(super) fn runtime(&self, syscall: Syscall) {
        let id = self.id;
        let _ = self.sender.send(JournalMessage::Runtime { id, syscall });
    }

    /// An operation of `io_uring` is new.
    pub(super) fn submitted(&self, operation: Operation) {
        let id = self.id;
        let _ = self
            .sender
            .send(JournalMessage::Submitted { id, operation });
    }

    /// There is a new reason why calls may be missing.
    pub(super) fn lost(&self, why: String) {
        let _ = self.sender.send(JournalMessage::Lost { id: self.id, why });
    }
}

/// Writes what comes, until nobody can send any more.
fn write(
    place: &FilePlace,
    name: &Name,
    labels: &BTreeMap<String, String>,
    entries: &Receiver<JournalMessage>,
) -> WrittenCalls {
    let mut written = WrittenCalls::default();
    let mut open = BTreeMap::new();
    while let Ok(first) = entries.recv() {
        let until = Instant::now() + BATCH;
        let mut batch = NewCalls {
            open: &mut open,
            new: BTreeMap::new(),
        };
        batch.add(first, labels);
        let ended = loop {
            match entries.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(entry) => batch.add(entry, labels),
                Err(RecvTimeoutError::Timeout) => break false,
                Err(RecvTimeoutError::Disconnected) => break true,
            }
        };
        // The run of a short recording is about to be saved.
        let is_needless = ended && written.file.is_none();
        if batch.new.is_empty() || is_needless || written.failure.is_some() {
            continue;
        }
        let runs = batch.new;
        if let Err(failure) = written.append(place, name, runs) {
            written.failure = Some(failure);
        }
    }
    written
}

impl WrittenCalls {
    fn append(
        &mut self,
        place: &FilePlace,
        name: &Name,
        mut runs: BTreeMap<RunId, Run>,
    ) -> Result<(), Error> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(JournalFile::create(place)?),
        };
        if self.length > MAX_BYTES {
            let tallies = runs.values_mut().flat_map(|run| run.syscalls.values_mut());
            tallies.for_each(|tally| tally.executables.clear());
        }
        let line = line(&Recording {
            name: name.clone(),
            runs,
            folded: Folded::default(),
        });
        self.length += line.len();
        file.append(&line).map_err(|source: io::Error| Error::Io {
            operation: "write the journal of",
            path: place.path().to_owned(),
            source,
        })
    }
}

/// What is new since the last line.
struct NewCalls<'a> {
    /// The runs without their calls, and when they began.
    open: &'a mut BTreeMap<RunId, (Run, Instant)>,
    new: BTreeMap<RunId, Run>,
}

impl NewCalls<'_> {
    fn add(&mut self, entry: JournalMessage, labels: &BTreeMap<String, String>) {
        match entry {
            JournalMessage::Begin(mut run) => {
                run.labels.extend(labels.clone());
                self.open.insert(run.id, (*run, Instant::now()));
            }
            JournalMessage::Call {
                id,
                syscall,
                first_ms,
                executable,
            } => {
                if let Some(run) = self.of(id) {
                    let tally = run.syscalls.entry(syscall).or_insert_with(|| Tally {
                        count: 1,
                        first_ms,
                        executables: BTreeSet::new(),
                        args: BTreeMap::new(),
                    });
                    tally.executables.extend(executable);
                }
            }
            JournalMessage::Submitted { id, operation } => {
                if let Some(run) = self.of(id) {
                    run.io_uring.insert(operation, 1);
                }
            }
            JournalMessage::Runtime { id, syscall } => {
                if let Some(run) = self.of(id) {
                    run.runtime.insert(syscall, 1);
                }
            }
            JournalMessage::Lost { id, why } => {
                if let Some(run) = self.of(id) {
                    run.incomplete_because.insert(why);
                }
            }
        }
    }

    fn of(&mut self, id: RunId) -> Option<&mut Run> {
        let (run, began) = self.open.get(&id)?;
        let new = self.new.entry(id).or_insert_with(|| run.clone());
        new.duration = Duration::from_millis(whole_ms(began.elapsed()));
        Some(new)
    }
}

fn line(recording: &Recording) -> Vec<u8> {
    let json = recording.render_line();
    let mut line = format!("{:08x} ", checksum(&json)).into_bytes();
    line.extend(json);
    line.push(b'\n');
    line
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut checksum = flate2::Crc::new();
    checksum.update(bytes);
    checksum.sum()
}

/// The runs of a journal, as far as its lines are whole; `None` if there are none.
pub(super) fn parse(text: &[u8]) -> Option<Recording> {
    let mut all: Option<Recording> = None;
    let mut damaged = false;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let Some(recording) = parse_line(line) else {
            // The end of the file is what was being written.
            damaged |= line.ends_with(b"\n");
            continue;
        };
        match &mut all {
            None => all = Some(recording),
            Some(all) if all.name == recording.name => {
                for run in recording.runs.into_values() {
                    add(&mut all.runs, run);
                }
            }
            Some(_) => damaged = true,
        }
    }
    let mut all = all?;
    for run in all.runs.values_mut() {
        run.incomplete_because.insert(KILLED.to_owned());
        if damaged {
            run.incomplete_because.insert(DAMAGED.to_owned());
        }
    }
    Some(all)
}

fn parse_line(line: &[u8]) -> Option<Recording> {
    let (checksum_text, json) = line.strip_suffix(b"\n")?.split_at_checked(9)?;
    let expected = format!("{:08x} ", checksum(json));
    let is_whole = checksum_text == expected.as_bytes();
    is_whole.then(|| Recording::parse(json).ok()).flatten()
}

/// Adds what is new of a run.
fn add(runs: &mut BTreeMap<RunId, Run>, new: Run) {
    let Some(run) = runs.get_mut(&new.id) else {
        runs.insert(new.id, new);
        return;
    };
    run.duration = run.duration.max(new.duration);
    run.aggregated |= new.aggregated;
    run.lower_bounds |= new.lower_bounds;
    run.io_uring.extend(new.io_uring);
    run.runtime.extend(new.runtime);
    run.incomplete_because.extend(new.incomplete_because);
    for (syscall, tally) in new.syscalls {
        match run.syscalls.get_mut(&syscall) {
            Some(known) => known.executables.extend(tally.executables),
            None => {
                run.syscalls.insert(syscall, tally);
            }
        }
    }
}

#[cfg(test)]
mod tests;
