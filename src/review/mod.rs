//! Judgements of profiles and recordings: whether they are current, how they differ, why each call is there, how complete
//! a recording is, and likely problems.

mod arguments;
pub mod check;
pub mod diff;
mod docker;
pub mod lint;
pub mod reachable;
pub mod reasons;
mod recording_diff;
mod risk;
mod stats;
mod tightness;

pub use crate::recording::{Incidence, Unseen};
pub use arguments::{
    DangerousValue, SeenArgument, call_with_value, condition, dangerous_values, safe_rules,
    seen_arguments,
};
pub use docker::{ByDocker, by_docker};
pub use recording_diff::{CallDiff, RecordingDiff};
pub use risk::{Risk, RiskClass, risk};
pub use stats::{ArgumentStats, DiscoveryStep, Stats};
pub use tightness::{Tightness, tightness};
