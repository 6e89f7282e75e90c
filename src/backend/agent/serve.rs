//! The thread of one container: it takes the notifications, counts the calls, and lets them go on.
//!
//! A signal ends a notified call with EINTR if its handler lacks `SA_RESTART`, also a call that never fails so otherwise. A
//! filter with `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` prevents this once the notification is taken, so it is taken as
//! soon as possible. The usual signal is `SIGCHLD`: for a parent with a handler, a child's exit waits until the parent's
//! call is taken, and the parent's call until the child has exited.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::container::RecordedContainer;
use crate::backend::listener::callers::{NotifiedCall, TrackedCall};
use crate::backend::proc;
use crate::backend::{Collector, Stop, WorkloadId};
use crate::event::{Event, Task};
use crate::sys::notify::{self, Notification, Slot};
use crate::sys::pidfd;

/// The collector, which all containers share.
pub(super) type Shared<'a> = Mutex<&'a mut (dyn Collector + Send)>;

pub(super) fn lock<'a, 'b>(
    shared: &'a Shared<'b>,
) -> MutexGuard<'a, &'b mut (dyn Collector + Send)> {
    // Events are counted one by one, so the state is consistent after a panic too.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a child's exit waits for its parent's call.
const PARENT_PATIENCE: Duration = Duration::from_millis(10);
/// How often the parent is looked at meanwhile.
const PARENT_INTERVAL: Duration = Duration::from_micros(100);
/// How long calls wait for the end of an exit. It can take longer, if a file system must write.
const EXIT_PATIENCE: Duration = Duration::from_millis(100);

pub(super) struct Served<'a, 's> {
    pub(super) id: WorkloadId,
    pub(super) listener: &'a OwnedFd,
    pub(super) container: RecordedContainer,
    pub(super) shared: &'s Shared<'s>,
    pub(super) stop: &'s Stop,
    pub(super) free: Vec<Slot<'a>>,
    /// Notifications that are not answered yet.
    pub(super) taken: VecDeque<(Slot<'a>, Notification)>,
}

/// What a wait has found.
#[derive(PartialEq, Eq)]
enum Found {
    Notification,
    /// The other descriptor is readable.
    Other,
    /// No task is left under the filter.
    Ended,
    Nothing,
}

impl Served<'_, '_> {
    /// Serves until the container has ended, or the agent must end.
    pub(super) fn serve(mut self) {
        loop {
            if let Some((slot, notification)) = self.taken.pop_front() {
                self.answer(notification);
                self.free.push(slot);
                continue;
            }
            match self.wait(self.stop.as_fd(), None) {
                _ if self.stop.is_requested() => break self.lose(),
                Ok(Found::Notification) => self.take(),
                Ok(Found::Ended) => break,
                Ok(Found::Other | Found::Nothing) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    let why = format!("waiting for notifications failed: {errno}");
                    self.event(Event::Lost { count: None, why });
                    break;
                }
            }
        }
        let (shared, id) = (self.shared, self.id);
        let end = self
            .container
            .end(&mut |event| lock(shared).event(id, event));
        lock(shared).end(id, end);
    }

    fn lose(&self) {
        let why = self.stop.reason().unwrap_or_default().to_owned();
        self.event(Event::Lost { count: None, why });
    }

    fn event(&self, event: Event) {
        lock(self.shared).event(self.id, event);
    }

    /// Waits for a notification, if there is room for it, or until the other descriptor is readable.
    fn wait(&self, other: BorrowedFd<'_>, limit: Option<Duration>) -> nix::Result<Found> {
        let wanted = match self.free[..] {
            [] => PollFlags::empty(),
            _ => PollFlags::POLLIN,
        };
        let mut fds = [
            PollFd::new(self.listener.as_fd(), wanted),
            PollFd::new(other, PollFlags::POLLIN),
        ];
        ppoll(&mut fds, limit.map(TimeSpec::from_duration), None)?;
        let [listener, other] = fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(if listener.contains(PollFlags::POLLIN) {
            Found::Notification
        } else if other.contains(PollFlags::POLLIN) {
            Found::Other
        } else if listener.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
            Found::Ended
        } else {
            Found::Nothing
        })
    }

    fn take(&mut self) {
        let Some(mut slot) = self.free.pop() else {
            return;
        };
        // ENOENT: the call was interrupted before it was executed. If it restarts, there is a new notification.
        match notify::receive(self.listener.as_fd(), &mut slot) {
            Ok(notification) => self.taken.push_back((slot, notification)),
            Err(_) => self.free.push(slot),
        }
    }

    /// Counts a call, and lets it go on.
    fn answer(&mut self, notification: Notification) {
        let (shared, id) = (self.shared, self.id);
        let sink = &mut |event| lock(shared).event(id, event);
        let mut signalled = None;
        if let Some(call) = NotifiedCall::of(self.listener.as_fd(), notification, sink) {
            signalled = self.signalled_by(&call);
            self.container.entered(&call, sink);
        }
        if let Some((process, parent)) = signalled {
            self.await_parent(parent);
            let exit = pidfd::open(process.0);
            let _ = notify::go_on(self.listener.as_fd(), notification);
            if let Ok(exit) = exit {
                self.await_exit(&exit);
            }
        } else {
            // ENOENT: a signal interrupted it, or has killed the caller.
            let _ = notify::go_on(self.listener.as_fd(), notification);
        }
    }

    /// The process that a call ends, and the parent, if its call can be kept from being interrupted.
    fn signalled_by(&self, call: &NotifiedCall<'_>) -> Option<(Task, Task)> {
        let ends = matches!(
            call.special,
            Some(TrackedCall::Exit | TrackedCall::ExitGroup)
        );
        if !ends || !self.container.waits_killable {
            return None;
        }
        let process = self.container.process_of(call.task)?;
        let parent = proc::parent_of(process)?;
        self.container.process_of(parent)?;
        let is_last = call.special == Some(TrackedCall::ExitGroup)
            || proc::threads_of(process) == [call.task];
        (is_last && proc::handles(parent, libc::SIGCHLD)).then_some((process, parent))
    }

    /// Takes notifications until the parent's is taken, or it sleeps in a call that the kernel executes. Gives up if it
    /// computes for longer: it then makes few calls.
    fn await_parent(&mut self, parent: Task) {
        let deadline = Instant::now() + PARENT_PATIENCE;
        while Instant::now() < deadline {
            while let Ok(Found::Notification) = self.wait(self.stop.as_fd(), Some(Duration::ZERO)) {
                self.take();
            }
            let mut taken = self.taken.iter();
            if taken.any(|(_, taken)| taken.thread == parent.0) || proc::sleeps(parent) {
                return;
            }
            if let Ok(Found::Notification) = self.wait(self.stop.as_fd(), Some(PARENT_INTERVAL)) {
                self.take();
            }
        }
    }

    /// Takes notifications, and answers none, until a process has exited.
    fn await_exit(&mut self, exit: &OwnedFd) {
        let deadline = Instant::now() + EXIT_PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match self.wait(exit.as_fd(), Some(left)) {
                Ok(Found::Notification) => self.take(),
                Ok(Found::Nothing) | Err(Errno::EINTR) => {}
                Ok(Found::Other | Found::Ended) | Err(_) => return,
            }
        }
    }
}
