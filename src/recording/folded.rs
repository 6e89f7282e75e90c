//! Compaction: runs that bring nothing new are folded into one entry that keeps what [`Stats`](crate::review::Stats) needs.
//!
//! Folding depends on the order of run ids alone, and a run that is folded in one recording is folded in each recording
//! that has more runs. So recordings can be merged before or after compaction, with the same result.

use std::collections::btree_map::Keys;
use std::collections::{BTreeMap, BTreeSet, HashMap, btree_set};
use std::path::PathBuf;
use std::time::Duration;

use super::seen::earliest;
use super::{MergeError, Recording, Run, RunId, Tally};
use crate::syscall::{Operation, Syscall};

/// The runs of a recording that were folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Their ids, by what each called. An id is in one group only.
    pub groups: BTreeMap<Footprint, BTreeSet<RunId>>,
    /// What they saw together. Merging can add what was seen by runs that are no longer folded.
    pub seen: FoldedSeen,
}

/// The data that is kept of each folded run. Runs with the same footprint are a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Footprint {
    /// Whether the run was complete.
    pub complete: bool,
    /// What it called.
    pub calls: BTreeSet<Syscall>,
}

/// The data that is kept of all folded runs together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldedSeen {
    /// The keys of their labels.
    pub labels: BTreeSet<String>,
    /// The longest duration, in whole milliseconds.
    pub longest: Duration,
    /// Every call of every group.
    pub syscalls: BTreeMap<Syscall, FoldedCall>,
}

/// The data that is kept of one call of folded runs: no counts, since they couldn't be merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoldedCall {
    /// The earliest time since the start of a run, in milliseconds.
    pub first_ms: Option<u64>,
    /// The executables of the tasks that called it.
    pub executables: BTreeSet<PathBuf>,
}

impl Folded {
    /// The number of folded runs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.values().map(BTreeSet::len).sum()
    }

    /// Whether no run is folded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    fn add(&mut self, run: Run) {
        let footprint = Footprint::of(&run);
        self.groups.entry(footprint).or_default().insert(run.id);
        let syscalls = run.syscalls.into_iter().map(|(syscall, tally)| {
            let call = FoldedCall {
                first_ms: tally.first_ms,
                executables: tally.executables,
            };
            (syscall, call)
        });
        self.seen.add(FoldedSeen {
            labels: run.labels.into_keys().collect(),
            longest: run.duration,
            syscalls: syscalls.collect(),
        });
    }
}

impl Footprint {
    fn of(run: &Run) -> Footprint {
        Footprint {
            complete: run.is_complete(),
            calls: run.syscalls.keys().copied().collect(),
        }
    }

    fn is_of(&self, run: &Run) -> bool {
        self.complete == run.is_complete() && self.calls.iter().eq(run.syscalls.keys())
    }
}

impl FoldedSeen {
    fn add(&mut self, other: FoldedSeen) {
        self.labels.extend(other.labels);
        self.longest = self.longest.max(other.longest);
        for (syscall, call) in other.syscalls {
            let here = self.syscalls.entry(syscall).or_default();
            here.first_ms = earliest(here.first_ms, call.first_ms);
            here.executables.extend(call.executables);
        }
    }
}

impl Recording {
    /// Folds each run that has no call, no call of a container runtime, no operation of `io_uring` and no reason of
    /// incompleteness which is new against all runs before it, in the order of their ids. Estimates, profile and incompleteness stay the same.
    pub fn compact(&mut self) {
        let (mut calls, mut reasons) = (BTreeSet::new(), BTreeSet::new());
        // Folded runs don't keep these: a run before them has them.
        let (mut runtime, mut not_observed) =
            (BTreeSet::<Syscall>::new(), BTreeSet::<Syscall>::new());
        let mut operations = BTreeSet::<Operation>::new();
        let mut folded = Vec::new();
        for (id, of_run) in self.calls_by_run() {
            let known = [
                calls.len(),
                reasons.len(),
                runtime.len(),
                not_observed.len(),
                operations.len(),
            ];
            calls.extend(of_run);
            let run = self.runs.get(&id);
            if let Some(run) = run {
                reasons.extend(&run.incomplete_because);
                runtime.extend(run.runtime.keys());
                not_observed.extend(&run.not_observed);
                operations.extend(run.io_uring.keys());
            }
            let all = [
                calls.len(),
                reasons.len(),
                runtime.len(),
                not_observed.len(),
                operations.len(),
            ];
            // Folded runs don't keep values of arguments.
            let folds = |run: &Run| run.syscalls.values().all(|tally| tally.args.is_empty());
            if run.is_some_and(folds) && all == known {
                folded.push(id);
            }
        }
        for id in folded {
            if let Some(run) = self.runs.remove(&id) {
                self.folded.add(run);
            }
        }
    }

    /// The calls of every run, folded or not, in the order of ids.
    pub fn calls_by_run(&self) -> impl Iterator<Item = (RunId, RunCalls<'_>)> {
        let mut all: BTreeMap<RunId, RunCalls> = (self.runs.iter())
            .map(|(&id, run)| (id, RunCalls::Run(run.syscalls.keys())))
            .collect();
        for (footprint, ids) in &self.folded.groups {
            all.extend(
                ids.iter()
                    .map(|&id| (id, RunCalls::Folded(footprint.calls.iter()))),
            );
        }
        all.into_iter()
    }

