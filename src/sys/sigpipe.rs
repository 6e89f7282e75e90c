//! The disposition of SIGPIPE that this process was started with.
//!
//! Rust's runtime ignores SIGPIPE before `main` and so forgets what the parent had set. A workload must get what it
//! would get without the recorder, and a filter such as `sc-record merge -o - … | head` must end as others do.

use std::sync::atomic::{AtomicBool, Ordering};

static INHERITED_IGNORED: AtomicBool = AtomicBool::new(false);

/// Runs before Rust's runtime does: the C library calls the functions of `.init_array` before `main`.
#[used]
// SAFETY: the section holds pointers to functions of this type; this one needs nothing that the runtime sets up.
#[unsafe(link_section = ".init_array")]
static REMEMBER: extern "C" fn() = {
    extern "C" fn remember() {
        // SAFETY: all zeroes is a valid sigaction.
        let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: a null new action only reads; `old` is valid for writing.
        let read = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut old) } == 0;
        INHERITED_IGNORED.store(read && old.sa_sigaction == libc::SIG_IGN, Ordering::Relaxed);
    }
    remember
};

/// Sets SIGPIPE back to what this process was started with: ignored or default (signal(7); a handler does not outlive
/// execve(2)). Async-signal-safe, so it may be called between fork(2) and execve(2).
pub fn restore() {
    let handler = if INHERITED_IGNORED.load(Ordering::Relaxed) {
        libc::SIG_IGN
    } else {
        libc::SIG_DFL
    };
    // SAFETY: neither disposition runs code of this program. It can't fail for a signal that can be caught.
    unsafe { libc::signal(libc::SIGPIPE, handler) };
}
