//! `sc-record verify PROFILE -- CMD [ARG]...`: reports what a profile denies a workload.

mod report;
mod tee;

use std::path::Path;

use anyhow::Context;
use itertools::Itertools;
use sc_record::atomic_file::write_atomically;
use sc_record::backend::{Backend, Command, Interest, Ptrace, Target};
use sc_record::command::find_executable;
use sc_record::event::Sink;
use sc_record::format::{self, Format};
use sc_record::syscall::arguments::CallArguments;
use sc_record::syscall::{Arch, Syscall, suggestion};
use sc_record::trial::{
    Injected, Limits, Trial, TrialEnd, TrialResult, UsualStderr, Verifier, difference, inject,
};

use self::report::{VerifiedRun, VerifyReport};
use self::tee::Tee;
use super::exit_status;
use super::run::{Compiled, MYSELF, privileges, run_argv};
use crate::cli::{ComparedArg, Verbosity, VerifyArgs, When};
use crate::ui::observation::Observation;

/// Runs the workload under the profile, reports the outcome, and returns the exit status.
pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<u8> {
    let given = Compiled::load(&args.enforce, args.verbosity.quiet)?;
    let injected = inject_all(args, &given)?;
    let run = match args.command.first() {
        None => None,
        Some(name) => Some(run(args, &given, &find_executable(name)?)?),
    };
    let report = VerifyReport {
        profile: args.enforce.profile.clone(),
        like: args.enforce.like.runtime(),
        run,
        injected,
    };
    let text = if args.json {
        report.json()
    } else {
        report.text()
    };
    match &args.output {
        Some(file) => write_atomically(file, text.as_bytes())?,
        None if args.json => crate::ui::output::json(&text)?,
        None if report.run.is_none() => crate::ui::output::report(&text)?,
        // stdout is the workload's.
        None => crate::ui::say::report(&text),
    }
    if let Some(VerifiedRun { verified, exit, .. }) = &report.run
        && !verified.started
    {
        anyhow::bail!("the command was not started under the profile ({exit})");
    }
    Ok(exit_status::of_findings(report.has_findings()))
}

/// Runs the workload without the profile and under it.
fn run(args: &VerifyArgs, given: &Compiled, path: &Path) -> anyhow::Result<VerifiedRun> {
    let directory = tempfile::Builder::new().prefix("sc-record-").tempdir()?;
    let compare = ComparedArg::all(&args.compare);
    let baseline = (!args.no_baseline).then(|| baseline(args, path, directory.path()));
    let baseline = baseline.transpose()?;

    // As OCI, with its conditions resolved, whatever format it was read from.
    let resolved = directory.path().join("profile.json");
    std::fs::write(&resolved, format::render(Format::Oci, &given.profile)?)
        .with_context(|| format!("can't write {}", resolved.display()))?;
    // As users start it, under the filter that they get.
    let line = run_argv(&args.enforce, &resolved, &args.command);
    let target = Target::Command(Command::new(MYSELF.into(), line));
    let verbosity = Verbosity {
        quiet: args.verbosity.quiet,
        verbose: false,
    };
    let observation = Observation::prepare(&target, verbosity, When::Never)?;
    let backend: [Box<dyn Backend>; 1] = [Box::new(Ptrace {
        // A recording filter beside the profile's would change the outcome of calls.
        no_filter: true,
        patch: false,
        interest: Some(Interest::in_all_but(given.profile.allowed())),
    })];
    let tee = Tee::start(directory.path(), compare)?;
    let mut verifier = Verifier::new(&given.profile, &given.filter);
    let recorded = observation.record(&backend, None, &mut |event| verifier.event(event.clone()));
    observation.saved();
    let (stdout, stderr) = tee.end()?;
    let exit = recorded?.exit.context("the run was interrupted")?;
    let tried = TrialResult {
        end: TrialEnd::Exit(exit),
        elapsed: std::time::Duration::ZERO,
        stdout,
        stderr,
    };
    let differs = match &baseline {
        None => None,
        Some(baseline) => difference(baseline, &tried, compare, &UsualStderr::default())?,
    };
    Ok(VerifiedRun {
        exit: tried.end,
        baseline: baseline.map(|baseline| baseline.end),
        differs,
        verified: verifier.finish(),
    })
}

/// Runs the workload without the profile. Its output is only compared, and ^C ends everything.
fn baseline(args: &VerifyArgs, path: &Path, directory: &Path) -> anyhow::Result<TrialResult> {
    if !args.verbosity.quiet {
        say!("sc-record: running once without the profile (skip with --no-baseline)");
    }
    let directory = directory.join("baseline");
    std::fs::create_dir(&directory)
        .with_context(|| format!("can't make {}", directory.display()))?;
    let trial = Trial {
        path: path.to_owned(),
        argv: args.command.clone(),
    };
    let tried = trial.run(&directory, Limits::NONE, &|| false)?;
    tried.context("the run without the profile was interrupted")
}

fn inject_all(args: &VerifyArgs, given: &Compiled) -> anyhow::Result<Vec<Injected>> {
    let mut arches: Vec<Arch> = given.profile.listed().collect();
    if !arches.contains(&Arch::NATIVE) {
        arches.insert(0, Arch::NATIVE);
    }
    let mut injected = Vec::new();
    for text in &args.inject {
        let parts: Vec<&str> = text.split(':').collect();
        let (arches, name, value) = match (
            &parts[..],
            parts.first().and_then(|one| Arch::from_any_name(one)),
        ) {
            ([_, name], Some(arch)) => (vec![arch], *name, None),
            ([_, name, value], Some(arch)) => (vec![arch], *name, Some(*value)),
            ([name], None) => (arches.clone(), *name, None),
            ([name, value], None) => (arches.clone(), *name, Some(*value)),
            _ => anyhow::bail!("--inject {text}: not CALL, ABI:CALL or CALL:VALUE"),
        };
        let calls: Vec<Syscall> = (arches.iter())
            .filter_map(|&arch| Syscall::from_name(arch, name))
            .collect();
        anyhow::ensure!(
            !calls.is_empty(),
            "--inject {text}: not a system call of {}{}",
            arches.iter().join(", "),
            suggestion(&arches, name)
        );
        for call in calls {
            let value = value.map(|value| argument(call, value)).transpose();
            let value = value.with_context(|| format!("--inject {text}"))?;
            let privileges = privileges(&args.enforce);
            injected.push(inject(
                &given.profile,
                &given.filter,
                call,
                value,
                privileges,
            )?);
        }
    }
    Ok(injected)
}

/// The register and the value of an argument: `AF_ALG`, `type=SOCK_RAW`. A number is that of the first one.
fn argument(syscall: Syscall, text: &str) -> anyhow::Result<(u8, u64)> {
    let name = syscall.to_string();
    let call = CallArguments::named(&name).filter(|call| !call.is_in_memory());
    let call = call.with_context(|| format!("no argument of {name} carries a choice"))?;
    let (asked, value) = match text.split_once('=') {
        Some((argument, value)) => (Some(argument), value),
        None => (None, text),
    };
    let mut registers = call.registers(&name, syscall.arch);
    let found = registers.find_map(|(register, argument)| {
        let is_asked = asked.is_none_or(|asked| asked == argument.name);
        Some((register, argument.parse(value).filter(|_| is_asked)?))
    });
    found.with_context(|| format!("no argument of {name} has the value {text}"))
}
