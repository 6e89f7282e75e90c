//! The report as text.

use std::fmt::Write;

use itertools::Itertools;
use sc_record::escape::{self, Line};
use sc_record::review::call_with_value;
use sc_record::review::check::{Caller, Finding, Unused, UnusedName};
use sc_record::syscall::Arch;
use sc_record::syscall::arguments::call_with_arguments;

use super::patch::Patch;
use super::report::{CheckReport, Subject, answers, place, plural, thread};

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
        report.why(finding),
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

/// `nginx[123] (thread "worker", /usr/sbin/nginx) at /lib/libc.so.6+0x12: io_setup(0x20, …), 3 calls`
pub(in crate::commands) fn called_by(finding: &Finding, caller: &Caller) -> String {
    let mut text = String::from("by ");
    match &caller.executable {
        Some(path) => text += &escape::path(path).to_string(),
        None => text += "unknown",
    }
    if let Some(process) = caller.process {
        let _ = write!(text, ", process {process}");
        if process != caller.task {
            let _ = write!(text, " thread {}", caller.task);
        }
    }
    if let Some(name) = thread(caller) {
        let _ = write!(text, " ({name})");
    }
    if let Some(place) = place(caller) {
        let _ = write!(text, ", at {place}");
    }
    if caller.count != finding.count {
        let _ = write!(text, ", {}", plural(caller.count, "call"));
    }
    if let Some(args) = &caller.args {
        text += ": ";
        text += &call_with_arguments(finding.syscall, args);
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

/// The name of a call, with its ABI unless that is the native one, and with the values that decide: `socket(AF_ALG, …)`.
pub(super) fn name(finding: &Finding) -> String {
    let syscall = finding.syscall;
    let values = finding.values.iter();
    let mut values = values.map(|&(register, value)| call_with_value(syscall, register, value));
    let shown = match values.join(", ") {
        none if none.is_empty() => syscall.to_string(),
        values => values,
    };
    if syscall.arch == Arch::NATIVE {
        shown
    } else {
        format!("{}:{shown}", syscall.arch)
    }
}
