//! Records a workload in the foreground: signals, the choice of a backend, messages, the progress line.

use std::collections::BTreeSet;
use std::ffi::OsString;

use anyhow::Context;
use sc_record::backend::log::{AuditReading, AuditSource};
use sc_record::backend::signals::Signals;
use sc_record::backend::{
    Backend, BackendChoice, Command, Ebpf, Error, Interest, Log, Notice, Notify, Ptrace, Stop,
    Target, Unavailable, Until,
};
use sc_record::command::find_executable;
use sc_record::event::Event;
use sc_record::recording::{Journal, Run, RunBuilder};
use sc_record::session::{Observer, Session};
use sc_record::syscall::Syscall;

use super::progress::Progress;
use super::ready::Ready;
use crate::cli::{self, AuditArgs, ObserveArgs, Verbosity, When};
use crate::start_keeper::start_keeper_of_command;

/// A recording from its preparation to its end.
pub(crate) struct Observation<'a> {
    target: &'a Target,
    verbosity: Verbosity,
    progress: When,
    stop: Stop,
    signals: Signals,
    ready: Ready,
}

impl<'a> Observation<'a> {
    /// Handles signals from now on. Must be called before the process has threads.
    pub(crate) fn prepare(
        target: &'a Target,
        verbosity: Verbosity,
        progress: When,
    ) -> anyhow::Result<Observation<'a>> {
        let stop = Stop::new().context("can't handle signals")?;
        let signals = Signals::handle(target, &stop).context("can't handle signals")?;
        Ok(Observation {
            target,
            verbosity,
            progress,
            stop,
            signals,
            ready: Ready::default(),
        })
    }

    /// Says there, too, that the recording has begun.
    pub(crate) fn announcing(mut self, ready: Ready) -> Observation<'a> {
        self.ready = ready;
        self
    }

    /// Records with the first of these backends that can. Meanwhile, new calls go to the journal.
    pub(crate) fn record(
        &self,
        backends: &[Box<dyn Backend>],
        journal: Option<&Journal>,
        on_event: &mut (dyn FnMut(&Event) + Send),
    ) -> anyhow::Result<Run> {
        self.with_backend(backends, journal, on_event, &mut |session, observer| {
            session.record(observer)
        })
    }

    /// Records a target of many workloads, and passes on each run when it ends.
    pub(crate) fn record_each(
        &self,
        backends: &[Box<dyn Backend>],
        each: &mut (dyn FnMut(Run) + Send),
    ) -> anyhow::Result<()> {
        self.with_backend(backends, None, &mut |_| {}, &mut |session, observer| {
            session.record_each(observer, each)
        })
    }

    fn with_backend<R>(
        &self,
        mut backends: &[Box<dyn Backend>],
        journal: Option<&Journal>,
        on_event: &mut (dyn FnMut(&Event) + Send),
        record: &mut dyn FnMut(&Session<'_>, &mut TerminalObserver<'_>) -> Result<R, Error>,
    ) -> anyhow::Result<R> {
        loop {
            let backend = self.choose(backends)?;
            let show = !self.verbosity.quiet;
            let progress = show.then(|| Progress::start(self.progress)).flatten();
            let session = Session {
                backend,
                target: self.target,
                stop: &self.stop,
                journal,
            };
            let mut observer = TerminalObserver {
                progress: progress.as_ref(),
                ready: &self.ready,
                verbosity: self.verbosity,
                on_event,
            };
            let recorded = record(&session, &mut observer);
            // Probing can't foresee every failure.
            let rest = backends
                .iter()
                .position(|each| each.name() == backend.name());
            let rest = &backends[rest.map_or(backends.len(), |index| index + 1)..];
            match recorded {
                Err(error) if error.is_before_start() && !rest.is_empty() => {
                    let error = anyhow::Error::new(error);
                    let name = backend.name();
                    say!(
                        "sc-record: warning: {name} failed to start, trying the next backend: {error:#}"
                    );
                    backends = rest;
                }
                recorded => {
                    self.signals.recorded();
                    return Ok(recorded?);
                }
            }
        }
    }

    /// Whether the target is to be recorded once more: no signal asked for the end.
    pub(crate) fn again(&self) -> bool {
        self.signals.again()
    }

    /// The run is saved: from now on a signal ends this process.
    pub(crate) fn saved(&self) {
        self.signals.saved();
    }

    /// The signal that ended the recording before the workload.
    pub(crate) fn interrupted_by(&self) -> Option<i32> {
        self.signals.interrupted_by()
    }

    fn choose<'b>(&self, backends: &'b [Box<dyn Backend>]) -> anyhow::Result<&'b dyn Backend> {
        if let ([only], false) = (backends, self.verbosity.verbose) {
            return Ok(only.as_ref());
        }
        let choice = match (
            BackendChoice::make(backends, self.target, self.verbosity.verbose),
            backends,
        ) {
            (Ok(choice), _) => choice,
            // The backend's own error is more precise.
            (Err(_), [only]) => return Ok(only.as_ref()),
            (Err(none), _) => return Err(none.into()),
        };
        if self.verbosity.verbose {
            table(&choice);
        } else if !self.verbosity.quiet {
            let lesser = choice.better.iter();
            // A backend for other targets would not have been a better choice.
            for (name, why) in lesser.filter(|(_, why)| !matches!(why, Unavailable::Target(_))) {
                say!(
                    "sc-record: warning: recording with {} because {name} can't: {}",
                    choice.picked.name(),
                    why.chain()
                );
            }
        }
        Ok(choice.picked)
    }
}

