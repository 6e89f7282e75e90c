//! `sc-record stats RECORDING`: estimates how complete a recording is.

use std::fmt::Write as _;

use itertools::Itertools;
use sc_record::recording::{MergedName, Recording};
use sc_record::review::Stats;
use sc_record::review::reachable::Reachable;
use serde_json::{Value, json};

use super::exit_status;
use super::input::{self, count};
use super::reach::{possible_json, still_possible};
use crate::cli::{PolicyArg, StatsArgs};
use crate::ui::estimates::{estimates, rounded, verdict};
use crate::ui::{curve, output};

pub(super) fn stats(args: &StatsArgs) -> anyhow::Result<u8> {
    let recording = input::recordings(&args.inputs, MergedName::Same)?;
    anyhow::ensure!(
        recording.number_of_runs() > 0,
        "the recording of {} has no runs",
        recording.name
    );
    let stats = Stats::of(&recording);
    let reachable = input::reachable(&args.code, Some(&recording))?;
    let possible = reachable.as_ref().map(Reachable::possible);
    let words = || {
        let still = possible.as_ref().map(|calls| still_possible(calls, ""));
        let still = still.map_or_else(String::new, |still| format!("\n{still}"));
        text(&recording, &stats, args.ascii || !is_utf8()) + &still
    };
    let json = || {
        let mut all = json(&recording, &stats);
        if let Some(possible) = &possible {
            all["possible"] = possible_json(possible).into();
        }
        all
    };
    output::result(args.json, json, words)?;
    if let Some(to) = &args.html {
        let policy = PolicyArg::Safe;
        let page = super::report::of_recording(&recording, policy, None, reachable.as_ref())?;
        output::write_to(to, &page)?;
    }
    let fails = (args.fail_above).is_some_and(|percent| {
        (stats.chance_of_new()).is_none_or(|chance| chance * 100.0 > percent)
    });
    Ok(exit_status::of_findings(fails))
}

/// Whether the terminal shows block characters: by the locale, as setlocale(3) finds it.
fn is_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

fn text(recording: &Recording, stats: &Stats, ascii: bool) -> String {
    let incidence = stats.incidence;
    let runs = stats.steps.len();
    let mut text = format!(
        "{}: {} in {}",
        recording.name,
        count(incidence.seen as usize, "call"),
        count(runs, "run")
    );
    if stats.incomplete > 0 {
        let some = stats.incomplete;
        let _ = write!(
            text,
            ", {some} of them incomplete: calls of those may be missing"
        );
    }
    if stats.partial > 0 {
        let some = count(stats.partial, "partial run");
        let _ = write!(text, "; {some} not counted (--assume)");
    }
    let over_runs: Vec<usize> = stats.steps.iter().map(|step| step.seen).collect();
    text += "\n\ncalls over runs, in the order they were recorded\n";
    text += &curve::draw(&over_runs, ("run 1", &format!("run {runs}")), ascii);
    text += "\ncalls over the time since the start of a run, all runs together\n";
    let latest = stats.first_ms.last().copied().unwrap_or(0);
    let end = latest.max(stats.longest_ms);
    text += &curve::draw(&over_time(stats, end), ("0 s", &seconds(end)), ascii);
    text.push('\n');
    for (what, says) in estimates(stats) {
        let _ = writeln!(text, "{what:<22} {says}");
    }
    if !stats.unique.is_empty() && runs > 1 {
        let mut names = (stats.unique.keys()).map(|call| format!("{}:{call}", call.arch));
        let _ = writeln!(text, "\nin one run only: {}", names.join(", "));
    }
    text += &arguments(stats);
    let _ = writeln!(text, "\n{}", verdict(stats));
    text
}

/// Which arguments may have values that no run has. Empty if none were recorded.
fn arguments(stats: &Stats) -> String {
    let all = &stats.arguments;
    if all.is_empty() {
        return String::new();
    }
    let saturated = all.iter().filter(|one| one.free.is_none()).count();
    let mut text = format!(
        "\narguments: {saturated} of {} have all their values, as far as runs can show; generate --args allows any value of the others\n",
        all.len()
    );
    for one in all {
        let Some(why) = one.free else { continue };
        let expected = one.incidence.and_then(|of| of.expected_new());
        let expected = expected.map_or_else(String::new, |expected| {
            format!(
                "; {} new values expected in the next run",
                rounded(expected)
            )
        });
        let (call, argument) = (one.syscall, one.argument.name);
        let _ = writeln!(text, "  {}:{call} {argument}: {why}{expected}", call.arch);
    }
    text
}

fn json_of_arguments(stats: &Stats) -> Vec<Value> {
    let each = stats.arguments.iter().map(|one| {
        let of = one.incidence;
        json!({
            "arch": one.syscall.arch.name(),
            "call": one.syscall.to_string(),
            "argument": one.argument.name,
            "runs": of.map(|of| of.runs),
            "values": of.map(|of| of.seen),
            "in_one_run": of.map(|of| of.once),
            "expected_new": of.and_then(|of| of.expected_new()),
            "any_value_because": one.free.map(|why| why.to_string()),
        })
    });
    each.collect()
}

/// The number of calls seen at equal steps of time.
fn over_time(stats: &Stats, end_ms: u64) -> Vec<usize> {
    const STEPS: u64 = 60;
    (1..=STEPS)
        .map(|step| {
            let until = u128::from(end_ms) * u128::from(step) / u128::from(STEPS);
            stats
                .first_ms
                .partition_point(|&first| u128::from(first) <= until)
        })
        .collect()
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}

fn json(recording: &Recording, stats: &Stats) -> Value {
    let incidence = stats.incidence;
    let unseen = incidence.chao2().map(|unseen| {
        json!({
            "estimate": unseen.estimate,
            "standard_error": unseen.standard_error,
            "interval_95": unseen.interval.map(|(low, high)| [low, high]),
        })
    });
    let steps = stats.steps.iter().map(|step| {
        let new = step.new.iter().map(|call| format!("{}:{call}", call.arch));
        json!({"run": step.run.to_string(), "seen": step.seen, "new": new.collect::<Vec<_>>()})
    });
    let unique = (stats.unique.iter()).map(|(call, run)| {
        json!({"arch": call.arch.name(), "name": call.to_string(), "run": run.to_string()})
    });
    json!({
        "name": recording.name.as_str(),
        "runs": incidence.runs,
        "incomplete_runs": stats.incomplete,
        "partial_runs": stats.partial,
        "calls": incidence.seen,
        "in_one_run": incidence.once,
        "in_two_runs": incidence.twice,
        "incidences": incidence.total,
        "unseen_chao2": unseen,
        "chance_of_new": stats.chance_of_new(),
        "expected_new": incidence.expected_new(),
        "coverage": incidence.coverage(),
        "last_run_with_new": stats.last_new(),
        "over_runs": steps.collect::<Vec<_>>(),
        "first_ms": stats.first_ms,
        "unique": unique.collect::<Vec<_>>(),
        "arguments": json_of_arguments(stats),
        "verdict": verdict(stats),
    })
}
