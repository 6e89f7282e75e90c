//! The workload of a check: started, watched, and left alone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use sc_record::backend::log::Source;
use sc_record::backend::ptrace::Ptrace;
use sc_record::backend::signals::{self, Interrupts};
use sc_record::backend::{Backend, Command, Control, Interest, Log, Target, Until};
use sc_record::command::find_executable;
use sc_record::event::{Event, Sink};
use sc_record::recording::{Earlier, Name, Recording, Run, RunBuilder, update};
use sc_record::review::check::{Answers, Evidence, Watch};

use super::report::Subject;
use crate::cli::{self, CheckArgs};
use crate::commands::passes::Passes;
use crate::ui::progress::{Progress, Watched};

/// Runs the workload to its end, and tells what it called.
pub(super) fn run(args: &CheckArgs, answers: &Answers) -> anyhow::Result<(Evidence, Subject)> {
    let log_mode = args.run.observe.is_log_mode();
    anyhow::ensure!(
        args.run.observe.log.source != Source::Stdin,
        "--source - takes the standard input, which is CMD's"
    );
    // clap sees to it that there is one.
    let name = args.command.first().context("there is no command")?;
    let target = Target::Command(Command {
        path: find_executable(name)?,
        argv: args.command.clone(),
    });
    // Before the run, which may take hours.
    let recording = args.run.recording.as_deref();
    let recorded_as = recording.map(|path| name_in(path, Path::new(name)));
    let recorded_as = recorded_as.transpose()?;

    // Before there is a thread: the mask of signals is each thread's own.
    let signals = signals::block();
    let control = Arc::new(Control::new());
    signals
        .handle(Arc::clone(&control), Interrupts::Second)
        .context("can't handle signals")?;
    let progress = (!args.verbosity.quiet).then(|| Progress::start(args.run.observe.progress));
    let progress = progress.flatten();

    let known = answers.always_executed();
    // To find out what is never called, all that is called has to be seen.
    let see_all = args.strict || args.remove_unused || recording.is_some();
    let backend = if log_mode { "log" } else { "ptrace" };
    let mut builder = RunBuilder::start(PathBuf::from(name), backend);
    let mut watch = Watch::start(answers.clone());
    let mut sink = Watcher {
        watch: &mut watch,
        run: Watched {
            builder: &mut builder,
            progress: progress.as_ref(),
        },
    };
    let until = match args.run.observe.until {
        cli::Until::All => Until::All,
        cli::Until::Exit => Until::Exit,
    };
    let outcome = if log_mode {
        let passes = Passes {
            log: Log {
                source: args.run.observe.log.source.clone(),
                become_auditd: args.run.observe.log.become_auditd,
                receive_buffer: args.run.observe.log.receive_buffer,
                known: if see_all { BTreeSet::new() } else { known },
                executed: BTreeSet::new(),
                sites: true,
                until,
            },
            at_most: args.run.observe.log.passes,
            assumed: None,
            quiet: args.verbosity.quiet,
            verbose: args.verbosity.verbose,
        };
        passes.record(&target, &mut sink, &control)
    } else {
        let ptrace = Ptrace {
            until,
            no_filter: args.run.observe.no_filter,
            interest: Some(Interest::in_all_but(known)),
        };
        if args.verbosity.verbose {
            say!("sc-record: backend ptrace: {}", ptrace.stopping());
        }
        ptrace.record(&target, &mut sink, &control)
    }?;
    drop(progress);
    let mut run = builder.finish(outcome.exit, outcome.no_new_privs);
    run.labels = args.run.labels.to_map();
    let mut evidence = Evidence::of_run(&run, watch);
    if log_mode && !see_all {
        evidence = evidence.blind(
            "the kernel was not asked to log what the profile allows (--strict has it do so)"
                .to_owned(),
        );
    }
    if let (Some(path), Some(name)) = (recording, recorded_as) {
        add(path, name, &run)?;
    }
    Ok((evidence, Subject::Run(Box::new(run))))
}

/// Both look at each event.
struct Watcher<'a> {
    watch: &'a mut Watch,
    run: Watched<'a>,
}

impl Sink for Watcher<'_> {
    fn event(&mut self, event: Event) {
        self.watch.look(&event);
        self.run.event(event);
    }
}

/// The name of the recording that a run is to be added to.
fn name_in(path: &Path, program: &Path) -> anyhow::Result<Name> {
    if path.exists() {
        return Ok(Recording::load(path)?.name);
    }
    Ok(Name::of_command(program))
}

fn add(path: &Path, name: Name, run: &Run) -> anyhow::Result<()> {
    let one = Recording::of(name, run.clone());
    update(path, Earlier::Keep, |old| match old {
        Some(old) => old.merge(one.clone()),
        None => Ok(one.clone()),
    })?;
    Ok(())
}
