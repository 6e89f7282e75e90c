//! The calls of a report: those that were recorded, and those that the profile names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sc_record::profile::Extent;
use sc_record::recording::{Recording, RunId};
use sc_record::review::check::Finding;
use sc_record::review::reasons::{Explanation, NameOrigin, unconditional};
use sc_record::review::{by_docker, call_with_value, risk, safe_rules};
use sc_record::syscall::Arch;

use super::super::explain::{docker_in_words, origin_in_words, origins_in_words};
use super::super::explain_arguments;
use super::Facts;
use super::recorded::Runs;
use super::view::{CallRow, ranges, some};
use crate::ui::difference::answers;
use crate::ui::finding::{called_by, why};

/// How many executables, labels or ranges of runs of a call are shown.
const SHOWN: usize = 40;

/// How many executables are shown in the table.
const IN_SHORT: usize = 2;

/// What the runs saw of the calls with one name, on all ABIs.
#[derive(Default)]
struct SeenByName<'a> {
    count: u64,
    is_lower_bound: bool,
    runs: BTreeSet<RunId>,
    folded_runs: usize,
    first_ms: Option<u64>,
    executables: BTreeSet<&'a Path>,
    origins: BTreeMap<Arch, NameOrigin>,
}

/// All calls, those that are not allowed first.
pub(super) fn rows(facts: &Facts<'_>, runs: &Runs<'_>) -> Vec<CallRow> {
    let mut seen = by_name(facts.recording);
    let mut findings = BTreeMap::<String, Vec<&Finding>>::new();
    for finding in facts.delta.denied.iter().chain(&facts.delta.undecided) {
        findings
            .entry(finding.syscall.to_string())
            .or_default()
            .push(finding);
    }
    let by_profile: BTreeMap<&str, &Explanation> = (facts.explained.names.iter())
        .map(|one| (one.name.as_str(), one))
        .collect();
    let rules = safe_rules(facts.recording);
    let names: BTreeSet<String> = (seen.keys().cloned())
        .chain(by_profile.keys().map(|&name| name.to_owned()))
        .collect();
    let rows = names.into_iter().enumerate().map(|(place, name)| {
        let of_name = seen.remove(&name).unwrap_or_default();
        let findings = findings.remove(&name).unwrap_or_default();
        let row = row(
            facts,
            runs,
            &name,
            &of_name,
            by_profile.get(name.as_str()).copied(),
            &findings,
        );
        let of_recording = explain_arguments::of_call(&name, facts.recording, &rules);
        CallRow {
            id: anchor(&name, place),
            arguments: of_recording,
            name,
            ..row
        }
    });
    let mut rows: Vec<CallRow> = rows.collect();
    rows.sort_by_key(|call| call.is_allowed);
    rows
}

fn by_name(recording: &Recording) -> BTreeMap<String, SeenByName<'_>> {
    let mut all = BTreeMap::<String, SeenByName>::new();
    for (syscall, of_arch) in recording.syscalls() {
        let seen = all.entry(syscall.to_string()).or_default();
        let origin = NameOrigin::Recorded {
            count: of_arch.count,
            exact: of_arch.count_is_exact(),
            runs: of_arch.number_of_runs(),
            first_ms: of_arch.first_ms,
            executables: of_arch.executables.iter().map(Into::into).collect(),
        };
        seen.count = seen.count.saturating_add(of_arch.count);
        seen.is_lower_bound |= !of_arch.count_is_exact();
        seen.runs.extend(&of_arch.runs);
        seen.folded_runs = seen.folded_runs.max(of_arch.folded_runs);
        seen.first_ms = seen.first_ms.into_iter().chain(of_arch.first_ms).min();
        seen.executables.extend(of_arch.executables);
        seen.origins.insert(syscall.arch, origin);
    }
    all
}

/// The anchor of a call: its name, if that can be one.
fn anchor(name: &str, place: usize) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.bytes().all(is_plain) {
        format!("call-{name}")
    } else {
        format!("call-number-{place}")
    }
}

fn row(
    facts: &Facts<'_>,
    runs: &Runs<'_>,
    name: &str,
    seen: &SeenByName<'_>,
    named: Option<&Explanation>,
    findings: &[&Finding],
) -> CallRow {
    let is_denied = |finding: &&&Finding| facts.delta.denied.contains(finding);
    let denied: Vec<&&Finding> = findings.iter().filter(is_denied).collect();
    let places: Vec<usize> = seen
        .runs
        .iter()
        .filter_map(|run| runs.places.get(run).copied())
        .collect();
    let by = seen
        .executables
        .iter()
        .filter_map(|path| runs.executables.binary_search(path).ok());
    let paths = || {
        seen.executables
            .iter()
            .map(|path| path.display().to_string())
    };
    let reasons = match named {
        Some(one) => origins_in_words(one),
        None => (seen.origins.iter())
            .map(|(arch, origin)| format!("{arch}: {}", origin_in_words(origin)))
            .collect(),
    };
    CallRow {
        id: String::new(),
        name: String::new(),
        answer: answer(facts, named, &denied, findings),
        is_allowed: denied.is_empty(),
        rule: rule(facts, name, named, findings),
        origin: named.map_or("recorded", origin),
        reasons,
        risk: risk(name),
        docker: docker_in_words(by_docker(name)),
        count: seen.count,
        is_exact: !seen.is_lower_bound,
        number_of_runs: seen.runs.len() + seen.folded_runs,
        first_ms: seen.first_ms,
        runs: which_runs(seen, &places, runs),
        labels: labels(&places, runs),
        executables: some(paths(), SHOWN),
        by_whom: some(paths(), IN_SHORT),
        by: by.collect(),
        in_runs: places,
        arguments: Vec::new(),
        callers: findings
            .iter()
            .flat_map(|finding| callers(finding))
            .collect(),
    }
}

