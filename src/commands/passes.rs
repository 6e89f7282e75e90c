//! Recording a workload again and again, until nothing of it is unknown.
//!
//! What is logged in full may come faster than it can be read. Each pass starts the workload again and has only those
//! calls logged that no pass has seen, so what is left of a flood is what was never seen. A pass that loses nothing shows
//! with what was known before it all that it called, so what earlier passes lost doesn't matter any more.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Seek, SeekFrom, stdin};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use sc_record::backend::log::Source;
use sc_record::backend::{Backend, Control, Error, Log, Outcome, Target};
use sc_record::event::{Event, Sink};
use sc_record::recording::Exit;
use sc_record::syscall::Syscall;

/// How often a workload is recorded.
pub(super) struct Passes {
    /// The first pass.
    pub(super) log: Log,
    /// Fewer are made if one brings nothing new and loses nothing.
    pub(super) at_most: u32,
    /// The profile by which the known calls of the first pass were assumed, if there is one.
    pub(super) assumed: Option<PathBuf>,
    /// Say nothing of further passes.
    pub(super) quiet: bool,
    /// Say which source was chosen, and why.
    pub(super) verbose: bool,
}

impl Passes {
    /// Records the passes as one run. How the workload ended is what the first pass saw: the others are the recorder's
    /// doing.
    pub(super) fn record(
        mut self,
        target: &Target,
        sink: &mut (dyn Sink + Send),
        control: &Control,
    ) -> Result<Outcome, Error> {
        if self.log.source == Source::Auto {
            // Once for all passes.
            let (source, better) = self.log.find_source(control)?;
            if self.verbose {
                for (better, why) in better {
                    say!("sc-record: not from {better}: {why}");
                }
                say!("sc-record: audit records come from {source}");
            }
            self.log.source = source;
        }
        let input = Input::of_stdin();
        let mut first: Option<Outcome> = None;
        let mut number = 1;
        let mut learned = true;
        loop {
            let mut pass = Pass {
                sink: &mut *sink,
                known: &self.log.known,
                new: BTreeSet::new(),
                executed: BTreeSet::new(),
                lost: Vec::new(),
            };
            let outcome = match (self.log.record(target, &mut pass, control), first) {
                (Ok(outcome), _) => outcome,
                (Err(error), None) => return Err(error),
                (Err(error), Some(first)) => {
                    pass.lost(format!("pass {number} could not be made: {error}"));
                    first
                }
            };
            let Pass {
                new,
                executed,
                mut lost,
                ..
            } = pass;
            let expected = *first.get_or_insert(outcome);
            let learned_now = !new.is_empty();
            let over = if control.is_ended() {
                true
            } else if outcome.exit != expected.exit {
                lost.push(loss(format!(
                    "pass {number} ended otherwise than the first ({}, not {}): the workload can't simply be run again",
                    describe(outcome.exit),
                    describe(expected.exit),
                )));
                true
            } else if number >= self.at_most || new.is_empty() && (lost.is_empty() || !learned) {
                // What was lost twice under one filter will be so again.
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
                        "pass {number} still found new calls: allow more with --passes"
                    )));
                }
                if let Some(profile) = &self.assumed {
                    let why = format!(
                        "what {} allows was not recorded (--assume)",
                        profile.display()
                    );
                    lost.push(loss(why));
                }
                for event in lost {
                    sink.event(event);
                }
                return Ok(expected);
            }
            learned = learned_now;
            self.log.known.extend(new);
            self.log.executed.extend(executed);
            number += 1;
            if !self.quiet {
                say!(
                    "sc-record: pass {number} of at most {}: the workload is started again",
                    self.at_most
                );
            }
        }
    }
}

/// The events of one pass.
struct Pass<'a> {
    sink: &'a mut (dyn Sink + Send),
    known: &'a BTreeSet<Syscall>,
    new: BTreeSet<Syscall>,
    executed: BTreeSet<PathBuf>,
    lost: Vec<Event>,
}

impl Pass<'_> {
    fn lost(&mut self, why: String) {
        self.lost.push(loss(why));
    }
}

impl Sink for Pass<'_> {
    fn event(&mut self, event: Event) {
        match event {
            Event::Lost { .. } => {
                self.lost.push(event);
                return;
            }
            Event::Syscall { syscall, .. } | Event::Calls { syscall, .. }
                if !self.known.contains(&syscall) =>
            {
                self.new.insert(syscall);
            }
            Event::Exec { ref executable, .. } if !self.executed.contains(executable) => {
                self.executed.insert(executable.clone());
            }
            _ => {}
        }
        self.sink.event(event);
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

/// The standard input of the workload, which every pass should find as the first did.
enum Input {
    /// A file, and where it was.
    File(File, u64),
    /// A terminal, a device, or nothing.
    Other,
    /// What was read is gone.
    Stream,
}

impl Input {
    fn of_stdin() -> Input {
        let Ok(mut file) = stdin().as_fd().try_clone_to_owned().map(File::from) else {
            return Input::Other;
        };
        let kind = file.metadata().map(|metadata| metadata.file_type());
        match kind {
            Ok(kind) if kind.is_fifo() || kind.is_socket() => Input::Stream,
            Ok(kind) if kind.is_file() => match file.stream_position() {
                Ok(start) => Input::File(file, start),
                Err(_) => Input::Stream,
            },
            _ => Input::Other,
        }
    }

    fn rewind(&self) -> Result<(), String> {
        match self {
            Input::File(file, start) => {
                let mut file = file;
                let rewound = file.seek(SeekFrom::Start(*start));
                rewound.map(drop).map_err(|error| {
                    format!("no other pass was made: standard input can't be read again ({error})")
                })
            }
            Input::Other => Ok(()),
            Input::Stream => Err(
                "no other pass was made: standard input is a stream that can't be read again, so use a file or /dev/null"
                    .to_owned(),
            ),
        }
    }
}
