//! Runs the workload of a check and watches its calls.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use sc_record::backend::log::AuditSource;
use sc_record::backend::{Command, Interest, Target};
use sc_record::command::find_executable;
use sc_record::recording::{Earlier, Name, Recording, Run, update};
use sc_record::review::check::{Answers, Evidence, Watch};

use super::super::input;
use super::report::Subject;
use crate::cli::CheckArgs;
use crate::ui::observation::{self, Observation};

/// Runs the workload to its end, and reports its calls.
pub(super) fn run(args: &CheckArgs, answers: &Answers) -> anyhow::Result<(Evidence, Subject)> {
    let options = &args.run.observe;
    anyhow::ensure!(
        options.log.source != AuditSource::Stdin,
        "--source - takes the standard input, which is CMD's"
    );
    // clap sees to it that there is one.
    let name = args.command.first().context("there is no command")?;
    let target = Target::Command(Command {
        until: observation::until(options),
        ..Command::new(find_executable(name)?, args.command.clone())
    });
    // Before the run, which may take hours.
    let recording = args.run.recording.as_deref();
    let recorded_as = recording.map(|path| name_in(path, Path::new(name)));
    let recorded_as = recorded_as.transpose()?;

    let known = answers.always_executed();
    // Names that are never called show only where all calls are seen.
    let see_all = args.strict || args.remove_unused || recording.is_some();
    let interest = Interest::in_all_but(known.iter().copied());
    let not_logged = if see_all { BTreeSet::new() } else { known };
    let backends = observation::backends(options, not_logged, Some(&interest));
    let observation = Observation::prepare(&target, args.verbosity, options.progress)?;
    // Its times are those since the first event, not since the backends were probed.
    let start = || Watch::start(answers.clone());
    let mut watch = None;
    let mut run = observation.record(&backends, &mut |event| {
        watch.get_or_insert_with(start).look(event);
    })?;
    run.labels = args.run.labels.to_map();
    let mut evidence = Evidence::of_run(&run, watch.unwrap_or_else(start));
    if run.backend == "log" && !see_all {
        evidence = evidence
            .blind("calls that the profile allows were not logged (--strict logs them)".to_owned());
    }
    if let (Some(path), Some(name)) = (recording, recorded_as) {
        add(path, name, &run)?;
    }
    observation.saved();
    Ok((evidence, Subject::Run(Box::new(run))))
}

/// The name of the recording that a run is to be added to.
fn name_in(path: &Path, program: &Path) -> anyhow::Result<Name> {
    if path.exists() {
        return Ok(input::recording(path)?.name);
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
