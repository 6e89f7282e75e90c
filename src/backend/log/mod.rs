//! The log backend: a seccomp filter makes the kernel log every call (`SCMP_ACT_LOG`), and the backend reads the
//! records.
//!
//! The workload isn't stopped at its calls and isn't traced, so others can trace it. But the kernel may drop records at
//! every step. A run is complete only if all of this holds:
//!
//! - A [`fence`] at the start, one at the end and every serial number in between arrived.
//! - The kernel's count of lost records, which get no number, did not grow; no audit rule excludes records.
//! - `log` is in `actions_logged`, at the start and at the end.
//! - No other filter can refuse calls: a refused call isn't logged.
//!
//! The login session identifies the workload's records: see [`login`]. A record names the process, not the thread, so
//! the tasks of such a run are processes. A run counts records: calls that are known from an earlier pass or a profile
//! aren't logged.
//!
//! [`Log`] starts a command, in one pass or several ([`passes`], [`pass`]); [`Follow`] takes the records of programs
//! that others start. Both read through an [`intake`], whose thread only reads.

mod audit_source;
mod batch;
mod connector;
mod containers;
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
pub use follow::{Follow, TakeRecord};
pub use passes::Log;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use self::batch::Batch;
use self::login::LoginSession;
use super::{Error, Unavailable, proc};
use crate::event::Exit;
use crate::event::{Event, Sink};

/// A message to the thread that takes records.
enum IntakeMessage {
    /// From the reader.
    Batch(Batch),
    /// The command is about to start, in this login session.
    Session(LoginSession),
    /// The command has ended, with its descendants if they are waited for.
    Over(Result<Option<Exit>, Error>),
}

/// The name of this module's backends.
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
        Error::unavailable(NAME)(error.into())
    }
}

const SETTINGS_CHANGED: &str = "the kernel's logging settings were changed meanwhile";

/// Watches for writes to `actions_logged`.
fn watch_settings() -> nix::Result<Inotify> {
    let writes = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    writes.add_watch(
        "/proc/sys/kernel/seccomp/actions_logged",
        AddWatchFlags::IN_MODIFY,
    )?;
    Ok(writes)
}

/// Whether the kernel logs the calls that a filter wants logged.
fn is_logged() -> bool {
    proc::lists_action("actions_logged", "log")
}

fn lost(sink: &mut dyn Sink, why: impl Into<String>) {
    let why = why.into();
    sink.event(Event::Lost { count: None, why });
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The value is consistent after every step, also if another thread panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
