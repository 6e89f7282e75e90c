//! The summary at the end of a recording.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indicatif::HumanCount;
use sc_record::recording::{Recording, Run};
use sc_record::syscall::{Arch, Syscall};
use serde_json::json;

use crate::cli::Verbosity;

/// The form of the summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// For the user, on stderr.
    Text,
    /// As JSON, on stderr: stdout belongs to the workload.
    JsonOnStderr,
    /// As JSON, on stdout.
    JsonOnStdout,
}

impl Say {
    /// The form for `--json` if stdout belongs to the workload.
    pub(crate) fn beside_workload(json: bool) -> Say {
        if json { Say::JsonOnStderr } else { Say::Text }
    }
}

/// The figures of a run, compared with the other runs of its recording.
pub(crate) struct Summary<'a> {
    run: &'a Run,
    /// The number of runs before it.
    earlier_runs: usize,
    /// The calls that none of them made.
    new: BTreeSet<Syscall>,
    files: &'a [(&'static str, &'a Path)],
}

impl<'a> Summary<'a> {
    pub(crate) fn new(
        run: &'a Run,
        recording: &Recording,
        files: &'a [(&'static str, &'a Path)],
    ) -> Summary<'a> {
        let earlier = recording.calls_by_run().filter(|(id, _)| *id != run.id);
        let known: BTreeSet<_> = earlier.flat_map(|(_, calls)| calls).collect();
        Summary {
            run,
            earlier_runs: recording.number_of_runs() - 1,
            new: run
                .syscalls
                .keys()
                .copied()
                .filter(|syscall| !known.contains(syscall))
                .collect(),
            files,
        }
    }

    pub(crate) fn print(&self, say: Say, verbosity: Verbosity) -> anyhow::Result<()> {
        let lines = match say {
            Say::JsonOnStderr => {
                super::say::json(&self.json());
                return Ok(());
            }
            Say::JsonOnStdout => return super::output::json(format_args!("{}\n", self.json())),
            Say::Text if verbosity.quiet => self.warnings(),
            Say::Text => self.text(),
        };
        for line in lines {
            say!("sc-record: {line}");
        }
        Ok(())
    }

    fn distinct(&self) -> BTreeMap<Arch, usize> {
        let mut distinct = BTreeMap::new();
        for syscall in self.run.syscalls.keys() {
            *distinct.entry(syscall.arch).or_default() += 1;
        }
        distinct
    }

    fn calls(&self) -> u64 {
        self.run
            .syscalls
            .values()
            .fold(0, |sum, tally| sum.saturating_add(tally.count))
    }

    fn text(&self) -> Vec<String> {
        let distinct = self.distinct();
        let arches: Vec<_> = match distinct.len() {
            0 | 1 => distinct.keys().map(ToString::to_string).collect(),
            _ => (distinct.iter())
                .map(|(arch, count)| format!("{arch} {count}"))
                .collect(),
        };
        let arches = match &*arches {
            [] => String::new(),
            arches => format!(" ({})", arches.join(", ")),
        };
        let by = (self.run.tasks).map(|tasks| format!(" by {}", count(tasks, "task")));
        let mut lines = vec![format!(
            "{}{arches}; {}{}{} in {:.1} s",
            count(self.run.syscalls.len() as u64, "distinct system call"),
            if self.run.lower_bounds {
                "at least "
            } else {
                ""
            },
            count(self.calls(), "call"),
            by.unwrap_or_default(),
            self.run.duration.as_secs_f64(),
        )];
        if self.earlier_runs > 0 {
            let runs = count(self.earlier_runs as u64, "earlier run");
            lines.push(if self.new.is_empty() {
                format!("no new calls compared with {runs}")
            } else {
                format!(
                    "{} compared with {runs}: {}",
                    count(self.new.len() as u64, "new call"),
                    list(&self.new)
                )
            });
        }
        lines.extend(io_uring(self.run));
        if !self.run.runtime.is_empty() {
            lines.push(format!(
                "the runtime made {} before the program was executed",
                count(self.run.runtime.len() as u64, "distinct call"),
            ));
        }
        if !self.run.not_observed.is_empty() {
            lines.push(format!(
                "not observed, so the profile allows it: {}",
                self.not_observed().join(", ")
            ));
        }
        let files = self.files.iter();
        let files: Vec<_> = files
            .map(|(what, path)| format!("{what} {}", path.display()))
            .collect();
        if !files.is_empty() {
            lines.push(files.join(", "));
        }
        lines.extend(self.warnings());
        lines
    }

    /// The names of calls that passed unseen, on the ABIs that were used.
    fn not_observed(&self) -> Vec<String> {
        let used = self.distinct();
        let calls = self.run.not_observed.iter();
        let calls = calls.filter(|call| used.contains_key(&call.arch));
        let names: BTreeSet<String> = calls.map(ToString::to_string).collect();
        names.into_iter().collect()
    }

    /// The lines that `--quiet` prints too.
    fn warnings(&self) -> Vec<String> {
        let because = self.run.incomplete_because.iter();
        because
            .map(|why| format!("INCOMPLETE, calls may be missing: {why}"))
            .collect()
    }

    fn json(&self) -> serde_json::Value {
        let distinct: serde_json::Map<_, _> = (self.distinct().into_iter())
            .map(|(arch, count)| (arch.name().to_owned(), json!(count)))
            .collect();
        let files: serde_json::Map<_, _> = (self.files.iter())
            .map(|(what, path)| ((*what).to_owned(), json!(path.to_string_lossy())))
            .collect();
        json!({
            "id": self.run.id.to_string(),
            "distinct": distinct,
            "calls": self.calls(),
            "tasks": self.run.tasks,
            "duration_ms": u64::try_from(self.run.duration.as_millis()).unwrap_or(u64::MAX),
            "earlier_runs": self.earlier_runs,
            "new": self.new.iter().map(|syscall| json!({"arch": syscall.arch.name(), "syscall": syscall.to_string()})).collect::<Vec<_>>(),
            "io_uring": self.run.io_uring.iter().map(|(operation, count)| (operation.to_string(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "not_observed": self.not_observed(),
            "complete": self.run.is_complete(),
            "incomplete_because": self.run.incomplete_because,
            "files": files,
        })
    }
}

/// What the workload did through `io_uring`, past seccomp.
fn io_uring(run: &Run) -> Option<String> {
    let made = |name| {
        run.syscalls
            .keys()
            .any(|call| call.name().as_deref() == Some(name))
    };
    if !run.io_uring.is_empty() {
        let operations = run.io_uring.iter();
        let operations = operations.map(|(operation, n)| format!("{operation} ({n})"));
        let operations: Vec<_> = operations.collect();
        return Some(format!(
            "io_uring carried out {}: seccomp does not see these operations",
            operations.join(", ")
        ));
    }
    // Most use of it is by libraries that only try.
    (made("io_uring_enter")).then(|| {
        "io_uring was used: seccomp does not see its operations, and --backend ebpf records them".to_owned()
    })
}

fn list(syscalls: &BTreeSet<Syscall>) -> String {
    let several = syscalls.iter().any(|syscall| syscall.arch != Arch::NATIVE);
    let names = syscalls.iter().map(|syscall| {
        if several {
            format!("{}:{syscall}", syscall.arch)
        } else {
            syscall.to_string()
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

/// A number with its noun, in the plural where needed.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", HumanCount(number))
}
