//! The verdict: is the recording complete, how sure is it, and what is wrong with the profile.

use std::collections::{BTreeMap, BTreeSet};

use itertools::Itertools;
use sc_record::review::check::Finding;
use sc_record::review::diff::Direction;
use sc_record::review::lint::Severity;
use sc_record::review::{RiskClass, Stats, dangerous_values, tightness};
use sc_record::syscall::Arch;

use super::super::explain::tightness_line;
use super::super::input::count;
use super::Facts;
use super::recorded::Runs;
use super::view::{DifferenceSection, Judgement, LintSection, Tone, some};
use crate::ui::estimates;

/// How many names are shown in a sentence.
const SHOWN: usize = 12;

pub(super) fn judgements(
    facts: &Facts<'_>,
    difference: Option<&DifferenceSection>,
    lint: Option<&LintSection>,
) -> Vec<Judgement> {
    let mut all = vec![
        complete(facts),
        sure(&facts.stats),
        profile(facts),
        risk(facts),
    ];
    all.extend(difference.map(change));
    let dangerous = dangerous_values(facts.recording);
    if !dangerous.is_empty() {
        all.push(Judgement {
            state: Tone::Look,
            heading: "Dangerous values",
            says: some(dangerous.iter().map(ToString::to_string), SHOWN),
        });
    }
    all.extend(lint.map(linted));
    all
}

fn complete(facts: &Facts<'_>) -> Judgement {
    let recording = facts.recording;
    let incomplete = recording.incomplete_runs();
    let runs = count(recording.number_of_runs(), "run");
    if incomplete == 0 {
        return Judgement {
            state: Tone::Good,
            heading: "Complete",
            says: format!("no call of the {runs} can be missing"),
        };
    }
    let reasons: BTreeSet<&String> = (recording.runs.values())
        .flat_map(|run| &run.incomplete_because)
        .collect();
    let reasons = some(reasons.into_iter().cloned(), SHOWN);
    Judgement {
        state: Tone::Bad,
        heading: "Not complete",
        says: format!("{incomplete} of {runs} may lack calls: {reasons}"),
    }
}

fn sure(stats: &Stats) -> Judgement {
    let saturated = stats.steps.len() >= 5 && stats.incidence.once == 0;
    Judgement {
        state: if saturated { Tone::Good } else { Tone::Look },
        heading: "How sure",
        says: estimates::verdict(stats),
    }
}

fn names(findings: &[Finding]) -> String {
    let names = findings.iter().map(|finding| finding.syscall.to_string());
    some(names.sorted().dedup(), SHOWN)
}

fn profile(facts: &Facts<'_>) -> Judgement {
    let delta = &facts.delta;
    let (denied, undecided) = (&delta.denied, &delta.undecided);
    let mut says = match &denied[..] {
        [] => format!("{} allows every recorded call", facts.shown),
        some => {
            let number = count(some.len(), "recorded call");
            format!("{} does not allow {number}: {}", facts.shown, names(some))
        }
    };
    if !undecided.is_empty() {
        let number = count(undecided.len(), "call");
        says += &format!(
            "; {number} can’t be decided without arguments: {}",
            names(undecided)
        );
    }
    let unused = some(
        delta.unused.stale().map(|unused| unused.name.clone()),
        SHOWN,
    );
    if !unused.is_empty() {
        says += &format!("; no run made these, and no policy adds them: {unused}");
    }
    for tight in tightness(facts.profile, Arch::NATIVE) {
        says += &format!("; {}", tightness_line(&tight));
    }
    let state = match (denied.is_empty(), undecided.is_empty() && unused.is_empty()) {
        (false, _) => Tone::Bad,
        (true, false) => Tone::Look,
        (true, true) => Tone::Good,
    };
    Judgement {
        state,
        heading: "Profile",
        says,
    }
}

fn risk(facts: &Facts<'_>) -> Judgement {
    let allowed = facts
        .explained
        .names
        .iter()
        .filter(|one| super::super::explain::executes(one));
    let mut classes = BTreeMap::<RiskClass, Vec<&str>>::new();
    for one in allowed.filter(|one| one.risk.class != RiskClass::Ordinary) {
        classes.entry(one.risk.class).or_default().push(&one.name);
    }
    let says = classes.iter().map(|(class, names)| {
        let shown = some(names.iter().map(|&name| name.to_owned()), SHOWN);
        format!("{class}: {shown}")
    });
    let says = says.collect::<Vec<_>>().join("; ");
    Judgement {
        state: Tone::Plain,
        heading: "Risk",
        says: if says.is_empty() {
            "no allowed call has a risk of its own".to_owned()
        } else {
            says
        },
    }
}

fn change(difference: &DifferenceSection) -> Judgement {
    let mut directions = BTreeMap::<Direction, usize>::new();
    for row in &difference.rows {
        *directions.entry(row.direction).or_default() += 1;
    }
    let wider = |direction: &Direction| matches!(direction, Direction::Wider | Direction::Mixed);
    let counts = directions
        .iter()
        .map(|(direction, count)| format!("{count} {direction}"));
    let gravest = difference
        .rows
        .iter()
        .filter(|row| wider(&row.direction))
        .map(|row| row.risk)
        .min();
    let gravest = gravest.filter(|class| *class != RiskClass::Ordinary);
    let gravest = gravest.map_or_else(String::new, |class| {
        format!("; the gravest newly allowed: {class}")
    });
    let counts = counts.collect::<Vec<_>>().join(", ");
    Judgement {
        state: if directions.keys().any(wider) {
            Tone::Look
        } else {
            Tone::Good
        },
        heading: "Change",
        says: if difference.rows.is_empty() {
            format!("means the same as {}", difference.from)
        } else {
            format!("against {}: {counts}{gravest}", difference.from)
        },
    }
}

fn linted(lint: &LintSection) -> Judgement {
    let number = |severity: Severity| {
        let of = lint
            .findings
            .iter()
            .filter(|finding| finding.severity == severity);
        count(of.count(), severity.name())
    };
    let worst = lint.findings.iter().map(|finding| finding.severity).min();
    let [errors, warnings, notes] =
        [Severity::Error, Severity::Warning, Severity::Note].map(number);
    Judgement {
        state: worst.map_or(Tone::Good, Tone::of_severity),
        heading: "Lint",
        says: format!(
            "{errors}, {warnings}, {notes} for {} with libseccomp {}",
            lint.target, lint.libseccomp
        ),
    }
}

/// The estimates of `stats`, and what they are about.
pub(super) fn estimates(stats: &Stats, runs: &Runs<'_>) -> Vec<(&'static str, String)> {
    /// There are never many of them in a recording that is nearly complete.
    const SHOWN: usize = 60;
    let mut all = estimates::estimates(stats);
    if stats.steps.len() > 1 && !stats.unique.is_empty() {
        let unique = stats.unique.iter().map(|(call, run)| {
            let place = runs.places.get(run).and_then(|&place| runs.rows.get(place));
            match place {
                Some(row) => format!("{}:{call} (run {})", call.arch, row.number),
                None => format!("{}:{call}", call.arch),
            }
        });
        all.push(("in one run only", some(unique, SHOWN)));
    }
    let free = stats.arguments.iter().filter(|one| one.free.is_some());
    if !stats.arguments.is_empty() {
        let free = free.map(|one| format!("{} {}", one.syscall, one.argument.name));
        let free = some(free.dedup(), SHOWN);
        let all_known = "all, as far as runs can show".to_owned();
        let says = if free.is_empty() {
            all_known
        } else {
            format!("all but those of {free}")
        };
        all.push(("values of arguments", says));
    }
    all
}
