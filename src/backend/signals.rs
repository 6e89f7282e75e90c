//! Handles the recorder's own signals: it stands between a shell and the workload.
//!
//! While the command runs, a signal from the terminal reaches the workload without help, since both are in one process
//! group. One that is sent to the recorder alone (kill(1), a service manager, timeout(1)) is meant for the command and passed
//! on. The second SIGINT or SIGTERM ends the recording; where no command runs, the first does. After the recording, signals
//! have their default action, as soon as the run is saved.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Job, Stop, Target, proc};
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

/// Within this time, the same signal from the same sender is one: timeout(1) sends its signal to the process and then to
/// the process group.
const ONE_AND_THE_SAME: Duration = Duration::from_millis(100);

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

/// Handles the signals of this process from when it is made.
pub struct Signals(Arc<Shared>);

struct Shared {
    phase: Mutex<Phase>,
    /// The signal that ended the recording; 0: none did.
    interrupted: AtomicI32,
}

/// What a signal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The target is recorded.
    Recording,
    /// The run is being saved, which one signal does not prevent: it is due afterwards.
    Saving { due: Option<i32> },
    /// What it means to other programs.
    Default,
}

impl Signals {
    /// Handles signals while this target is recorded. Must be called before the process has threads, since the mask of
    /// signals is each thread's own; the workload gets back what was inherited.
    pub fn handle(target: &Target, stop: &Stop) -> std::io::Result<Signals> {
        let ours = (1..=signal::highest()).filter(|signal| {
            // glibc keeps the signals between the standard and the real-time ones for itself.
            !NOT_OURS.contains(signal) && (*signal < 32 || *signal >= libc::SIGRTMIN())
        });
        let set = Set::of(ours);
        set.block();
        let shared = Arc::new(Shared {
            phase: Mutex::new(Phase::Recording),
            interrupted: AtomicI32::new(0),
        });
        let mut handler = Handler {
            shared: Arc::clone(&shared),
            stop: stop.clone(),
            job: match target {
                Target::Command(command) => Some(Arc::clone(&command.job)),
                Target::Process(_) | Target::Scope(_) => None,
            },
            interrupts: 0,
            latest: None,
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(move || {
            loop {
                // It fails for EINTR only, after a stop.
                if let Ok(received) = set.wait() {
                    handler.received(&received);
                }
            }
        })?;
        Ok(Signals(shared))
    }

    /// The recording is over, and its run is about to be saved.
    pub fn recorded(&self) {
        *self.0.phase() = Phase::Saving { due: None };
    }

    /// The run is saved: from now on signals have their default action.
    pub fn saved(&self) {
        let before = std::mem::replace(&mut *self.0.phase(), Phase::Default);
        if let Phase::Saving { due: Some(signal) } = before {
            signal::take_default_action(signal);
        }
    }

    /// The signal that ended the recording.
    #[must_use]
    pub fn interrupted_by(&self) -> Option<i32> {
        Some(self.0.interrupted.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }
}

impl Shared {
    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        // It is one word: a panic elsewhere doesn't spoil it.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that takes the signals.
struct Handler {
    shared: Arc<Shared>,
    stop: Stop,
    /// That of the command that is recorded.
    job: Option<Arc<Job>>,
    /// How often SIGINT or SIGTERM came while the command ran.
    interrupts: u32,
    /// The latest signal, its sender, and when it came.
    latest: Option<(i32, i32, Instant)>,
}

impl Handler {
    fn received(&mut self, received: &Received) {
        let signal = received.signal;
        let again = self.latest.is_some_and(|(latest, sender, when)| {
            (latest, sender) == (signal, received.sender) && when.elapsed() < ONE_AND_THE_SAME
        });
        self.latest = Some((signal, received.sender, Instant::now()));
        let mut phase = self.shared.phase();
        match *phase {
            Phase::Recording => {}
            // A part of what ended the workload is not one more.
            Phase::Saving { .. } | Phase::Default if again => return,
            Phase::Saving { due: None } if ends_processes(signal) => {
                *phase = Phase::Saving { due: Some(signal) };
                return;
            }
            Phase::Saving { .. } | Phase::Default => {
                drop(phase);
                return signal::take_default_action(signal);
            }
        }
        drop(phase);
        let job = self.job.clone();
        let job = job.as_deref();
        let from_workload = is_from_workload(job, received);
        match job.and_then(|job| Some((job, job.command()?))) {
            Some((job, command)) => self.pass_on(received, again, from_workload, command, job),
            None if from_workload => {}
            None if ends_processes(signal) => self.end(signal),
            None => signal::take_default_action(signal),
        }
    }

    fn pass_on(
        &mut self,
        received: &Received,
        again: bool,
        from_workload: bool,
        command: Task,
        job: &Job,
    ) {
        match received.signal {
            libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => job.stop_asked(received.signal),
            libc::SIGCONT => job.continue_asked(),
            libc::SIGINT | libc::SIGTERM if !from_workload => {
                if again {
                    job.is_all(&self.stop, INTERRUPTED);
                } else {
                    self.interrupts += 1;
                }
            }
            _ => {}
        }
        // What the terminal sends, the workload gets too.
        if received.code != libc::SI_KERNEL
            && !from_workload
            && !was_received(job, command, received)
        {
            // It may be gone by now.
            let _ = received.forward(command.0);
        }
        if self.interrupts > 1 {
            self.end(received.signal);
        }
    }

    fn end(&self, signal: i32) {
        self.shared.interrupted.store(signal, Ordering::SeqCst);
        self.stop.request(match &self.job {
            Some(_) => INTERRUPTED,
            None => "the recording ended while the process still ran",
        });
    }
}

const INTERRUPTED: &str = "the recording was interrupted";

/// Whether a signal ends a process that does nothing about it (signal(7)), and this one was not started to ignore it.
fn ends_processes(signal: i32) -> bool {
    let harmless = [
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    !harmless.contains(&signal)
        && proc::disposition(proc::myself(), signal) != Some(proc::Disposition::Ignored)
}

/// Whether the workload sent it, which has no say over its recorder, or the recorder itself (SIGPIPE).
fn is_from_workload(job: Option<&Job>, received: &Received) -> bool {
    let sender = Task(received.sender);
    received.code != libc::SI_KERNEL
        && (sender == proc::myself() || job.is_some_and(|job| job.has_member(sender)))
}

/// Whether the command got the signal too: it was sent to the process group.
fn was_received(job: &Job, command: Task, received: &Received) -> bool {
    for _ in 0..LOOKS {
        if job.take_received(received.signal, received.sender)
            || proc::has_pending(command, received.signal)
        {
            return true;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    false
}
