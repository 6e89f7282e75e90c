//! The loop that handles one stop of a tracee after another.

mod crashes;
mod entries;
mod fast_path;
mod lifetimes;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use nix::sys::ptrace::{self as requests, Options};
use nix::unistd::Pid;
use rustc_hash::FxBuildHasher;

use super::arch::{CallRegisters, Entry, FastPath, Registers, Vsyscall};
use super::call_sites::Sites;
use super::interrupted_calls;
use super::recording_filter::RecordingFilter;
use super::special_table::SpecialTable;
use super::stop::{Change, Died, Stop, Stopped, Waiter};
use super::tracee::{Seccomp, Stops, Tracee, Tracees, Undo};
use crate::backend::proc::{self, Disposition, Status};
use crate::backend::{Error, Interest, Job, Stop as StopRequest, Until};
use crate::event::Exit;
use crate::event::{CallOutcome, Event, Sink, Task};
use crate::panic;
use crate::sys::ptrace::{self, SyscallOp};
use crate::syscall::{Arch, Syscall};

/// The command of the target, as far as it came.
#[derive(Debug, Default)]
pub(super) struct CommandEnd {
    task: Option<Task>,
    /// It is the workload: its earlier calls were the launcher's.
    pub(super) executed: bool,
    /// The latest call of the launcher: in the end the execve(2) that succeeds.
    launching: Option<Syscall>,
    pub(super) exit: Option<Exit>,
}

/// A tracee that waits at the entry of a call until others were stopped once.
struct Held {
    caller: Stopped,
    waiting_for: HashSet<Task>,
}

/// A tracee that waits at the entry of clone3(2) for a place for its arguments.
struct Delayed {
    caller: Stopped,
    syscall: Syscall,
    args: [u64; 6],
}

/// A check that is due at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Alarm {
    /// The limit of the call that this task is in may be up.
    Limit(Task),
    /// A held tracee may be resumed.
    Held,
    /// It is time to decide about a call that ended with EINTR.
    Woken,
    /// A core dump may not have to wait any more.
    Dumps,
}

