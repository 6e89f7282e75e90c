//! Imports audit records and the output of strace(1) as [`Event`](crate::event::Event)s.
//!
//! Text is read line by line, in bounded memory. Unrelated lines are skipped and counted; a line that should be readable but
//! isn't is a [`BadLine`], and a loss.

mod audit;
#[cfg(test)]
mod damage;
mod output;
mod source;
mod strace;

pub use audit::{AuditOptions, AuditSummary, import_audit};
pub use output::{BadLine, ImportError};
pub use source::ImportSource;
pub use strace::{StraceOptions, StraceSummary, import_strace};
