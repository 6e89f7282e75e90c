//! Trials: a command is run under a profile to learn whether the profile fits.

pub mod inject;
pub mod minimize;
mod supervised;
pub mod verify;

pub use supervised::*;
