//! What all runs of a recording saw together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Recording, RunId};
use crate::syscall::Syscall;

/// What all runs together saw of one system call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen<'a> {
    /// How often it was entered in all runs together (at most `u64::MAX`).
    pub count: u64,
    /// In which runs.
    pub runs: BTreeSet<RunId>,
    /// By which executables.
    pub executables: BTreeSet<&'a Path>,
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
                seen.runs.insert(run.id);
                (seen.executables).extend(tally.executables.iter().map(AsRef::<Path>::as_ref));
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::recording::strategies;

    proptest! {
        #[test]
        fn every_tally_of_every_run_is_in_the_union(recording in strategies::recording()) {
            let all = recording.syscalls();
            for (syscall, seen) in &all {
                let tallies = recording.runs.values().filter_map(|run| run.syscalls.get(syscall));
                let count = tallies.clone().fold(0_u64, |sum, tally| sum.saturating_add(tally.count));
                prop_assert_eq!(seen.count, count);
                prop_assert!(seen.count > 0);
                let executables: std::collections::BTreeSet<_> =
                    tallies.flat_map(|tally| tally.executables.iter().map(std::path::PathBuf::as_path)).collect();
                prop_assert_eq!(&seen.executables, &executables);
                for run in recording.runs.values() {
                    prop_assert_eq!(seen.runs.contains(&run.id), run.syscalls.contains_key(syscall));
                }
            }
            let calls = recording.runs.values().flat_map(|run| run.syscalls.keys());
            prop_assert!(calls.into_iter().all(|syscall| all.contains_key(syscall)));
        }
    }
}
