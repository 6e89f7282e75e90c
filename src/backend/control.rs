//! What others than the backend's own thread can tell a recording that goes on, and learn from it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::event::{Sink, Task};
use crate::sys::signal;

/// How many signals of the command are remembered.
const REMEMBERED: usize = 64;

/// Shared by the thread that records and those that handle signals.
#[derive(Debug, Default)]
pub struct Control {
    why_ended: Mutex<Option<String>>,
    /// The thread to interrupt; 0: nobody waits.
    recorder: AtomicI32,
    /// The process of the command; 0: none, or none any more.
    command: AtomicI32,
    job: Mutex<Job>,
    /// The latest signals that processes sent to the command, newest last: which, and who.
    received: Mutex<VecDeque<(i32, i32)>>,
    ended: AtomicBool,
    /// The login session that the workload has of its own; 0: it has none.
    session: AtomicU32,
}

/// Where the job that the command and this process make up for a shell is between ^Z and `fg`.
#[derive(Clone, Copy, Debug, Default)]
struct Job {
    /// The terminal's stop signal that this process got and didn't stop for yet.
    asked: Option<i32>,
    /// The command is in a group-stop.
    stopped: bool,
    /// This process stopped for that group-stop already. ^Z asks twice, by the command's stop and by this process's own
    /// signal: to stop for the second after the shell continued the job would leave it stopped.
    followed: bool,
}

impl Control {
    /// A control of a recording that doesn't run yet.
    #[must_use]
    pub fn new() -> Control {
        Control::default()
    }

    /// Ends the recording as soon as possible. The run is incomplete for this reason. Returns when the backend took
    /// notice, or at once if none runs.
    pub fn end(&self, why: &str) {
        lock(&self.why_ended).get_or_insert_with(|| why.to_owned());
        self.ended.store(true, Ordering::SeqCst);
        // A kick that comes just before the wait is lost, so kick until somebody took notice.
        loop {
            let recorder = self.recorder.load(Ordering::SeqCst);
            if recorder == 0 || signal::kick(recorder).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The process of the command while it runs.
    #[must_use]
    pub fn command(&self) -> Option<Task> {
        match self.command.load(Ordering::SeqCst) {
            0 => None,
            pid => Some(Task(pid)),
        }
    }

    /// The workload, and nobody else, is in this login session.
    pub(super) fn workload_has_session(&self, session: u32) {
        self.session.store(session, Ordering::SeqCst);
    }

    /// The login session that the workload has of its own.
    pub(super) fn session(&self) -> Option<u32> {
        Some(self.session.load(Ordering::SeqCst)).filter(|session| *session != 0)
    }

    /// The command got a signal from a process.
    pub(super) fn command_received(&self, signal: i32, sender: i32) {
        let mut received = lock(&self.received);
        received.push_back((signal, sender));
        if received.len() > REMEMBERED {
            received.pop_front();
        }
    }

    /// Whether the command got such a signal. Each counts for one.
    pub(super) fn take_received(&self, signal: i32, sender: i32) -> bool {
        let mut received = lock(&self.received);
        let found = received.iter().position(|had| *had == (signal, sender));
        found.and_then(|index| received.remove(index)).is_some()
    }

    /// The terminal wants this job to stop. It does when the command has.
    pub(super) fn stop_asked(&self, signal: i32) {
        self.update_job(|job| job.asked = Some(signal));
    }

    /// The job goes on.
    pub(super) fn continued(&self) {
        self.update_job(|job| job.asked = None);
    }

    /// The command entered a group-stop by this signal, or left one. A command that stops itself (`less` at ^Z) must give
    /// its terminal back to the shell, which waits for this process. Other stops are for somebody else to end, perhaps for
    /// a child of the command, which must run on for that.
    pub(super) fn command_stopped(&self, by: Option<i32>) {
        let job_control = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];
        let asked = by.filter(|signal| job_control.contains(signal) && has_terminal());
        self.update_job(|job| {
            job.stopped = by.is_some();
            job.followed &= job.stopped;
            job.asked = asked.or(job.asked);
        });
    }

    fn update_job(&self, change: impl FnOnce(&mut Job)) {
        let mut job = lock(&self.job);
        change(&mut job);
        if job.stopped
            && let Some(signal) = job.asked.take()
            && !job.followed
        {
            job.followed = true;
            drop(job);
            signal::stop_self(signal);
        }
    }

    pub(super) fn command_runs(&self, command: Task) {
        self.command.store(command.0, Ordering::SeqCst);
    }

    pub(super) fn command_gone(&self) {
        self.command.store(0, Ordering::SeqCst);
    }

    /// The calling thread is the one that [`Control::end`] interrupts.
    pub(super) fn recorder_starts(&self) {
        signal::Set::of([signal::KICK]).unblock();
        self.recorder
            .store(nix::unistd::gettid().as_raw(), Ordering::SeqCst);
    }

    /// The recording is over, or about to be: nothing is to be interrupted any more.
    pub(super) fn recorder_ends(&self) {
        self.recorder.store(0, Ordering::SeqCst);
    }

    /// Whether [`Control::end`] was called.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Tells the sink why the recording ended early, if it did.
    pub(super) fn report_end(&self, sink: &mut dyn Sink) {
        if let Some(why) = lock(&self.why_ended).clone() {
            sink.event(crate::event::Event::Lost { count: None, why });
        }
    }
}

/// Whether this process is in the foreground of its terminal.
fn has_terminal() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| nix::unistd::tcgetpgrp(terminal) == Ok(nix::unistd::getpgrp()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is locked is always whole: a panic elsewhere doesn't spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
