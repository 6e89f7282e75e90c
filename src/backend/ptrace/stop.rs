//! Stops of tracees, as types: a [`Stopped`] tracee runs on once, and only through it.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace as requests;
use nix::unistd::Pid;

use crate::backend::{Error, memory};
use crate::event::Exit;
use crate::event::Task;
use crate::sys::ptrace::{self, Resume, SyscallInfo, SyscallOp};
use crate::sys::signal::Alarm;
use crate::sys::wait::{self, Patience, WaitStatus};

/// A tracee in a ptrace-stop. It stays there until one of the methods that take `self` lets it go.
#[derive(Debug)]
#[must_use = "a tracee that is forgotten stays stopped for ever"]
pub(super) struct Stopped {
    task: Task,
}

/// The tracee died: ptrace(2) says ESRCH. SIGKILL can end a tracee in any stop, so every request can find it gone; its
/// wait status comes later. Not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Died;

/// Why a tracee stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PtraceStop {
    /// The recording filter (or one of the workload's) answered `SECCOMP_RET_TRACE`: the entry of a call.
    Seccomp,
    /// A syscall-enter-stop or syscall-exit-stop; `PTRACE_GET_SYSCALL_INFO` says which.
    Syscall,
    /// It made a task, by fork or vfork; or by clone(2) with another signal than SIGCHLD, as threads are made.
    NewTask { by_clone: bool },
    /// execve(2) succeeded.
    Exec,
    /// A group-stop, by this signal.
    Group(i32),
    /// `PTRACE_INTERRUPT`, the first stop of a new tracee, or the end of a group-stop.
    Trap,
    /// A signal is about to be delivered.
    Signal(i32),
}

/// The result of waiting.
#[derive(Debug)]
pub(super) enum WaitResult {
    /// A tracee stopped.
    Stopped(Stopped, PtraceStop),
    /// A task is gone.
    Gone(Task, Exit),
    /// Somebody interrupted the wait.
    Interrupted,
    /// There is nobody left to wait for.
    NobodyLeft,
}

impl Stopped {
    pub(super) fn task(&self) -> Task {
        self.task
    }

    /// `PTRACE_GETEVENTMSG`: the number of a filter's answer, the id of a new task, the former id at an exec.
    pub(super) fn message(&self) -> Result<u64, Died> {
        alive(requests::getevent(self.pid())).map(i64::cast_unsigned)
    }

    /// `PTRACE_GET_SYSCALL_INFO`.
    pub(super) fn syscall_info(&self) -> Result<SyscallInfo, Died> {
        alive(ptrace::syscall_info(self.task))
    }

    /// Whether it is at the entry of a call. A tracee that was kept stopped may be another task by now: when a thread executes
    /// a program, it gets the id of the first thread, and then it is in a stop of its own, which is yet to be reported.
    pub(super) fn enters_call(&self) -> bool {
        let info = self.syscall_info();
        info.is_ok_and(|info| matches!(info.op, SyscallOp::Entry { .. }))
    }

    /// Whether it is at the entry or the exit of a call, as above.
    pub(super) fn is_at_call(&self) -> bool {
        let info = self.syscall_info();
        info.is_ok_and(|info| !matches!(info.op, SyscallOp::None))
    }

    /// The value of the call that it returns from, if it still is at the exit of one, as above.
    pub(super) fn returns(&self) -> Option<i64> {
        match self.syscall_info().ok()?.op {
            SyscallOp::Exit { value } => Some(value),
            _ => None,
        }
    }

    /// Reads its memory, as far as it could itself; EFAULT: it couldn't read all of it.
    pub(super) fn read_memory(&self, address: u64, bytes: &mut [u8]) -> nix::Result<()> {
        memory::read(self.pid(), address, bytes)
    }

    /// Reads a 64-bit word of its memory; `None` if it can't be read.
    pub(super) fn read_word(&self, address: u64) -> Option<u64> {
        let word = requests::read(self.pid(), address as requests::AddressType);
        word.ok().map(i64::cast_unsigned)
    }

    /// Writes a 64-bit word of its memory. Returns whether that worked.
    pub(super) fn write_word(&self, address: u64, word: u64) -> bool {
        let address = address as requests::AddressType;
        requests::write(self.pid(), address, word.cast_signed()).is_ok()
    }

    /// The id as nix has it, for its requests that look at a stopped tracee.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.task.0)
    }

    /// Lets it run on, delivering this signal (0: none).
    pub(super) fn resume(self, how: Resume, signal: i32) -> Result<(), Died> {
        alive(ptrace::resume(self.task, how, signal))
    }

    /// Lets go of it for good.
    pub(super) fn detach(self) -> Result<(), Died> {
        alive(ptrace::detach(self.task, 0))
    }

    /// Leaves it in its group-stop until SIGCONT.
    pub(super) fn listen(self) -> Result<(), Died> {
        alive(ptrace::listen(self.task))
    }
}

