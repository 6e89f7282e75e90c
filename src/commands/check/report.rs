//! The result of a check, for every report format.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sc_record::event::Exit;
use sc_record::profile::Edit;
use sc_record::recording::Run;
use sc_record::review::check::{Delta, Finding};
use sc_record::review::reachable::{Possible, Reachable};
use sc_record::syscall::Syscall;

use super::patch::Patch;
use super::profile_file::ProfileFile;
use crate::ui::summary::count as plural;

/// The comparison and its result.
pub(super) struct CheckReport<'a> {
    pub(super) file: &'a ProfileFile,
    pub(super) subject: Subject,
    pub(super) delta: &'a Delta,
    /// What the programs can call at all; `None` if that was not asked for.
    pub(super) reachable: Option<&'a Reachable>,
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

    /// The possible calls that were not made, and that the profile denies.
    pub(super) fn possible_but_denied(&self) -> Option<BTreeMap<Syscall, Possible<'_>>> {
        let reachable = self.reachable?;
        Some(reachable.denied(self.file.profile()))
    }

    /// The names that were never called and that no program can make.
    pub(super) fn impossible(&self) -> Option<Vec<&str>> {
        let reachable = self.reachable?;
        let unused = self.delta.unused.stale().map(|unused| unused.name.as_str());
        Some(
            unused
                .filter(|name| !reachable.is_name_possible(name))
                .collect(),
        )
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
}

/// `3 names are allowed but`.
fn allowed_but(count: usize) -> String {
    let be = if count == 1 { "is" } else { "are" };
    format!("{} {be} allowed but", plural(count as u64, "name"))
}
