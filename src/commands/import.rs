//! `sc-record import audit FILE…` and `sc-record import strace FILE…`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sc_record::audit::Selection;
use sc_record::import::{
    AuditOptions, BadLine, ImportSource, StraceOptions, import_audit, import_strace,
};
use sc_record::input::{FileKind, read_file};
use sc_record::recording::{Name, Run, RunBuilder};

use super::record::keep::Keep;
use super::{exit_status, load, profile};
use crate::cli::{
    ArgRules, Destination, FromArgs, ImportArgs, ImportAuditArgs, ImportStraceArgs, ImportWhat,
    KeepArgs,
};
use crate::ui::failure::{Content, Nothing};
use crate::ui::summary::{Say, count};

/// The maximum number of unreadable lines to print.
const MOST_BAD_LINES: u64 = 10;

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<u8> {
    match &args.what {
        ImportWhat::Audit(args) => audit(args),
        ImportWhat::Strace(args) => strace(args),
    }
}

fn audit(args: &ImportAuditArgs) -> anyhow::Result<u8> {
    profile::without_arguments(args.keep.profile, "audit records have no arguments")?;
    let options = AuditOptions {
        selection: Selection {
            pids: args.pids.clone(),
            comms: args.comms.clone(),
            exes: args.exes.clone(),
            since: args.since,
            until: args.until,
            allowed_only: args.allowed_only,
        },
        trust_syslog: args.trust_syslog,
        assume_complete: args.from.assume_complete,
    };
    require_possible(&args.from, &args.keep)?;
    let mut builder = RunBuilder::of_the_past("audit");
    let mut bad_lines = BadLines::default();
    let sources = sources(&args.from);
    let summary = import_audit(sources, &options, &mut builder, &mut |line| {
        bad_lines.report(&line);
    })?;
    bad_lines.end();
    if summary.records == 0 {
        let nothing = match (summary.filtered, summary.untrusted) {
            (0, 0) => Nothing::Record(summary.lines),
            (0, untrusted) => Nothing::Trusted(untrusted),
            (filtered, _) => Nothing::Selected(filtered),
        };
        return Err(nothing_in(&args.from, Content::Audit, nothing));
    }
    if !args.keep.verbosity.quiet {
        let not_selected = match summary.filtered {
            0 => String::new(),
            filtered => format!(" ({filtered} more were not selected)"),
        };
        say!(
            "sc-record: {} of seccomp{not_selected} in {}; {} of other types",
            count(summary.records, "record"),
            count(summary.lines, "line"),
            count(summary.other, "record"),
        );
        if summary.refused > 0 {
            say!(
                "sc-record: {} denied by a filter: --allowed-only leaves them out",
                count(summary.refused, "call")
            );
        }
    }
    let run = builder.finish(None, false);
    keep(run, &args.from, &args.keep)
}

fn strace(args: &ImportStraceArgs) -> anyhow::Result<u8> {
    let options = StraceOptions {
        native: args.arch,
        began: SystemTime::now(),
        assume_complete: args.from.assume_complete,
        arguments: args.keep.profile.args != ArgRules::Off,
    };
    require_possible(&args.from, &args.keep)?;
    let mut builder = RunBuilder::of_the_past("strace");
    let mut bad_lines = BadLines::default();
    let sources = sources(&args.from);
    let summary = import_strace(sources, &options, &mut builder, &mut |line| {
        bad_lines.report(&line);
    })?;
    bad_lines.end();
    if summary.calls == 0 {
        let nothing = Nothing::Call(summary.lines);
        return Err(nothing_in(&args.from, Content::Strace, nothing));
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

/// The error for files without calls. It says what else the only file is.
fn nothing_in(from: &FromArgs, wanted: Content, nothing: Nothing) -> anyhow::Error {
    match &from.files[..] {
        [path] if !is_stdin(path) && path.is_file() => {
            let bytes = read_file(path, FileKind::Recording).unwrap_or_default();
            load::not(wanted, path, &bytes, nothing.into())
        }
        _ => nothing.into(),
    }
}

/// Fails early if the result can't be written.
fn require_possible(from: &FromArgs, args: &KeepArgs) -> anyhow::Result<()> {
    let stdin = from.files.iter().filter(|file| is_stdin(file)).count();
    anyhow::ensure!(stdin < 2, "stdin can be read only once");
    anyhow::ensure!(
        !(from.json && args.output == Some(Destination::Stdout)),
        "--json and the profile can't both be written to stdout: use -o FILE"
    );
    match &args.name {
        Some(name) => Keep::new(args, name.clone())?.prepare(),
        None => Ok(()),
    }
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

fn sources(from: &FromArgs) -> Vec<ImportSource> {
    let files = from.files.iter();
    files.map(|file| ImportSource::file(file)).collect()
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
    keep.prepare()?;
    let say = if from.json {
        Say::JsonOnStdout
    } else {
        Say::Text
    };
    let added = keep.add(run, None)?;
    keep.report(&added, say)?;
    Ok(exit_status::CLEAN)
}

/// The program's name, if all calls seem to be of one workload: a trace has a first program, records of a whole machine don't.
fn default_name(run: &Run) -> anyhow::Result<Name> {
    anyhow::ensure!(
        !run.program.as_os_str().is_empty(),
        "the program is unknown: name the workload with --name"
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
            "these are records of {} executables ({}{more}): select some with --exe, --comm or --pid, or name them all with --name",
            executables.len(),
            few.join(", ")
        );
    }
    Ok(Name::of_command(&run.program))
}

fn source_label(files: &[PathBuf]) -> String {
    /// `strace -ff` writes one file per task, which would make the label long.
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

/// Prints the first unreadable lines, and the number of the others.
#[derive(Default)]
struct BadLines(u64);

impl BadLines {
    fn report(&mut self, line: &BadLine) {
        self.0 += 1;
        if self.0 <= MOST_BAD_LINES {
            say!("sc-record: warning: {line}");
        }
    }

    fn end(&self) {
        if self.0 > MOST_BAD_LINES {
            let more = count(self.0 - MOST_BAD_LINES, "more line");
            say!("sc-record: warning: {more} can't be read");
        }
    }
}