fn answer(
    facts: &Facts<'_>,
    named: Option<&Explanation>,
    denied: &[&&Finding],
    findings: &[&Finding],
) -> &'static str {
    if denied.iter().any(|finding| finding.values.is_empty()) {
        return "not allowed";
    }
    if !denied.is_empty() {
        return "not with all arguments";
    }
    if !findings.is_empty() {
        return "undecided";
    }
    let Some(one) = named else {
        let executes = facts.profile.default_action().executes();
        return if executes { "allowed" } else { "not allowed" };
    };
    let mut executing = one.answers.iter().filter(|(action, _)| action.executes());
    match executing.next() {
        None => "refused",
        Some((_, alternatives)) if unconditional(alternatives) => "allowed",
        Some(_) => "allowed if",
    }
}

/// What is to be said about its rules, if anything.
fn rule(
    facts: &Facts<'_>,
    name: &str,
    named: Option<&Explanation>,
    findings: &[&Finding],
) -> String {
    let plain = |one: &&Explanation| {
        let mut answers = one.answers.iter();
        let allow = |(action, alternatives): (&sc_record::profile::Action, _)| {
            *action == sc_record::profile::Action::Allow && unconditional(alternatives)
        };
        one.answers.len() == 1 && answers.all(allow)
    };
    let rules = named
        .filter(|one| !plain(one))
        .map(|one| answers(name, &one.answers));
    let findings = findings.iter().map(|finding| {
        let values = finding
            .values
            .iter()
            .map(|&(register, value)| call_with_value(finding.syscall, register, value));
        let values = some(values, SHOWN);
        let colon = if values.is_empty() { "" } else { ": " };
        format!(
            "{} {name} {}{colon}{values}",
            finding.syscall.arch,
            why(facts.profile, finding)
        )
    });
    rules
        .into_iter()
        .chain(findings)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The first callers that a check has seen.
fn callers(finding: &Finding) -> impl Iterator<Item = String> {
    let callers = finding.callers.iter().take(SHOWN);
    callers.map(|caller| called_by(finding, caller))
}

fn origin(one: &Explanation) -> &'static str {
    let kinds = one.origins.values().map(|origin| match origin {
        NameOrigin::Recorded { .. } => "recorded",
        NameOrigin::Added {
            policy: Extent::Exact,
            ..
        } => "policy exact",
        NameOrigin::Added {
            policy: Extent::Safe,
            ..
        } => "policy safe",
        NameOrigin::Added {
            policy: Extent::Portable,
            ..
        } => "policy portable",
        NameOrigin::Container { .. } => "container runtime",
        NameOrigin::Probe { .. } => "ENOSYS probe",
        NameOrigin::OtherArch => "other architecture",
        NameOrigin::Unexplained => "unexplained",
    });
    let order = [
        "recorded",
        "policy exact",
        "policy safe",
        "policy portable",
        "container runtime",
        "ENOSYS probe",
        "unexplained",
    ];
    let kinds: BTreeSet<&'static str> = kinds.collect();
    order
        .into_iter()
        .find(|kind| kinds.contains(kind))
        .unwrap_or("unexplained")
}

fn which_runs(seen: &SeenByName<'_>, places: &[usize], runs: &Runs<'_>) -> String {
    let folded = match seen.folded_runs {
        0 => String::new(),
        folded => format!("{folded} folded"),
    };
    if places.is_empty() {
        return folded;
    }
    let first = places
        .iter()
        .filter_map(|&place| runs.rows.get(place))
        .map(|row| row.number)
        .min();
    let numbers = places
        .iter()
        .filter_map(|&place| runs.rows.get(place))
        .map(|row| row.number);
    let which = if places.len() == runs.rows.len() {
        "all".to_owned()
    } else {
        some(ranges(numbers), SHOWN)
    };
    let first = first.map_or_else(String::new, |first| format!("; first in run {first}"));
    let and = if folded.is_empty() { "" } else { " and " };
    format!("{which}{and}{folded}{first}")
}

/// The labels of runs, each with how many of the runs have it.
fn labels(places: &[usize], runs: &Runs<'_>) -> String {
    let mut counts = BTreeMap::<usize, usize>::new();
    let rows = places.iter().filter_map(|&place| runs.rows.get(place));
    for label in rows.flat_map(|row| &row.labels) {
        *counts.entry(*label).or_default() += 1;
    }
    let shown = counts.into_iter().filter_map(|(label, number)| {
        let label = runs.labels.get(label)?;
        Some(match number {
            1 => label.clone(),
            number => format!("{label} ({number} runs)"),
        })
    });
    some(shown, SHOWN)
}
