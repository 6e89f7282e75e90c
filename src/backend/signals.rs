//! Handles the signals that the recorder receives between a shell and the workload.
//!
//! While the command runs, a signal from the terminal reaches the workload directly, since both are in one process
//! group. A signal that is sent to the recorder alone (kill(1), a service manager, timeout(1)) is meant for the command
//! and passed on. The second SIGINT or SIGTERM ends the recording; if no command runs, the first one does. Once the run
//! is saved, signals have their default action. A signal that another process sent to end the job also ends a recorder whose
//! outputs nobody reads.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::job::STOPS_JOBS;
use super::{Job, Stop, Target, proc};
use crate::event::Task;
use crate::sys::signal::{self, Received, Set};

/// Signals that are not handled: those that can't be caught, and SIGCHLD, which adds nothing to wait4(2).
///
/// Signals of faults are handled too: the workload can send them to the process group. Blocking them doesn't change a
/// fault of the recorder itself: the kernel unblocks its signal and resets it to the default action
/// (`force_sig_info_to_task`), and abort(3) unblocks SIGABRT.
const NOT_OURS: [i32; 4] = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCHLD, signal::KICK];

/// How often to check whether the command got the same signal. The kernel signals all members of a process group in one
/// go, so it is there soon.
const CHECKS: u32 = 10;
const CHECK_INTERVAL: Duration = Duration::from_millis(1);

/// Within this time, the same signal from the same sender counts once: timeout(1) signals the process and then the
/// process group, and on a busy machine it may have to wait in between.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// The same for a signal from the terminal: who types ^C twice means it.
const SAME_KEY: Duration = Duration::from_millis(100);

/// How often to check after such a signal whether the outputs are stuck: a pipe without a reader takes forever.
const OUTPUTS_INTERVAL: Duration = Duration::from_millis(2500);

/// Makes SIGINT and SIGTERM set a flag instead of ending the process. Must be called before the process has threads;
/// programs that the library starts get the inherited mask back.
pub fn flag_interrupts() -> std::io::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&flag);
    on_each(Set::of([libc::SIGINT, libc::SIGTERM]), move |_| {
        shared.store(true, Ordering::Relaxed);
    })?;
    Ok(flag)
}

/// Blocks these signals, and starts a thread that takes them.
fn on_each(set: Set, mut take: impl FnMut(&Received) + Send + 'static) -> std::io::Result<()> {
    set.block();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        loop {
            // It fails with EINTR only, after a stop.
            if let Ok(received) = set.wait() {
                take(&received);
            }
        }
    })?;
    Ok(())
}

/// Handles the signals of this process once created.
pub struct Signals(Arc<Shared>);

struct Shared {
    phase: Mutex<RecorderPhase>,
    /// The signal that ended the recording; 0: none.
    interrupted: AtomicI32,
    /// The latest signal to end the job that another process sent while the recording went on; 0: none.
    requested: AtomicI32,
}

/// The phase of the recorder, which determines the meaning of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RecorderPhase {
    /// It records the target.
    Recording,
    /// It saves the run. One signal does not interrupt that: it takes effect afterwards.
    Saving { due: Option<i32> },
    /// It has saved the run: a signal has its default action.
    Default,
}

