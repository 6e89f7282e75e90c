//! What the engine does for the [`FastPath`].

use std::path::Path;

use super::{Engine, Held};
use crate::backend::proc::{self, Disposition};
use crate::backend::ptrace::arch::{AtExit, Entered, FastPath};
use crate::backend::ptrace::special_table::SpecialCall;
use crate::backend::ptrace::stop::{Died, PtraceStop, Stopped};
use crate::backend::ptrace::tracee::{OnExit, Seccomp, Stops};
use crate::event::{Event, Task};
use crate::syscall::Syscall;

// linux/prctl.h
const PR_SET_SECCOMP: u64 = 22;
const PR_SET_SYSCALL_USER_DISPATCH: u64 = 59;
const PR_SET_MDWE: u64 = 65;

/// Signals that end a process with a core dump, unless it handles or ignores them (signal(7)).
const DUMPS_CORE: [i32; 10] = [
    libc::SIGQUIT,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGSYS,
];

impl Engine<'_> {
    /// A call is entered that was counted. Returns the stop back if there is nothing else to do for it.
    pub(super) fn fast_path_entered(
        &mut self,
        stopped: Stopped,
        syscall: Syscall,
    ) -> Result<Option<Stopped>, Died> {
        let Some(fast_path) = &mut self.fast_path else {
            return Ok(Some(stopped));
        };
        let tracee = self.tracees.get(stopped.task());
        let may_change = tracee.stops == Stops::Filter && tracee.seccomp == Seccomp::Disabled;
        let is_credited = !tracee.early;
        let entered = fast_path.entered(&stopped, syscall, is_credited, may_change)?;
        self.report_fast_path();
        match entered {
            Entered::Nothing => Ok(Some(stopped)),
            Entered::Then(at_exit) => {
                let tracee = self.tracee(stopped.task());
                tracee.on_exit = Some(OnExit::FastPath(at_exit));
                self.resume(stopped, 0)?;
                Ok(None)
            }
            Entered::SeeAll => {
                self.see_all_calls_with(stopped)?;
                Ok(None)
            }
        }
    }

    /// The exit of a call that the fast path has to do with.
    pub(super) fn fast_path_exited(
        &mut self,
        stopped: Stopped,
        at_exit: AtExit,
        value: i64,
    ) -> Result<(), Died> {
        let Some(fast_path) = &mut self.fast_path else {
            return self.resume(stopped, 0);
        };
        let (replayed, sees_all) = fast_path.exited(&stopped, at_exit, value)?;
        self.report_fast_path();
        self.tracee(stopped.task()).replayed = replayed;
        if sees_all {
            return self.see_all_calls_with(stopped);
        }
        self.resume(stopped, 0)
    }

    /// Puts a task, all others with the same memory and all for which the filter may allow too much to `PTRACE_SYSCALL`, and lets it go on when
    /// the others have stopped.
    fn see_all_calls_with(&mut self, stopped: Stopped) -> Result<(), Died> {
        let task = stopped.task();
        self.tracee(task).stops = Stops::Syscalls;
        let others = self.fast_path.as_ref();
        let others = others.map(|of| [of.sharers(task), of.all_seen()].concat());
        let mut others = others.unwrap_or_default();
        others.retain(|other| *other != task);
        let waiting_for = self.see_all_calls_of(others);
        if waiting_for.is_empty() {
            return self.resume(stopped, 0);
        }
        self.held.push(Held {
            caller: stopped,
            waiting_for,
        });
        self.release_from_sleepers();
        Ok(())
    }

    /// A special call is entered that the workload's code must be its own for.
    pub(super) fn fast_path_special(
        &mut self,
        stopped: &Stopped,
        special: SpecialCall,
        args: [u64; 6],
    ) -> Result<(), Died> {
        let restricts = match special {
            SpecialCall::Seccomp => true,
            SpecialCall::Prctl => [PR_SET_SECCOMP, PR_SET_SYSCALL_USER_DISPATCH, PR_SET_MDWE]
                .contains(&(args[0] & 0xffff_ffff)),
            _ => false,
        };
        match &mut self.fast_path {
            Some(fast_path) if restricts => fast_path.close(stopped),
            _ => Ok(()),
        }
    }

    /// A task executed a program, which is recorded as `path`.
    pub(super) fn fast_path_executed(&mut self, stopped: &Stopped, path: &Path) {
        let Some(fast_path) = &mut self.fast_path else {
            return;
        };
        let (sees_all, saw_all) = fast_path.executed(stopped, path);
        let tracee = self.tracee(stopped.task());
        if sees_all {
            tracee.stops = Stops::Syscalls;
        } else if saw_all && tracee.seccomp == Seccomp::Disabled {
            tracee.stops = Stops::Filter;
        }
    }

    /// A task stopped.
    pub(super) fn fast_path_stopped(
        &mut self,
        stopped: &Stopped,
        stop: PtraceStop,
    ) -> Result<(), Died> {
        let Some(fast_path) = &mut self.fast_path else {
            return Ok(());
        };
        match stop {
            // It has other code now.
            PtraceStop::Exec => {}
            PtraceStop::Signal(_) | PtraceStop::Group(_) | PtraceStop::Trap => {
                let tracee = self.tracees.get(stopped.task());
                if fast_path.stopped(stopped, &mut tracee.again)? {
                    (tracee.sleeping, tracee.until, tracee.disturbed) = (None, None, false);
                }
            }
            _ => fast_path.stopped_at_call(stopped)?,
        }
        Ok(())
    }

    /// A signal is about to be delivered: the workload can see registers of the task, or its core dump shows them and its code. Returns
    /// whether that shows those of other threads as well.
    pub(super) fn show_original(&mut self, stopped: &Stopped, signal: i32) -> Result<bool, Died> {
        let Some(fast_path) = &mut self.fast_path else {
            return Ok(false);
        };
        let task = stopped.task();
        let dumps = DUMPS_CORE.contains(&signal)
            && fast_path.is_changed(task)
            && proc::disposition(task, signal) == Some(Disposition::Default);
        if dumps {
            fast_path.close(stopped)?;
        }
        fast_path.show_original(stopped)?;
        Ok(dumps && !self.leaves)
    }

    /// Whether a signal comes from code that was changed, and not from the workload.
    pub(super) fn is_of_changed_code(
        &mut self,
        stopped: &Stopped,
        signal: i32,
    ) -> Result<bool, Died> {
        match &mut self.fast_path {
            Some(fast_path) if signal == libc::SIGTRAP => fast_path.is_of_changed_code(stopped),
            _ => Ok(false),
        }
    }

    pub(super) fn fast_path_gone(&mut self, task: Task) {
        if let Some(fast_path) = &mut self.fast_path {
            fast_path.gone(task);
        }
    }

    fn report_fast_path(&mut self) {
        if self.fast_path.as_mut().is_some_and(FastPath::is_used) {
            self.sink.event(Event::CountsAreLowerBounds);
        }
        if let Some(why) = self.fast_path.as_mut().and_then(FastPath::loss) {
            self.lost(why.to_owned());
        }
    }
}
