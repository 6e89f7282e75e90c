//! Reads proc(5) for backends.

mod cgroups;
mod files;
mod mappings;
mod recorder;
mod relatives;
mod signals;
mod task;

pub(super) use cgroups::*;
pub(super) use files::*;
pub(super) use mappings::*;
pub(super) use recorder::*;
pub(super) use relatives::*;
pub(super) use signals::*;
pub(super) use task::*;
