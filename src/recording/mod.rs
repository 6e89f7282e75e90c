//! [`Recording`]s of [`Run`]s of a workload, and how events become a run.

mod argument_values;
mod builder;
mod clock;
mod counters;
mod executable_index;
mod executables;
mod file;
mod folded;
mod incidence;
mod journal;
mod merge;
mod name;
mod run;
mod schema;
mod seen;
#[cfg(test)]
pub(crate) mod strategies;
mod tasks;

pub use builder::RunBuilder;
pub use executables::{ByExecutables, ExecutableFilter};
pub use file::{Earlier, FileError, MergedName, Prepared, looks_like_recording, prepare, update};
pub use folded::{Folded, FoldedCall, FoldedSeen, Footprint, RunCalls};
pub use incidence::{Incidence, Unseen};
pub use journal::Journal;
pub use merge::MergeError;
pub use name::{BadName, Name};
pub use run::{ArgumentValues, MAX_VALUES, Run, RunId, Tally, ValueTally};
pub use schema::ParseError;
pub use seen::Seen;

use std::collections::BTreeMap;

/// All runs of one workload, by their id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The workload's name.
    pub name: Name,
    /// Its runs. Ids sort by the time of their start.
    pub runs: BTreeMap<RunId, Run>,
    /// Runs that were folded by [`Recording::compact`].
    pub folded: Folded,
}

impl Recording {
    /// A recording of one run.
    #[must_use]
    pub fn of(name: Name, run: Run) -> Recording {
        Recording {
            name,
            runs: BTreeMap::from([(run.id, run)]),
            folded: Folded::default(),
        }
    }

    /// The number of its runs, folded ones included.
    #[must_use]
    pub fn number_of_runs(&self) -> usize {
        self.runs.len() + self.folded.len()
    }

    /// The number of runs that may lack calls, folded ones included.
    #[must_use]
    pub fn incomplete_runs(&self) -> usize {
        let runs = self.runs.values().filter(|run| !run.is_complete());
        let groups = self.folded.groups.iter();
        let folded = groups.filter(|(footprint, _)| !footprint.complete);
        runs.count() + folded.map(|(_, ids)| ids.len()).sum::<usize>()
    }
}
