//! The report as annotations of GitHub workflows (docs.github.com, "Workflow commands"), each on its line of the profile.

use std::fmt::Write;

use sc_record::escape::Line;
use sc_record::format::Positions;
use sc_record::profile::{Edit, ProfilePart};
use sc_record::review::check::{Because, Finding};
use sc_record::syscall::arguments::call_with_arguments;

use super::report::CheckReport;
use crate::ui::finding::{answers, name, place, why};

pub(super) fn render(report: &CheckReport<'_>) -> String {
    let mut text = String::new();
    let delta = report.delta;
    let positions = report.file.positions();
    let rule = Edit::target(report.file.profile()).map(|rule| ProfilePart::Name { rule, name: 0 });
    let level = if report.updated {
        Level::Notice
    } else {
        Level::Error
    };
    for finding in &delta.denied {
        let mut what = format!(
            "{} {}; the answer is {}",
            name(finding),
            why(report.file.profile(), finding),
            answers(finding)
        );
        if let Some(caller) = finding.callers.first() {
            what += "; called by ";
            what += &caller
                .executable
                .as_ref()
                .map_or("unknown".into(), |path| path.to_string_lossy());
            if let Some(place) = place(caller) {
                let _ = write!(what, " at {place}");
            }
            if let Some(args) = &caller.args {
                what += ": ";
                what += &call_with_arguments(finding.syscall, args);
            }
        } else if let Some(path) = finding.executables.first() {
            let _ = write!(what, "; called by {}", path.display());
        }
        let patched = level == Level::Notice && finding.because.can_be_patched();
        let level = if patched { Level::Notice } else { Level::Error };
        let title = format!("{} is not allowed", name(finding));
        let place = rule_of(finding).or(rule);
        text += &annotation(report, &positions, level, place, &title, &what);
    }
    let doubtful = if report.tolerance.strict {
        Level::Error
    } else {
        Level::Warning
    };
    for finding in &delta.undecided {
        let title = format!("{} may not be allowed", name(finding));
        let what = format!("{} {}", name(finding), why(report.file.profile(), finding));
        let place = rule_of(finding).or(rule);
        text += &annotation(report, &positions, doubtful, place, &title, &what);
    }
    for unused in delta.unused.stale() {
        let place = ProfilePart::Name {
            rule: unused.rule,
            name: unused.index,
        };
        let with = if unused.conditional {
            " with these arguments"
        } else {
            ""
        };
        let what = format!("{} is allowed{with} but was never called", unused.name);
        let title = format!("{} is not used", unused.name);
        text += &annotation(report, &positions, doubtful, Some(place), &title, &what);
    }
    for problem in report.problems() {
        if matches!(problem.kind, "workload" | "incomplete") {
            let because: Vec<_> = (delta.incomplete.values().flatten())
                .filter(|_| problem.kind == "incomplete")
                .map(String::as_str)
                .collect();
            let what = [&[problem.what.as_str()], &because[..]].concat().join("; ");
            let title = "The check is not complete";
            text += &annotation(report, &positions, Level::Error, None, title, &what);
        }
    }
    text
}

/// The rule that is to blame.
fn rule_of(finding: &Finding) -> Option<ProfilePart> {
    let (Because::Arguments { rules }
    | Because::Refused { rules }
    | Because::UnknownArguments { rules }
    | Because::Contradiction { rules }) = &finding.because
    else {
        return None;
    };
    let &rule = rules.first()?;
    Some(ProfilePart::Name { rule, name: 0 })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Notice,
    Warning,
    Error,
}

fn annotation(
    report: &CheckReport<'_>,
    positions: &Positions<'_>,
    level: Level,
    place: Option<ProfilePart>,
    title: &str,
    what: &str,
) -> String {
    let level = match level {
        Level::Notice => "notice",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    let line = place
        .and_then(|place| positions.of(place))
        .map_or(1, |position| position.line);
    let file = property(&report.profile());
    let title = property(title);
    format!(
        "::{level} file={file},line={line},title={title}::{}\n",
        data(what)
    )
}

fn data(text: &str) -> String {
    let text = text.replace('%', "%25").replace('\r', "%0D");
    Line(text.replace('\n', "%0A")).to_string()
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
