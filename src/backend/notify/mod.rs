//! The notify backend: every call waits for an answer of the recorder, which counts it and lets the kernel execute it
//! (`SECCOMP_RET_USER_NOTIF`, `SECCOMP_USER_NOTIF_FLAG_CONTINUE`, Linux 5.5).
//!
//! No task is traced, so tracers work inside, and no privilege is needed. A filter can't be changed, so known calls go on
//! being notified: each costs two switches between tasks.
//!
//! Several threads take notifications. While nobody listens, calls fail with ENOSYS, so a keeper
//! ([`super::listener::keeper`]) has a copy of the listener: it answers from the end of the recording, or of the recorder,
//! until the last task has exited.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::thread;

use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::launch::{Launched, launch, started, while_waiting};
use super::listener::callers::{Callers, NotifiedCall, TrackedCall};
use super::listener::keeper::Keeper;
use super::proc::{self, Status};
use super::{
    Backend, Collector, Command, Detail, Error, Interest, Notice, OneRun, Promise, RunEnd, Stop,
    Target, Unavailable, Until,
};
use crate::bpf::assemble::answer;
use crate::event::{Event, Sink};
use crate::panic;
use crate::sys::launch::LaunchFilter;
use crate::sys::notify::{self, SLOTS, Slot, Slots};
use crate::sys::seccomp::try_listener;
use crate::sys::signal;

/// Records by answering seccomp notifications.
#[derive(Clone, Debug)]
pub struct Notify {
    /// Starts another process that executes [`keep`](super::agent::keep).
    pub keep: fn() -> io::Result<Keeper>,
    /// The calls whose arguments are wanted. Call sites are not found.
    pub interest: Interest,
}

const NAME: &str = "notify";

/// No agent will take over. An empty message would be the end.
const NO_HAND_OVER: &[u8] = b"{}";

impl Backend for Notify {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        let Target::Command(_) = target else {
            return Err(Unavailable::Target(
                "a running process: its calls would need a filter, which only itself can load",
            ));
        };
        if proc::kernel_version().is_some_and(|version| version < (5, 6)) {
            let feature = "pidfd_getfd(2), which came with Linux 5.6";
            return Err(Unavailable::Feature(feature.to_owned()));
        }
        if !proc::lists_action("actions_avail", "user_notif") {
            return Err(Unavailable::Feature("SECCOMP_RET_USER_NOTIF".to_owned()));
        }
        let no_new_privs = !Status::of_recorder().can_load_filters;
        match try_listener(&[answer(SECCOMP_RET_ALLOW)], no_new_privs) {
            Ok(()) => {}
            Err(Errno::EBUSY) => {
                return Err(Unavailable::Forbidden(
                    "sc-record itself runs under a filter with a listener, and a task can have only one".to_owned(),
                ));
            }
            Err(errno) => {
                return Err(Unavailable::Forbidden(format!(
                    "a filter with a listener can't be loaded ({errno})"
                )));
            }
        }
        let with = if no_new_privs {
            " with no_new_privs"
        } else {
            ""
        };
        Ok(Promise {
            detail: Detail::PerCall,
            call_sites: false,
            how: format!("one seccomp notification per call, by a filter{with}"),
        })
    }

    fn record(
        &self,
        target: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error> {
        (self.probe(target)).map_err(Error::unavailable(NAME))?;
        let Target::Command(command) = target else {
            return Ok(());
        };
        let myself = Status::of_recorder();
        signal::keep_children().map_err(Error::system("sigaction"))?;
        let keeper = (self.keep)().map_err(Error::io("starting the keeper"))?;
        let mut slots = Slots::new().map_err(Error::system("memfd_create"))?;
        let filter = LaunchFilter {
            program: vec![answer(SECCOMP_RET_USER_NOTIF)],
            no_new_privs: !myself.can_load_filters,
            listener: true,
        };
        let mut launched = launch(command, Some(&filter))?;
        let task = launched.task();
        started(command, task);
        let listener = match launched.release_to_listener() {
            Ok(listener) => listener,
            Err(error) => return Err(launched.failure().unwrap_or(error)),
        };
        notify::wake_synchronously(listener.as_fd());
        keeper
            .pass(NO_HAND_OVER, listener.as_fd(), &slots)
            .map_err(Error::io("sending the listener to the keeper"))?;

        let mut run = OneRun::begin(collector, target);
        if myself.has_filter {
            let why =
                "the recorder runs under a seccomp filter: calls that it refuses are not notified";
            run.event(Event::Lost {
                count: None,
                why: why.to_owned(),
            });
        }
        let mut listening = NotifiedCommand {
            listener,
            recorded: Mutex::new(Recorded {
                run,
                callers: Callers::of_command(
                    task,
                    filter.no_new_privs && !myself.no_new_privs,
                    self.interest.clone(),
                ),
                failure: None,
            }),
        };
        listening.start(&launched, &mut slots)?;
        let exit = while_waiting(command, launched, stop, |over| {
            listening.listen(command, &mut slots, over, stop)
        })?;
        listening.take_waiting(&mut slots)?;
        let is_left = !listening.is_over()?;
        let Recorded {
            mut run,
            callers,
            failure,
        } = lock(listening.recorded.into_inner());
        if let Some(errno) = failure {
            return Err(Error::system("SECCOMP_IOCTL_NOTIF_RECV")(errno));
        }
        if let Some(lost) = callers.interrupted() {
            run.event(lost);
        }
        if is_left {
            if let Some(why) = stop.reason().map(str::to_owned) {
                run.event(Event::Lost { count: None, why });
            }
            let why = "the keeper answers for the processes that still run";
            run.notice(Notice::Choice(why.to_owned()));
        }
        run.end(RunEnd {
            exit,
            no_new_privs: filter.no_new_privs,
        });
        // From now on, the keeper answers.
        drop(keeper);
        Ok(())
    }
}

