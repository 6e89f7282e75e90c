//! The log backend: a seccomp filter has the kernel log every call (`SCMP_ACT_LOG`), and the records are read back.
//!
//! The workload isn't stopped at its calls, isn't traced, and can be traced by others. What the kernel gives in return is
//! a stream that may drop records at every step. So the run is complete only with a proof:
//!
//! - A [`fence`] at the start and one at the end arrived, and so did every serial number between them.
//! - The kernel's count of lost records, which get no number, did not grow; no audit rule keeps records back.
//! - `log` is in `actions_logged`, at the start and at the end.
//! - No filter but the recording one can refuse calls: a refused call isn't logged.
//!
//! The login session identifies the workload's records: see [`login`]. A record names the process, not the thread, so the
//! tasks of such a run are processes. A run counts records: calls that an earlier pass or a profile made known aren't logged
//! again.
//!
//! [`Log`] starts a command, in one pass or several ([`passes`], [`pass`]); [`Follow`] takes the records of what others start.
//! Both read through an [`intake`], whose thread does nothing but read.

mod audit_source;
mod batch;
mod connector;
mod fence;
mod filter;
mod follow;
mod intake;
mod ledger;
mod login;
mod members;
mod pass;
mod passes;
mod reader;
mod socket;
mod tail;
mod tracker;
mod translate;

use std::sync::{Mutex, PoisonError};

pub use audit_source::{
    AuditReading, AuditSource, AuditSourceError, RECEIVE_BUFFER, UnknownAuditSource,
};
pub use follow::Follow;
pub use passes::Log;

use self::batch::Batch;
use self::login::LoginSession;
use super::{Error, Unavailable};
use crate::event::{Event, Sink};
use crate::recording::Exit;

/// What comes to the thread that takes records.
enum Message {
    /// From the reader.
    Batch(Batch),
    /// The command is about to start, in this login session.
    Session(LoginSession),
    /// The command and, where they are waited for, its descendants have ended.
    Over(Result<Option<Exit>, Error>),
}

/// What recordings call the backends of this module.
const NAME: &str = "log";

impl From<AuditSourceError> for Unavailable {
    fn from(error: AuditSourceError) -> Unavailable {
        match error {
            AuditSourceError::Denied { what, capability } => {
                Unavailable::Capability { what, capability }
            }
            error => Unavailable::failed(error),
        }
    }
}

impl From<AuditSourceError> for Error {
    fn from(error: AuditSourceError) -> Error {
        Error::Unavailable {
            backend: NAME,
            source: error.into(),
        }
    }
}

/// Whether the kernel logs calls for which a filter says so.
fn is_logged() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_logged").is_ok_and(|actions| {
        actions
            .split_ascii_whitespace()
            .any(|action| action == "log")
    })
}

fn lost(sink: &mut dyn Sink, why: String) {
    sink.event(Event::Lost { count: None, why });
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is locked is whole after every step: a panic elsewhere doesn't spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
