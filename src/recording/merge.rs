//! Recordings merge by the ids of their runs: in any order, any number of times, with the same result.

use std::collections::btree_map::Entry;

use super::clock::timestamp;
use super::{Name, Recording, Run, RunId};

/// Why recordings can't be merged.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MergeError {
    /// They are of different workloads.
    #[error("they are recordings of different workloads: {left} and {right}")]
    Names {
        /// The one's.
        left: Name,
        /// The other's.
        right: Name,
    },
    /// A run is in both, with different contents: one of the files was edited by hand, or is damaged.
    #[error("run {id} of {} differs from run {id} of {}", of(left), of(right))]
    Runs {
        /// The id of both.
        id: RunId,
        /// The one.
        left: Box<Run>,
        /// The other.
        right: Box<Run>,
    },
    /// A run is in both, folded in at least one, with different calls: one of the files was edited by hand, or is damaged.
    #[error("run {id} is folded with other calls than it has elsewhere")]
    Folded {
        /// Its id.
        id: RunId,
    },
}

/// What a user recognises a run by.
fn of(run: &Run) -> String {
    let program = run.program.display();
    let started = timestamp(run.started);
    format!("{program} at {started} ({})", run.backend)
}

impl Recording {
    /// The runs of both.
    pub fn merge(mut self, other: Recording) -> Result<Recording, MergeError> {
        if self.name != other.name {
            return Err(MergeError::Names {
                left: self.name,
                right: other.name,
            });
        }
        for run in other.runs.into_values() {
            match self.runs.entry(run.id) {
                Entry::Vacant(entry) => {
                    entry.insert(run);
                }
                Entry::Occupied(entry) if *entry.get() == run => {}
                Entry::Occupied(entry) => {
                    return Err(MergeError::Runs {
                        id: run.id,
                        left: Box::new(entry.get().clone()),
                        right: Box::new(run),
                    });
                }
            }
        }
        self.add_folded(other.folded)?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::recording::strategies;

    proptest! {
        #[test]
        fn merge_is_commutative_associative_and_idempotent([a, b, c] in strategies::shards()) {
            let merge = |x: &Recording, y: &Recording| x.clone().merge(y.clone()).unwrap();
            prop_assert_eq!(merge(&a, &b), merge(&b, &a));
            prop_assert_eq!(merge(&merge(&a, &b), &c), merge(&a, &merge(&b, &c)));
            prop_assert_eq!(merge(&a, &a), a.clone());
            prop_assert_eq!(merge(&merge(&a, &b), &b), merge(&a, &b));
        }

        #[test]
        fn merge_has_the_runs_of_both_once_and_no_other([a, b, _] in strategies::shards()) {
            let merged = a.clone().merge(b.clone()).unwrap();
            for (id, run) in &merged.runs {
                prop_assert!(a.runs.get(id) == Some(run) || b.runs.get(id) == Some(run));
            }
            prop_assert!(a.runs.keys().chain(b.runs.keys()).all(|id| merged.runs.contains_key(id)));
            let ids = |recording: &Recording| recording.calls_by_run().map(|(id, _)| id).collect::<BTreeSet<_>>();
            prop_assert_eq!(ids(&merged), &ids(&a) | &ids(&b));
            prop_assert_eq!(merged.number_of_runs(), ids(&merged).len());
        }

        #[test]
        fn a_folded_run_with_other_calls_is_refused(recording in strategies::whole(), call in strategies::syscall()) {
            let mut folded = recording.clone();
            folded.compact();
            let mut changed = recording;
            for run in changed.runs.values_mut() {
                if run.syscalls.remove(&call).is_none() {
                    let executables = BTreeSet::new();
                    run.syscalls.insert(call, crate::recording::Tally { count: 1, first_ms: None, executables, args: std::collections::BTreeMap::new() });
                }
            }
            changed.runs.retain(|id, _| !folded.runs.contains_key(id));
            let expect = match changed.runs.keys().next() {
                None => Ok(folded.clone()),
                Some(&id) => Err(MergeError::Folded { id }),
            };
            // The first of several is named, in the order of groups.
            let same = |merged: Result<_, _>| match (&merged, &expect) {
                (Err(MergeError::Folded { id }), Err(_)) => changed.runs.contains_key(id),
                _ => merged == expect,
            };
            prop_assert!(same(folded.clone().merge(changed.clone())));
            prop_assert!(same(changed.clone().merge(folded.clone())));
        }

        #[test]
        fn two_different_runs_with_one_id_are_refused(recording in strategies::recording(), tasks: Option<u64>) {
            let mut other = recording.clone();
            for run in other.runs.values_mut() {
                run.tasks = tasks;
            }
            match recording.clone().merge(other.clone()) {
                Ok(merged) => prop_assert_eq!(merged, other),
                Err(MergeError::Runs { id, left, right }) => {
                    prop_assert_eq!(&*left, &recording.runs[&id]);
                    prop_assert_eq!(&*right, &other.runs[&id]);
                    prop_assert_ne!(left, right);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn recordings_of_different_workloads_are_refused() {
        let named = |name: &str| Recording {
            name: name.parse().unwrap(),
            runs: std::collections::BTreeMap::new(),
            folded: crate::recording::Folded::default(),
        };
        let error = named("a").merge(named("b")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "they are recordings of different workloads: a and b"
        );
    }
}
