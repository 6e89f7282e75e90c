//! The init of a pid namespace crashes.
//!
//! The kernel lets it die of that only if it has no tracer (`force_sig_info_to_task`): otherwise it would fault for ever. So it
//! is released where it faults once more.

use nix::sys::signal::{Signal, kill};

use super::Engine;
use crate::backend::proc::{self, Disposition};
use crate::backend::ptrace::arch::{CallRegisters, Entry, MACHINE, Registers};
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::event::Exit;
use crate::event::Task;
use crate::sys::ptrace;

const FAULTS: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGBUS,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// Whether a signal is a fault of the init of a pid namespace that it doesn't handle.
pub(super) fn crashes_init(task: Task, signal: i32) -> bool {
    FAULTS.contains(&signal)
        && ptrace::is_fault(task)
        && proc::disposition(task, signal) == Some(Disposition::Default)
        && proc::is_init(task)
}

impl Engine<'_> {
    pub(super) fn let_crash(&mut self, stopped: Stopped, signal: i32) -> Result<(), Died> {
        let task = stopped.task();
        if !self.faults_again(&stopped, signal)? {
            // Its wait status follows.
            let _ = kill(stopped.pid(), Signal::SIGKILL);
            return Ok(());
        }
        stopped.detach()?;
        self.gone(task, Exit::Signal(signal));
        Ok(())
    }

    /// Puts the tracee where it faults again, by the same signal. Returns whether that is certain: one that escaped would call
    /// unseen.
    fn faults_again(&mut self, stopped: &Stopped, signal: i32) -> Result<bool, Died> {
        let mut registers = Registers::read(stopped)?;
        match signal {
            libc::SIGSEGV => registers.fault(),
            // The program counter is still at the instruction.
            libc::SIGILL | libc::SIGFPE | libc::SIGBUS => {}
            libc::SIGTRAP if registers.back_to_breakpoint(stopped) => {}
            // A filter answered `SECCOMP_RET_TRAP`, or it is by user dispatch: the call wasn't made.
            libc::SIGSYS => {
                let first = registers.argument(MACHINE.abis[0], 0);
                registers.enter_again(Some(Entry {
                    argument: first,
                    ip: 0,
                }));
            }
            _ => return Ok(false),
        }
        registers.write(stopped)?;
        Ok(match signal {
            libc::SIGSEGV => true,
            // Others can make the file longer. Under the recording filter, any call would fail.
            libc::SIGBUS if !self.tracees.use_filter() => false,
            _ => self.owns_its_memory(stopped.task()),
        })
    }

    /// Whether no other task can change the code and the data of a task while it faults.
    fn owns_its_memory(&self, task: Task) -> bool {
        let others = self.tracees.known.keys().filter(|&&other| other != task);
        let mut others = others.map(|&other| ptrace::share_memory(task, other));
        !proc::has_shared_mappings(task) && others.all(|shared| !shared)
    }
}
