//! Seccomp programs (classic BPF): assembled, read, emulated, explained, and compared with the kernel.

pub(crate) mod assemble;
mod conditions;
mod disassemble;
mod dump;
pub(crate) mod emulate;
mod explain;
mod instruction;
mod program;
mod prove;
pub(crate) mod samples;
mod walk;

pub use conditions::{Condition, DataField, FilterAnswer};
pub use dump::{Confinement, DumpError, SeccompMode, TaskFilter, confinement, filters};
pub use explain::{ArchAnswers, explain, explain_arch, explain_other_arches};
pub use instruction::{InvalidProgram, MAX_INSTRUCTIONS};
pub use program::Program;
pub use prove::{Disagreement, Proof, ProveError, prove};
