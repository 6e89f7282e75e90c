//! What the workload sees of its registers: those that it would have in its original code.

use nix::libc::user_regs_struct;
use nix::sys::ptrace as requests;

use super::FastPath;
use super::registers::{registers, write};
use super::space::Space;
use super::stub::CALL;
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::backend::ptrace::tracee::Again;

/// The `si_code` of the instruction `int3`.
const SI_KERNEL: i32 = 0x80;
/// The `si_code` of an instruction under the trap flag.
const TRAP_TRACE: i32 = 2;

impl FastPath {
    /// A task stopped, not at a call. Returns whether its latest call was made without a stop. If it returns from that, it is
    /// then as if it had stopped. `again` is the call that it was to enter again: it can have done so without a stop.
    pub(in crate::backend::ptrace) fn stopped(
        &mut self,
        stopped: &Stopped,
        again: &mut Option<Again>,
    ) -> Result<bool, Died> {
        let Some(space) = self.changed_space(stopped) else {
            return Ok(false);
        };
        let space = space.borrow();
        let mut registers = registers(stopped)?;
        let ip = registers.rip;
        let is_entered = again.take_if(|again| again.ip != ip + CALL).is_some();
        let as_stopping = space.as_stopping(ip);
        if let Some(place) = as_stopping {
            registers.rip = place;
        }
        let is_shown = space.closed && to_original(&space, &mut registers);
        if let Some(again) = again {
            again.ip = registers.rip + CALL;
        }
        if is_shown || as_stopping.is_some() {
            write(stopped, registers)?;
        }
        Ok(is_entered || as_stopping.is_some())
    }

    /// A task stopped at a call. Where the chunks may go, it must not return to one.
    pub(in crate::backend::ptrace) fn stopped_at_call(
        &mut self,
        stopped: &Stopped,
    ) -> Result<(), Died> {
        let space = self.spaces.get(&stopped.task());
        if space.is_some_and(|space| space.borrow().closed) {
            self.show_original(stopped)?;
        }
        Ok(())
    }

    /// Whether a task that is to enter a call again hasn't done so yet. `ip` is the address after the call.
    pub(in crate::backend::ptrace) fn is_before_call(
        &mut self,
        stopped: &Stopped,
        ip: u64,
    ) -> Result<bool, Died> {
        let at = registers(stopped)?.rip;
        let space = self.space(stopped.task());
        let original = space.borrow().original(at);
        let original = original.map_or(at, |(original, _)| original);
        Ok(original == ip.wrapping_sub(CALL))
    }

    /// The registers of a stopped task will be seen by the workload.
    pub(in crate::backend::ptrace) fn show_original(
        &mut self,
        stopped: &Stopped,
    ) -> Result<(), Died> {
        let Some(space) = self.changed_space(stopped) else {
            return Ok(());
        };
        let mut registers = registers(stopped)?;
        if to_original(&space.borrow(), &mut registers) {
            write(stopped, registers)?;
        }
        Ok(())
    }

    /// Whether the SIGTRAP of a stopped task comes from changed code alone: the task goes on then. It is of a breakpoint that
    /// was there while code was changed, and that fork(2) of another thread can have copied; or of a step into code that the
    /// workload doesn't know, while each instruction traps. Such a workload sees the original code from then on.
    pub(in crate::backend::ptrace) fn is_of_changed_code(
        &mut self,
        stopped: &Stopped,
    ) -> Result<bool, Died> {
        let Some(space) = self.changed_space(stopped) else {
            return Ok(false);
        };
        let mut registers = registers(stopped)?;
        let ip = registers.rip;
        let goes_on_at = match cause_of_trap(stopped) {
            Some(SI_KERNEL) => {
                let address = ip.wrapping_sub(1);
                let was_ours = space.borrow().was_changed(address)
                    && space.borrow_mut().is_whole(stopped.task(), address);
                was_ours.then_some(address)
            }
            Some(TRAP_TRACE) => {
                let original = space.borrow().original(ip);
                space.borrow_mut().close(stopped.task());
                original.map(|(original, _)| original)
            }
            _ => None,
        };
        if let Some(address) = goes_on_at {
            registers.rip = address;
            write(stopped, registers)?;
        }
        Ok(goes_on_at.is_some())
    }
}

fn cause_of_trap(stopped: &Stopped) -> Option<i32> {
    let info = requests::getsiginfo(stopped.pid()).ok()?;
    Some(info.si_code)
}

/// Makes the registers those that the task would have in the original code. Returns whether they weren't.
fn to_original(space: &Space, registers: &mut user_regs_struct) -> bool {
    let Some((original, is_after_call)) = space.original(registers.rip) else {
        return false;
    };
    registers.rip = original;
    if is_after_call {
        // A call leaves the address after it there.
        registers.rcx = original;
    }
    true
}