    /// Adds the folded runs of another recording. A run that is whole in either stays whole.
    pub(super) fn add_folded(&mut self, other: Folded) -> Result<(), MergeError> {
        let mut of_run = HashMap::new();
        let here = std::mem::take(&mut self.folded.groups);
        for (footprint, ids) in here.iter().chain(&other.groups) {
            for &id in ids {
                let same = match self.runs.get(&id) {
                    Some(run) => footprint.is_of(run),
                    None => *of_run.entry(id).or_insert(footprint) == footprint,
                };
                if !same {
                    return Err(MergeError::Folded { id });
                }
            }
        }
        for (footprint, mut ids) in here.into_iter().chain(other.groups) {
            ids.retain(|id| !self.runs.contains_key(id));
            if !ids.is_empty() {
                self.folded
                    .groups
                    .entry(footprint)
                    .or_default()
                    .append(&mut ids);
            }
        }
        self.folded.seen.add(other.seen);
        Ok(())
    }
}

/// The calls of one run.
#[derive(Clone, Debug)]
pub enum RunCalls<'a> {
    /// That is kept whole.
    Run(Keys<'a, Syscall, Tally>),
    /// That is folded.
    Folded(btree_set::Iter<'a, Syscall>),
}

impl Iterator for RunCalls<'_> {
    type Item = Syscall;

    fn next(&mut self) -> Option<Syscall> {
        match self {
            RunCalls::Run(keys) => keys.next().copied(),
            RunCalls::Folded(calls) => calls.next().copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::strategies;
    use crate::review::Stats;

    fn compacted(mut recording: Recording) -> Recording {
        recording.compact();
        recording
    }

    /// All that is known of a call but its count and the ids of its runs.
    fn known(recording: &Recording) -> Vec<impl PartialEq + std::fmt::Debug + '_> {
        let calls = recording.syscalls().into_iter();
        let known = calls.map(|(call, seen)| {
            let runs = seen.number_of_runs();
            (call, runs, seen.first_ms, seen.executables)
        });
        known.collect()
    }

    proptest! {
        #[test]
        fn compaction_changes_no_estimate_and_no_call(recording in strategies::recording()) {
            let compacted = compacted(recording.clone());
            prop_assert_eq!(Stats::of(&compacted), Stats::of(&recording));
            prop_assert_eq!(known(&compacted), known(&recording));
            let reasons = |recording: &Recording| {
                let reasons = recording.runs.values().flat_map(|run| run.incomplete_because.clone());
                reasons.collect::<BTreeSet<_>>()
            };
            prop_assert_eq!(reasons(&compacted), reasons(&recording));
            let labels = |recording: &Recording| {
                let labels = recording.runs.values().flat_map(|run| run.labels.keys().cloned());
                labels.chain(recording.folded.seen.labels.clone()).collect::<BTreeSet<_>>()
            };
            prop_assert_eq!(labels(&compacted), labels(&recording));
            prop_assert_eq!(super::tests::compacted(compacted.clone()), compacted);
        }

        #[test]
        fn compaction_before_a_merge_changes_nothing_after_it([a, b, c] in strategies::shards()) {
            let merge = |x: &Recording, y: &Recording| compacted(x.clone().merge(y.clone()).unwrap());
            let [d, e] = [&a, &b].map(|shard| compacted(shard.clone()));
            prop_assert_eq!(merge(&d, &e), merge(&a, &b));
            prop_assert_eq!(merge(&d, &a), d.clone());
            prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
        }
    }

    #[test]
    fn runs_that_bring_nothing_new_are_folded() {
        let run = |number: u128, calls: &[i32], reason: Option<&str>| {
            let mut run =
                crate::recording::RunBuilder::start("app".into(), "test").finish(None, false);
            run.id = RunId(uuid::Uuid::from_u128(number));
            run.incomplete_because.extend(reason.map(str::to_owned));
            for &nr in calls {
                let arch = crate::syscall::Arch::X86_64;
                let tally = Tally {
                    count: 1,
                    first_ms: None,
                    executables: BTreeSet::new(),
                    args: std::collections::BTreeMap::new(),
                };
                run.syscalls.insert(Syscall { arch, nr }, tally);
            }
            (run.id, run)
        };
        let runs = [
            run(1, &[0], None),
            run(2, &[0], None),
            run(3, &[0, 1], None),
            run(4, &[1], None),
            run(5, &[0], Some("lost")),
            run(6, &[0], Some("lost")),
            run(7, &[], None),
        ];
        let recording = compacted(Recording {
            name: "app".parse().unwrap(),
            runs: runs.into(),
            folded: Folded::default(),
        });
        let number = |id: &RunId| id.0.as_u128();
        let kept: Vec<_> = recording.runs.keys().map(number).collect();
        assert_eq!(kept, [1, 3, 5]);
        let groups = recording.folded.groups.values();
        let groups: BTreeSet<Vec<_>> = groups.map(|ids| ids.iter().map(number).collect()).collect();
        assert_eq!(groups, BTreeSet::from([vec![2], vec![4], vec![6], vec![7]]));
        assert_eq!(recording.incomplete_runs(), 2);
    }
}
