//! Runs the workload of a check and watches its calls.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use sc_record::atomic_file::FilePlace;
use sc_record::backend::{Ebpf, Interest};
use sc_record::recording::{Earlier, Journal, Name, Recording, prepare};
use sc_record::review::check::{Answers, Evidence, Watch};

use super::report::Subject;
use crate::cli::CheckArgs;
use crate::commands::record::keep::{add, say_recovered};
use crate::ui::observation::{self, Observation};

/// Runs the workload to its end, and reports its calls.
pub(super) fn run(args: &CheckArgs, answers: &Answers) -> anyhow::Result<(Evidence, Subject)> {
    let options = &args.run.observe;
    let target = observation::command(options, &args.command)?;
    // Before the run, which may take hours.
    let recording = args.run.recording.as_deref();
    let kept = recording.map(|path| KeptRecording::prepare(path, args));
    let kept = kept.transpose()?;

    let known = answers.always_executed();
    // Only a run with all calls shows which names are never called.
    let see_all = args.strict || args.remove_unused || recording.is_some();
    let interest = Interest::in_all_but(known.iter().copied());
    let not_logged = if see_all { BTreeSet::new() } else { known };
    let backends = observation::backends(
        options,
        &target,
        &Ebpf::default(),
        not_logged,
        Some(&interest),
    );
    let observation = Observation::prepare(&target, args.verbosity, options.progress)?;
    // It starts at the first event, since probing the backends takes time.
    let start = || Watch::start(answers.clone());
    let mut watch = None;
    let journal = kept.as_ref().map(|kept| {
        let labels = args.run.labels.to_map();
        Journal::start(&kept.place, kept.name.clone(), labels)
    });
    let journal = journal.transpose()?;
    let mut run = observation.record(&backends, journal.as_ref(), &mut |event| {
        watch.get_or_insert_with(start).look(event);
    })?;
    run.labels = args.run.labels.to_map();
    let mut evidence = Evidence::of_run(&run, watch.unwrap_or_else(start));
    if run.backend == "log" && !see_all {
        evidence = evidence
            .blind("calls that the profile allows were not logged (--strict logs them)".to_owned());
    }
    if let Some(KeptRecording { place, name }) = kept {
        let one = Recording::of(name, run.clone());
        add(&place, Earlier::Keep, &one, journal)?;
    }
    observation.saved();
    Ok((evidence, Subject::Run(Box::new(run))))
}

/// The recording that the run is added to.
struct KeptRecording {
    place: FilePlace,
    name: Name,
}

impl KeptRecording {
    fn prepare(path: &Path, args: &CheckArgs) -> anyhow::Result<KeptRecording> {
        let place = FilePlace::find(path)?;
        let prepared = prepare(&place, Earlier::Keep)?;
        say_recovered(prepared.recovered.len(), args.verbosity.quiet);
        let name = match prepared.recording {
            Some(recording) => recording.name,
            None => Name::of_command(Path::new(
                args.command.first().context("there is no command")?,
            )),
        };
        Ok(KeptRecording { place, name })
    }
}