/// A request failed because the tracee isn't there (ESRCH), or isn't stopped any more because SIGKILL woke it (also
/// ESRCH). The kernel gives other errors for requests that it doesn't have: those are checked when the engine starts, so
/// that here every error means the same.
fn alive<T>(result: nix::Result<T>) -> Result<T, Died> {
    result.map_err(|_| Died)
}

fn classify(signal: i32, event: i32) -> PtraceStop {
    match event {
        libc::PTRACE_EVENT_SECCOMP => PtraceStop::Seccomp,
        libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
            PtraceStop::NewTask { by_clone: false }
        }
        libc::PTRACE_EVENT_CLONE => PtraceStop::NewTask { by_clone: true },
        libc::PTRACE_EVENT_EXEC => PtraceStop::Exec,
        libc::PTRACE_EVENT_STOP => match signal {
            libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                PtraceStop::Group(signal)
            }
            _ => PtraceStop::Trap,
        },
        // PTRACE_O_TRACESYSGOOD marks syscall-stops with this bit.
        _ if signal == libc::SIGTRAP | 0x80 => PtraceStop::Syscall,
        _ => PtraceStop::Signal(signal),
    }
}

/// How long a wait looks for the next stop before it sleeps. To sleep and be woken on another CPU takes several times as
/// long as the whole rest of a stop, so while stops come thick and fast it is worth to look for the next one for about as
/// long as that takes. The CPU is offered to others at each look (`sched_yield(2)`).
const LOOK_FOR: Duration = Duration::from_micros(60);

/// After this many looks in vain, a wait sleeps at once.
const LOOKS_IN_VAIN: u32 = 4;

/// The wait for the next change of any tracee.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    in_vain: u32,
    alarm: Option<Alarm>,
}

impl Waiter {
    /// Waits for the next change of any tracee of the calling thread, but not longer than until then.
    pub(super) fn next(&mut self, until: Option<Instant>) -> Result<WaitResult, Error> {
        let found = match self.look()? {
            Some(found) => found,
            None => match self.sleep(until) {
                Ok(Some(found)) => found,
                Ok(None) | Err(Errno::EINTR) => return Ok(WaitResult::Interrupted),
                Err(Errno::ECHILD) => return Ok(WaitResult::NobodyLeft),
                Err(source) => return Err(wait_error(source)),
            },
        };
        Ok(match found {
            (task, WaitStatus::Stopped { signal, event }) => {
                WaitResult::Stopped(Stopped { task }, classify(signal, event))
            }
            (task, WaitStatus::Exited(code)) => WaitResult::Gone(task, Exit::Code(code)),
            (task, WaitStatus::Signaled(signal)) => WaitResult::Gone(task, Exit::Signal(signal)),
        })
    }

    fn look(&mut self) -> Result<Option<(Task, WaitStatus)>, Error> {
        if self.in_vain >= LOOKS_IN_VAIN {
            return Ok(None);
        }
        let start = Instant::now();
        loop {
            match wait::wait_any(Patience::Poll) {
                Ok(None) => {}
                Ok(found) => {
                    self.in_vain = 0;
                    return Ok(found);
                }
                // The next wait reports it again.
                Err(Errno::EINTR | Errno::ECHILD) => return Ok(None),
                Err(source) => return Err(wait_error(source)),
            }
            if start.elapsed() > LOOK_FOR {
                self.in_vain += 1;
                return Ok(None);
            }
            std::thread::yield_now();
        }
    }

    fn sleep(&mut self, until: Option<Instant>) -> nix::Result<Option<(Task, WaitStatus)>> {
        let start = Instant::now();
        let found = match until.map(|until| until.saturating_duration_since(start)) {
            None => wait::wait_any(Patience::Block)?,
            Some(Duration::ZERO) => wait::wait_any(Patience::Poll)?,
            Some(rest) => {
                let alarm = match &mut self.alarm {
                    Some(alarm) => alarm,
                    none => none.insert(Alarm::new()?),
                };
                alarm.set(rest)?;
                let found = wait::wait_any(Patience::Block);
                alarm.unset()?;
                found?
            }
        };
        // It would have been worth to look.
        if start.elapsed() < 2 * LOOK_FOR {
            self.in_vain = self.in_vain.saturating_sub(1);
        }
        Ok(found)
    }
}

fn wait_error(source: Errno) -> Error {
    Error::System {
        operation: "waiting for the workload (wait4)",
        source,
    }
}