/// The recording of one command.
struct NotifiedCommand<'a> {
    listener: OwnedFd,
    recorded: Mutex<Recorded<'a>>,
}

struct Recorded<'a> {
    run: OneRun<'a>,
    callers: Callers,
    /// The listener failed.
    failure: Option<Errno>,
}

impl NotifiedCommand<'_> {
    /// Answers the child until it has executed the command, or failed to.
    fn start(&mut self, launched: &Launched, slots: &mut Slots) -> Result<(), Error> {
        let [mut slot, ..] = slots.each();
        let task = launched.task();
        let listener = self.listener.as_fd();
        let recorded = self.recorded.get_mut();
        let recorded = recorded.unwrap_or_else(PoisonError::into_inner);
        loop {
            let is_waiting = has_event(&self.listener, PollFlags::POLLIN, 1)?;
            // Only a notification from before the report is the child's own.
            if launched.has_reported()? {
                recorded.callers.executed(task);
                return Ok(());
            }
            if !is_waiting {
                continue;
            }
            let Ok(notification) = notify::receive(listener, &mut slot) else {
                continue;
            };
            recorded.callers.taken(notification);
            let run = &mut recorded.run;
            let call = NotifiedCall::of(listener, notification, &mut |event| run.event(event));
            // It writes the report of a failure, too.
            if let Some(call) = call.filter(|call| call.special == Some(TrackedCall::Exec)) {
                run.event(Event::Syscall {
                    task,
                    syscall: call.syscall,
                    site: None,
                });
            }
            let _ = notify::go_on(listener, notification);
        }
    }

    /// Answers until the workload has ended. `over` becomes readable when its command has.
    fn listen(
        &self,
        command: &Command,
        slots: &mut Slots,
        over: &PipeReader,
        stop: &Stop,
    ) -> Result<(), Error> {
        let receivers = thread::available_parallelism().map_or(1, usize::from);
        let finished = Stop::new().map_err(Error::system("eventfd"))?;
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for mut slot in slots.each().into_iter().take(receivers.min(SLOTS)) {
                let finished = &finished;
                let builder = thread::Builder::new().name("receiver".to_owned());
                let receiver =
                    builder.spawn_scoped(scope, move || self.receive(&mut slot, finished));
                threads.push(receiver.map_err(Error::io("starting a thread"))?);
            }
            let waited = self.wait(command, over, stop);
            finished.request("the recording has ended");
            for receiver in threads {
                panic::join(receiver.join());
            }
            waited
        })
    }

    fn wait(&self, command: &Command, over: &PipeReader, stop: &Stop) -> Result<(), Error> {
        let mut command_is_over = false;
        loop {
            let next = if command_is_over {
                stop.as_fd()
            } else {
                over.as_fd()
            };
            let mut fds = [
                // POLLHUP: no task is left under the filter.
                PollFd::new(self.listener.as_fd(), PollFlags::empty()),
                PollFd::new(next, PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(source) => return Err(Error::system("poll")(source)),
            }
            let [listener, next] = fds.map(|fd| fd.any() == Some(true));
            command_is_over |= next;
            let is_enough = command.until == Until::Exit || stop.is_requested();
            if command_is_over && (is_enough || listener) {
                return Ok(());
            }
            if listener && !command_is_over {
                // The command is a zombie: only its end is still to come.
                let mut fds = [PollFd::new(over.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::NONE);
            }
        }
    }

    /// Takes notifications and answers them.
    fn receive(&self, slot: &mut Slot<'_>, finished: &Stop) {
        let interruptible = finished.interrupt_this_thread();
        while interruptible.is_ok() && !finished.is_requested() {
            match self.take(slot) {
                // ENOENT: the call was interrupted, and no notification of it was taken; or no task is left.
                Ok(()) | Err(Errno::EINTR) => {}
                Err(Errno::ENOENT) if matches!(self.is_over(), Ok(false)) => {}
                Err(Errno::ENOENT) => return,
                Err(errno) => {
                    lock(self.recorded.lock()).failure = Some(errno);
                    return;
                }
            }
        }
    }

    /// Waits for a notification, counts the call, and answers it.
    fn take(&self, slot: &mut Slot<'_>) -> Result<(), Errno> {
        let listener = self.listener.as_fd();
        let notification = notify::receive(listener, slot)?;
        {
            let mut recorded = lock(self.recorded.lock());
            let Recorded { run, callers, .. } = &mut *recorded;
            callers.taken(notification);
            let sink = &mut |event| run.event(event);
            if let Some(call) = NotifiedCall::of(listener, notification, sink) {
                callers.entered(&call, sink);
            }
        }
        let _ = notify::go_on(listener, notification);
        Ok(())
    }

    /// Takes what waits when the recording ends: else it would look like interrupted. The kernel passes the latest first, so
    /// busy tasks could go on for ever.
    fn take_waiting(&self, slots: &mut Slots) -> Result<(), Error> {
        const ENOUGH: usize = 1000;
        let [mut slot, ..] = slots.each();
        for _ in 0..ENOUGH {
            if !has_event(&self.listener, PollFlags::POLLIN, 0)? || self.is_over()? {
                break;
            }
            // It may just have been interrupted.
            let _ = self.take(&mut slot);
        }
        Ok(())
    }

    /// Whether no task is left under the filter.
    fn is_over(&self) -> Result<bool, Error> {
        has_event(&self.listener, PollFlags::empty(), 0)
    }
}

/// Whether a descriptor has one of these events or POLLHUP, after this many milliseconds at the latest.
fn has_event(fd: &OwnedFd, flags: PollFlags, milliseconds: u16) -> Result<bool, Error> {
    let mut fds = [PollFd::new(fd.as_fd(), flags)];
    match poll(&mut fds, PollTimeout::from(milliseconds)) {
        Err(Errno::EINTR) => Ok(false),
        ready => Ok(ready.map_err(Error::system("poll"))? > 0),
    }
}

/// A lock, or the inside of one. Events are counted one by one, so the state is consistent after a panic too.
fn lock<T>(locked: Result<T, PoisonError<T>>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}
