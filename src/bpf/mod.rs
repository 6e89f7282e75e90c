//! Classic BPF programs as seccomp(2) runs them: assembled, read, emulated, explained, and compared with the kernel.

pub(crate) mod assemble;
mod conditions;
mod dump;
pub(crate) mod machine;
mod program;
mod prove;
pub(crate) mod samples;

pub use conditions::{Condition, Outcome, Subject, Table, explain, other_arches, table};
pub use dump::{Confinement, DumpError, Loaded, Mode, confinement, filters};
pub use machine::{BadProgram, InvalidProgram, MAX_INSTRUCTIONS};
pub use program::Program;
pub use prove::{Disagreement, ProveError, Proven, prove};
