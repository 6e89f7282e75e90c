//! The loop that handles one stop of a tracee after another.

mod crashes;
mod ending;
mod entries;
mod fast_path;
mod lifetimes;
mod signals;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::time::Instant;

use nix::sys::ptrace::{self as requests, Options};
use nix::unistd::Pid;
use rustc_hash::FxBuildHasher;

use super::arch::{FastPath, Vsyscall};
use super::call_sites::Sites;
use super::interrupted_calls;
use super::recording_filter::RecordingFilter;
use super::special_table::SpecialTable;
use super::stop::{Died, PtraceStop, Stopped, WaitResult, Waiter};
use super::tracee::{Seccomp, Stops, Tracee, Tracees, Undo};
use crate::backend::proc::{self, Status};
use crate::backend::{Error, Interest, Job, Stop, Until};
use crate::event::{Event, Exit, Sink, Task};
use crate::panic;
use crate::sys::ptrace;
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
enum DueCheck {
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
    alarms: BinaryHeap<Reverse<(Instant, DueCheck)>>,
    /// The recording ends: who stops isn't resumed, until the end of the tracer lets go of it.
    leaves: bool,
    sink: &'a mut dyn Sink,
    stop: &'a Stop,
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
        stop: &'a Stop,
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
        if self.leave()?
            && let Some(reason) = self.stop.reason()
        {
            self.lost(reason.to_owned());
        }
        Ok(())
    }

    /// Handles a change, whatever happens. Returns whether another one can come.
    fn take(&mut self, change: WaitResult) -> bool {
        let stop = match &change {
            WaitResult::Stopped(stopped, stop) => Some((stopped.task(), *stop)),
            _ => None,
        };
        panic::catch(|| self.changed(change)).unwrap_or_else(|why| {
            self.go_on_after_panic(stop, why);
            true
        })
    }

    /// Handles a change. Returns whether another one can come.
    fn changed(&mut self, change: WaitResult) -> bool {
        match change {
            WaitResult::Stopped(stopped, stop) => {
                let task = stopped.task();
                if self.stopped(stopped, stop) == Err(Died) {
                    // It is heard of once more, as gone. Should it live after all, it must not stay stopped for ever.
                    let _ = ptrace::resume(task, self.tracee(task).resume(), 0);
                }
                self.release_held(task);
            }
            WaitResult::Gone(task, exit) => {
                self.gone(task, exit);
                self.forget_stops(task);
                self.release_held(task);
            }
            WaitResult::Interrupted => {}
            WaitResult::NobodyLeft => return false,
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
    fn go_on_after_panic(&mut self, stop: Option<(Task, PtraceStop)>, why: String) {
        self.lost(Error::Panic(why).to_string());
        let Some((task, stop)) = stop else {
            return;
        };
        // It may run already.
        let _ = match stop {
            PtraceStop::Group(_) => ptrace::listen(task),
            PtraceStop::Signal(signal) => ptrace::resume(task, self.tracee(task).resume(), signal),
            _ => ptrace::resume(task, self.tracee(task).resume(), 0),
        };
    }

    fn stopped(&mut self, stopped: Stopped, stop: PtraceStop) -> Result<(), Died> {
        self.meet(&stopped);
        if self.leaves {
            self.send_deferred(stopped.task());
            return self.stopped_at_end(stopped, stop);
        }
        self.fast_path_stopped(&stopped, stop)?;
        let Some(stopped) = self.keep_for_dump(stopped, stop)? else {
            return Ok(());
        };
        // Whatever the stop is, the kernel takes it for the one that PTRACE_INTERRUPT asked for, too. Where the tracee was to
        // enter its call again before, it can be at the entry of that, or of another call.
        let tracee = self.tracee(stopped.task());
        if tracee.may_show_interrupt(stop == PtraceStop::Trap)
            && tracee.again.is_none()
            && !matches!(stop, PtraceStop::Signal(_))
        {
            self.go_on(&stopped)?;
            let tracee = self.tracee(stopped.task());
            if tracee.again.is_some() {
                tracee.counted = false;
                return self.resume(stopped, 0);
            }
        }
        match stop {
            PtraceStop::Seccomp => self.at_filter(stopped),
            PtraceStop::Syscall => self.at_syscall(stopped),
            PtraceStop::NewTask { by_clone } => self.new_task(stopped, by_clone),
            PtraceStop::Exec => self.executed(stopped),
            PtraceStop::Signal(signal) => self.signal(stopped, signal),
            PtraceStop::Group(signal) => {
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
            PtraceStop::Trap => {
                if let (true, Some(job)) = (self.is_command(stopped.task()), self.job) {
                    job.continued();
                }
                self.resume(stopped, 0)
            }
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

    fn ring_alarms(&mut self) {
        while let Some(&Reverse((when, alarm))) = self.alarms.peek()
            && when <= Instant::now()
        {
            self.alarms.pop();
            match alarm {
                DueCheck::Held => self.release_from_sleepers(),
                DueCheck::Woken => {
                    let now = Instant::now();
                    self.decide_woken(|decided| decided <= now);
                }
                DueCheck::Dumps => self.look_at_dumps(),
                DueCheck::Limit(task) => {
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
