//! `sc-record minimize PROFILE -- CMD [ARG]...`: finds calls that the workload doesn't need.

mod bench;
mod report;
mod state;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sc_record::atomic_file::write_atomically;
use sc_record::backend::signals;
use sc_record::format::{self, Format};
use sc_record::profile::{Policy, Profile};
use sc_record::review::reachable::Reachable;
use sc_record::trial::{
    CallNames, Candidates, Questions, SearchResult, allowed_calls, find_dispensable, name_of,
    without_calls,
};

use self::bench::{BaselineRun, Bench, Interrupted};
use self::report::{CallReport, MinimizeReport, Necessity};
use self::state::SavedResults;
use super::exit_status;
use super::run::Compiled;
use crate::cli::MinimizeArgs;

/// Finds the calls and reports them. Returns the exit status.
pub(super) fn minimize(args: &MinimizeArgs) -> anyhow::Result<u8> {
    let given = Compiled::load(&args.enforce, args.verbosity.quiet)?;
    let default = given.profile.default_action();
    anyhow::ensure!(
        !default.executes(),
        "{}: the default action is {default}, so removing calls from the profile denies nothing",
        args.enforce.profile.display()
    );
    anyhow::ensure!(
        !args.write.update || !matches!(given.format, Format::Docker | Format::Podman),
        "{}: --update would lose the conditions of its rules: use --write FILE, which writes OCI, resolved for this machine",
        args.enforce.profile.display()
    );
    let allowed = allowed_calls(&given.profile);
    let named: BTreeSet<&str> = allowed.iter().map(|call| name_of(call)).collect();
    if let Some(unknown) = args.only.iter().find(|name| !named.contains(&***name)) {
        anyhow::bail!(
            "--only {unknown}: {} does not allow it",
            args.enforce.profile.display()
        );
    }
    // Before there are other threads, since each has its own signal mask.
    let stop = signals::flag_interrupts().context("can't handle signals")?;
    let mut state = SavedResults::open(args, &given.bytes)?;
    match search(args, &given, &stop, &mut state) {
        Err(error) if error.is::<Interrupted>() => {
            state.say_how_to_continue();
            Ok(INTERRUPTED)
        }
        outcome => outcome,
    }
}

/// A shell's status for a command that SIGINT ended.
const INTERRUPTED: u8 = 130;

fn search(
    args: &MinimizeArgs,
    given: &Compiled,
    stop: &Arc<AtomicBool>,
    state: &mut SavedResults,
) -> anyhow::Result<u8> {
    let bar = progress(args.verbosity.quiet);
    let bench = Bench::new(args, stop)?;
    bar.set_message("running with all calls allowed");
    let baseline = bench.baseline(&given.profile)?;
    let plan = TestPlan::new(&given.profile, &baseline, args);
    bar.set_message(format!(
        "{} calls: {} used, {} unused",
        plan.candidates.used.len() + plan.candidates.unused.len(),
        plan.candidates.used.len(),
        plan.candidates.unused.len()
    ));

    let confirm = usize::try_from(args.confirm)?;
    let experiment = Experiment {
        bench: &bench,
        baseline: &baseline,
        profile: &given.profile,
        state: Mutex::new(state),
        bar: &bar,
        confirm,
    };
    let found = find_dispensable(&plan.candidates, usize::from(args.jobs), &mut |questions| {
        experiment.ask(&questions)
    })?;
    let removable: CallNames = (found.denied.iter())
        .filter(|name| plan.kept_because(name).is_none())
        .cloned()
        .collect();
    let unconfirmed = experiment.confirm(&removable, confirm)?;
    bar.finish_and_clear();
    let state = (experiment.state.into_inner()).unwrap_or_else(PoisonError::into_inner);

    let report = MinimizeReport {
        profile: args.enforce.profile.clone(),
        calls: plan.calls(&found, state, baseline.reachable.as_ref()),
        runs: state.runs(),
        resumed: state.resumed(),
        unconfirmed,
        incomplete: baseline.incomplete.clone(),
    };
    if args.json {
        crate::ui::output::json(report.json())?;
    } else {
        crate::ui::output::report(&report.text())?;
    }
    if let Some(difference) = &report.unconfirmed {
        // The results are unreliable.
        state.remove();
        anyhow::bail!("the outcome is not always the same with all of these denied: {difference}");
    }
    let target = match (&args.write.to, args.write.update) {
        (Some(file), _) => Some(file),
        (None, update) => update.then_some(&args.enforce.profile),
    };
    if let Some(target) = target {
        let smaller = without_calls(&given.profile, &removable);
        let format = match given.format {
            // The conditions have been resolved.
            Format::Docker | Format::Podman => Format::Oci,
            format => format,
        };
        let written = format::write(format, &smaller, &super::profile::WRITING)?;
        write_atomically(target, &written.bytes)?;
        if !args.verbosity.quiet {
            say!("sc-record: wrote {}", target.display());
        }
    }
    state.remove();
    Ok(exit_status::of_findings(!removable.is_empty()))
}

