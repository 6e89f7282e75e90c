//! How a recording was made: its runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use itertools::Itertools;
use sc_record::event::Exit;
use sc_record::recording::{Recording, Run, RunId};
use sc_record::review::Stats;

use super::super::input::count;
use super::view::{RunRow, some};

/// How many labels of a run, or reasons, are shown.
const SHOWN: usize = 10;

/// The runs that are not folded, and what calls refer to.
pub(super) struct Runs<'a> {
    pub(super) rows: Vec<RunRow>,
    /// The places of the runs in `rows`.
    pub(super) places: BTreeMap<RunId, usize>,
    /// `KEY=VALUE` of all runs.
    pub(super) labels: Vec<String>,
    /// All that made calls.
    pub(super) executables: Vec<&'a Path>,
}

impl<'a> Runs<'a> {
    pub(super) fn of(recording: &'a Recording, stats: &Stats) -> Runs<'a> {
        let steps: BTreeMap<RunId, (usize, usize)> = (stats.steps.iter().enumerate())
            .map(|(index, step)| (step.run, (index + 1, step.new.len())))
            .collect();
        let labels: BTreeSet<(&str, &str)> = recording.runs.values().flat_map(pairs).collect();
        let place_of: BTreeMap<_, _> = labels
            .iter()
            .enumerate()
            .map(|(place, label)| (*label, place))
            .collect();
        let after = steps.len();
        let rows = recording.runs.values().enumerate().map(|(place, run)| {
            // Partial runs count nowhere.
            let (number, new) = steps
                .get(&run.id)
                .copied()
                .unwrap_or((after + place + 1, 0));
            RunRow {
                id: run.id.to_string(),
                number,
                started: time(run.started),
                took: format!("{:.1} s", run.duration.as_secs_f64()),
                program: run.program.display().to_string(),
                ended: ended(run),
                labels: pairs(run)
                    .filter_map(|label| place_of.get(&label).copied())
                    .collect(),
                labels_shown: some(pairs(run).map(shown), SHOWN),
                calls: run.syscalls.len(),
                new,
                complete: complete(run),
            }
        });
        Runs {
            rows: rows.collect(),
            places: recording.runs.keys().copied().zip(0..).collect(),
            labels: labels.into_iter().map(shown).collect(),
            executables: recording.executables().into_iter().collect(),
        }
    }
}

fn pairs(run: &Run) -> impl Iterator<Item = (&str, &str)> {
    run.labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
}

fn shown((key, value): (&str, &str)) -> String {
    format!("{key}={value}")
}

/// A time of RFC 3339, in whole seconds.
fn time(time: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MIN);
    format!("{time:.0}")
}

fn ended(run: &Run) -> String {
    match run.exit {
        Some(Exit::Code(code)) => format!("status {code}"),
        Some(Exit::Signal(signal)) => format!("signal {signal}"),
        None => "not seen".to_owned(),
    }
}

fn complete(run: &Run) -> String {
    let because = || some(run.incomplete_because.iter().cloned(), SHOWN);
    match (run.is_partial(), run.is_complete()) {
        (true, _) => "partial: only what a profile lacked (--assume)".to_owned(),
        (false, true) => "yes".to_owned(),
        (false, false) => format!("no: {}", because()),
    }
}

/// Which recorders, backends and systems made the runs.
pub(super) fn summary(recording: &Recording) -> Vec<String> {
    let mut kinds = BTreeMap::<_, usize>::new();
    for run in recording.runs.values() {
        let Run {
            tool,
            backend,
            kernel,
            machine,
            ..
        } = run;
        *kinds
            .entry((tool, backend, kernel, machine, run.lower_bounds))
            .or_default() += 1;
    }
    let mut lines: Vec<String> = (kinds.into_iter())
        .map(|((tool, backend, kernel, machine, lower_bounds), runs)| {
            let counts = if lower_bounds {
                "; counts are lower bounds"
            } else {
                ""
            };
            let runs = count(runs, "run");
            format!(
                "{runs} by {tool} with the backend {backend}, on Linux {kernel} ({machine}){counts}"
            )
        })
        .collect();
    if !recording.folded.is_empty() {
        let folded = count(recording.folded.len(), "run");
        let keys = recording.folded.seen.labels.iter().join(", ");
        let keys = if keys.is_empty() {
            keys
        } else {
            format!(" (labels {keys})")
        };
        lines.push(format!(
            "{folded} folded{keys}: of each, only the set of its calls is kept; its labels and its counts are not"
        ));
    }
    let operations: BTreeSet<_> = (recording.runs.values())
        .flat_map(|run| run.io_uring.keys())
        .collect();
    if !operations.is_empty() {
        let operations = operations.into_iter().join(", ");
        lines.push(format!("io_uring, which goes past seccomp: {operations}"));
    }
    let runtime: BTreeSet<String> = (recording.runs.values())
        .flat_map(|run| run.runtime.keys().map(ToString::to_string))
        .collect();
    if !runtime.is_empty() {
        let calls = runtime.into_iter().join(", ");
        lines.push(format!(
            "by the container runtime, before it executed the program: {calls}"
        ));
    }
    lines.push(
        "A recording has no call sites: sc-record check --html shows those of calls that the profile lacks"
            .to_owned(),
    );
    lines
}
