//! Processes crash.
//!
//! The kernel lets the init of a pid namespace die of that only if it has no tracer (`force_sig_info_to_task`): otherwise it would
//! fault for ever. So it is released where it faults once more.
//!
//! A core dump has the registers of all threads. Those that are in a known call stop once before it, so that it shows the addresses that
//! a debugger knows.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::sys::ptrace as requests;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{DueCheck, Engine};
use crate::backend::proc::{self, Disposition};
use crate::backend::ptrace::arch::{CallEntry, CallRegisters, MACHINE, Registers};
use crate::backend::ptrace::stop::{Died, PtraceStop, Stopped};
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

/// A process ends with a core dump.
pub(super) struct Dump {
    /// Which task the signal ends, and where that waits for the others.
    task: Task,
    caller: Option<Stopped>,
    signal: i32,
    waiting_for: HashSet<Task>,
    /// Those that stopped. They die with it.
    kept: Vec<Stopped>,
}

impl Engine<'_> {
    /// A signal ends a process with a core dump.
    pub(super) fn dump(&mut self, stopped: Stopped, signal: i32) -> Result<(), Died> {
        let task = stopped.task();
        let process = proc::process_of(task);
        let others = self.fast_path.as_ref().map(|of| of.sharers(task));
        let mut waiting_for = HashSet::new();
        for other in others.unwrap_or_default() {
            if proc::process_of(other) == process
                && requests::interrupt(Pid::from_raw(other.0)).is_ok()
            {
                waiting_for.insert(other);
            }
        }
        // An init can survive it.
        if waiting_for.is_empty() || proc::is_init(task) {
            return self.resume(stopped, signal);
        }
        self.dumps.push(Dump {
            task,
            caller: Some(stopped),
            signal,
            waiting_for,
            kept: Vec::new(),
        });
        self.look_at_dumps_soon();
        Ok(())
    }

    /// A task stopped. Returns the stop back if no core dump waits for it.
    pub(super) fn keep_for_dump(
        &mut self,
        stopped: Stopped,
        stop: PtraceStop,
    ) -> Result<Option<Stopped>, Died> {
        if self.dumps.is_empty() {
            return Ok(Some(stopped));
        }
        let task = stopped.task();
        // One that stops again was not ended by its signal.
        let stopped_again = self.dumps.extract_if(.., |dump| dump.task == task);
        let kept: Vec<_> = stopped_again.flat_map(|dump| dump.kept).collect();
        for other in kept {
            let _: Result<(), Died> = self.resume(other, 0);
        }
        let mut dumps = self.dumps.iter_mut();
        let Some(dump) = dumps.find(|dump| dump.waiting_for.contains(&task)) else {
            return Ok(Some(stopped));
        };
        if !matches!(
            stop,
            PtraceStop::Trap | PtraceStop::Group(_) | PtraceStop::Signal(_)
        ) {
            // The kernel takes any stop for the one that was asked for.
            let _ = requests::interrupt(stopped.pid());
            return Ok(Some(stopped));
        }
        if let Some(fast_path) = &mut self.fast_path {
            fast_path.show_original(&stopped)?;
        }
        dump.waiting_for.remove(&task);
        dump.kept.push(stopped);
        self.let_dump(|dump| dump.waiting_for.is_empty());
        Ok(None)
    }

    /// A task is gone.
    pub(super) fn gone_from_dumps(&mut self, task: Task) {
        self.dumps.retain(|dump| dump.task != task);
        for dump in &mut self.dumps {
            dump.waiting_for.remove(&task);
            dump.kept.retain(|stopped| stopped.task() != task);
        }
        self.let_dump(|dump| dump.waiting_for.is_empty());
    }

    pub(super) fn let_dump(&mut self, is_due: impl Fn(&Dump) -> bool) {
        let due = self.dumps.iter_mut().filter(|dump| is_due(dump));
        let due: Vec<_> = due
            .filter_map(|dump| dump.caller.take().map(|caller| (caller, dump.signal)))
            .collect();
        for (caller, signal) in due {
            let _: Result<(), Died> = self.resume(caller, signal);
        }
    }

    /// Nobody waits for tasks that don't stop soon: those that sleep uninterruptibly, those that are kept stopped, and a leader that ends
    /// before other threads.
    pub(super) fn look_at_dumps(&mut self) {
        let held = self.held.iter().map(|held| held.caller.task());
        let delayed = self.delayed.iter().map(|delayed| delayed.caller.task());
        let kept: HashSet<Task> = held.chain(delayed).collect();
        let stops =
            |task: &Task| !kept.contains(task) && !proc::sleeps(*task) && !proc::is_gone(*task);
        for dump in &mut self.dumps {
            dump.waiting_for.retain(stops);
        }
        self.let_dump(|dump| dump.waiting_for.is_empty());
        self.look_at_dumps_soon();
    }

    fn look_at_dumps_soon(&mut self) {
        if self.dumps.iter().any(|dump| dump.caller.is_some()) {
            let soon = Instant::now() + Duration::from_millis(2);
            self.alarms.push(std::cmp::Reverse((soon, DueCheck::Dumps)));
        }
    }

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
                registers.enter_again(Some(CallEntry {
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
