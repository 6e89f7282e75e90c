//! What the tests share: processes that can't outlive their test, the programs of `workloads/`, and the witness.

#[macro_use]
pub(crate) mod harness;
pub(crate) mod kernel;
pub(crate) mod needs;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod recorder;
pub(crate) mod recordings;
pub(crate) mod strace;
pub(crate) mod terminal;

use std::collections::BTreeMap;

use sc_record::syscall::Syscall;

/// Which calls were made, and how often.
pub(crate) type Calls = BTreeMap<Syscall, u64>;
