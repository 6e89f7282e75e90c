//! Output on the terminal: messages, progress, summaries, hints.

#[macro_use]
pub(crate) mod say;
pub(crate) mod curve;
pub(crate) mod difference;
pub(crate) mod estimates;
pub(crate) mod failure;
pub(crate) mod finding;
pub(crate) mod hint;
pub(crate) mod observation;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod ready;
pub(crate) mod summary;