/// Follows the tracees of the calling thread.
pub(super) struct Engine<'a> {
    /// Set-user-ID and similar files don't give privileges to the workload though they would without a recorder.
    privileges_lost: bool,
    tracees: Tracees,
    /// Those that ended before the stop at which their parent reports them.
    unborn_dead: HashSet<Task, FxBuildHasher>,
    command: CommandEnd,
    held: Vec<Held>,
    delayed: Vec<Delayed>,
    /// Tracees at the exit of a call that ended with EINTR, and when that is decided.
    woken: Vec<(Instant, Stopped)>,
    dumps: Vec<crashes::Dump>,
    /// When a process with threads last handled a signal that was sent to no thread in particular.
    handled: HashMap<Task, Instant, FxBuildHasher>,
    /// Of those that ended in a call that makes a task, whose first stop may be yet to come.
    undos_of_the_dead: VecDeque<Undo>,
    specials: SpecialTable,
    /// Where no task has the recording filter, and the calls of the vsyscall page matter.
    vsyscall: Option<Vsyscall>,
    /// The callers of calls, if requested.
    sites: Option<Sites>,
    interest: Interest,
    /// Where known calls may be made without a stop.
    fast_path: Option<FastPath>,
    waiter: Waiter,
    alarms: BinaryHeap<Reverse<(Instant, Alarm)>>,
    /// The recording ends: who stops isn't resumed, until the end of the tracer lets go of it.
    leaves: bool,
    sink: &'a mut dyn Sink,
    stop: &'a StopRequest,
    /// That of the command, if the recorder started it.
    job: Option<&'a Job>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        filter: Option<RecordingFilter>,
        options: Options,
        interest: Option<&Interest>,
        myself: Status,
        sink: &'a mut dyn Sink,
        stop: &'a StopRequest,
        job: Option<&'a Job>,
    ) -> Engine<'a> {
        let sites = interest.filter(|interest| interest.has_sites());
        let hide_no_new_privs =
            filter.is_some() && !myself.can_load_filters && !myself.no_new_privs;
        let specials = SpecialTable::new();
        let is_fast = filter.is_some_and(RecordingFilter::allows_known);
        Engine {
            privileges_lost: !myself.can_trace_privileged && !myself.no_new_privs,
            tracees: Tracees::new(filter, options, hide_no_new_privs),
            unborn_dead: HashSet::default(),
            command: CommandEnd::default(),
            held: Vec::new(),
            delayed: Vec::new(),
            woken: Vec::new(),
            dumps: Vec::new(),
            handled: HashMap::default(),
            undos_of_the_dead: VecDeque::new(),
            fast_path: FastPath::new(is_fast, &specials, interest),
            specials,
            vsyscall: match filter {
                None if sites.is_none_or(wants_vsyscalls) => Vsyscall::new(),
                _ => None,
            },
            sites: sites.cloned().map(Sites::new),
            interest: interest.cloned().unwrap_or_default(),
            waiter: Waiter::default(),
            alarms: BinaryHeap::new(),
            leaves: false,
            sink,
            stop,
            job,
        }
    }

    /// The child that will execute the command.
    pub(super) fn expect_command(&mut self, task: Task) {
        let tracee = Tracee::new(match self.tracees.filter {
            Some(_) => Stops::Filter,
            None => Stops::Syscalls,
        });
        self.tracees.known.insert(task, tracee);
        self.command.task = Some(task);
    }

    /// A task that ran before it was seized.
    pub(super) fn meet_running(&mut self, task: Task) {
        let tracee = self.tracee(task);
        tracee.has_threads = true;
        tracee.interrupt();
        let executable = proc::executable_of(task);
        self.sink.event(Event::Exec { task, executable });
        self.report_unseen(|vsyscall| vsyscall.executes(task));
    }

    /// The process whose end is that of the target.
    pub(super) fn watch(&mut self, process: Task) {
        self.command.task = Some(process);
        self.command.executed = true;
    }

    pub(super) fn into_command(self) -> CommandEnd {
        self.command
    }

    /// Goes on until the workload, the command (by `until`) or the recording ends.
    pub(super) fn run(&mut self, until: Until) -> Result<(), Error> {
        while !self.stop.is_requested() {
            let next = self.alarms.peek().map(|Reverse((when, _))| *when);
            let change = self.waiter.next(next)?;
            if !self.take(change) {
                return Ok(());
            }
            if until == Until::Exit && self.command.exit.is_some() {
                if self.leave()? {
                    self.lost("the command ended before all that it started".to_owned());
                }
                return Ok(());
            }
        }
        if let Some(reason) = self.stop.reason() {
            self.lost(reason.to_owned());
        }
        self.leave()?;
        Ok(())
    }

    /// Before the end of the tracer lets go of all tracees, those that return from a call stop once more: their registers get back
    /// what was changed, and calls that only the recorder interrupted are entered again. Nobody ends these by their limits then, so
    /// they can last longer. Returns whether anyone is left, be it one that never stopped.
    fn leave(&mut self) -> Result<bool, Error> {
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
                Change::NobodyLeft => return Ok(false),
                Change::Interrupted if !waits => break,
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

    /// Handles a change, whatever happens. Returns whether another one can come.
    fn take(&mut self, change: Change) -> bool {
        let stop = match &change {
            Change::Stopped(stopped, stop) => Some((stopped.task(), *stop)),
            _ => None,
        };
        panic::catch(|| self.changed(change)).unwrap_or_else(|why| {
            self.go_on_after_panic(stop, why);
            true
        })
    }

    /// Handles a change. Returns whether another one can come.
    fn changed(&mut self, change: Change) -> bool {
        match change {
            Change::Stopped(stopped, stop) => {
                let task = stopped.task();
                if self.stopped(stopped, stop) == Err(Died) {
                    // It is heard of once more, as gone. Should it live after all, it must not stay stopped for ever.
                    let _ = ptrace::resume(task, self.tracee(task).resume(), 0);
                }
                self.release_held(task);
            }
            Change::Gone(task, exit) => {
                self.gone(task, exit);
                self.forget_stops(task);
                self.release_held(task);
            }
            Change::Interrupted => {}
            Change::NobodyLeft => return false,
        }
        self.release_delayed();
        self.ring_alarms();
        true
    }

    /// A task that was kept stopped is gone.
    fn forget_stops(&mut self, task: Task) {
        self.held.retain(|held| held.caller.task() != task);
        self.delayed.retain(|delayed| delayed.caller.task() != task);
        self.woken.retain(|(_, stopped)| stopped.task() != task);
        self.gone_from_dumps(task);
    }

    /// The recorder panicked while it handled this stop. The end of the tracer would be that of the workload, so the tracee
    /// runs on, and the run has a loss.
    fn go_on_after_panic(&mut self, stop: Option<(Task, Stop)>, why: String) {
        self.lost(Error::Panic(why).to_string());
        let Some((task, stop)) = stop else {
            return;
        };
        // It may run already.
        let _ = match stop {
            Stop::Group(_) => ptrace::listen(task),
            Stop::Signal(signal) => ptrace::resume(task, self.tracee(task).resume(), signal),
            _ => ptrace::resume(task, self.tracee(task).resume(), 0),
        };
    }

    fn stopped(&mut self, stopped: Stopped, stop: Stop) -> Result<(), Died> {
        self.meet(&stopped);
        if self.leaves {
            return self.stopped_at_end(stopped, stop);
        }
        if let Stop::Signal(_) | Stop::Group(_) | Stop::Trap = stop {
            self.fast_path_stopped(&stopped)?;
        }
        let Some(stopped) = self.keep_for_dump(stopped, stop)? else {
            return Ok(());
        };
        // Whatever the stop is, the kernel takes it for the one that PTRACE_INTERRUPT asked for, too. Where the tracee was to
        // enter its call again before, it can be at the entry of that, or of another call.
        let tracee = self.tracee(stopped.task());
        if tracee.may_show_interrupt(stop == Stop::Trap)
            && tracee.again.is_none()
            && !matches!(stop, Stop::Signal(_))
        {
            self.go_on(&stopped)?;
            let tracee = self.tracee(stopped.task());
            if tracee.again.is_some() {
                tracee.counted = false;
                return self.resume(stopped, 0);
            }
        }
        match stop {
            Stop::Seccomp => self.at_filter(stopped),
            Stop::Syscall => self.at_syscall(stopped),
            Stop::NewTask { by_clone } => self.new_task(stopped, by_clone),
            Stop::Exec => self.executed(stopped),
            Stop::Signal(signal) => self.signal(stopped, signal),
            Stop::Group(signal) => {
                let is_command = self.is_command(stopped.task());
                let tracee = self.tracee(stopped.task());
                tracee.disturbed = true;
                if let Some(again) = tracee.again.take() {
                    interrupted_calls::end_sleep(&stopped, again)?;
                }
                stopped.listen()?;
                if let (true, Some(job)) = (is_command, self.job) {
                    job.stopped(signal);
                }
                Ok(())
            }
            Stop::Trap => {
                if let (true, Some(job)) = (self.is_command(stopped.task()), self.job) {
                    job.continued();
                }
                self.resume(stopped, 0)
            }
        }
    }

    /// A stop after which the tracer lets go of the tracee.
    fn stopped_at_end(&mut self, stopped: Stopped, stop: Stop) -> Result<(), Died> {
        const EINTR: i64 = -(libc::EINTR as i64);
        match stop {
            Stop::Syscall => {
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
                    registers.enter_again(Some(Entry { argument, ip }));
                    registers.set_call(-1);
                    registers.write(&stopped)?;
                }
                Ok(())
            }
            Stop::NewTask { by_clone } => self.new_task(stopped, by_clone),
            Stop::Signal(signal) => self.signal(stopped, signal),
            _ => Ok(()),
        }
    }

    /// Makes sure that the tracee is known. A new task's first stop can come before the stop at which its parent
    /// reports it; by then the safe way is `PTRACE_SYSCALL`, and what was changed for the call that makes it is restored.
    fn meet(&mut self, stopped: &Stopped) {
        let task = stopped.task();
        match self.tracees.known.get_mut(&task) {
            None => {
                let calls = self.tracees.known.values();
                let under_way = calls.filter_map(|tracee| tracee.on_exit.as_ref()?.undo());
                // Memory can be that of the call, which the kernel is yet to read.
                let mut undos = (under_way.chain(&self.undos_of_the_dead))
                    .filter(|undo| matches!(undo, Undo::Arguments { .. }));
                undos.any(|undo| undo.apply(stopped));
                let inherited = self.tracees.inherited_own_filter(task);
                let no_new_privs = self.tracees.inherited_no_new_privs(task);
                if let Some(fast_path) = &mut self.fast_path {
                    fast_path.met_early(task);
                }
                let tracee = self.tracee(task);
                (tracee.early, tracee.no_new_privs) = (true, no_new_privs);
                // It can be a thread.
                tracee.has_threads = true;
                if inherited == Some(true) {
                    tracee.seccomp = Seccomp::Filter;
                }
            }
            Some(tracee) => {
                if let Some(undo) = tracee.undo.take() {
                    undo.apply(stopped);
                }
            }
        }
    }

    fn tracee(&mut self, task: Task) -> &mut Tracee {
        self.tracees.get(task)
    }

    fn is_command(&self, task: Task) -> bool {
        self.command.task == Some(task)
    }

    fn resume(&mut self, stopped: Stopped, signal: i32) -> Result<(), Died> {
        // The kernel delivers no signal whose stop was taken, unless the tracer says so.
        if self.leaves && signal == 0 {
            return Ok(());
        }
        let how = self.tracee(stopped.task()).resume();
        stopped.resume(how, signal)
    }

    /// A signal is about to be delivered.
    fn signal(&mut self, stopped: Stopped, signal: i32) -> Result<(), Died> {
        if self.is_of_changed_code(&stopped, signal)? {
            return self.resume(stopped, 0);
        }
        if let Some(job) = self.job
            && let Ok(Some(sender)) = ptrace::sender_of_signal(stopped.task())
            && self.command.task == proc::process_of(stopped.task())
        {
            job.received(signal, sender);
        }
        if signal == libc::SIGSYS && self.sites.is_some() && ptrace::is_of_seccomp(stopped.task()) {
            let (task, outcome) = (stopped.task(), CallOutcome::Trapped);
            self.sink.event(Event::Outcome { task, outcome });
        }
        if self.tracee(stopped.task()).has_threads
            && !ptrace::is_for_thread(stopped.task())
            && proc::disposition(stopped.task(), signal) == Some(Disposition::Handled)
            && let Some(process) = proc::process_of(stopped.task())
        {
            self.handled.insert(process, Instant::now());
        }
        self.end_or_go_on(&stopped, signal)?;
        let dumps = self.show_original(&stopped, signal)?;
        if crashes::crashes_init(stopped.task(), signal) {
            return self.let_crash(stopped, signal);
        }
        if dumps {
            return self.dump(stopped, signal);
        }
        self.resume(stopped, signal)
    }

    /// What a signal means for the call from which the tracee is just returning, or which it is about to enter again.
    fn end_or_go_on(&mut self, stopped: &Stopped, signal: i32) -> Result<(), Died> {
        let task = stopped.task();
        let tracee = self.tracee(task);
        let (again, sleeping) = (tracee.again, tracee.sleeping);
        if again.is_none() && interrupted_calls::returned_eintr(stopped, sleeping)?.is_none() {
            return Ok(());
        }
        if !interrupted_calls::ignores(task, signal) {
            let tracee = self.tracee(task);
            tracee.disturbed = true;
            if let Some(again) = tracee.again.take() {
                interrupted_calls::end_sleep(stopped, again)?;
            }
        } else if again.is_none() {
            self.go_on(stopped)?;
        }
        Ok(())
    }

    /// Makes the tracee enter the call again that only the recorder interrupted, if it did.
    fn go_on(&mut self, stopped: &Stopped) -> Result<(), Died> {
        let tracee = self.tracees.get(stopped.task());
        if tracee.disturbed || tracee.again.is_some() {
            return Ok(());
        }
        tracee.again = interrupted_calls::go_on(stopped, &self.specials, tracee.sleeping)?;
        tracee.until = tracee.again.and_then(|again| again.until);
        if let Some(until) = tracee.until {
            self.alarms
                .push(Reverse((until, Alarm::Limit(stopped.task()))));
        }
        Ok(())
    }

    fn ring_alarms(&mut self) {
        while let Some(&Reverse((when, alarm))) = self.alarms.peek()
            && when <= Instant::now()
        {
            self.alarms.pop();
            match alarm {
                Alarm::Held => self.release_from_sleepers(),
                Alarm::Woken => {
                    let now = Instant::now();
                    self.decide_woken(|decided| decided <= now);
                }
                Alarm::Dumps => self.look_at_dumps(),
                Alarm::Limit(task) => {
                    if let Some(tracee) = self.tracees.known.get_mut(&task)
                        && tracee.until == Some(when)
                    {
                        tracee.interrupt();
                        // It dies as it likes.
                        let _ = requests::interrupt(Pid::from_raw(task.0));
                    }
                }
            }
        }
    }

    /// Reports files that may make unseen calls, where that is possible.
    fn report_unseen<R: IntoIterator<Item = String>>(
        &mut self,
        look: impl FnOnce(&mut Vsyscall) -> R,
    ) {
        if let Some(vsyscall) = &mut self.vsyscall {
            for why in look(vsyscall) {
                self.lost(why);
            }
        }
    }

    fn lost(&mut self, why: String) {
        self.sink.event(Event::Lost { count: None, why });
    }
}

/// Whether calls through the vsyscall page are of interest.
fn wants_vsyscalls(interest: &Interest) -> bool {
    let calls = ["gettimeofday", "time", "getcpu"];
    let mut calls = (calls.iter()).filter_map(|name| Syscall::from_name(Arch::X86_64, name));
    calls.any(|call| interest.wants(call))
}
