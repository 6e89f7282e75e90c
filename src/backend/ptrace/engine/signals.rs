//! Signals that are delivered to tracees, and what they mean for the calls that they interrupt.

use std::cmp::Reverse;
use std::time::Instant;

use nix::sys::ptrace as requests;

use super::{DueCheck, Engine, crashes};
use crate::backend::proc::{self, Disposition};
use crate::backend::ptrace::interrupted_calls;
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::backend::ptrace::tracee::Deferred;
use crate::event::{CallOutcome, Event, Task};
use crate::sys::ptrace;
use crate::sys::signal::tgkill;

impl Engine<'_> {
    /// A signal is about to be delivered.
    pub(super) fn signal(&mut self, stopped: Stopped, signal: i32) -> Result<(), Died> {
        if self.is_of_changed_code(&stopped, signal)? {
            return self.resume(stopped, 0);
        }
        self.complete_deferred(&stopped, signal)?;
        if self.defers(&stopped, signal)? {
            return self.resume(stopped, 0);
        }
        if let Some(job) = self.job
            && let Ok(Some(sender)) = ptrace::sender_of_signal(stopped.task())
            && self.command.task == proc::process_of(stopped.task())
        {
            job.received(signal, sender);
        }
        if signal == libc::SIGSYS && self.sites.is_some() && ptrace::is_of_seccomp(stopped.task()) {
            let (task, outcome) = (stopped.task(), CallOutcome::Trapped);
            self.sink.event(Event::Outcome { task, outcome });
        }
        if self.tracee(stopped.task()).has_threads
            && !ptrace::is_for_thread(stopped.task())
            && proc::disposition(stopped.task(), signal) == Some(Disposition::Handled)
            && let Some(process) = proc::process_of(stopped.task())
        {
            self.handled.insert(process, Instant::now());
        }
        self.end_or_go_on(&stopped, signal)?;
        // A call that is entered again stops where it did.
        let is_shown = self.tracee(stopped.task()).again.is_none();
        let dumps = is_shown && self.show_original(&stopped, signal)?;
        if crashes::crashes_init(stopped.task(), signal) {
            return self.let_crash(stopped, signal);
        }
        if dumps {
            return self.dump(stopped, signal);
        }
        self.resume(stopped, signal)
    }

    /// What a signal means for the call from which the tracee is just returning, or which it is about to enter again.
    fn end_or_go_on(&mut self, stopped: &Stopped, signal: i32) -> Result<(), Died> {
        let task = stopped.task();
        let tracee = self.tracee(task);
        let (again, sleeping) = (tracee.again, tracee.sleeping);
        if again.is_none() && interrupted_calls::returned_eintr(stopped, sleeping)?.is_none() {
            return Ok(());
        }
        if !interrupted_calls::ignores(task, signal) {
            let tracee = self.tracee(task);
            tracee.disturbed = true;
            if let Some(again) = tracee.again.take() {
                interrupted_calls::end_sleep(stopped, again)?;
            }
        } else if again.is_none() {
            self.go_on(stopped)?;
        }
        Ok(())
    }

    /// Makes the tracee enter the call again that only the recorder interrupted, if it did.
    pub(super) fn go_on(&mut self, stopped: &Stopped) -> Result<(), Died> {
        let tracee = self.tracees.get(stopped.task());
        if tracee.disturbed || tracee.again.is_some() {
            return Ok(());
        }
        tracee.again = interrupted_calls::go_on(stopped, &self.specials, tracee.sleeping)?;
        tracee.until = tracee.again.and_then(|again| again.until);
        if let Some(until) = tracee.until {
            self.alarms
                .push(Reverse((until, DueCheck::Limit(stopped.task()))));
        }
        Ok(())
    }

    /// Whether a signal has to wait until the tracee has entered its call again.
    fn defers(&mut self, stopped: &Stopped, signal: i32) -> Result<bool, Died> {
        let task = stopped.task();
        let Some((_, ip)) = self.tracee(task).replayed else {
            return Ok(false);
        };
        let Some(fast_path) = &mut self.fast_path else {
            return Ok(false);
        };
        let can_send = || {
            let process = proc::process_of(task);
            process.is_some_and(|process| tgkill(process.0, task.0, 0).is_ok())
        };
        if !fast_path.is_before_call(stopped, ip)? {
            // It was made without a stop.
            self.tracee(task).replayed = None;
            return Ok(false);
        }
        if proc::disposition(task, signal) != Some(Disposition::Handled) || !can_send() {
            return Ok(false);
        }
        let info = requests::getsiginfo(stopped.pid()).map_err(|_| Died)?;
        let is_sent = false;
        self.tracee(task).deferred.push(Deferred { info, is_sent });
        Ok(true)
    }

    /// A tracee enters a call: what waited for that is sent, and interrupts the call if that sleeps.
    pub(super) fn send_deferred(&mut self, task: Task) {
        let deferred = &mut self.tracee(task).deferred;
        if deferred.is_empty() {
            return;
        }
        let Some(process) = proc::process_of(task) else {
            return;
        };
        for deferred in deferred.iter_mut().filter(|deferred| !deferred.is_sent) {
            // It could be sent before.
            let _ = tgkill(process.0, task.0, deferred.info.si_signo);
            deferred.is_sent = true;
        }
    }

    /// A signal that was sent again is what it was at first.
    fn complete_deferred(&mut self, stopped: &Stopped, signal: i32) -> Result<(), Died> {
        let deferred = &mut self.tracees.get(stopped.task()).deferred;
        let is_this = |of: &Deferred| of.is_sent && of.info.si_signo == signal;
        if let Some(index) = deferred.iter().position(is_this) {
            let info = deferred.remove(index).info;
            requests::setsiginfo(stopped.pid(), &info).map_err(|_| Died)?;
        }
        Ok(())
    }
}
