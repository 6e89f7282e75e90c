//! Compares two recordings: new calls, calls that are gone, and the runs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::recording::{Folded, Name, Recording, Run, RunId};
use crate::syscall::Syscall;

/// A call that only one of two recordings has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallDiff {
    /// The call.
    pub syscall: Syscall,
    /// How often it was entered in all runs of that recording.
    pub count: u64,
    /// Whether `count` is exact, not a lower bound.
    pub exact: bool,
    /// In how many of its runs.
    pub runs: usize,
    /// By which executables.
    pub executables: BTreeSet<PathBuf>,
}

/// What differs between two recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingDiff {
    /// The name, if it changed.
    pub name: Option<Name>,
    /// Calls that only the second one has, by ABI and number.
    pub new: Vec<CallDiff>,
    /// Calls that only the first one has.
    pub gone: Vec<CallDiff>,
    /// Runs that only the second one has, or that differ in it.
    pub runs_added: Vec<Run>,
    /// Runs that the second one lacks, or that differ in it.
    pub runs_removed: Vec<RunId>,
    /// The folded runs of the second one, if they differ.
    pub folded: Option<Folded>,
}

impl RecordingDiff {
    /// Whether both have the same calls. They may have seen them in other runs.
    #[must_use]
    pub fn same_calls(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty()
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.same_calls()
            && self.name.is_none()
            && self.runs_added.is_empty()
            && self.runs_removed.is_empty()
            && self.folded.is_none()
    }
}

impl Recording {
    /// The changes that turn this recording into the other one.
    #[must_use]
    pub fn diff(&self, other: &Recording) -> RecordingDiff {
        let differs = |run: &&Run, there: &Recording| there.runs.get(&run.id) != Some(*run);
        let added = other.runs.values().filter(|run| differs(run, self));
        let removed = self.runs.values().filter(|run| differs(run, other));
        RecordingDiff {
            name: (self.name != other.name).then(|| other.name.clone()),
            new: only_in(other, self),
            gone: only_in(self, other),
            runs_added: added.cloned().collect(),
            runs_removed: removed.map(|run| run.id).collect(),
            folded: (self.folded != other.folded).then(|| other.folded.clone()),
        }
    }

    /// This recording with the changes of a difference applied.
    #[must_use]
    pub fn apply(mut self, diff: &RecordingDiff) -> Recording {
        for id in &diff.runs_removed {
            self.runs.remove(id);
        }
        self.runs
            .extend(diff.runs_added.iter().map(|run| (run.id, run.clone())));
        if let Some(name) = &diff.name {
            self.name = name.clone();
        }
        if let Some(folded) = &diff.folded {
            self.folded = folded.clone();
        }
        self
    }
}

fn only_in(here: &Recording, there: &Recording) -> Vec<CallDiff> {
    let there = there.syscalls();
    let only = (here.syscalls().into_iter()).filter(|(syscall, _)| !there.contains_key(syscall));
    only.map(|(syscall, seen)| CallDiff {
        syscall,
        count: seen.count,
        exact: seen.count_is_exact(),
        runs: seen.number_of_runs(),
        executables: seen.executables.into_iter().map(PathBuf::from).collect(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::recording::strategies;

    proptest! {
        #[test]
        fn a_recording_does_not_differ_from_itself(a in strategies::recording()) {
            prop_assert!(a.diff(&a).is_empty());
        }

        #[test]
        fn a_difference_makes_the_one_recording_of_the_other([a, b, _] in strategies::shards()) {
            prop_assert_eq!(a.clone().apply(&a.diff(&b)), b);
        }

        #[test]
        fn so_it_does_for_any_two(a in strategies::recording(), b in strategies::recording()) {
            let diff = a.diff(&b);
            prop_assert_eq!(a.clone().apply(&diff), b.clone());
            let (of_a, of_b) = (a.syscalls(), b.syscalls());
            for call in &diff.new {
                prop_assert!(of_b.contains_key(&call.syscall) && !of_a.contains_key(&call.syscall));
            }
            for call in &diff.gone {
                prop_assert!(of_a.contains_key(&call.syscall) && !of_b.contains_key(&call.syscall));
            }
            let common = of_b.len() - diff.new.len();
            prop_assert_eq!(of_a.len() - diff.gone.len(), common);
        }
    }
}
