//! The state that this process was started with, before Rust's runtime or the recorder changed it. The workload gets it back.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::errno::Errno;

use super::signal::KICK;

/// The signals whose dispositions change: Rust's runtime ignores SIGPIPE before `main`, and [`super::signal`] changes the others.
const CHANGED: [i32; 3] = [libc::SIGPIPE, libc::SIGCHLD, KICK];

/// The state at the very start of the process.
struct Inherited {
    mask: libc::sigset_t,
    /// The dispositions of [`CHANGED`].
    actions: [libc::sigaction; CHANGED.len()],
    /// The standard descriptors that were closed. Rust's runtime opens `/dev/null` for them.
    closed: [bool; 3],
}

static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// Makes a program capture its state before Rust's runtime starts. Without it, the workload inherits the state of this process.
///
/// For the binary's `main.rs`: a library should not run code before `main` uninvited.
#[macro_export]
macro_rules! capture_inherited_state {
    () => {
        /// The loader calls each function in `.init_array` before `main`.
        #[used]
        #[allow(unsafe_code)]
        // SAFETY: the section is an array of pointers to such functions. This one needs no initialized runtime.
        #[unsafe(link_section = ".init_array")]
        static CAPTURE: extern "C" fn() = $crate::sys::inherited::capture;
    };
}

/// Captures the state, once. It only calls functions of libc that read.
pub extern "C" fn capture() {
    // SAFETY: all-zero bytes are valid values of these C structs, and every call gets valid pointers to them.
    let inherited = unsafe {
        let mut inherited: Inherited = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut inherited.mask);
        for (signal, action) in CHANGED.into_iter().zip(&mut inherited.actions) {
            libc::sigaction(signal, std::ptr::null(), action);
        }
        for (fd, closed) in (0..).zip(&mut inherited.closed) {
            *closed = libc::fcntl(fd, libc::F_GETFD) == -1;
        }
        inherited
    };
    let _: Result<(), Inherited> = INHERITED.set(inherited);
}

/// Takes a descriptor that this process was started with: the programs that it starts don't inherit it.
///
/// To be called before this process opens files, which could get that number.
pub fn take_descriptor(fd: RawFd) -> nix::Result<OwnedFd> {
    // SAFETY: fcntl(2) with these arguments reads no memory. It fails if the descriptor is not open.
    let copy = Errno::result(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })?;
    if fd > libc::STDERR_FILENO {
        nix::unistd::close(fd)?;
    }
    // SAFETY: fcntl(2) has just created this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Restores the inherited disposition of SIGPIPE, so that a verb that only prints ends as other programs do when its reader
/// goes away.
pub fn restore_sigpipe() {
    if let Some(inherited) = INHERITED.get() {
        restore_actions(inherited, &[libc::SIGPIPE]);
    }
}

/// Restores the whole state. Only for a process that is about to execute a program, since it closes descriptors that
/// may be in use. Async-signal-safe.
pub(super) fn restore() {
    let Some(inherited) = INHERITED.get() else {
        return;
    };
    for (fd, closed) in (0..).zip(inherited.closed) {
        if closed {
            // SAFETY: the caller is about to execute a program, and uses none of them before.
            unsafe { libc::close(fd) };
        }
    }
    restore_signals();
}

/// Restores the inherited dispositions and mask of signals. Async-signal-safe.
pub(super) fn restore_signals() {
    let Some(inherited) = INHERITED.get() else {
        return;
    };
    restore_actions(inherited, &CHANGED);
    // SAFETY: the kernel filled the set.
    unsafe {
        libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const inherited.mask,
            std::ptr::null_mut(),
        );
    }
}

fn restore_actions(inherited: &Inherited, signals: &[i32]) {
    for (signal, action) in CHANGED.iter().zip(&inherited.actions) {
        if signals.contains(signal) {
            // SAFETY: the kernel filled the struct. At the start of a process, no disposition is a handler.
            unsafe { libc::sigaction(*signal, action, std::ptr::null_mut()) };
        }
    }
}
