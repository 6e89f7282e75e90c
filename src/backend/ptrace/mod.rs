//! The ptrace backend: follows every task of the workload, like `strace -ff`.
//!
//! Tasks are seized (`PTRACE_SEIZE`) and stopped once per call by the [`recording_filter`], which the command loads before
//! it execs. In these cases a task is stopped by `PTRACE_SYSCALL` instead, at the entry and the exit of each call:
//!
//! - It loaded a filter of its own, whose answer ERRNO, TRAP or KILL would hide the call from the recording filter. A
//!   syscall-enter-stop comes before seccomp.
//! - It belongs to a process that was already running (`-p`).
//! - The recording ends before the workload ([`Until::Exit`]): under the filter, but without a tracer, every call fails with
//!   ENOSYS.
//! - The recorder runs under a seccomp filter itself, which could hide calls in the same way.
//! - `/proc` is missing or shows another pid namespace, so the threads of a process can't be found.
//! - The filter needs `no_new_privs`, which would take privileges from setuid programs that ptrace leaves them.
//!
//! In the order of use: [`Ptrace`] decides and starts; `attach` seizes tasks; `engine` handles one stop after another;
//! `special_calls` handles calls that would end or show the recording; `clone_args` keeps the arguments of clone3(2) from
//! changing; `interrupted_calls` enters calls again that only a
//! tracer interrupted; `call_sites` finds out who made a call; `tracee` is the state of each task; `stop` is its current
//! stop. `arch` holds all code that depends on the architecture.

mod arch;
mod attach;
mod call_sites;
mod clone_args;
mod engine;
mod interrupted_calls;
mod probe;
mod recording_filter;
mod special_calls;
mod special_table;
mod stop;
mod tracee;

use std::fmt;

use nix::sys::ptrace::{self as requests, Options};
use nix::unistd::Pid;

use super::launch::launch;
use super::proc::{self, Status};
use super::{
    Backend, Collector, Command, Detail, Error, Interest, Notice, OneRun, Promise, RunEnd, Stop,
    Target, Unavailable, Until,
};
use crate::event::{Event, Sink, Task};
use crate::panic;
use crate::sys::launch::LaunchFilter;
use crate::sys::ptrace::Resume;
use crate::sys::signal;
use crate::sys::wait::{self, Patience};
use crate::syscall::Arch;
use engine::Engine;
use recording_filter::RecordingFilter;

/// Records with ptrace(2).
#[derive(Clone, Debug, Default)]
pub struct Ptrace {
    /// Never load the recording filter.
    pub no_filter: bool,
    /// Change the workload's code so that known calls are made without a stop.
    pub patch: bool,
    /// The calls whose [`CallSite`](crate::event::CallSite) or arguments are reported. `None`: no call.
    pub interest: Option<Interest>,
}

/// The ABIs of this machine.
pub(super) fn abis() -> &'static [Arch] {
    arch::MACHINE.abis
}

/// How tasks are stopped at their calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// Once per call, by a seccomp filter.
    Filter {
        /// The filter needs `no_new_privs`. Set-user-ID programs don't get their privileges under an unprivileged tracer
        /// anyway.
        no_new_privs: bool,
    },
    /// Twice per call, by `PTRACE_SYSCALL`, for this reason.
    EveryCall(&'static str),
}

impl fmt::Display for Stopping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopping::Filter {
                no_new_privs: false,
            } => f.write_str("at most one stop per call, by a seccomp filter"),
            Stopping::Filter { no_new_privs: true } => {
                f.write_str("at most one stop per call, by a seccomp filter with no_new_privs")
            }
            Stopping::EveryCall(why) => write!(f, "two stops per call: {why}"),
        }
    }
}

impl Backend for Ptrace {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    /// Traces a child that executes nothing, and asks whether a running process may be traced.
    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        check_kernel()?;
        if target.scope().is_some() {
            return Err(SCOPE);
        }
        let how = match target {
            Target::Command(command) => {
                probe::trace_child()?;
                self.stopping(command.until, Status::of_recorder())
            }
            Target::Process(process) => {
                probe::may_trace(*process)?;
                Stopping::EveryCall("a running process can't be given a filter")
            }
            Target::Scope(_) => return Err(SCOPE),
        };
        Ok(Promise {
            detail: Detail::PerCall,
            call_sites: true,
            how: how.to_string(),
        })
    }

    fn record(
        &self,
        target: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error> {
        let unavailable = Error::unavailable(self.name());
        if target.scope().is_some() {
            return Err(unavailable(SCOPE));
        }
        let myself = Status::of_recorder();
        check_kernel().map_err(unavailable)?;
        signal::keep_children().map_err(Error::system("sigaction"))?;
        let mut run = OneRun::begin(collector, target);
        // ptrace binds tracees to a thread. When it exits, the kernel detaches the remaining ones: sleeping ones
        // aren't even woken, which no request could promise.
        let end = std::thread::scope(|scope| {
            let tracer = std::thread::Builder::new().name("tracer".to_owned());
            let tracer = tracer.spawn_scoped(scope, || {
                let _interruptible = stop
                    .interrupt_this_thread()
                    .map_err(Error::system("sigaction"))?;
                match target {
                    Target::Command(command) => self.start(command, myself, &mut run, stop),
                    Target::Process(process) => self.attach(*process, myself, &mut run, stop),
                    Target::Scope(_) => Err(unavailable(SCOPE)),
                }
            });
            panic::join(tracer.map_err(Error::io("starting a thread"))?.join())
        })?;
        run.end(end);
        Ok(())
    }
}

