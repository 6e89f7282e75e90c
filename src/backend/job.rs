//! The command as part of the job that a shell started: its signals and its stops.
//!
//! To the shell, the recorder and the command are one job in one process group. The terminal signals both; the job
//! stops once the command has stopped; a signal that another process sends to the recorder alone is meant for the
//! command.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::{Stop, proc};
use crate::event::{Exit, Task};
use crate::sys::signal;

/// How many of the command's latest signals to remember.
const REMEMBERED: usize = 64;

/// The signals of job control that stop a process and can be caught.
pub(super) const STOPS_JOBS: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// The job of a launched command. A backend reports what happens to the command; [`signals`](super::signals) acts on it.
#[derive(Debug, Default)]
pub struct Job(Mutex<State>);

#[derive(Default)]
struct State {
    /// The command, which may have ended.
    command: Option<Task>,
    runs: bool,
    exit: Option<Exit>,
    /// A signal asked for the end of the command.
    is_to_end: bool,
    /// Whether a process belongs to the workload.
    is_member: Option<Box<dyn Fn(Task) -> bool + Send + Sync>>,
    /// The latest signals that processes sent to the command, newest last: signal and sender.
    received: VecDeque<(i32, i32)>,
    /// The stop signal that this process got from the terminal, until the command has stopped too.
    asked: Option<i32>,
    /// The command is in a group-stop, as far as it was reported.
    stopped: bool,
    /// The recording to stop when the command ends, and the reason.
    then_stop: Option<(Stop, &'static str)>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.command.fmt(f)
    }
}

impl State {
    /// Whether the command is in a group-stop now. What was reported may be over.
    fn is_command_stopped(&self) -> bool {
        self.command.is_some_and(proc::may_be_stopped)
    }
}

impl Job {
    /// The command runs from now on. `is_member` says whether a process belongs to the workload: signals from such a
    /// process are not passed on.
    pub fn started(&self, command: Task, is_member: impl Fn(Task) -> bool + Send + Sync + 'static) {
        let mut state = self.lock();
        *state = State {
            command: Some(command),
            runs: true,
            exit: state.exit,
            is_to_end: state.is_to_end,
            is_member: Some(Box::new(is_member)),
            ..State::default()
        };
    }

    /// The command has ended like this. Later passes don't count: the recorder, not the user, started them.
    pub(super) fn exited(&self, exit: Exit) {
        self.lock().exit.get_or_insert(exit);
        self.ended();
    }

    /// How the command ended, in its first pass; `None` if it runs, or its end was not seen.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.lock().exit
    }

    /// The command has ended, or is no longer recorded.
    pub fn ended(&self) {
        let mut state = self.lock();
        state.runs = false;
        if let Some((stop, reason)) = state.then_stop.take() {
            drop(state);
            stop.request(reason);
        }
    }

    /// A signal from a process was delivered to the command. A backend that sees this reports it, so that a signal for
    /// the whole process group isn't passed on a second time.
    pub fn received(&self, signal: i32, sender: i32) {
        let mut state = self.lock();
        state.received.push_back((signal, sender));
        if state.received.len() > REMEMBERED {
            state.received.pop_front();
        }
    }

    /// The command entered a group-stop by this signal. A command that stops itself (`less` at ^Z) must give the
    /// terminal back to the shell, which waits for this process. Other stops are ended by another process, perhaps by a
    /// child of the command, so the recorder must run on.
    pub fn stopped(&self, by: i32) {
        let ask = STOPS_JOBS.contains(&by) && is_in_foreground();
        let mut state = self.lock();
        state.stopped = true;
        // Who continues the process group continues the command first, the younger process: then it is too late.
        if ask && state.is_command_stopped() {
            state.asked = Some(by);
        }
        if let Some(signal) = state.asked {
            signal::send_to_myself(signal);
        }
    }

    /// The command left its group-stop.
    pub fn continued(&self) {
        self.lock().stopped = false;
    }

    /// The process of the command while it runs.
    pub(super) fn command(&self) -> Option<Task> {
        let state = self.lock();
        state.command.filter(|_| state.runs)
    }

    /// Whether a process belongs to the workload. The command itself may be gone.
    pub(super) fn has_member(&self, process: Task) -> bool {
        let state = self.lock();
        state.command == Some(process)
            || (state.is_member.as_ref()).is_some_and(|is_member| is_member(process))
    }

    /// Whether the command received this signal from this sender. Each receipt counts once.
    pub(super) fn take_received(&self, signal: i32, sender: i32) -> bool {
        let received = &mut self.lock().received;
        let found = received.iter().position(|had| *had == (signal, sender));
        found.and_then(|index| received.remove(index)).is_some()
    }

    /// The terminal, or [`stopped`](Job::stopped), asks this process to stop. It stops once the command has stopped.
    ///
    /// Only the thread that takes the signals stops this process. If others did, it could hold the terminal's signal
    /// meanwhile, and obey it after the shell has continued the job.
    pub(super) fn stop_asked(&self, signal: i32) {
        let mut state = self.lock();
        state.asked = Some(signal);
        if state.stopped && state.is_command_stopped() {
            state.asked = None;
            drop(state);
            signal::take_default_action(signal);
        }
    }

    /// A signal by which others end jobs came: the command is not to be repeated.
    pub(super) fn end_asked(&self) {
        self.lock().is_to_end = true;
    }

    /// Whether a signal asked for the end of the command.
    #[must_use]
    pub(super) fn is_to_end(&self) -> bool {
        self.lock().is_to_end
    }

    /// Ends the recording with the command, without waiting for its descendants.
    pub(super) fn end_with_command(&self, stop: &Stop, reason: &'static str) {
        let mut state = self.lock();
        if state.runs {
            state.then_stop = Some((stop.clone(), reason));
        } else {
            drop(state);
            stop.request(reason);
        }
    }

    /// The shell continues this process.
    pub(super) fn continue_asked(&self) {
        self.lock().asked = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is consistent after every step, also if another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this process is in the foreground of its terminal.
fn is_in_foreground() -> bool {
    let terminal = std::fs::File::open("/dev/tty");
    terminal.is_ok_and(|terminal| nix::unistd::tcgetpgrp(terminal) == Ok(nix::unistd::getpgrp()))
}
