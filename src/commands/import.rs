//! `sc-record import audit FILE…`, `sc-record import strace FILE…`: a run from what others noted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sc_record::import::{Problem, Source, audit, strace};
use sc_record::recording::{Name, Run, RunBuilder};

use super::exit_status;
use super::keep::Keep;
use crate::cli::{
    Destination, FromArgs, ImportArgs, ImportAuditArgs, ImportStraceArgs, ImportWhat, KeepArgs,
};
use crate::ui::failure::Nothing;
use crate::ui::summary::{Say, count};

/// So many lines that can't be read are shown.
const MOST_PROBLEMS: u64 = 10;

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<u8> {
    match &args.what {
        ImportWhat::Audit(args) => import_audit(args),
        ImportWhat::Strace(args) => import_strace(args),
    }
}

fn import_audit(args: &ImportAuditArgs) -> anyhow::Result<u8> {
    let options = audit::Options {
        pids: args.pids.clone(),
        comms: args.comms.clone(),
        exes: args.exes.clone(),
        allowed_only: args.allowed_only,
        assume_complete: args.from.assume_complete,
    };
    check(&args.from, &args.keep)?;
    let mut builder = RunBuilder::of_the_past("audit");
    let mut problems = Problems::default();
    let summary = audit::import(
        sources(&args.from),
        &options,
        &mut builder,
        &mut |problem| {
            problems.tell(&problem);
        },
    )?;
    problems.end();
    if summary.records == 0 {
        let nothing = match summary.filtered {
            0 => Nothing::Record(summary.lines),
            filtered => Nothing::AskedFor(filtered),
        };
        return Err(nothing.into());
    }
    if !args.keep.verbosity.quiet {
        let not_asked_for = match summary.filtered {
            0 => String::new(),
            filtered => format!(" ({filtered} more were not asked for)"),
        };
        say!(
            "sc-record: {} of seccomp{not_asked_for} in {}; {} of other types",
            count(summary.records, "record"),
            count(summary.lines, "line"),
            count(summary.other, "record"),
        );
        if summary.refused > 0 {
            say!(
                "sc-record: {} refused by a filter: --allowed-only leaves such out",
                count(summary.refused, "call")
            );
        }
    }
    let run = builder.finish(None, false);
    keep(run, &args.from, &args.keep)
}

fn import_strace(args: &ImportStraceArgs) -> anyhow::Result<u8> {
    let options = strace::Options {
        native: args.arch,
        began: SystemTime::now(),
        assume_complete: args.from.assume_complete,
    };
    check(&args.from, &args.keep)?;
    let mut builder = RunBuilder::of_the_past("strace");
    let mut problems = Problems::default();
    let summary = strace::import(
        sources(&args.from),
        &options,
        &mut builder,
        &mut |problem| {
            problems.tell(&problem);
        },
    )?;
    problems.end();
    if summary.calls == 0 {
        return Err(Nothing::Call(summary.lines).into());
    }
    if !args.keep.verbosity.quiet {
        say!(
            "sc-record: {} in {}",
            count(summary.calls, "call"),
            count(summary.lines, "line"),
        );
    }
    let run = builder.finish(summary.exit, false);
    keep(run, &args.from, &args.keep)
}

/// Refuses what can't be done, before the work.
fn check(from: &FromArgs, args: &KeepArgs) -> anyhow::Result<()> {
    let stdin = from.files.iter().filter(|file| is_stdin(file)).count();
    anyhow::ensure!(stdin < 2, "stdin can be read once only");
    anyhow::ensure!(
        !(from.json && args.output == Some(Destination::Stdout)),
        "--json and the profile can't both go to stdout: use -o FILE"
    );
    match &args.name {
        Some(name) => Keep::new(args, name.clone())?.check_recording(),
        None => Ok(()),
    }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn sources(from: &FromArgs) -> Vec<Source> {
    from.files.iter().map(|file| Source::file(file)).collect()
}

fn keep(mut run: Run, from: &FromArgs, args: &KeepArgs) -> anyhow::Result<u8> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => default_name(&run)?,
    };
    run.labels = args.labels.to_map();
    let label = run.labels.entry("source".to_owned());
    label.or_insert_with(|| source_label(&from.files));
    let keep = Keep::new(args, name)?;
    keep.check_recording()?;
    let say = if from.json {
        Say::JsonOnStdout
    } else {
        Say::Text
    };
    keep.keep(run, say)?;
    Ok(exit_status::CLEAN)
}

/// The program's name, if the calls are all of one workload as far as that shows: a trace has a first program, records of a
/// whole machine have none.
fn default_name(run: &Run) -> anyhow::Result<Name> {
    anyhow::ensure!(
        !run.program.as_os_str().is_empty(),
        "the program isn't told: say what to call the workload with --name"
    );
    if run.backend == "audit" {
        let executables: BTreeSet<_> = (run.syscalls.values())
            .flat_map(|tally| &tally.executables)
            .collect();
        let few: Vec<_> = executables
            .iter()
            .take(5)
            .map(|path| path.display().to_string())
            .collect();
        let more = if executables.len() > few.len() {
            ", …"
        } else {
            ""
        };
        anyhow::ensure!(
            executables.len() < 2,
            "these are records of {} executables ({}{more}): choose with --exe, --comm or --pid, or say what to call all of them with --name",
            executables.len(),
            few.join(", ")
        );
    }
    Ok(Name::of_command(&run.program))
}

fn source_label(files: &[PathBuf]) -> String {
    /// More would only make the recording long: `strace -ff` writes a file for every task.
    const MOST: usize = 3;
    let names: Vec<_> = files
        .iter()
        .take(MOST)
        .map(|file| file.display().to_string())
        .collect();
    let names = names.join(", ");
    match files.len().saturating_sub(MOST) {
        0 => names,
        more => format!("{names} and {more} more"),
    }
}

/// Says what couldn't be read, and how much more of that there was.
#[derive(Default)]
struct Problems(u64);

impl Problems {
    fn tell(&mut self, problem: &Problem) {
        self.0 += 1;
        if self.0 <= MOST_PROBLEMS {
            say!("sc-record: warning: {problem}");
        }
    }

    fn end(&self) {
        if self.0 > MOST_PROBLEMS {
            let more = count(self.0 - MOST_PROBLEMS, "more line");
            say!("sc-record: warning: {more} can't be read");
        }
    }
}
