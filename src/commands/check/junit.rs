//! The report as `JUnit` XML: one test case per call that is not simply allowed, one for the workload, and one for
//! completeness. Valid by `junit-10.xsd` of Jenkins' plugin xUnit.

use quick_junit::{NonSuccessKind, Report as JunitReport, TestCase, TestCaseStatus, TestSuite};
use sc_record::escape::{Line, Lines};

use super::people;
use super::report::{CheckReport, Subject};
use crate::ui::finding::{answers, name, why};

pub(super) fn render(report: &CheckReport<'_>) -> anyhow::Result<String> {
    let delta = report.delta;
    let mut suite = TestSuite::new(Line(report.profile()).to_string());
    let mut add = |case: &str, failure: Option<(&str, String)>| {
        let status = match failure {
            None => TestCaseStatus::success(),
            Some((kind, message)) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_type(kind).set_message(message);
                status
            }
        };
        let mut case = TestCase::new(case, status);
        case.set_classname("sc-record check");
        suite.add_test_case(case);
    };
    let problem = |kind: &str| {
        let mut problems = report.problems().into_iter();
        problems.find(|problem| problem.kind == kind)
    };
    if delta.denied.is_empty() {
        add("all calls are allowed", None);
    }
    for finding in &delta.denied {
        let patched = report.updated && finding.because.can_be_patched();
        let message = format!(
            "{} {}: {}",
            name(finding),
            why(report.file.profile(), finding),
            answers(finding)
        );
        let failure = (!patched).then_some(("not_allowed", message));
        add(&format!("{} is allowed", name(finding)), failure);
    }
    for finding in &delta.undecided {
        let message = format!("{} {}", name(finding), why(report.file.profile(), finding));
        let failure = report.tolerance.strict.then_some(("undecided", message));
        add(&format!("{} is allowed", name(finding)), failure);
    }
    let stale = problem("unused").filter(|problem| !(problem.patched && report.updated));
    add(
        "every allowed name is called",
        stale.map(|problem| ("unused", problem.what)),
    );
    if let Subject::Run(_) = report.subject {
        let failed = problem("workload").map(|problem| ("workload", problem.what));
        add("the workload succeeds", failed);
    }
    let because: Vec<_> = delta
        .incomplete
        .values()
        .flatten()
        .map(String::as_str)
        .collect();
    let incomplete = problem("incomplete").map(|_| ("incomplete", because.join("; ")));
    add("no call was missed", incomplete);
    suite.set_system_out(Lines(people::render(report)).to_string());
    let mut junit = JunitReport::new("sc-record check");
    if let Subject::Run(run) = &report.subject {
        suite.set_time(run.duration);
        junit.set_time(run.duration);
    }
    junit.add_test_suite(suite);
    // The schema of Jenkins has no such attribute on the root, and nothing is skipped.
    Ok(junit.to_string()?.replacen(" skipped=\"0\"", "", 1))
}