impl Ptrace {
    /// How the tasks of a command will be stopped at their calls.
    fn stopping(&self, until: Until, myself: Status) -> Stopping {
        if self.no_filter {
            Stopping::EveryCall("as requested")
        } else if until == Until::Exit {
            Stopping::EveryCall("what the command leaves behind must run on without a tracer")
        } else if myself.has_filter {
            Stopping::EveryCall(
                "the recorder runs under a seccomp filter, which would hide calls from its own",
            )
        } else if !proc::is_of_this_namespace() {
            Stopping::EveryCall("/proc doesn't show this pid namespace")
        } else if !proc::lists_action("actions_avail", "trace") {
            Stopping::EveryCall("the kernel has no SECCOMP_RET_TRACE")
        } else if myself.can_load_filters {
            Stopping::Filter {
                no_new_privs: false,
            }
        } else if myself.can_trace_privileged {
            Stopping::EveryCall(
                "a filter needs no_new_privs (no CAP_SYS_ADMIN), which disables set-user-ID programs",
            )
        } else {
            Stopping::Filter { no_new_privs: true }
        }
    }

    fn start(
        &self,
        command: &Command,
        myself: Status,
        sink: &mut dyn Sink,
        stop: &Stop,
    ) -> Result<RunEnd, Error> {
        let (recording_filter, filter) = match self.stopping(command.until, myself) {
            Stopping::EveryCall(_) => (None, None),
            Stopping::Filter { no_new_privs } => {
                let recording_filter = RecordingFilter::new(
                    self.patch
                        && !self.interest.as_ref().is_some_and(Interest::has_sites)
                        && arch::can_allow(),
                );
                let filter = LaunchFilter {
                    program: recording_filter.program(),
                    no_new_privs,
                    listener: false,
                };
                (Some(recording_filter), Some(filter))
            }
        };
        let mut launched = launch(command, filter.as_ref())?;
        let task = launched.task();
        let mut options = attach::OPTIONS;
        if command.until == Until::All {
            // Else a task would live on under a filter whose tracer is gone; and a workload whose recorder was killed
            // shouldn't pretend to be recorded.
            options |= Options::PTRACE_O_EXITKILL;
        }
        attach::seize(task, options)?;
        if recording_filter.is_none() {
            stop_at_next_call(task)?;
        }
        if let Some(reason) = stop.reason() {
            return Err(Error::Stopped(reason.to_owned()));
        }
        // Of all tracers, the kernel shows the thread.
        let tracer = nix::unistd::gettid().as_raw();
        (command.job).started(task, move |sender| proc::tracer_of(sender) == Some(tracer));
        launched.release()?;
        let job = Some(command.job.as_ref());
        let mut engine = Engine::new(
            recording_filter,
            options,
            self.interest.as_ref(),
            myself,
            sink,
            stop,
            job,
        );
        engine.expect_command(task);
        let ended = engine.run(command.until);
        command.job.ended();
        ended?;
        let command = engine.into_command();
        if !command.executed
            && command.exit.is_some()
            && let Some(error) = launched.failure()
        {
            return Err(error);
        }
        Ok(RunEnd {
            exit: command.exit,
            no_new_privs: filter.is_some_and(|filter| filter.no_new_privs),
        })
    }

    fn attach(
        &self,
        process: Task,
        myself: Status,
        run: &mut OneRun<'_>,
        stop: &Stop,
    ) -> Result<RunEnd, Error> {
        run.event(Event::Lost {
            count: None,
            why: format!("the recording began when process {process} already ran"),
        });
        if !proc::lists_children() {
            run.event(Event::Lost {
                count: None,
                why: format!(
                    "the kernel doesn't list the children of process {process} (CONFIG_PROC_CHILDREN): those that already ran \
                     are not recorded"
                ),
            });
        }
        let tasks = attach::seize_tree(process)?;
        let text = format!("recording process {process} and its children until they end");
        run.notice(Notice::Ready(text));
        let mut engine = Engine::new(
            None,
            attach::OPTIONS,
            self.interest.as_ref(),
            myself,
            run,
            stop,
            None,
        );
        for task in tasks {
            engine.meet_running(task);
        }
        engine.watch(process);
        engine.run(Until::All)?;
        Ok(RunEnd {
            exit: engine.into_command().exit,
            no_new_privs: false,
        })
    }
}

const SCOPE: Unavailable = Unavailable::Target("processes that others start");

/// Brings the seized child, which waits to be released, to where `PTRACE_SYSCALL` stops are reported.
fn stop_at_next_call(task: Task) -> Result<(), Error> {
    let failed = |operation| {
        move |source| Error::Task {
            operation,
            task,
            source,
        }
    };
    requests::interrupt(Pid::from_raw(task.0)).map_err(failed("PTRACE_INTERRUPT"))?;
    while wait::wait_for(task, Patience::Block)
        .map_err(failed("wait4"))?
        .is_none()
    {}
    crate::sys::ptrace::resume(task, Resume::Syscall, 0).map_err(failed("PTRACE_SYSCALL"))
}

/// `PTRACE_GET_SYSCALL_INFO` came with Linux 5.3. Asked here once, so that a failing request later means a dead tracee.
fn check_kernel() -> Result<(), Unavailable> {
    if proc::kernel_version().is_some_and(|version| version < (5, 3)) {
        let feature = "PTRACE_GET_SYSCALL_INFO, which came with Linux 5.3";
        return Err(Unavailable::Feature(feature.to_owned()));
    }
    Ok(())
}
