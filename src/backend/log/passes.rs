//! Repeats a command until no call of it is unknown.
//!
//! Records may come faster than they can be read. Each pass starts the command again and logs only calls that no
//! earlier pass has seen, so a flood of known calls does not recur. If a pass loses nothing, all its calls are known:
//! the losses of earlier passes no longer matter.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, stdin};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use super::intake::Intake;
use super::pass::Pass;
use super::{AuditReading, AuditSource, NAME};
use crate::backend::{
    Backend, Collector, Command, Detail, Error, Notice, OneRun, Promise, RunEnd, Stop, Target,
    Unavailable,
};
use crate::event::Exit;
use crate::event::{Event, Sink};
use crate::syscall::Syscall;

/// Records a command by a filter that logs and the kernel's audit records.
#[derive(Clone, Debug)]
pub struct Log {
    /// How records are read.
    pub reading: AuditReading,
    /// Calls that are already known, and so not logged.
    pub known: BTreeSet<Syscall>,
    /// Whether to report the [`CallSite`](crate::event::CallSite) of logged calls, as far as records contain it.
    pub call_sites: bool,
    /// The maximum number of passes. A pass that finds nothing new and loses nothing is the last.
    pub passes: u32,
}

const NOT_A_COMMAND: Unavailable =
    Unavailable::Target("a running process: it can't load a filter into one");

impl Backend for Log {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        if target.scope().is_some() || !matches!(target, Target::Command(_)) {
            return Err(NOT_A_COMMAND);
        }
        let intake = Intake::probe(&self.reading)?;
        let passes = self.passes;
        Ok(Promise {
            detail: Detail::PerCall,
            call_sites: true,
            how: format!(
                "audit records from {}, at most {passes} passes",
                intake.source()
            ),
        })
    }

    fn record(
        &self,
        target: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error> {
        let (Target::Command(command), None) = (target, target.scope()) else {
            return Err(Error::unavailable(NAME)(NOT_A_COMMAND));
        };
        let mut passes = Passes {
            command,
            stop,
            reading: self.reading.clone(),
            call_sites: self.call_sites,
            known: self.known.clone(),
            executed: BTreeSet::new(),
            at_most: self.passes,
        };
        passes.find_source(collector)?;
        let mut run = OneRun::begin(collector, target);
        let end = passes.record(&mut run)?;
        run.end(end);
        Ok(())
    }
}

/// The passes of one command.
struct Passes<'a> {
    command: &'a Command,
    stop: &'a Stop,
    reading: AuditReading,
    call_sites: bool,
    known: BTreeSet<Syscall>,
    /// Files that the workload has executed.
    executed: BTreeSet<PathBuf>,
    at_most: u32,
}

