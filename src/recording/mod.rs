//! What was recorded of a workload: [`Recording`]s of [`Run`]s, and how events become one.

mod builder;
mod run;

pub use builder::RunBuilder;
pub use run::{Exit, Run, RunId, Tally};

use std::collections::BTreeMap;

/// All runs of one workload, by their id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// The workload's name.
    pub name: String,
    /// Its runs. Ids sort by the time of their start.
    pub runs: BTreeMap<RunId, Run>,
}
