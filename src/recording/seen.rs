//! What all runs of a recording saw together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Recording, RunId};
use crate::syscall::Syscall;

/// What all runs together saw of one system call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen<'a> {
    /// How often it was entered in all runs together that are not folded (at most `u64::MAX`): a lower bound if folded runs
    /// have the call, since they keep no counts, or if a run has only lower bounds.
    pub count: u64,
    /// Whether a run that is not folded has only a lower bound.
    pub is_lower_bound: bool,
    /// The runs with the call that are not folded.
    pub runs: BTreeSet<RunId>,
    /// The number of folded runs with the call.
    pub folded_runs: usize,
    /// The earliest time since the start of a run, in milliseconds, if known.
    pub first_ms: Option<u64>,
    /// The executables of the tasks that called it.
    pub executables: BTreeSet<&'a Path>,
}

impl Seen<'_> {
    /// Whether the count is exact, not a lower bound.
    #[must_use]
    pub fn count_is_exact(&self) -> bool {
        self.folded_runs == 0 && !self.is_lower_bound
    }

    /// The number of runs with the call, folded ones included.
    #[must_use]
    pub fn number_of_runs(&self) -> usize {
        self.runs.len() + self.folded_runs
    }
}

impl Recording {
    /// Every call of every run.
    #[must_use]
    pub fn syscalls(&self) -> BTreeMap<Syscall, Seen<'_>> {
        let mut all = BTreeMap::<Syscall, Seen>::new();
        for run in self.runs.values() {
            for (&syscall, tally) in &run.syscalls {
                let seen = all.entry(syscall).or_default();
                seen.count = seen.count.saturating_add(tally.count);
                seen.is_lower_bound |= run.lower_bounds;
                seen.runs.insert(run.id);
                seen.first_ms = earliest(seen.first_ms, tally.first_ms);
                (seen.executables).extend(tally.executables.iter().map(AsRef::<Path>::as_ref));
            }
        }
        for (footprint, ids) in &self.folded.groups {
            for &syscall in &footprint.calls {
                all.entry(syscall).or_default().folded_runs += ids.len();
            }
        }
        for (syscall, call) in &self.folded.seen.syscalls {
            let seen = all.entry(*syscall).or_default();
            seen.first_ms = earliest(seen.first_ms, call.first_ms);
            (seen.executables).extend(call.executables.iter().map(AsRef::<Path>::as_ref));
        }
        all
    }
}

/// The earlier of two times, of which each may be unknown.
pub(super) fn earliest<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::recording::strategies;

    proptest! {
        #[test]
        fn every_tally_of_every_run_is_in_the_union(recording in strategies::whole()) {
            let all = recording.syscalls();
            for (syscall, seen) in &all {
                let tallies = recording.runs.values().filter_map(|run| run.syscalls.get(syscall));
                let count = tallies.clone().fold(0_u64, |sum, tally| sum.saturating_add(tally.count));
                prop_assert_eq!(seen.count, count);
                prop_assert!(seen.count > 0);
                prop_assert_eq!(seen.first_ms, tallies.clone().filter_map(|tally| tally.first_ms).min());
                let executables: std::collections::BTreeSet<_> =
                    tallies.flat_map(|tally| tally.executables.iter().map(std::path::PathBuf::as_path)).collect();
                prop_assert_eq!(&seen.executables, &executables);
                for run in recording.runs.values() {
                    prop_assert_eq!(seen.runs.contains(&run.id), run.syscalls.contains_key(syscall));
                }
                prop_assert_eq!(seen.folded_runs, 0);
            }
            let calls = recording.runs.values().flat_map(|run| run.syscalls.keys());
            prop_assert!(calls.into_iter().all(|syscall| all.contains_key(syscall)));
        }
    }
}
