//! Signals as raw numbers: nix's `Signal` has no real-time signals.

use std::mem::MaybeUninit;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigEvent, SigevNotify};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

/// The signal that interrupts a thread's wait; its handler does nothing. No one else sends this signal.
pub(crate) const KICK: i32 = libc::SIGSTKFLT;

extern "C" fn ignore_kick(_signal: i32) {}

/// Lets [`KICK`] interrupt system calls of this process.
pub(crate) fn catch_kicks() -> nix::Result<()> {
    // SAFETY: the handler does nothing, so it is async-signal-safe; zeroed bytes are a valid sigaction with an empty
    // mask and without SA_RESTART.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore_kick as extern "C" fn(i32) as usize;
        libc::sigaction(KICK, &raw const action, std::ptr::null_mut())
    };
    Errno::result(result).map(drop)
}

/// Makes wait4(2) return every status even if this process was started with SIGCHLD ignored, and suppresses SIGCHLD at
/// stops of tracees (`SA_NOCLDSTOP`).
pub(crate) fn keep_children() -> nix::Result<()> {
    // SAFETY: zeroed bytes are a valid sigaction for SIG_DFL.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        action.sa_flags = libc::SA_NOCLDSTOP;
        libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut())
    };
    Errno::result(result).map(drop)
}

/// Sends [`KICK`] to one thread of this process (tgkill(2)).
pub(crate) fn kick(thread: i32) -> nix::Result<()> {
    tgkill(std::process::id().cast_signed(), thread, KICK)
}

/// Sends a signal to a thread (tgkill(2)).
pub(crate) fn tgkill(process: i32, thread: i32, signal: i32) -> nix::Result<()> {
    // SAFETY: takes three ints by value.
    let result = unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) };
    Errno::result(result).map(drop)
}

/// Sends [`KICK`] to the thread that created it, after a set time.
#[derive(Debug)]
pub(crate) struct Alarm(Timer);

impl Alarm {
    /// An alarm for the calling thread.
    pub(crate) fn new() -> nix::Result<Alarm> {
        let event = SigEvent::new(SigevNotify::SigevThreadId {
            signal: nix::sys::signal::Signal::SIGSTKFLT,
            thread_id: nix::unistd::gettid().as_raw(),
            si_value: 0,
        });
        Timer::new(ClockId::CLOCK_MONOTONIC, event).map(Alarm)
    }

    /// Kicks after this time, and then repeatedly until it is unset: a kick just before the wait is lost.
    pub(crate) fn set(&mut self, after: Duration) -> nix::Result<()> {
        // Zero would unset it.
        let after = after.max(Duration::from_micros(1));
        let expiration = Expiration::IntervalDelayed(after.into(), Duration::from_millis(5).into());
        self.0.set(expiration, TimerSetTimeFlags::empty())
    }

    /// Stops the kicks.
    pub(crate) fn unset(&mut self) -> nix::Result<()> {
        let never = Expiration::OneShot(Duration::ZERO.into());
        self.0.set(never, TimerSetTimeFlags::empty())
    }
}

/// A set of signals.
pub(crate) struct Set(libc::sigset_t);

impl Set {
    /// The set of these signals.
    pub(crate) fn of(signals: impl IntoIterator<Item = i32>) -> Set {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set, sigaddset gets it initialised.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            Set(set.assume_init())
        }
    }

    /// Blocks these signals in the calling thread, and in threads that it creates.
    pub(crate) fn block(&self) {
        self.mask(libc::SIG_BLOCK);
    }

    /// Unblocks these signals in the calling thread.
    pub(crate) fn unblock(&self) {
        self.mask(libc::SIG_UNBLOCK);
    }

    fn mask(&self, how: i32) {
        // SAFETY: the set is valid; the old one isn't requested. The call fails only for an invalid `how`.
        unsafe { libc::pthread_sigmask(how, &raw const self.0, std::ptr::null_mut()) };
    }

    /// Waits for one of these signals, which must be blocked (sigwaitinfo(2)).
    pub(crate) fn wait(&self) -> nix::Result<Received> {
        let mut info: MaybeUninit<libc::siginfo_t> = MaybeUninit::zeroed();
        // SAFETY: both pointers are valid; the kernel fills `info` if the call succeeds, and all-zero bytes are valid
        // anyway. `si_pid` and `si_value` are read as plain memory of the union.
        unsafe {
            Errno::result(libc::sigwaitinfo(&raw const self.0, info.as_mut_ptr()))?;
            let info = info.assume_init();
            Ok(Received {
                signal: info.si_signo,
                code: info.si_code,
                sender: info.si_pid(),
                value: info.si_value(),
            })
        }
    }
}

/// A received signal.
pub(crate) struct Received {
    /// The number.
    pub(crate) signal: i32,
    /// `si_code`: `SI_USER` from kill(2), `SI_KERNEL` from a terminal, …
    pub(crate) code: i32,
    /// The process that sent it, if `code` is that of a sent signal.
    pub(crate) sender: i32,
    value: libc::sigval,
}

impl Received {
    /// Sends the same signal to another process, a value of sigqueue(3) included.
    pub(crate) fn forward(&self, process: i32) -> nix::Result<()> {
        // SAFETY: both take their arguments by value.
        let result = unsafe {
            match self.code {
                libc::SI_QUEUE => libc::sigqueue(process, self.signal, self.value),
                _ => libc::kill(process, self.signal),
            }
        };
        Errno::result(result).map(drop)
    }
}

/// Takes the default action of a signal for this process, unless it ignores the signal: the process ends, or stops
/// until SIGCONT. The signal must be blocked in every thread.
pub(crate) fn take_default_action(signal: i32) {
    let set = Set::of([signal]);
    // The signal is sent while it is blocked. If the terminal's signal is pending too, unblocking delivers one, which
    // stops this process, and the SIGCONT that ends the stop discards the other. The delivery precedes the return of
    // `unblock`, since only this thread unblocks the signal.
    let thread = nix::unistd::gettid().as_raw();
    // A process may always signal itself.
    let _ = tgkill(std::process::id().cast_signed(), thread, signal);
    set.unblock();
    set.block();
}

/// Sends a signal of signal(7) to this process.
pub(crate) fn send_to_myself(signal: i32) {
    let signal = nix::sys::signal::Signal::try_from(signal).ok();
    // A process may always signal itself.
    let _ = nix::sys::signal::kill(nix::unistd::getpid(), signal);
}

/// The highest signal number, the last real-time one.
pub(crate) fn highest() -> i32 {
    libc::SIGRTMAX()
}
