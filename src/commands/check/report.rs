//! The result of a check, for every report format.

use std::borrow::Cow;
use std::collections::BTreeSet;

use sc_record::event::Code;
use sc_record::event::Exit;
use sc_record::profile::{Edit, Profile, Rule};
use sc_record::recording::Run;
use sc_record::review::check::{Because, Caller, Delta, Finding};
use sc_record::review::condition;

use super::patch::Patch;
use super::profile_file::ProfileFile;

/// The comparison and its result.
pub(super) struct CheckReport<'a> {
    pub(super) file: &'a ProfileFile,
    pub(super) subject: Subject,
    pub(super) delta: &'a Delta,
    /// What the patch does.
    pub(super) edit: &'a Edit,
    pub(super) patch: &'a Patch,
    /// The patch is applied.
    pub(super) updated: bool,
    pub(super) tolerance: Tolerance,
}

/// The object of the comparison.
pub(super) enum Subject {
    /// A workload that was run for it.
    Run(Box<Run>),
    /// Recordings.
    Recordings { name: String, runs: usize },
}

/// The findings that make a check fail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tolerance {
    /// Unused names, and calls that can't be decided on.
    pub(super) strict: bool,
    /// Not: runs that aren't complete.
    pub(super) incomplete: bool,
    /// Not: a workload that failed.
    pub(super) failure: bool,
}

/// Why a check isn't clean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// A word for programs.
    pub(super) kind: &'static str,
    /// A sentence without its full stop.
    pub(super) what: String,
    /// The patch fixes it.
    pub(super) patched: bool,
}

impl CheckReport<'_> {
    /// Why the check isn't clean, the worst first.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let has_patch = self.patch.text().is_some();
        let mut add = |count: usize, kind, what: &str, patched| {
            if count > 0 {
                let what = format!("{} {what}", plural(count as u64, "system call"));
                problems.push(Problem {
                    kind,
                    what,
                    patched,
                });
            }
        };
        let denied = &self.delta.denied;
        let patched = |finding: &&Finding| has_patch && finding.because.can_be_patched();
        let patchable = denied.iter().filter(patched).count();
        add(patchable, "not_allowed", "would not be allowed", true);
        add(
            denied.len() - patchable,
            "not_allowed",
            "would not be allowed, and a patch can't change that",
            false,
        );
        if self.tolerance.strict {
            let undecided = self.delta.undecided.len();
            add(undecided, "undecided", "may not be allowed", false);
            let stale = self.delta.unused.stale().count();
            let removed = has_patch && !self.edit.remove.is_empty();
            if stale > 0 {
                problems.push(Problem {
                    kind: "unused",
                    what: format!("{} never called", allowed_but(stale)),
                    patched: removed,
                });
            }
        }
        if let Some(failure) = self.failure().filter(|_| !self.tolerance.failure) {
            problems.push(Problem {
                kind: "workload",
                what: format!("the workload {failure}: its later calls are unknown"),
                patched: false,
            });
        }
        if !self.delta.incomplete.is_empty() && !self.tolerance.incomplete {
            problems.push(Problem {
                kind: "incomplete",
                what: "calls may be missing".to_owned(),
                patched: false,
            });
        }
        problems
    }

    /// How the workload failed, if it did.
    pub(super) fn failure(&self) -> Option<String> {
        let Subject::Run(run) = &self.subject else {
            return None;
        };
        match run.exit {
            Some(Exit::Code(0)) => None,
            Some(Exit::Code(code)) => Some(format!("exited with status {code}")),
            Some(Exit::Signal(signal)) => Some(format!("was ended by signal {signal}")),
            None => Some("was not seen to end".to_owned()),
        }
    }

    /// The workload, as people call it.
    pub(super) fn workload(&self) -> Cow<'_, str> {
        match &self.subject {
            Subject::Run(run) => run.program.to_string_lossy(),
            Subject::Recordings { name, .. } => Cow::Borrowed(name),
        }
    }

    pub(super) fn profile(&self) -> Cow<'_, str> {
        self.file.path.to_string_lossy()
    }

    /// Why a call isn't simply allowed, as the rest of a sentence that begins with its name.
    pub(super) fn why(&self, finding: &Finding) -> String {
        why(self.file.profile(), finding)
    }
}

/// Why a profile doesn't simply allow a call, as the rest of a sentence that begins with its name.
pub(in crate::commands) fn why(profile: &Profile, finding: &Finding) -> String {
    let of = |numbers| rules(profile, &finding.syscall.to_string(), numbers);
    match &finding.because {
        Because::NotNamed => "is not in the profile".to_owned(),
        Because::Arguments { rules } => {
            format!("is allowed with other arguments only ({})", of(rules))
        }
        Because::Refused { rules } => format!("is refused by a rule ({})", of(rules)),
        Because::UnlistedAbi => format!(
            "is a call of {}, which the profile does not list",
            finding.syscall.arch
        ),
        Because::NoName => "has no name, so no profile can allow it".to_owned(),
        Because::UnknownArguments { rules } => format!(
            "is allowed with some arguments only, and its arguments are unknown ({})",
            of(rules)
        ),
        Because::Contradiction { rules } => {
            format!("has rules that contradict each other ({})", of(rules))
        }
    }
}

/// `syscalls[3]: domain != AF_ALG`, with the conditions of each rule.
fn rules(profile: &Profile, name: &str, rules: &BTreeSet<usize>) -> String {
    const MOST: usize = 4;
    let all = profile.rules();
    let shown = rules.iter().take(MOST).map(|&rule| {
        let alternatives = all.get(rule).map(Rule::alternatives).unwrap_or_default();
        let conditions = alternatives
            .iter()
            .filter(|all| !all.is_empty())
            .map(|all| {
                let all: Vec<_> = all.iter().map(|arg| condition(name, arg)).collect();
                all.join(" and ")
            });
        let conditions: Vec<_> = conditions.collect();
        if conditions.is_empty() {
            format!("syscalls[{rule}]")
        } else {
            format!("syscalls[{rule}]: {}", conditions.join(" or "))
        }
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match rules.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown}, {more} more"),
    }
}

/// `3 names are allowed but`.
fn allowed_but(count: usize) -> String {
    let be = if count == 1 { "is" } else { "are" };
    format!("{} {be} allowed but", plural(count as u64, "name"))
}

pub(super) use crate::ui::summary::count as plural;

/// The profile's answer, in words.
pub(super) fn answers(finding: &Finding) -> String {
    let actions: Vec<_> = finding.actions.iter().map(ToString::to_string).collect();
    actions.join(" or ")
}

/// The name of a thread, readable.
pub(super) fn thread(caller: &Caller) -> Option<String> {
    let name = caller.thread.as_deref()?;
    Some(String::from_utf8_lossy(name).escape_debug().to_string())
}

/// Where a call is made: `libc.so.6+0x1234`, or what else is known of the address.
pub(super) fn place(caller: &Caller) -> Option<String> {
    match (&*caller.code, caller.ip) {
        (Code::File { .. } | Code::Named { .. }, _) => Some(caller.code.to_string()),
        (Code::Anonymous, Some(ip)) => Some(format!("{ip:#x} in memory without a file")),
        (Code::Unknown, Some(ip)) => Some(format!("{ip:#x}")),
        (_, None) => None,
    }
}
