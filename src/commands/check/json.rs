//! The report as JSON: one line, so that a program can separate it from the workload's output.

use sc_record::event::Code;
use sc_record::event::Exit;
use sc_record::review::call_with_value;
use sc_record::review::check::{Because, Caller, Finding, Unused};
use sc_record::syscall::arguments::call_with_arguments;
use serde_json::{Value, json};

use super::report::{CheckReport, Subject};
use crate::commands::reach::possible_json;
use crate::ui::finding::thread;

pub(super) fn render(report: &CheckReport<'_>) -> String {
    let delta = report.delta;
    let findings = |findings: &[Finding]| findings.iter().map(finding).collect::<Vec<_>>();
    let problems = report.problems().into_iter().map(|problem| {
        json!({"kind": problem.kind, "what": problem.what, "patched": problem.patched && report.updated})
    });
    let incomplete = (delta.incomplete.iter())
        .map(|(run, because)| json!({"run": run.to_string(), "because": because}));
    let value = json!({
        "profile": report.profile(),
        "workload": report.workload(),
        "run": run(report),
        "runs": match &report.subject {
            Subject::Run(_) => 1,
            Subject::Recordings { runs, .. } => *runs,
        },
        "clean": report.status() == crate::exit_status::CLEAN,
        "findings": problems.collect::<Vec<_>>(),
        "denied": findings(&delta.denied),
        "undecided": findings(&delta.undecided),
        "tolerated": findings(&delta.tolerated),
        "unused": unused(&delta.unused),
        "impossible": report.impossible(),
        "possible_but_denied": report.possible_but_denied().as_ref().map(possible_json),
        "incomplete": incomplete.collect::<Vec<_>>(),
        "patch": report.patch.text(),
        "updated": report.updated,
    });
    format!("{value}\n")
}

fn run(report: &CheckReport<'_>) -> Value {
    let Subject::Run(run) = &report.subject else {
        return Value::Null;
    };
    json!({
        "id": run.id.to_string(),
        "backend": run.backend,
        "duration_ms": millis(run.duration),
        "exit": match run.exit {
            Some(Exit::Code(code)) => json!({"code": code}),
            Some(Exit::Signal(signal)) => json!({"signal": signal}),
            None => Value::Null,
        },
        "tasks": run.tasks,
        "complete": run.is_complete(),
    })
}

fn finding(finding: &Finding) -> Value {
    let (because, rules) = match &finding.because {
        Because::NotNamed => ("not_named", None),
        Because::Arguments { rules } => ("arguments", Some(rules)),
        Because::Refused { rules } => ("refused", Some(rules)),
        Because::UnlistedAbi => ("unlisted_architecture", None),
        Because::NoName => ("no_name", None),
        Because::UnknownArguments { rules } => ("unknown_arguments", Some(rules)),
        Because::Contradiction { rules } => ("contradiction", Some(rules)),
    };
    json!({
        "arch": finding.syscall.arch.name(),
        "syscall": finding.syscall.to_string(),
        "number": finding.syscall.nr,
        "answers": finding.actions.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "because": because,
        "rules": rules,
        "values": finding.values.iter().map(|&(register, value)| call_with_value(finding.syscall, register, value)).collect::<Vec<_>>(),
        "count": finding.count,
        "count_exact": finding.count_is_exact,
        "first_ms": finding.first.map(millis),
        "executables": finding.executables.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "runs": finding.runs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "callers": finding.callers.iter().map(|one| caller(finding, one)).collect::<Vec<_>>(),
        "by_others": finding.by_others,
    })
}

/// Registers are strings: a number of JSON need not have 64 bits.
fn caller(finding: &Finding, caller: &Caller) -> Value {
    let hex = |value: &u64| format!("{value:#x}");
    let (module, offset) = match &*caller.code {
        Code::File { path, offset, .. } => (Some(path.to_string_lossy()), Some(hex(offset))),
        Code::Named { name, offset } => (Some(name.into()), Some(hex(offset))),
        Code::Anonymous | Code::Unknown => (None, None),
    };
    json!({
        "executable": caller.executable.as_ref().map(|path| path.to_string_lossy()),
        "pid": caller.process.map(|process| process.0),
        "tid": caller.task.0,
        "thread": thread(caller),
        "module": module,
        "offset": offset,
        "ip": caller.ip.as_ref().map(hex),
        "call": caller.args.as_ref().map(|args| call_with_arguments(finding.syscall, args)),
        "args": caller.args.map(|args| args.map(|arg| hex(&arg))),
        "count": caller.count,
        "first_ms": millis(caller.first),
    })
}

fn unused(unused: &Unused) -> Value {
    let (names, arches) = match unused {
        Unused::Unknown(why) => return json!({"unknown_because": why}),
        Unused::Known { names, arches } => (names, arches),
    };
    let names = names.iter().map(|unused| {
        json!({
            "name": unused.name,
            "rule": unused.rule,
            "conditional": unused.conditional,
            "policy": unused.policy,
        })
    });
    json!({
        "names": names.collect::<Vec<_>>(),
        "architectures": arches.iter().map(|arch| arch.name()).collect::<Vec<_>>(),
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
