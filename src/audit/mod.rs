//! The kernel's audit records of seccomp: their text, their times, and the traces of lost ones. Log mode reads them as
//! they come, [`import`](crate::import) reads them from saved logs.

mod form;
mod loss;
mod names;
mod record;
pub(crate) mod text;
pub(crate) mod time;

pub(crate) use form::{Form, Forms, kmsg_sequence, serial};
pub(crate) use loss::Gaps;
pub use loss::Note;
pub use record::{BadRecord, Record, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG};
