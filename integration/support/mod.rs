//! What the tests share: processes that can't outlive their test, the programs of `workloads/`, and the witness.

pub(crate) mod kernel;
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

/// Whether this test runs as root. Says so when it doesn't, for the test will now leave something out.
pub(crate) fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}
