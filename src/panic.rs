//! Panics as values: a panic of the recorder must destroy neither the workload nor the recording.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
#[cfg(debug_assertions)]
use std::sync::OnceLock;
use std::sync::{Mutex, Once, PoisonError};

/// The place and the message of the latest panic in this process.
static LATEST: Mutex<String> = Mutex::new(String::new());

/// Runs `f`. A panic in it, or in a thread whose panic it resumes, is returned as its place and message, after the panic
/// hook has printed it.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |info| {
            // One line: stderr has the rest of the message.
            let text = info.to_string().replace('\n', " ");
            *LATEST.lock().unwrap_or_else(PoisonError::into_inner) = text;
            print(info);
        }));
    });
    // The state that `f` changed may be inconsistent: callers treat it as incomplete.
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| {
        LATEST
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    })
}

/// The result of a thread. Resumes its panic in this one.
pub(crate) fn join<T>(joined: std::thread::Result<T>) -> T {
    joined.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Panics if this is what the environment asks for, which the tests do.
#[cfg(debug_assertions)]
#[track_caller]
pub(crate) fn on_request(place: &str) {
    static REQUESTED: OnceLock<Option<String>> = OnceLock::new();
    let requested = REQUESTED.get_or_init(|| std::env::var("SC_RECORD_TEST_PANIC").ok());
    assert!(requested.as_deref() != Some(place), "a test asked for it");
}
