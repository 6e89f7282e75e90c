//! The end of the recording, which tracees may outlive.

use std::time::{Duration, Instant};

use super::Engine;
use crate::backend::ptrace::arch::{CallEntry, CallRegisters, Registers};
use crate::backend::ptrace::stop::{Died, PtraceStop, Stopped, WaitResult};
use crate::backend::ptrace::tracee::Seccomp;
use crate::backend::{Error, proc};
use crate::sys::ptrace::SyscallOp;

impl Engine<'_> {
    /// Before the end of the tracer lets go of all tracees, those that return from a call stop once more: their registers get back
    /// what was changed, and calls that only the recorder interrupted are entered again. Nobody ends these by their limits then, so
    /// they can last longer. Returns whether anyone is left, be it one that never stopped.
    pub(super) fn leave(&mut self) -> Result<bool, Error> {
        /// A tracee that returns stops within microseconds, unless the machine is busy.
        const PATIENCE: Duration = Duration::from_millis(50);
        const LOOK_AGAIN: Duration = Duration::from_millis(1);
        self.leaves = true;
        self.let_dump(|_| true);
        let give_up = Instant::now() + PATIENCE;
        loop {
            let now = Instant::now();
            let waits = now < give_up && self.is_any_returning();
            let until = if waits { now + LOOK_AGAIN } else { now };
            match self.waiter.next(Some(until))? {
                WaitResult::NobodyLeft => return Ok(false),
                WaitResult::Interrupted if !waits => break,
                change => {
                    self.take(change);
                }
            }
            // Signals can come without end.
            if now >= give_up {
                break;
            }
        }
        self.decide_woken(|_| true);
        Ok(true)
    }

    /// Whether a tracee is on its way out of a call at whose exit there is something to do.
    fn is_any_returning(&self) -> bool {
        let mut known = self.tracees.known.iter();
        known.any(|(task, tracee)| tracee.on_exit.is_some() && proc::runs(*task))
    }

    /// A stop after which the tracer lets go of the tracee.
    pub(super) fn stopped_at_end(
        &mut self,
        stopped: Stopped,
        stop: PtraceStop,
    ) -> Result<(), Died> {
        const EINTR: i64 = -(libc::EINTR as i64);
        match stop {
            PtraceStop::Syscall => {
                let (task, info) = (stopped.task(), stopped.syscall_info()?);
                let SyscallOp::Entry { args, .. } = info.op else {
                    // Without threads, the stop for the signal would come next.
                    let is_woken = info.op == (SyscallOp::Exit { value: EINTR })
                        && self.tracee(task).on_exit.is_none()
                        && !self.tracee(task).disturbed
                        && !proc::is_about_to_handle(task);
                    if is_woken {
                        self.woken.push((Instant::now(), stopped));
                        return Ok(());
                    }
                    return self.at_syscall(stopped);
                };
                // A signal that it ignores can be pending, and would end the call. Before it enters the call again, the kernel
                // drops that signal. A filter would judge the call that is skipped.
                if self.tracee(task).seccomp == Seccomp::Disabled {
                    let mut registers = Registers::read(&stopped)?;
                    let (argument, ip) = (args[0], info.ip);
                    registers.enter_again(Some(CallEntry { argument, ip }));
                    registers.set_call(-1);
                    registers.write(&stopped)?;
                }
                Ok(())
            }
            PtraceStop::NewTask { by_clone } => self.new_task(stopped, by_clone),
            PtraceStop::Signal(signal) => self.signal(stopped, signal),
            _ => Ok(()),
        }
    }
}
