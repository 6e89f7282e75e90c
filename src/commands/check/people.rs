//! The report as text.

use std::fmt::Write;

use itertools::Itertools;
use sc_record::escape::{self, Line};
use sc_record::review::check::{Finding, Unused, UnusedName};

use super::patch::Patch;
use super::report::{CheckReport, Subject};
use crate::commands::reach::still_possible;
use crate::ui::finding::{answers, called_by, name, why};
use crate::ui::summary::count as plural;

/// Adds a line, and escapes its text.
macro_rules! line {
    ($text:expr, $($arg:tt)*) => {{
        let _ = writeln!($text, "{}", Line(format_args!($($arg)*)));
    }};
}

/// How many callers of a call are shown.
const CALLERS: usize = 5;

/// The whole report.
pub(super) fn render(report: &CheckReport<'_>) -> String {
    let mut text = headline(report);
    let delta = report.delta;
    for finding in delta.denied.iter().chain(&delta.undecided) {
        text += &found(report, finding);
    }
    if !delta.tolerated.is_empty() {
        let mut names = delta.tolerated.iter().map(name);
        line!(text, "  not allowed, but tolerated: {}", names.join(", "));
    }
    unused(&mut text, &delta.unused);
    if let Some(names) = report.impossible().filter(|names| !names.is_empty()) {
        line!(
            text,
            "  of these, the programs can't make {}: {}",
            names.len(),
            names.join(", ")
        );
    }
    if let Some(denied) = report.possible_but_denied() {
        let still = still_possible(&denied, ", and that the profile denies");
        for text_line in still.lines() {
            line!(text, "  {text_line}");
        }
    }
    text += &troubles(report);
    match report.patch {
        Patch::None => {}
        Patch::Impossible(why) => line!(text, "sc-record: no patch: {why}"),
        Patch::Text { .. } if report.updated => {
            line!(text, "sc-record: {} is updated", report.profile());
        }
        Patch::Text { diff, .. } => {
            let all = report.problems().iter().all(|problem| problem.patched);
            let fixes = if all {
                "fixes this"
            } else {
                "fixes what a patch can fix"
            };
            line!(text, "sc-record: this patch {fixes} (--update applies it):");
            text += diff;
        }
    }
    text
}

/// The warnings that are printed even with -q: why the result is not reliable.
pub(super) fn warnings(report: &CheckReport<'_>) -> String {
    troubles(report)
}

fn headline(report: &CheckReport<'_>) -> String {
    let delta = report.delta;
    let (profile, workload) = (report.profile(), report.workload());
    let of = match &report.subject {
        Subject::Run(_) => String::new(),
        Subject::Recordings { runs, .. } => format!(" in {}", plural(*runs as u64, "run")),
    };
    let mut text = String::new();
    let says = match delta.denied.len() {
        0 => "allows every system call that".to_owned(),
        count => format!(
            "does not allow {} that",
            plural(count as u64, "system call")
        ),
    };
    let but = match delta.undecided.len() {
        0 => String::new(),
        1 => "; 1 more is undecided".to_owned(),
        count => format!("; {count} more are undecided"),
    };
    line!(text, "sc-record: {profile} {says} {workload} made{of}{but}");
    text
}

fn found(report: &CheckReport<'_>, finding: &Finding) -> String {
    let mut text = String::new();
    line!(
        text,
        "  {} {}: {}",
        name(finding),
        why(report.file.profile(), finding),
        answers(finding)
    );
    let at_least = if finding.count_is_exact {
        ""
    } else {
        "at least "
    };
    let mut how = format!("{at_least}{}", plural(finding.count, "call"));
    if let Some(first) = finding.first {
        let _ = write!(how, ", the first after {:.3} s", first.as_secs_f64());
    }
    if finding.callers.is_empty() && !finding.executables.is_empty() {
        let mut by = finding.executables.iter().map(|path| escape::path(path));
        let _ = write!(how, ", by {}", by.join(", "));
    }
    line!(text, "    {how}");
    for caller in finding.callers.iter().take(CALLERS) {
        line!(text, "    {}", called_by(finding, caller));
    }
    let more = finding.callers.len().saturating_sub(CALLERS);
    if more > 0 {
        line!(
            text,
            "    and from {} (--json has them)",
            plural(more as u64, "more place")
        );
    }
    if finding.by_others > 0 && !finding.callers.is_empty() {
        line!(
            text,
            "    and {} by others",
            plural(finding.by_others, "call")
        );
    }
    text
}

fn unused(text: &mut String, unused: &Unused) {
    if let Unused::Unknown(why) = unused {
        line!(text, "  unused names are unknown: {why}");
        return;
    }
    let conditional = |unused: &&UnusedName| unused.conditional;
    let names = unused.stale().filter(|unused| !conditional(unused));
    said(text, "allowed but never called", names);
    let rules = unused.stale().filter(conditional);
    said(
        text,
        "allowed with some arguments, but never called with them",
        rules,
    );
    said(
        text,
        "never called, but policy allows them",
        unused.by_policy(),
    );
    if !unused.arches().is_empty() {
        let arches = unused.arches().iter().join(", ");
        line!(text, "  listed architectures without a call: {}", arches);
    }
}

fn said<'a>(text: &mut String, what: &str, names: impl Iterator<Item = &'a UnusedName>) {
    let names: Vec<_> = names.map(|unused| unused.name.as_str()).collect();
    if !names.is_empty() {
        line!(text, "  {what} ({}): {}", names.len(), names.join(", "));
    }
}

/// Why calls may be missing from the result.
fn troubles(report: &CheckReport<'_>) -> String {
    let mut text = String::new();
    for because in report.delta.incomplete.values().flatten() {
        line!(
            text,
            "sc-record: INCOMPLETE, calls may be missing: {because}"
        );
    }
    if let Some(failure) = report.failure() {
        line!(
            text,
            "sc-record: the workload {failure}: its later calls are unknown"
        );
    }
    text
}
