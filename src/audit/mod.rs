//! The kernel's seccomp audit records: their text, their times, the logs that hold them, and signs of lost ones. Log
//! mode reads them live, [`import`](crate::import) reads them from saved logs.

mod classify;
mod journal;
mod log;
mod loss;
mod names;
mod record;
mod selection;
pub(crate) mod time;

pub(crate) use classify::{Classifier, LogLine, kmsg_sequence};
pub(crate) use log::{LogItem, read_log};
pub use loss::LossNote;
pub(crate) use loss::{Gaps, setting_changed};
pub(crate) use record::serial;
pub use record::{BadRecord, Record};
pub use selection::Selection;
