//! Reports the workload's outcome and the injected calls, as text and as JSON.

use std::fmt::Write;
use std::path::PathBuf;

use sc_record::escape;
use sc_record::profile::{Action, Runtime};
use sc_record::review::call_with_value;
use sc_record::syscall::arguments::call_with_arguments;
use sc_record::syscall::{Arch, Syscall};
use sc_record::trial::{
    Denial, DenialOutcome, InjectOutcome, InjectVerdict, Injected, SaidBy, TrialEnd, Verified,
};
use serde_json::{Value, json};

/// The outcome of the workload.
pub(super) struct VerifiedRun {
    /// How it ended under the profile.
    pub(super) exit: TrialEnd,
    /// How it ended without it, if it ran without it.
    pub(super) baseline: Option<TrialEnd>,
    /// How the results differ.
    pub(super) differs: Option<String>,
    pub(super) verified: Verified,
}

pub(super) struct VerifyReport {
    pub(super) profile: PathBuf,
    /// The runtime that the filter is compiled like.
    pub(super) like: Option<Runtime>,
    pub(super) run: Option<VerifiedRun>,
    pub(super) injected: Vec<Injected>,
}

/// The effect of an action on a call, for reports.
fn heading(action: Action) -> &'static str {
    match action {
        Action::KillProcess => "process killed",
        Action::KillThread => "thread killed",
        Action::Trap => "trapped",
        Action::Errno(_) => "denied",
        Action::Trace(_) => "left to a tracer",
        Action::Notify => "left to the listener",
        Action::Log => "logged, and executed",
        Action::Allow => "allowed",
    }
}

