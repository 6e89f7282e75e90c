//! Judgements of profiles and recordings: whether they are current, how they differ, why each call is there, how complete
//! a recording is, and what is likely to go wrong.

mod arguments;
pub mod check;
pub mod diff;
mod docker;
pub mod lint;
pub mod reasons;
mod recording_diff;
mod risk;
mod stats;

pub use arguments::{call_with_arguments, condition};
pub use docker::{ByDocker, Tightness, by_docker, tightness};
pub use recording_diff::{CallDiff, RecordingDiff};
pub use risk::{Risk, RiskClass, risk};
pub use stats::{Incidence, Stats, Step, Unseen};