/// Prints every backend: picked, possible, or the reason why it can't record.
fn table(choice: &BackendChoice<'_>) {
    let row = |name: &str, what: &str| say!("sc-record: backend {name}: {what}");
    for (name, why) in &choice.better {
        row(name, &format!("impossible: {}", why.chain()));
    }
    row(
        choice.picked.name(),
        &format!("picked: {}", choice.promise.how),
    );
    for (name, probed) in &choice.others {
        match probed {
            Ok(promise) => row(name, &format!("possible: {}", promise.how)),
            Err(why) => row(name, &format!("impossible: {}", why.chain())),
        }
    }
}

/// Says what a backend notices.
pub(crate) fn say_notice(notice: &Notice, verbosity: Verbosity, ready: &Ready) {
    match notice {
        Notice::Ready(text) | Notice::Progress(text) if !verbosity.quiet => {
            say!("sc-record: {text}");
        }
        Notice::Choice(text) if verbosity.verbose => {
            say!("sc-record: {text}");
        }
        Notice::Ready(_) | Notice::Progress(_) | Notice::Choice(_) => {}
    }
    if let Notice::Ready(_) = notice {
        ready.announce();
    }
}

/// Shows events and notices.
struct TerminalObserver<'a> {
    progress: Option<&'a Progress>,
    ready: &'a Ready,
    verbosity: Verbosity,
    on_event: &'a mut (dyn FnMut(&Event) + Send),
}

impl Observer for TerminalObserver<'_> {
    fn event(&mut self, event: &Event, run: &RunBuilder) {
        (self.on_event)(event);
        if let Some(progress) = self.progress {
            progress.update(run);
        }
    }

    fn notice(&mut self, notice: Notice) {
        say_notice(&notice, self.verbosity, self.ready);
    }
}

/// The backends that may record a target, in order of preference. ARCHITECTURE.md has the reasons.
pub(crate) fn backends(
    args: &ObserveArgs,
    target: &Target,
    ebpf: &Ebpf,
    known: BTreeSet<Syscall>,
    interest: Option<&Interest>,
) -> Vec<Box<dyn Backend>> {
    let picked = match args.backend {
        _ if args.log.log_mode => cli::BackendArg::Log,
        picked => picked,
    };
    let wanted = |backend| picked == backend || picked == cli::BackendArg::Auto;
    let mut backends: Vec<Box<dyn Backend>> = Vec::new();
    if wanted(cli::BackendArg::Ptrace) {
        backends.push(Box::new(Ptrace {
            no_filter: args.no_filter,
            patch: !args.no_patch,
            interest: interest.cloned(),
        }));
    }
    if wanted(cli::BackendArg::Ebpf) {
        backends.push(Box::new(Ebpf {
            interest: interest.cloned().unwrap_or_default(),
            ..*ebpf
        }));
    }
    if !matches!(target, Target::Command(_)) {
        // Others stop each task of a running process twice per call, or can't record it.
        backends.reverse();
    }
    if wanted(cli::BackendArg::Notify) {
        backends.push(Box::new(Notify {
            keep: start_keeper_of_command,
            interest: interest.cloned().unwrap_or_default(),
        }));
    }
    if wanted(cli::BackendArg::Log) {
        backends.push(Box::new(Log {
            reading: reading(&args.log.read),
            known,
            call_sites: interest.is_some(),
            passes: args.log.passes,
        }));
    }
    backends
}

/// How audit records are read.
pub(crate) fn reading(args: &AuditArgs) -> AuditReading {
    AuditReading {
        source: args.source.clone(),
        become_auditd: args.become_auditd,
        receive_buffer: args.receive_buffer,
        trust_syslog: args.trust_syslog,
    }
}

/// A command to record.
pub(crate) fn command(options: &ObserveArgs, argv: &[OsString]) -> anyhow::Result<Target> {
    anyhow::ensure!(
        options.log.read.source != AuditSource::Stdin,
        "--source - takes the standard input, which is CMD's"
    );
    // clap requires one.
    let name = argv.first().context("there is no command")?;
    Ok(Target::Command(Command {
        until: match options.until {
            cli::UntilArg::All => Until::All,
            cli::UntilArg::Exit => Until::Exit,
        },
        ..Command::new(find_executable(name)?, argv.to_vec())
    }))
}