/// The calls to test, and those that aren't tested.
struct TestPlan {
    candidates: Candidates,
    /// Unused, and not tested.
    unused: CallNames,
    /// Some calls are kept even if they are dispensable.
    policy: Policy,
}

impl TestPlan {
    fn new(profile: &Profile, baseline: &BaselineRun, args: &MinimizeArgs) -> TestPlan {
        let policy = Policy {
            extent: args.policy.into(),
            ..Policy::default()
        };
        let asked = |call: &String| {
            args.only.is_empty() || args.only.iter().any(|name| name == name_of(call))
        };
        let (used, unused): (CallNames, CallNames) = (allowed_calls(profile).into_iter())
            .filter(asked)
            .partition(|call| baseline.made.contains(call));
        let (kept, unused): (CallNames, CallNames) =
            (unused.into_iter()).partition(|call| policy.always(name_of(call)).is_some());
        TestPlan {
            candidates: Candidates { unused, used },
            unused: kept,
            policy,
        }
    }

    /// Why a dispensable call stays in the profile.
    fn kept_because(&self, call: &str) -> Option<&'static str> {
        self.policy.always(name_of(call))
    }

    fn calls(
        &self,
        found: &SearchResult,
        state: &SavedResults,
        reachable: Option<&Reachable>,
    ) -> Vec<CallReport> {
        let is_possible = |name: &str| Some(reachable?.is_name_possible(name_of(name)));
        let dispensable = found
            .denied
            .iter()
            .chain(&self.unused)
            .map(|name| CallReport {
                name: name.clone(),
                necessity: if self.candidates.used.contains(name) {
                    Necessity::Tolerated
                } else {
                    Necessity::Unused
                },
                kept_because: self.kept_because(name),
                without_it: None,
                is_possible: is_possible(name),
            });
        let needed = found.needed.iter().map(|name| CallReport {
            name: name.clone(),
            necessity: Necessity::Needed,
            kept_because: None,
            without_it: state.why_needed(name).map(str::to_owned),
            is_possible: is_possible(name),
        });
        let mut calls: Vec<CallReport> = dispensable.chain(needed).collect();
        calls.sort_by(|a, b| a.name.cmp(&b.name));
        calls
    }
}

/// Answers the questions of the search.
struct Experiment<'a> {
    bench: &'a Bench<'a>,
    baseline: &'a BaselineRun,
    profile: &'a Profile,
    state: Mutex<&'a mut SavedResults>,
    bar: &'a ProgressBar,
    confirm: usize,
}

impl Experiment<'_> {
    fn ask(&self, questions: &Questions<'_>) -> anyhow::Result<Vec<bool>> {
        let known = self.bar.position() + questions.denied.len() as u64;
        let left = (questions.left + self.confirm) as u64;
        self.bar.set_length(known + left);
        let one = |denied| self.is_same(denied);
        if let [only] = questions.denied {
            return Ok(vec![one(only)?]);
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = (questions.denied.iter())
                .map(|denied| scope.spawn(move || one(denied)))
                .collect();
            let answers = threads.into_iter().map(|thread| match thread.join() {
                Ok(answer) => answer,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            answers.collect()
        })
    }

    fn is_same(&self, denied: &CallNames) -> anyhow::Result<bool> {
        let known = self.locked(|state| state.known(denied));
        let same = if let Some(same) = known {
            same
        } else {
            // Repeated, since the outcome may have stayed the same by chance.
            let mut difference = self.difference(denied)?;
            for _ in 0..self.confirm {
                if difference.is_none() {
                    difference = self.difference(denied)?;
                    self.locked(SavedResults::count_run);
                }
            }
            let same = difference.is_none();
            self.locked(|state| state.learn(denied, difference))?;
            same
        };
        self.bar.inc(1);
        Ok(same)
    }

    fn difference(&self, denied: &CallNames) -> anyhow::Result<Option<String>> {
        self.bench
            .difference(self.baseline, &without_calls(self.profile, denied))
    }

    /// Tests a set again. Returns how the outcome differed, if it did.
    fn confirm(&self, denied: &CallNames, times: usize) -> anyhow::Result<Option<String>> {
        if denied.is_empty() {
            return Ok(None);
        }
        self.bar.set_length(self.bar.position() + times as u64);
        for _ in 0..times {
            let difference = self.difference(denied)?;
            self.locked(SavedResults::count_run);
            if difference.is_some() {
                return Ok(difference);
            }
            self.bar.inc(1);
        }
        Ok(None)
    }

    fn locked<T>(&self, act: impl FnOnce(&mut SavedResults) -> T) -> T {
        // A panic elsewhere leaves no change half done.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A progress bar, hidden unless stderr is a terminal.
fn progress(quiet: bool) -> ProgressBar {
    let target = if quiet {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {pos}/{len} runs, about {eta} left; {msg}")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
