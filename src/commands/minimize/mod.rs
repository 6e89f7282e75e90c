//! `sc-record minimize PROFILE -- CMD [ARG]...`: finds calls that the workload can do without.

mod bench;
mod report;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sc_record::atomic_file::write_atomically;
use sc_record::backend::signals;
use sc_record::format::{self, Format};
use sc_record::profile::{Policy, Profile};
use sc_record::trial::minimize::{self, Candidates, Found, Names, Questions, let_through, without};

use self::bench::{Baseline, Bench};
use self::report::{Call, Report, Verdict};
use self::state::State;
use super::exit_status;
use super::run::Compiled;
use crate::cli::MinimizeArgs;

/// The user, or who manages this process, wants it to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

/// Finds the calls, reports them, and gives the exit status.
pub(super) fn minimize(args: &MinimizeArgs) -> anyhow::Result<u8> {
    let given = Compiled::load(&args.enforce, args.verbosity.quiet)?;
    let default = given.profile.default_action;
    anyhow::ensure!(
        !default.executes(),
        "{}: the default action is {default}: what the profile does not name is let through, so nothing can be taken out",
        args.enforce.profile.display()
    );
    anyhow::ensure!(
        !args.write.update || !matches!(given.format, Format::Docker | Format::Podman),
        "{}: --update would lose the conditions of its rules: --write FILE writes OCI, resolved for this machine",
        args.enforce.profile.display()
    );
    // Before there is a thread: the mask of signals is each thread's own.
    let named = let_through(&given.profile);
    if let Some(unknown) = args.only.iter().find(|name| !named.contains(*name)) {
        anyhow::bail!(
            "--only {unknown}: {} does not let it through",
            args.enforce.profile.display()
        );
    }
    let stop = signals::flag_interrupts().context("can't handle signals")?;
    let mut state = State::open(args, &given.bytes)?;
    match search(args, &given, &stop, &mut state) {
        Err(error) if error.is::<Interrupted>() => {
            state.say_how_to_go_on();
            Ok(INTERRUPTED)
        }
        outcome => outcome,
    }
}

/// As a shell has it for what SIGINT ended.
const INTERRUPTED: u8 = 130;

fn search(
    args: &MinimizeArgs,
    given: &Compiled,
    stop: &Arc<AtomicBool>,
    state: &mut State,
) -> anyhow::Result<u8> {
    let bar = progress(args.verbosity.quiet);
    let bench = Bench::new(args, stop)?;
    bar.set_message("running it with all calls");
    let baseline = bench.baseline(&given.profile)?;
    let plan = Plan::new(&given.profile, &baseline, args);
    bar.set_message(format!(
        "{} calls: {} used, {} unused",
        plan.candidates.used.len() + plan.candidates.unused.len(),
        plan.candidates.used.len(),
        plan.candidates.unused.len()
    ));

    let confirm = usize::try_from(args.confirm)?;
    let asking = Asking {
        bench: &bench,
        baseline: &baseline,
        profile: &given.profile,
        state: Mutex::new(state),
        bar: &bar,
        confirm,
    };
    let found = minimize::search(&plan.candidates, usize::from(args.jobs), &mut |questions| {
        asking.ask(&questions)
    })?;
    let removable: Names = (found.denied.iter())
        .filter(|name| plan.left_alone(name).is_none())
        .cloned()
        .collect();
    let unconfirmed = asking.confirm(&removable, confirm)?;
    bar.finish_and_clear();
    let state = (asking.state.into_inner()).unwrap_or_else(PoisonError::into_inner);

    let report = Report {
        profile: args.enforce.profile.clone(),
        calls: plan.calls(&found, state),
        runs: state.runs(),
        resumed: state.resumed(),
        unconfirmed,
        incomplete: baseline.incomplete.clone(),
    };
    if args.json {
        crate::ui::output::print(&report.json())?;
    } else {
        crate::ui::output::print(&report.text())?;
    }
    if let Some(difference) = &report.unconfirmed {
        // Its results can't be trusted.
        state.remove();
        anyhow::bail!(
            "the workload's result is not always the same with all of these denied: {difference}"
        );
    }
    let target = match (&args.write.to, args.write.update) {
        (Some(file), _) => Some(file),
        (None, update) => update.then_some(&args.enforce.profile),
    };
    if let Some(target) = target {
        let smaller = without(&given.profile, &removable);
        let format = match given.format {
            // Conditions that were resolved are not there any more.
            Format::Docker | Format::Podman => Format::Oci,
            format => format,
        };
        let written = format::write(format, &smaller, &format::Writing::default())?;
        write_atomically(target, &written.bytes)?;
        if !args.verbosity.quiet {
            say!("sc-record: wrote {}", target.display());
        }
    }
    state.remove();
    Ok(if removable.is_empty() {
        exit_status::CLEAN
    } else {
        exit_status::FINDINGS
    })
}

