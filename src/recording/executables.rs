//! A recording without the calls that only other executables made: the service without its test client and its shell.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::folded::Footprint;
use super::{ArgumentValues, Recording, RunId};
use crate::syscall::Syscall;

/// Which executables' calls count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutableFilter {
    /// Only these; empty for all. With a slash, a recorded path; without one, a file name.
    pub only: Vec<PathBuf>,
    /// Except these, spelled the same way. An executable in both lists doesn't count.
    pub without: Vec<PathBuf>,
}

impl ExecutableFilter {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.only.is_empty() && self.without.is_empty()
    }

    fn has(&self, executable: &Path) -> bool {
        let is_in = |list: &[PathBuf]| list.iter().any(|named| is_named(executable, named));
        (self.only.is_empty() || is_in(&self.only)) && !is_in(&self.without)
    }

    /// Whether a call stays. Executables that don't count are removed. A call without executables stays: who made it is not
    /// known.
    fn keep(&self, executables: &mut BTreeSet<PathBuf>) -> bool {
        let unknown = executables.is_empty();
        executables.retain(|executable| self.has(executable));
        unknown || !executables.is_empty()
    }
}

fn is_named(executable: &Path, named: &Path) -> bool {
    let is_name = !named.as_os_str().as_encoded_bytes().contains(&b'/');
    executable == named || is_name && executable.file_name() == Some(named.as_os_str())
}

/// What [`Recording::by_executables`] leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByExecutables {
    /// The recording. Counts are those of all executables that made a call: a recording has none per executable.
    pub recording: Recording,
    /// Calls that stay since no executable was recorded for them.
    pub unattributed: BTreeSet<Syscall>,
    /// Entries of the filter that no executable of the recording matches.
    pub unmatched: Vec<PathBuf>,
}

impl Recording {
    /// The executables that made calls.
    #[must_use]
    pub fn executables(&self) -> BTreeSet<&Path> {
        let runs = self.runs.values().flat_map(|run| run.syscalls.values());
        let folded = self.folded.seen.syscalls.values();
        let sets =
            (runs.map(|tally| &tally.executables)).chain(folded.map(|call| &call.executables));
        sets.flatten().map(PathBuf::as_path).collect()
    }

    /// The calls that an executable of the filter made.
    #[must_use]
    pub fn by_executables(mut self, filter: &ExecutableFilter) -> ByExecutables {
        let executables = self.executables();
        let unmatched = (filter.only.iter().chain(&filter.without))
            .filter(|named| !executables.iter().any(|one| is_named(one, named)));
        let unmatched = unmatched.cloned().collect();
        for run in self.runs.values_mut() {
            run.syscalls.retain(|_, tally| {
                for values in tally.args.values_mut() {
                    if let ArgumentValues::Each(values) = values {
                        values.retain(|_, value| filter.keep(&mut value.executables));
                    }
                }
                filter.keep(&mut tally.executables)
            });
        }
        let folded = &mut self.folded;
        (folded.seen.syscalls).retain(|_, call| filter.keep(&mut call.executables));
        let mut groups: BTreeMap<Footprint, BTreeSet<RunId>> = BTreeMap::new();
        for (mut footprint, mut ids) in std::mem::take(&mut folded.groups) {
            (footprint.calls).retain(|call| folded.seen.syscalls.contains_key(call));
            groups.entry(footprint).or_default().append(&mut ids);
        }
        folded.groups = groups;
        let unattributed = (self.syscalls().into_iter())
            .filter(|(_, seen)| seen.executables.is_empty())
            .map(|(syscall, _)| syscall);
        ByExecutables {
            unattributed: unattributed.collect(),
            unmatched,
            recording: self,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::strategies;

    #[test]
    fn a_name_without_a_slash_is_a_file_name_and_one_with_it_the_whole_path() {
        let named = |named: &str| is_named(Path::new("/usr/sbin/nginx"), Path::new(named));
        assert!(named("nginx") && named("/usr/sbin/nginx"));
        assert!(!named("sbin/nginx") && !named("/nginx") && !named("ngin") && !named(""));
    }

    proptest! {
        #[test]
        fn a_call_stays_if_any_executable_that_counts_made_it(recording in strategies::recording(), pick: prop::sample::Index) {
            let executables: Vec<PathBuf> = recording.executables().into_iter().map(PathBuf::from).collect();
            prop_assume!(!executables.is_empty());
            let one = pick.get(&executables).clone();
            for (only, without) in [(vec![one.clone()], vec![]), (vec![], vec![one.clone()])] {
                let wanted = only.is_empty();
                let filter = ExecutableFilter { only, without };
                let left = recording.clone().by_executables(&filter);
                prop_assert_eq!(&left.unmatched, &Vec::<PathBuf>::new());
                let left_calls = left.recording.syscalls();
                for (syscall, seen) in recording.syscalls() {
                    // A run that doesn't know the executables of the call keeps it.
                    let by_unknown = recording.runs.values().any(|run| {
                        run.syscalls.get(&syscall).is_some_and(|tally| tally.executables.is_empty())
                    }) || recording.folded.seen.syscalls.get(&syscall).is_some_and(|call| call.executables.is_empty());
                    let counts = seen.executables.iter().any(|path| is_named(path, &one) != wanted);
                    prop_assert_eq!(left_calls.contains_key(&syscall), counts || by_unknown);
                }
                prop_assert_eq!(left.recording.number_of_runs(), recording.number_of_runs());
            }
            let same = recording.clone().by_executables(&ExecutableFilter::default());
            prop_assert_eq!(same.recording, recording);
        }
    }
}
