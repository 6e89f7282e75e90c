//! Counts of system calls, looked up by number without hashing.

use std::collections::HashMap;
use std::time::Duration;

use rustc_hash::FxBuildHasher;

use super::argument_values::CallValues;
use super::executable_index::{ExecutableIndex, IndexSet, NOBODY};
use crate::syscall::Syscall;

/// Numbers below this one have a place in a table. Those of every ABI that has names do (MIPS n32 ends below 6500).
const DENSE: usize = 8_192;

/// The maximum number of different calls. No ABI has a thousand: a program that makes more calls numbers at random, and
/// a recording of 4 billion numbers is of no use.
pub(super) const MAX_COUNTERS: usize = 1 << 16;

/// The count of one call during the run.
#[derive(Clone, Debug)]
pub(super) struct Counter {
    pub(super) syscall: Syscall,
    pub(super) count: u64,
    /// When it was first seen, if known: since the start of the run, or since 1970, as [`super::builder`] has it.
    pub(super) first: Option<Duration>,
    /// The executable of the latest call, already in `executables`: most calls are by the same program as the one before.
    latest: ExecutableIndex,
    pub(super) executables: IndexSet,
    /// If arguments were reported.
    pub(super) values: Option<Box<CallValues>>,
}

impl Counter {
    pub(super) fn new(
        syscall: Syscall,
        count: u64,
        first: Option<Duration>,
        executable: ExecutableIndex,
    ) -> Counter {
        let mut counter = Counter {
            syscall,
            count,
            first,
            latest: NOBODY,
            executables: IndexSet::default(),
            values: None,
        };
        counter.credit(executable);
        counter
    }

    /// Adds an executable. Returns whether it is new.
    pub(super) fn credit(&mut self, executable: ExecutableIndex) -> bool {
        if self.latest == executable {
            return false;
        }
        self.latest = executable;
        executable != NOBODY && self.executables.insert(executable)
    }
}

/// One [`Counter`] for each call.
#[derive(Debug, Default)]
pub(super) struct Counters {
    all: Vec<Counter>,
    /// For each ABI the indexes into `all`, from 1, by number; 0 where there is none.
    dense: Vec<Vec<u32>>,
    /// Those of other numbers.
    sparse: HashMap<Syscall, u32, FxBuildHasher>,
}

impl Counters {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The counter of a call, if it has one.
    pub(super) fn get(&mut self, syscall: Syscall) -> Option<&mut Counter> {
        let place = match dense_place(syscall) {
            Some((arch, nr)) => self.dense.get(arch)?.get(nr)?,
            None => self.sparse.get(&syscall)?,
        };
        let index = usize::try_from(place.checked_sub(1)?).ok()?;
        self.all.get_mut(index)
    }

    /// Adds the counter of a call that has none. `None`: there are too many.
    pub(super) fn add(&mut self, counter: Counter) -> Option<&mut Counter> {
        if self.all.len() >= MAX_COUNTERS {
            return None;
        }
        let syscall = counter.syscall;
        self.all.push(counter);
        let place = u32::try_from(self.all.len()).ok()?;
        if let Some((arch, nr)) = dense_place(syscall) {
            if arch >= self.dense.len() {
                self.dense.resize(arch + 1, Vec::new());
            }
            let table = &mut self.dense[arch];
            if nr >= table.len() {
                table.resize(nr + 1, 0);
            }
            table[nr] = place;
        } else {
            self.sparse.insert(syscall, place);
        }
        self.all.last_mut()
    }

    /// Credits one executable with all calls of another.
    pub(super) fn recredit(&mut self, from: ExecutableIndex, to: ExecutableIndex) {
        for counter in self.iter_mut() {
            if counter.executables.remove(from) {
                counter.latest = NOBODY;
                counter.credit(to);
            }
            for executables in counter
                .values
                .iter_mut()
                .flat_map(|values| values.executables())
            {
                if executables.remove(from) && to != NOBODY {
                    executables.insert(to);
                }
            }
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Counter> {
        self.all.iter_mut()
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Counter> {
        self.all.into_iter()
    }
}

/// The row and the column of a call in the table; `None` if its number is too large, or negative.
fn dense_place(syscall: Syscall) -> Option<(usize, usize)> {
    let nr = usize::try_from(syscall.nr).ok()?;
    (nr < DENSE).then_some((syscall.arch as usize, nr))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::recording::strategies;

    fn counter(syscall: Syscall) -> Counter {
        Counter::new(syscall, 0, None, NOBODY)
    }

    proptest! {
        #[test]
        fn every_call_is_counted_as_a_map_would(calls in prop::collection::vec(strategies::syscall(), 0..50)) {
            let mut counters = Counters::default();
            let mut expect = BTreeMap::<Syscall, u64>::new();
            for syscall in calls {
                *expect.entry(syscall).or_default() += 1;
                if counters.get(syscall).is_none() {
                    counters.add(counter(syscall)).unwrap();
                }
                counters.get(syscall).unwrap().count += 1;
            }
            prop_assert_eq!(counters.len(), expect.len());
            let counts: BTreeMap<_, _> = counters.into_iter().map(|c| (c.syscall, c.count)).collect();
            prop_assert_eq!(counts, expect);
        }

        #[test]
        fn indexes_come_back_sorted(mut indexes: std::collections::BTreeSet<u16>, removed: Vec<u16>) {
            let mut set = IndexSet::default();
            for &index in indexes.iter().rev() {
                set.insert(index.into());
            }
            for index in removed {
                prop_assert_eq!(set.remove(index.into()), indexes.remove(&index));
            }
            prop_assert!(set.iter().eq(indexes.into_iter().map(usize::from)));
        }
    }

    #[test]
    fn numbers_at_random_do_not_fill_the_memory() {
        let mut counters = Counters::default();
        let arch = crate::syscall::Arch::X86_64;
        let added =
            (-200_000..200_000).filter(|&nr| counters.add(counter(Syscall { arch, nr })).is_some());
        assert_eq!(added.count(), MAX_COUNTERS);
        assert!(counters.get(Syscall { arch, nr: -200_000 }).is_some());
        assert!(counters.get(Syscall { arch, nr: 0 }).is_none());
    }
}