/// What is asked about, and what isn't.
struct Plan {
    candidates: Candidates,
    /// Unused, and not asked about.
    unused: Names,
    /// Some calls are left alone whatever is found of them.
    policy: Policy,
}

impl Plan {
    fn new(profile: &Profile, baseline: &Baseline, args: &MinimizeArgs) -> Plan {
        let policy = Policy {
            extent: args.policy.into(),
            enosys_probes: false,
        };
        let asked = |name: &String| args.only.is_empty() || args.only.contains(name);
        let (used, unused): (Names, Names) = (let_through(profile).into_iter())
            .filter(asked)
            .partition(|name| baseline.called.contains(name));
        let (left_alone, unused): (Names, Names) =
            (unused.into_iter()).partition(|name| policy.always(name).is_some());
        Plan {
            candidates: Candidates { unused, used },
            unused: left_alone,
            policy,
        }
    }

    /// Why a call stays in the profile although the workload can do without it.
    fn left_alone(&self, name: &str) -> Option<&'static str> {
        self.policy.always(name)
    }

    fn calls(&self, found: &Found, state: &State) -> Vec<Call> {
        let dispensable = found.denied.iter().chain(&self.unused).map(|name| Call {
            name: name.clone(),
            verdict: if self.candidates.used.contains(name) {
                Verdict::Tolerated
            } else {
                Verdict::Unused
            },
            left_alone: self.left_alone(name),
            without_it: None,
        });
        let needed = found.needed.iter().map(|name| Call {
            name: name.clone(),
            verdict: Verdict::Needed,
            left_alone: None,
            without_it: state.why_needed(name).map(str::to_owned),
        });
        let mut calls: Vec<Call> = dispensable.chain(needed).collect();
        calls.sort_by(|a, b| a.name.cmp(&b.name));
        calls
    }
}

/// Asks the workload.
struct Asking<'a> {
    bench: &'a Bench<'a>,
    baseline: &'a Baseline,
    profile: &'a Profile,
    state: Mutex<&'a mut State>,
    bar: &'a ProgressBar,
    confirm: usize,
}

impl Asking<'_> {
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

    fn is_same(&self, denied: &Names) -> anyhow::Result<bool> {
        let known = self.locked(|state| state.known(denied));
        let same = if let Some(same) = known {
            same
        } else {
            // What is the same by chance must not be taken for what the workload can do without.
            let mut difference = self.difference(denied)?;
            for _ in 0..self.confirm {
                if difference.is_none() {
                    difference = self.difference(denied)?;
                    self.locked(State::count_run);
                }
            }
            let same = difference.is_none();
            self.locked(|state| state.learn(denied, difference))?;
            same
        };
        self.bar.inc(1);
        Ok(same)
    }

    fn difference(&self, denied: &Names) -> anyhow::Result<Option<String>> {
        self.bench
            .difference(self.baseline, &without(self.profile, denied))
    }

    /// Tries a set again; gives how the result differed, if it did.
    fn confirm(&self, denied: &Names, times: usize) -> anyhow::Result<Option<String>> {
        if denied.is_empty() {
            return Ok(None);
        }
        self.bar.set_length(self.bar.position() + times as u64);
        for _ in 0..times {
            let difference = self.difference(denied)?;
            self.locked(State::count_run);
            if difference.is_some() {
                return Ok(difference);
            }
            self.bar.inc(1);
        }
        Ok(None)
    }

    fn locked<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // What is locked is always whole: a panic elsewhere doesn't spoil it.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The bar: hidden where stderr is no terminal.
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

fn is_stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}
