//! `sc-record check`: compares a profile with the calls of a workload.
//!
//! While the workload runs, it owns stdin, stdout, stderr and the terminal, as under `record`; the report comes after it.

mod github;
mod json;
mod junit;
mod patch;
mod people;
mod profile_file;
mod report;
mod watched;

use std::io::{self, Write};

use sc_record::escape::Lines;
use sc_record::profile::{Edit, Policy};
use sc_record::recording::{MergedName, Name, Recording};
use sc_record::review::check::{self, Evidence, Terms};

use self::patch::Patch;
use self::profile_file::ProfileFile;
use self::report::{CheckReport, Subject, Tolerance};
use super::exit_status;
use super::input;
use crate::cli::{CheckArgs, Destination};
use crate::ui::output;

pub(super) fn check(args: &CheckArgs) -> anyhow::Result<u8> {
    let file = ProfileFile::read(args)?;
    // clap doesn't check `requires` where the required argument conflicts with another.
    anyhow::ensure!(
        args.runs_workload() || !args.any_status && args.run.recording.is_none(),
        "--any-status and --recording need CMD"
    );
    let (evidence, subject, recording) = if args.runs_workload() {
        let (evidence, subject) = watched::run(args, &file.answers)?;
        let recording = match &subject {
            Subject::Run(run) => Some(Recording::of(Name::of_command(&run.program), *run.clone())),
            Subject::Recordings { .. } => None,
        };
        (evidence, subject, recording)
    } else {
        let recording = input::recordings(&args.recordings, MergedName::First)?;
        let subject = Subject::Recordings {
            name: recording.name.to_string(),
            runs: recording.number_of_runs(),
        };
        (Evidence::of_recording(&recording), subject, Some(recording))
    };
    let terms = Terms {
        policy: Policy {
            extent: args.policy.into(),
            ..Policy::default()
        },
        tolerated: args.tolerate.iter().cloned().collect(),
    };
    let delta = check::check(file.profile(), &file.answers, &evidence, &terms);
    let mut edit = delta.missing.clone();
    if args.remove_unused {
        remove_unused(&mut edit, &delta);
    }
    let patch = Patch::new(&file, &edit);
    let reachable = input::reachable(&args.code, recording.as_ref())?;
    let mut report = CheckReport {
        reachable: reachable.as_ref(),
        file: &file,
        subject,
        delta: &delta,
        edit: &edit,
        patch: &patch,
        updated: false,
        tolerance: Tolerance {
            strict: args.strict,
            incomplete: args.allow_incomplete,
            failure: args.any_status,
        },
    };
    if args.update && patch.text().is_some() {
        patch.apply(&file)?;
        report.updated = true;
    }
    if let (Some(to), Some(recording)) = (&args.output.html, &recording) {
        let page = super::report::of_check(
            recording,
            file.profile(),
            &report.profile(),
            &delta,
            reachable.as_ref(),
        )?;
        output::write_to(to, &page)?;
    }
    write(args, &report)?;
    Ok(report.status())
}

fn remove_unused(edit: &mut Edit, delta: &check::Delta) {
    for unused in delta.unused.stale() {
        let gone = edit.remove.entry(unused.rule).or_default();
        gone.insert(unused.name.clone());
    }
}

fn write(args: &CheckArgs, report: &CheckReport<'_>) -> anyhow::Result<()> {
    let mut says_all = false;
    if let Some(to) = &args.output.junit {
        says_all = *to == Destination::Stdout;
        output::write_to(to, &junit::render(report)?)?;
    }
    let for_people = !(args.output.json || args.output.github);
    let text = if args.output.json {
        json::render(report)
    } else if args.output.github {
        github::render(report)
    } else {
        people::render(report)
    };
    if let Some(to) = &args.output.report {
        output::write_to(to, &text)?;
    } else if args.output.json {
        output::json(&text)?;
    } else if !for_people {
        output::print(&text)?;
    } else if args.runs_workload() {
        let text = if args.verbosity.quiet {
            people::warnings(report)
        } else {
            text
        };
        // Errors are ignored, as by say!.
        let _ = io::stderr().write_all(Lines(text).to_string().as_bytes());
    } else if !args.verbosity.quiet && !says_all {
        output::report(&text)?;
    }
    Ok(())
}

impl CheckReport<'_> {
    /// Clean if there are no findings, or if the applied patch fixes all.
    fn status(&self) -> u8 {
        let mut problems = self.problems().into_iter();
        exit_status::of_findings(problems.any(|problem| !(self.updated && problem.patched)))
    }
}
