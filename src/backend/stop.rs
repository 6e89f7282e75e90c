//! Stops a recording from another thread.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sys::signal;

/// The interval at which a thread is interrupted until it notices: an interruption just before a blocking call has no
/// effect.
const KICK_INTERVAL: Duration = Duration::from_millis(2);

/// A request to end a recording. Clones share it.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Set once, before any thread is woken.
    reason: OnceLock<String>,
    /// Readable once the reason is set.
    requested: EventFd,
    /// Threads whose blocking calls a request interrupts.
    threads: Mutex<Vec<i32>>,
}

impl Stop {
    /// A stop that is not requested yet. Fails if the process can't open another descriptor.
    pub fn new() -> nix::Result<Stop> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Stop(Arc::new(Shared {
            reason: OnceLock::new(),
            requested: EventFd::from_flags(flags)?,
            threads: Mutex::default(),
        })))
    }

    /// Requests the end of the recording. The first reason makes the run incomplete. Returns when every
    /// [interruptible](Stop::interrupt_this_thread) thread has noticed.
    pub fn request(&self, reason: &str) {
        if self.0.reason.set(reason.to_owned()).is_ok() {
            // A counter of 1 can't overflow, which is the only error.
            let _ = self.0.requested.write(1);
        }
        let this_thread = nix::unistd::gettid().as_raw();
        loop {
            let mut threads = lock(&self.0.threads).clone();
            threads.retain(|&thread| thread != this_thread && signal::kick(thread).is_ok());
            if threads.is_empty() {
                return;
            }
            std::thread::sleep(KICK_INTERVAL);
        }
    }

    /// Why the recording must end; `None` if it may go on.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.0.reason.get().map(String::as_str)
    }

    /// Whether the recording must end. Cheap enough to check at every event.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.reason().is_some()
    }

    /// While the guard lives, a request makes blocking system calls of the calling thread fail with EINTR. Use it for
    /// calls such as wait4(2) that can't wait for a descriptor; elsewhere, add [`Stop::as_fd`] to poll(2).
    pub fn interrupt_this_thread(&self) -> nix::Result<Interruptible<'_>> {
        signal::catch_kicks()?;
        signal::Set::of([signal::KICK]).unblock();
        let thread = nix::unistd::gettid().as_raw();
        lock(&self.0.threads).push(thread);
        Ok(Interruptible { stop: self, thread })
    }
}

/// Readable (POLLIN) once the stop is requested. Never read it: other threads wait for it too.
impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.requested.as_fd()
    }
}

/// A thread that [`Stop::request`] interrupts until this is dropped.
#[must_use = "the thread is interruptible while this lives"]
pub struct Interruptible<'a> {
    stop: &'a Stop,
    thread: i32,
}

impl Drop for Interruptible<'_> {
    fn drop(&mut self) {
        lock(&self.stop.0.threads).retain(|&thread| thread != self.thread);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // The list is consistent after every step, also if another thread panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn a_request_wakes_those_that_poll_and_those_that_block() {
        let stop = Stop::new().unwrap();
        std::thread::scope(|scope| {
            let (ready, wait) = std::sync::mpsc::channel();
            let blocked = scope.spawn({
                let (stop, ready) = (stop.clone(), ready.clone());
                move || {
                    let _guard = stop.interrupt_this_thread().unwrap();
                    ready.send(()).unwrap();
                    let (reader, _writer) = nix::unistd::pipe().unwrap();
                    while !stop.is_requested() {
                        let mut byte = [0];
                        let read = nix::unistd::read(&reader, &mut byte);
                        assert_eq!(read, Err(nix::errno::Errno::EINTR));
                    }
                }
            });
            let polled = scope.spawn({
                let stop = stop.clone();
                move || {
                    ready.send(()).unwrap();
                    let mut fds = [PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
                    while poll(&mut fds, PollTimeout::NONE).is_err() {}
                }
            });
            wait.recv().unwrap();
            wait.recv().unwrap();
            assert!(!blocked.is_finished() && !polled.is_finished());
            stop.request("first");
        });
        stop.request("second");
        assert_eq!(stop.reason(), Some("first"));
    }
}
