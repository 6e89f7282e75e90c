//! What a recorder does with the signals that it gets itself: it stands between a shell and the workload.
//!
//! A signal from the terminal reaches the workload without help, since both are in one process group. One that is sent
//! to the recorder alone (kill(1), a service manager, timeout(1)) is meant for the command and passed on. A second ^C ends
//! the recording.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Control, proc};
use crate::event::Task;
use crate::sys::signal::{self, Received, Set};

/// Signals that are left to their default action: those that can't be caught, and SIGCHLD, which adds nothing to wait4(2).
///
/// The signals of faults are handled too: the workload can send them to the process group. Blocking them doesn't change what a
/// fault of the recorder does: the kernel unblocks its signal and resets it to the default action (`force_sig_info_to_task`),
/// and abort(3) unblocks SIGABRT.
const NOT_OURS: [i32; 4] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, signal::KICK];

/// How long to look whether the command got a signal too that came here: the kernel sends one to a whole process group in
/// one go.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Whether a signal that a process sent is to be passed on. Not if it comes from the workload itself, which has no word
/// with its recorder, or from the recorder (SIGPIPE); and not if it was sent to the process group, so that the command has it already.
fn is_for_command(control: &Control, command: Task, received: &Received) -> bool {
    let recorder = nix::unistd::getpid().as_raw();
    let sender = Task(received.sender);
    let of_workload = proc::tracer_of(sender) == Some(recorder)
        || (control.session()).is_some_and(|own| proc::session_of(sender) == Some(own));
    if received.sender == recorder || of_workload {
        return false;
    }
    for _ in 0..LOOKS {
        if control.take_received(received.signal, received.sender)
            || proc::has_pending(command, received.signal)
        {
            return false;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    true
}

/// What ends the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupts {
    /// The second ^C: the first is the workload's.
    Second,
    /// The first: the workload isn't in this terminal's foreground (`--pid`).
    First,
}

/// Blocks the signals that a recorder handles itself. Must be called before the process has threads; the workload gets
/// back what was inherited.
#[must_use]
pub fn block() -> Signals {
    let ours = (1..=signal::highest()).filter(|signal| {
        // glibc keeps the signals between the standard and the real-time ones for itself.
        !NOT_OURS.contains(signal) && (*signal < 32 || *signal >= libc::SIGRTMIN())
    });
    let set = Set::of(ours);
    set.block();
    Signals(set)
}

/// Has SIGINT and SIGTERM set a flag instead of ending the process, until it ends by itself. Must be called before the
/// process has threads; what the library starts gets back what was inherited.
pub fn flag_interrupts() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Set::of([libc::SIGINT, libc::SIGTERM]);
    set.block();
    let shared = Arc::clone(&flag);
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        loop {
            // It fails for EINTR only, after a stop.
            if set.wait().is_ok() {
                shared.store(true, Ordering::Relaxed);
            }
        }
    })?;
    Ok(flag)
}

/// The blocked signals of a process.
pub struct Signals(Set);

impl Signals {
    /// Handles them on a thread of their own from now on, until the process ends.
    pub fn handle(self, control: Arc<Control>, interrupts: Interrupts) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || {
            let mut interrupted = false;
            // It fails for EINTR only, after a stop.
            loop {
                let Ok(received) = self.0.wait() else {
                    continue;
                };
                let from_terminal = received.code == libc::SI_KERNEL;
                match received.signal {
                    libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => {
                        control.stop_asked(received.signal);
                    }
                    libc::SIGCONT => control.continued(),
                    libc::SIGINT | libc::SIGTERM | libc::SIGHUP
                        if interrupts == Interrupts::First =>
                    {
                        control.end("the recording ended while the process still ran");
                    }
                    libc::SIGINT if from_terminal && interrupted => {
                        control.end("the recording was interrupted");
                    }
                    libc::SIGINT if from_terminal => interrupted = true,
                    _ => {}
                }
                // What the terminal sends, the workload gets too.
                if !from_terminal
                    && let Some(command) = control.command()
                    && is_for_command(&control, command, &received)
                {
                    // It may be gone by now.
                    let _ = received.forward(command.0);
                }
            }
        })?;
        Ok(())
    }
}