impl Signals {
    /// Handles signals while this target is recorded. Must be called before the process has threads, since each thread
    /// has its own signal mask; the workload gets the inherited mask back.
    pub fn handle(target: &Target, stop: &Stop) -> std::io::Result<Signals> {
        let ours = (1..=signal::highest()).filter(|signal| {
            // glibc keeps the signals between the standard and the real-time ones for itself.
            !NOT_OURS.contains(signal) && (*signal < 32 || *signal >= libc::SIGRTMIN())
        });
        let shared = Arc::new(Shared {
            phase: Mutex::new(RecorderPhase::Recording),
            interrupted: AtomicI32::new(0),
            requested: AtomicI32::new(0),
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
        on_each(Set::of(ours), move |received| handler.received(received))?;
        Ok(Signals(shared))
    }

    /// The recording is over, and its run is about to be saved.
    pub fn recorded(&self) {
        *self.0.phase() = RecorderPhase::Saving { due: None };
    }

    /// Another recording of the same target begins, unless a signal has asked for the end.
    #[must_use]
    pub fn again(&self) -> bool {
        let mut phase = self.0.phase();
        let may = self.interrupted_by().is_none()
            && matches!(*phase, RecorderPhase::Saving { due: None });
        if may {
            *phase = RecorderPhase::Recording;
        }
        may
    }

    /// The run is saved: from now on signals have their default action.
    pub fn saved(&self) {
        let before = std::mem::replace(&mut *self.0.phase(), RecorderPhase::Default);
        if let RecorderPhase::Saving { due: Some(signal) } = before {
            signal::take_default_action(signal);
        }
        let requested = self.0.requested.load(Ordering::SeqCst);
        if requested != 0 {
            // Without the thread, another signal is needed.
            let thread = std::thread::Builder::new().name("outputs".to_owned());
            let writer = Task(nix::unistd::gettid().as_raw());
            let _ = thread.spawn(move || {
                wait_until_stuck(writer);
                signal::take_default_action(requested);
            });
        }
    }

    /// The signal that ended the recording.
    #[must_use]
    pub fn interrupted_by(&self) -> Option<i32> {
        Some(self.0.interrupted.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
    }
}

/// Returns when a task is in the same sleep as at the check before. One that is only slow is not.
fn wait_until_stuck(task: Task) {
    let mut before = None;
    loop {
        let sleep = proc::current_sleep(task);
        if sleep.is_some() && sleep == before {
            return;
        }
        before = sleep;
        std::thread::sleep(OUTPUTS_INTERVAL);
    }
}

impl Shared {
    fn phase(&self) -> std::sync::MutexGuard<'_, RecorderPhase> {
        // The phase is always consistent, also if another thread panicked.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that takes the signals.
struct Handler {
    shared: Arc<Shared>,
    stop: Stop,
    /// The job of the recorded command.
    job: Option<Arc<Job>>,
    /// How many SIGINTs and SIGTERMs came while the command ran.
    interrupts: u32,
    /// The latest signal, its sender, and when it came.
    latest: Option<(i32, i32, Instant)>,
}

impl Handler {
    fn received(&mut self, received: &Received) {
        let signal = received.signal;
        let within = match received.code {
            libc::SI_KERNEL => SAME_KEY,
            _ => SAME_SIGNAL,
        };
        let again = self.latest.is_some_and(|(latest, sender, when)| {
            (latest, sender) == (signal, received.sender) && when.elapsed() < within
        });
        self.latest = Some((signal, received.sender, Instant::now()));
        let mut phase = self.shared.phase();
        match *phase {
            RecorderPhase::Recording => {}
            // It belongs to the signal that ended the workload.
            RecorderPhase::Saving { .. } | RecorderPhase::Default if again => return,
            RecorderPhase::Saving { due: None } if ends_processes(signal) => {
                *phase = RecorderPhase::Saving { due: Some(signal) };
                return;
            }
            RecorderPhase::Saving { .. } | RecorderPhase::Default => {
                drop(phase);
                return signal::take_default_action(signal);
            }
        }
        drop(phase);
        let job = self.job.clone();
        let job = job.as_deref();
        let from_workload = is_from_workload(job, received);
        // Who types ^C can type it again.
        if !from_workload && received.code != libc::SI_KERNEL && ENDS_JOBS.contains(&signal) {
            self.shared.requested.store(signal, Ordering::SeqCst);
        }
        if let Some(job) = job
            && !from_workload
            && ENDS_JOBS.contains(&signal)
        {
            job.end_asked();
        }
        match job.map(|job| (job, job.command())) {
            Some((job, Some(command))) => {
                self.pass_on(received, again, from_workload, command, job);
            }
            _ if from_workload => {}
            // The first one ended the command.
            Some((job, None)) if again && ends_processes(signal) => {
                job.end_with_command(&self.stop, INTERRUPTED);
            }
            _ if ends_processes(signal) => self.end(signal),
            _ => signal::take_default_action(signal),
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
            signal if STOPS_JOBS.contains(&signal) => job.stop_asked(signal),
            libc::SIGCONT => job.continue_asked(),
            libc::SIGINT | libc::SIGTERM if !from_workload => {
                if again {
                    job.end_with_command(&self.stop, INTERRUPTED);
                } else {
                    self.interrupts += 1;
                }
            }
            _ => {}
        }
        // The terminal's signals reach the workload too.
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

/// The signals by which service managers, timeout(1) and CI systems end a job.
const ENDS_JOBS: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

const INTERRUPTED: &str = "the recording was interrupted";

/// Whether the default action of a signal ends a process (signal(7)), and this process does not ignore it.
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

/// Whether the workload sent it, which must not control its recorder, or the recorder itself did (SIGPIPE).
fn is_from_workload(job: Option<&Job>, received: &Received) -> bool {
    let sender = Task(received.sender);
    received.code != libc::SI_KERNEL
        && (sender == proc::myself() || job.is_some_and(|job| job.has_member(sender)))
}

/// Whether the command got the signal too, because it was sent to the process group.
fn was_received(job: &Job, command: Task, received: &Received) -> bool {
    for _ in 0..CHECKS {
        if job.take_received(received.signal, received.sender)
            || proc::has_pending(command, received.signal)
            || received.signal == libc::SIGCONT && is_over(command)
        {
            return true;
        }
        std::thread::sleep(CHECK_INTERVAL);
    }
    false
}

/// Whether a SIGCONT has nothing left to do: the command isn't stopped, or a stop signal came after it. The shell's `bg`
/// and `fg` continue the command too.
fn is_over(command: Task) -> bool {
    let has_pending = |signal| proc::has_pending(proc::myself(), signal);
    !proc::may_be_stopped(command) || STOPS_JOBS.into_iter().any(has_pending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_task() -> Task {
        Task(nix::unistd::gettid().as_raw())
    }

    #[test]
    fn a_task_is_in_one_sleep_until_it_was_awake() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let reads = std::thread::spawn(move || {
            tell.send(this_task()).unwrap();
            while nix::unistd::read(&reader, &mut [0]).unwrap() > 0 {}
        });
        let task = told.recv().unwrap();
        let asleep = || {
            loop {
                if let Some(sleep) = proc::current_sleep(task) {
                    return sleep;
                }
                std::thread::yield_now();
            }
        };
        let first = asleep();
        assert_eq!(asleep(), first);
        nix::unistd::write(&writer, &[0]).unwrap();
        while asleep() == first {}
        drop(writer);
        reads.join().unwrap();
        assert_eq!(proc::current_sleep(this_task()), None);
    }
}