impl Passes<'_> {
    /// Resolves [`AuditSource::Auto`], once for all passes.
    fn find_source(&mut self, collector: &mut (dyn Collector + Send)) -> Result<(), Error> {
        if self.reading.source == AuditSource::Auto {
            let (source, better) = Intake::open(&self.reading, None, self.stop)?.into_source();
            for (better, why) in better {
                collector.notice(Notice::Choice(format!(
                    "audit records can't come from {better}: {why}"
                )));
            }
            collector.notice(Notice::Choice(format!("audit records come from {source}")));
            self.reading.source = source;
        }
        Ok(())
    }

    /// Records the passes as one run. It ends as its first pass did: the recorder, not the user, started the others.
    fn record(&mut self, run: &mut OneRun<'_>) -> Result<RunEnd, Error> {
        let input = WorkloadInput::of_stdin();
        let mut first: Option<RunEnd> = None;
        let mut number = 1;
        let mut learned = true;
        loop {
            let mut events = PassEvents {
                run,
                known: &self.known,
                new: BTreeSet::new(),
                executed: BTreeSet::new(),
                lost: Vec::new(),
            };
            let pass = Pass::new(self.command, &self.known, self.stop);
            let end = pass.record(&self.reading, self.call_sites, &self.executed, &mut events);
            let end = match (end, first) {
                (Ok(end), _) => end,
                (Err(error), None) => return Err(error),
                (Err(error), Some(first)) => {
                    (events.lost).push(loss(format!("pass {number} failed: {error}")));
                    first
                }
            };
            let PassEvents {
                new,
                executed,
                mut lost,
                ..
            } = events;
            let expected = *first.get_or_insert(end);
            let learned_now = !new.is_empty();
            let over = if self.stop.is_requested() || self.command.job.is_to_end() {
                true
            } else if end.exit != expected.exit {
                lost.push(loss(format!(
                    "pass {number} ended differently from the first ({}, not {}): the workload behaves differently when it is repeated",
                    describe(end.exit),
                    describe(expected.exit),
                )));
                true
            } else if number >= self.at_most || new.is_empty() && (lost.is_empty() || !learned) {
                // Records that were lost twice under one filter will be lost again.
                true
            } else if let Err(why) = input.rewind() {
                if !lost.is_empty() {
                    lost.push(loss(why));
                }
                true
            } else {
                false
            };
            if over {
                if number >= self.at_most && number > 1 && learned_now && !lost.is_empty() {
                    lost.push(loss(format!(
                        "pass {number} still found new calls: allow more passes with --passes"
                    )));
                }
                for event in lost {
                    run.event(event);
                }
                return Ok(expected);
            }
            learned = learned_now;
            self.known.extend(new);
            self.executed.extend(executed);
            number += 1;
            run.notice(Notice::Progress(format!(
                "pass {number} of at most {}: the workload is started again",
                self.at_most
            )));
        }
    }
}

/// The events of one pass. Losses are held back: a later pass may make up for them.
struct PassEvents<'a, 'b> {
    run: &'a mut OneRun<'b>,
    known: &'a BTreeSet<Syscall>,
    new: BTreeSet<Syscall>,
    executed: BTreeSet<PathBuf>,
    lost: Vec<Event>,
}

impl Sink for PassEvents<'_, '_> {
    fn event(&mut self, event: Event) {
        match &event {
            Event::Lost { .. } => {
                self.lost.push(event);
                return;
            }
            Event::Syscall { syscall, .. } | Event::Calls { syscall, .. }
                if !self.known.contains(syscall) =>
            {
                self.new.insert(*syscall);
            }
            Event::Exec { executable, .. } if !self.executed.contains(executable) => {
                self.executed.insert(executable.clone());
            }
            _ => {}
        }
        self.run.event(event);
    }
}

fn loss(why: String) -> Event {
    Event::Lost { count: None, why }
}

fn describe(exit: Option<Exit>) -> String {
    match exit {
        Some(Exit::Code(code)) => format!("status {code}"),
        Some(Exit::Signal(signal)) => format!("signal {signal}"),
        None => "unknown".to_owned(),
    }
}

/// The standard input of the workload, which is rewound for every pass.
enum WorkloadInput {
    /// A file, and its initial position.
    File(File, u64),
    /// A terminal, a device, or nothing.
    Other,
    /// A pipe or socket, which can't be rewound.
    Stream,
}

impl WorkloadInput {
    fn of_stdin() -> WorkloadInput {
        let Ok(mut file) = stdin().as_fd().try_clone_to_owned().map(File::from) else {
            return WorkloadInput::Other;
        };
        let kind = file.metadata().map(|metadata| metadata.file_type());
        match kind {
            Ok(kind) if kind.is_fifo() || kind.is_socket() => WorkloadInput::Stream,
            Ok(kind) if kind.is_file() => match file.stream_position() {
                Ok(start) => WorkloadInput::File(file, start),
                Err(_) => WorkloadInput::Stream,
            },
            _ => WorkloadInput::Other,
        }
    }

    fn rewind(&self) -> Result<(), String> {
        match self {
            WorkloadInput::File(file, start) => {
                let mut file = file;
                let rewound = file.seek(SeekFrom::Start(*start));
                rewound.map(drop).map_err(|error| {
                    format!("no further pass was made: standard input can't be read again ({error})")
                })
            }
            WorkloadInput::Other => Ok(()),
            WorkloadInput::Stream => Err(
                "no further pass was made: standard input is a stream and can't be read again; use a file or /dev/null"
                    .to_owned(),
            ),
        }
    }
}
