//! What this process was started with, and what Rust's runtime or the recorder then changed: the workload gets it back.

use std::sync::OnceLock;

/// The state at the very start of the process.
struct Inherited {
    mask: libc::sigset_t,
    /// Rust's runtime ignores SIGPIPE before `main`.
    sigpipe: libc::sigaction,
    /// [`super::signal::keep_children`] changes it.
    sigchld: libc::sigaction,
    /// [`super::signal::catch_kicks`] changes it.
    sigkick: libc::sigaction,
    /// Rust's runtime opens `/dev/null` for those of the standard descriptors that were closed.
    closed: [bool; 3],
}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// Runs before Rust's runtime does: the loader calls what is in `.init_array`.
#[used]
#[unsafe(link_section = ".init_array")]
static CAPTURE: extern "C" fn() = capture;

extern "C" fn capture() {
    // SAFETY: all-zero bytes are valid values of these C structs, and every call gets valid pointers to them.
    let inherited = unsafe {
        let mut inherited: Inherited = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut inherited.mask);
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), &raw mut inherited.sigpipe);
        libc::sigaction(libc::SIGCHLD, std::ptr::null(), &raw mut inherited.sigchld);
        libc::sigaction(
            super::signal::KICK,
            std::ptr::null(),
            &raw mut inherited.sigkick,
        );
        for (fd, closed) in (0..).zip(&mut inherited.closed) {
            *closed = libc::fcntl(fd, libc::F_GETFD) == -1;
        }
        inherited
    };
    // It is set once; a second capture can't happen.
    let _ = INHERITED.set(inherited);
}

/// Sets SIGPIPE back to what this process was started with, so that a verb that only prints ends as other programs do
/// when its reader goes away.
pub fn restore_sigpipe() {
    if let Some(inherited) = INHERITED.get() {
        // SAFETY: the kernel filled the struct; an inherited disposition runs no code of ours.
        unsafe {
            libc::sigaction(
                libc::SIGPIPE,
                &raw const inherited.sigpipe,
                std::ptr::null_mut(),
            );
        }
    }
}

/// Gives the process back what it was started with. For the child between fork(2) and execve(2): async-signal-safe, and
/// it closes descriptors under whoever uses them.
pub(super) fn restore() {
    let Some(inherited) = INHERITED.get() else {
        return;
    };
    for (fd, closed) in (0..).zip(inherited.closed) {
        if closed {
            // SAFETY: the workload must not find it open, and the child of a fork uses none of them before it execs.
            unsafe { libc::close(fd) };
        }
    }
    restore_signals();
}

/// Gives the process back the dispositions and the mask of signals that it was started with. Async-signal-safe.
pub(super) fn restore_signals() {
    let Some(inherited) = INHERITED.get() else {
        return;
    };
    // SAFETY: sigaction and sigprocmask get valid structs that the kernel filled.
    unsafe {
        libc::sigaction(
            libc::SIGPIPE,
            &raw const inherited.sigpipe,
            std::ptr::null_mut(),
        );
        libc::sigaction(
            libc::SIGCHLD,
            &raw const inherited.sigchld,
            std::ptr::null_mut(),
        );
        libc::sigaction(
            super::signal::KICK,
            &raw const inherited.sigkick,
            std::ptr::null_mut(),
        );
        libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const inherited.mask,
            std::ptr::null_mut(),
        );
    }
}
