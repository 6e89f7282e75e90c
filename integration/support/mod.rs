//! Shared code of the tests: processes that can't outlive their test, the programs of `workloads/`, and the witnesses.

pub(crate) mod bundle;
pub(crate) mod container;
pub(crate) mod containerd;
pub(crate) mod engines;
#[macro_use]
pub(crate) mod harness;
pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod needs;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod recorder;
pub(crate) mod recordings;
pub(crate) mod strace;
pub(crate) mod terminal;

use std::collections::BTreeMap;

use sc_record::syscall::Syscall;

/// Calls with their counts.
pub(crate) type Calls = BTreeMap<Syscall, u64>;