/// The name, with the ABI where it isn't this machine's own.
fn call(syscall: Syscall) -> String {
    match syscall.arch {
        Arch::NATIVE => syscall.to_string(),
        arch => format!("{arch}:{syscall}"),
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

impl VerifyReport {
    /// Whether there are findings.
    pub(super) fn has_findings(&self) -> bool {
        let run = self.run.as_ref().is_some_and(|run| {
            run.differs.is_some()
                || run.verified.more > 0
                || !run.verified.incomplete_because.is_empty()
                || run.verified.denials.iter().any(Denial::is_finding)
        });
        let stopped = |injected: &Injected| injected.verdict() == InjectVerdict::Stopped;
        run || !self.injected.iter().all(stopped)
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if let Some(run) = &self.run {
            let like = self.like.map(|runtime| format!(" in {runtime}"));
            let profile = format!(
                "{}{}",
                escape::path(&self.profile),
                like.unwrap_or_default()
            );
            run.write(&mut text, &profile);
        }
        for injected in &self.injected {
            text.push_str(&injected_line(injected));
            text.push('\n');
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let report = json!({
            "profile": self.profile.to_string_lossy(),
            "like": self.like.map_or_else(|| "kernel".to_owned(), |runtime| runtime.to_string()),
            "clean": !self.has_findings(),
            "run": self.run.as_ref().map(VerifiedRun::json),
            "injected": self.injected.iter().map(injected_json).collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }
}

impl VerifiedRun {
    // Writing to a string can't fail.
    fn write(&self, text: &mut String, profile: &str) {
        let verified = &self.verified;
        for denial in &verified.denials {
            write_denial(text, denial);
        }
        if verified.more > 0 {
            let _ = writeln!(text, "and {} more calls, of other kinds", verified.more);
        }
        for why in &verified.incomplete_because {
            let _ = writeln!(text, "denials may be missing: {why}");
        }
        let denied = verified.denials.iter().filter(|denial| denial.is_denied());
        let _ = match denied.map(|denial| denial.count).sum::<u64>() {
            0 => writeln!(text, "{profile} denied nothing"),
            1 => writeln!(text, "{profile} denied 1 call"),
            count => writeln!(text, "{profile} denied {count} calls"),
        };
        let _ = match (&self.differs, self.baseline) {
            (Some(differs), _) => {
                writeln!(
                    text,
                    "the outcome differs from the run without the profile: {differs}"
                )
            }
            (None, Some(_)) => writeln!(
                text,
                "the outcome matches the run without the profile: {}",
                self.exit
            ),
            (None, None) => writeln!(text, "the outcome: {}", self.exit),
        };
    }

    fn json(&self) -> Value {
        let verified = &self.verified;
        json!({
            "result": self.exit.to_string(),
            "result_without_profile": self.baseline.map(|end| end.to_string()),
            "same_result": self.baseline.map(|_| self.differs.is_none()),
            "differs": self.differs,
            "denials": verified.denials.iter().map(denial_json).collect::<Vec<_>>(),
            "more": verified.more,
            "incomplete_because": verified.incomplete_because,
        })
    }
}

fn write_denial(text: &mut String, denial: &Denial) {
    let said_by = match denial.said_by {
        SaidBy::Rule => "a rule",
        SaidBy::Default => "the default action",
        SaidBy::Stub => "runc's stub for numbers above the highest named one",
    };
    let only = denial.got.len() == 1;
    let got = denial.got.iter().map(|(got, count)| {
        let verb = match got {
            DenialOutcome::Killed(_) => "was",
            _ => "got",
        };
        if only {
            format!("{verb} {got}")
        } else {
            format!("{verb} {got} {}", times(*count))
        }
    });
    let got = got.collect::<Vec<_>>().join(", ");
    let _ = writeln!(
        text,
        "{}: {} ({}, {said_by}), {}; the program {got}",
        heading(denial.action),
        call(denial.syscall),
        denial.action,
        times(denial.count),
    );
    let executable = match denial.executable.as_os_str() {
        empty if empty.is_empty() => "unknown".to_owned(),
        _ => escape::path(&denial.executable).to_string(),
    };
    let _ = writeln!(
        text,
        "  by {executable} (thread {}) at {}",
        denial.thread, denial.code
    );
    let _ = writeln!(
        text,
        "  first in process {} after {} ms: {}",
        denial.first.process,
        denial.first.after.as_millis(),
        call_with_arguments(denial.syscall, &denial.first.args)
    );
}

fn denial_json(denial: &Denial) -> Value {
    let got: serde_json::Map<_, _> = (denial.got.iter())
        .map(|(got, count)| (got.to_string(), json!(count)))
        .collect();
    json!({
        "syscall": denial.syscall.to_string(),
        "arch": denial.syscall.arch.name(),
        "nr": denial.syscall.nr,
        "action": denial.action.to_string(),
        "said_by": match denial.said_by {
            SaidBy::Rule => "rule",
            SaidBy::Default => "default",
            SaidBy::Stub => "stub",
        },
        "finding": denial.is_finding(),
        "count": denial.count,
        "got": got,
        "executable": denial.executable.to_string_lossy(),
        "thread": denial.thread,
        "code": denial.code.to_string(),
        "first": {
            "pid": denial.first.process.0,
            "ms": u64::try_from(denial.first.after.as_millis()).unwrap_or(u64::MAX),
            "ip": denial.first.ip.map(|ip| format!("{ip:#x}")),
            "args": denial.first.args.map(|arg| format!("{arg:#x}")),
        },
    })
}

/// The result of an injected call.
fn got(outcome: InjectOutcome) -> String {
    match outcome {
        InjectOutcome::Returned(value) => match i32::try_from(-value) {
            Ok(errno @ 1..=4095) => format!("got {}", DenialOutcome::Errno(errno)),
            _ => format!("got {value}"),
        },
        InjectOutcome::Killed(signal) => format!("was {}", DenialOutcome::Killed(signal)),
        InjectOutcome::Ended => "was ended by it".to_owned(),
        InjectOutcome::Waits => "waits in it".to_owned(),
        InjectOutcome::NotMade => {
            "did not make it: this program can't make calls of that ABI".to_owned()
        }
    }
}

fn verdict(verdict: InjectVerdict) -> &'static str {
    match verdict {
        InjectVerdict::Stopped => "stopped",
        InjectVerdict::LetThrough => "LET THROUGH",
        InjectVerdict::Asked => "left to the listener",
        InjectVerdict::Contradiction => "NOT WHAT THE FILTER ANSWERS",
    }
}

fn injected_line(injected: &Injected) -> String {
    let mut line = format!(
        "{}: {} (the filter answers {}; the process {})",
        match injected.value {
            Some((register, value)) => call_with_value(injected.syscall, register, value),
            None => call(injected.syscall),
        },
        verdict(injected.verdict()),
        injected.action,
        got(injected.outcome)
    );
    if injected.depends_on_args && injected.value.is_none() {
        line.push_str("; with other arguments, the filter may answer otherwise");
    }
    line
}

fn injected_json(injected: &Injected) -> Value {
    json!({
        "syscall": injected.syscall.to_string(),
        "arch": injected.syscall.arch.name(),
        "verdict": match injected.verdict() {
            InjectVerdict::Stopped => "stopped",
            InjectVerdict::LetThrough => "let through",
            InjectVerdict::Asked => "asked",
            InjectVerdict::Contradiction => "contradiction",
        },
        "action": injected.action.to_string(),
        "outcome": got(injected.outcome),
        "depends_on_args": injected.depends_on_args,
        "value": injected.value.map(|(register, value)| json!({"register": register, "value": value})),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use sc_record::event::Exit;
    use sc_record::event::{Code, Task};
    use sc_record::profile::ErrnoRet;
    use sc_record::trial::DenialOutcome::{Errno, Killed, Success, Trapped};
    use sc_record::trial::FirstDenial;

    use super::*;

    const ENOSYS: Action = Action::Errno(ErrnoRet::ENOSYS);

    /// Denials of a call of `x86_64`, or of another ABI if that is in front.
    fn denial(name: &str, action: Action, got: &[(DenialOutcome, u64)]) -> Denial {
        let (arch, name) = name.split_once(':').unwrap_or(("x86_64", name));
        Denial {
            syscall: Syscall::from_name(arch.parse().unwrap(), name).unwrap(),
            action,
            said_by: match action {
                Action::Errno(ErrnoRet::EPERM) => SaidBy::Default,
                _ => SaidBy::Rule,
            },
            executable: "/usr/sbin/app".into(),
            thread: "worker".into(),
            code: Arc::new(Code::File {
                path: "/lib/libc.so.6".into(),
                offset: 0xd_5467,
                deleted: false,
            }),
            first: FirstDenial {
                after: Duration::from_millis(12),
                process: Task(4711),
                ip: Some(0x7f00_000d_5467),
                args: [0x10, 0, 0xffff_ffff, 0, 0, 0],
            },
            count: got.iter().map(|(_, count)| count).sum(),
            got: got.iter().copied().collect(),
        }
    }

    fn report(denials: Vec<Denial>, differs: Option<&str>) -> VerifyReport {
        let injected = |name, action, outcome, depends_on_args| Injected {
            syscall: Syscall::from_name(Arch::X86_64, name).unwrap(),
            action,
            outcome,
            depends_on_args,
            value: None,
        };
        let eperm = Action::Errno(ErrnoRet::EPERM);
        let returned = |errno: i64| InjectOutcome::Returned(-errno);
        VerifyReport {
            like: None,
            profile: "profiles/app.json".into(),
            run: Some(VerifiedRun {
                exit: TrialEnd::Exit(Exit::Code(i32::from(differs.is_some()))),
                baseline: Some(TrialEnd::Exit(Exit::Code(0))),
                differs: differs.map(str::to_owned),
                verified: Verified {
                    started: true,
                    denials,
                    more: 0,
                    incomplete_because: BTreeSet::new(),
                },
            }),
            injected: vec![
                injected("mount", eperm, returned(1), false),
                injected("setns", Action::Allow, returned(9), false),
                injected("unshare", eperm, returned(1), true),
                injected(
                    "reboot",
                    Action::KillProcess,
                    InjectOutcome::Killed(libc::SIGSYS),
                    false,
                ),
                injected("acct", eperm, returned(14), false),
            ],
        }
    }

    fn all() -> VerifyReport {
        let eperm = Action::Errno(ErrnoRet::EPERM);
        let failed = "exit 1 instead of exit 0; stderr ends with: bind() failed";
        report(
            vec![
                denial("uname", eperm, &[(Errno(1), 3)]),
                denial("x86:uname", Action::Log, &[(Success, 1)]),
                denial("clone3", ENOSYS, &[(Errno(38), 1)]),
                denial("bind", Action::Trap, &[(Trapped, 2), (Killed(9), 1)]),
                denial("mount", Action::KillThread, &[(Killed(31), 1)]),
                denial("setns", Action::KillProcess, &[(Killed(31), 1)]),
                denial("socket", Action::Notify, &[(Errno(13), 1)]),
                denial("ptrace", Action::Trace(1), &[(Errno(38), 1)]),
            ],
            Some(failed),
        )
    }

    #[test]
    fn a_report_for_people() {
        // Calls of another ABI than the native one are named with it.
        insta::assert_snapshot!(all().text().replace("x86_64:", ""));
    }

    #[test]
    fn a_report_as_json() {
        insta::assert_snapshot!(all().json());
    }

    #[test]
    fn nothing_to_report() {
        let mut clean = report(Vec::new(), None);
        clean.injected.clear();
        assert!(!clean.has_findings());
        assert_eq!(
            clean.text(),
            "profiles/app.json denied nothing\nthe outcome matches the run without the profile: exit 0\n"
        );
    }

    #[test]
    fn that_libc_is_told_to_take_an_older_call_is_no_finding() {
        let probe = denial("clone3", ENOSYS, &[(Errno(38), 1)]);
        let mut probed = report(vec![probe], None);
        probed.injected.clear();
        assert!(!probed.has_findings());
        probed.injected.push(Injected {
            syscall: Syscall::from_name(Arch::X86_64, "setns").unwrap(),
            action: Action::Allow,
            outcome: InjectOutcome::Returned(-9),
            depends_on_args: false,
            value: None,
        });
        assert!(probed.has_findings());
    }
}
