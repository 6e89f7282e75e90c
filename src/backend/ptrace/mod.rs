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
//! `special_calls` handles calls that would end or show the recording; `interrupted_calls` enters calls again that only a
//! tracer interrupted; `call_sites` finds out who made a call; `tracee` is the state of each task; `stop` is its current
//! stop. `arch` holds all code that depends on the architecture.

mod arch;
mod attach;
mod call_sites;
mod engine;
mod interrupted_calls;
mod recording_filter;
mod special_calls;
mod special_table;
mod stop;
mod tracee;

use std::fmt;

use nix::errno::Errno;
use nix::sys::ptrace::{self as requests, Options};
use nix::unistd::Pid;

use super::launch::launch;
use super::proc::{self, Status};
use super::{Backend, Command, Control, Error, Interest, Outcome, Target, Until};
use crate::event::{Event, Sink, Task};
use crate::sys::launch::Filter;
use crate::sys::ptrace::Resume;
use crate::sys::signal;
use crate::sys::wait::{self, Patience};
use engine::Engine;
use recording_filter::RecordingFilter;

/// Records with ptrace(2).
#[derive(Clone, Debug, Default)]
pub struct Ptrace {
    /// When to end.
    pub until: Until,
    /// Never load the recording filter.
    pub no_filter: bool,
    /// Of which calls to tell the [`CallSite`](crate::event::CallSite). `None`: of none.
    pub interest: Option<Interest>,
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
            } => f.write_str("one stop per call, by a seccomp filter"),
            Stopping::Filter { no_new_privs: true } => {
                f.write_str("one stop per call, by a seccomp filter with no_new_privs")
            }
            Stopping::EveryCall(why) => write!(f, "two stops per call: {why}"),
        }
    }
}

impl Backend for Ptrace {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn record(
        &self,
        target: &Target,
        sink: &mut (dyn Sink + Send),
        control: &Control,
    ) -> Result<Outcome, Error> {
        let myself = Status::of_recorder();
        check_kernel()?;
        signal::catch_kicks().map_err(system("sigaction"))?;
        signal::keep_children().map_err(system("sigaction"))?;
        // ptrace binds tracees to a thread. When this one ends, the kernel lets go of those that are left: sleeping ones
        // aren't even woken, which no request could promise.
        std::thread::scope(|scope| {
            let tracer = std::thread::Builder::new().name("tracer".to_owned());
            let tracer = tracer.spawn_scoped(scope, || {
                control.recorder_starts();
                let outcome = match target {
                    Target::Command(command) => self.start(command, myself, sink, control),
                    Target::Process(process) => self.attach(*process, myself, sink, control),
                };
                control.recorder_ends();
                outcome
            });
            let tracer = tracer.map_err(|error| Error::System {
                operation: "starting a thread",
                source: error
                    .raw_os_error()
                    .map_or(Errno::UnknownErrno, Errno::from_raw),
            })?;
            match tracer.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Ptrace {
    /// How the tasks of a command will be stopped at their calls.
    #[must_use]
    pub fn stopping(&self) -> Stopping {
        self.stopping_under(Status::of_recorder())
    }

    fn stopping_under(&self, myself: Status) -> Stopping {
        if self.no_filter {
            Stopping::EveryCall("as asked for")
        } else if self.until == Until::Exit {
            Stopping::EveryCall("what the command leaves behind must run on without a tracer")
        } else if myself.has_filter {
            Stopping::EveryCall(
                "the recorder runs under a seccomp filter, which would hide calls from its own",
            )
        } else if !proc::is_of_this_namespace() {
            Stopping::EveryCall("/proc doesn't show this pid namespace")
        } else if !proc::seccomp_can_trace() {
            Stopping::EveryCall("the kernel has no SECCOMP_RET_TRACE")
        } else if myself.can_load_filters {
            Stopping::Filter {
                no_new_privs: false,
            }
        } else if myself.can_trace_privileged {
            Stopping::EveryCall(
                "a filter needs no_new_privs (no CAP_SYS_ADMIN), which setuid programs don't survive",
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
        control: &Control,
    ) -> Result<Outcome, Error> {
        let (recording_filter, filter) = match self.stopping_under(myself) {
            Stopping::EveryCall(_) => (None, None),
            Stopping::Filter { no_new_privs } => {
                let recording_filter = RecordingFilter::new();
                let filter = Filter {
                    program: recording_filter.program(),
                    no_new_privs,
                };
                (Some(recording_filter), Some(filter))
            }
        };
        let mut launched = launch(command, filter.as_ref())?;
        let task = launched.task();
        let mut options = attach::OPTIONS;
        if self.until == Until::All {
            // Else a task would live on under a filter whose tracer is gone; and a workload whose recorder was killed
            // shouldn't pretend to be recorded.
            options |= Options::PTRACE_O_EXITKILL;
        }
        attach::seize(task, options)?;
        if recording_filter.is_none() {
            stop_at_next_call(task)?;
        }
        control.command_runs(task);
        launched.release()?;
        let mut engine = Engine::new(
            recording_filter,
            self.interest.as_ref(),
            myself,
            sink,
            control,
        );
        engine.expect_command(task);
        engine.run(self.until)?;
        let command = engine.into_command();
        if !command.executed
            && command.exit.is_some()
            && let Some(error) = launched.failure()
        {
            return Err(error);
        }
        Ok(Outcome {
            exit: command.exit,
            no_new_privs: filter.is_some_and(|filter| filter.no_new_privs),
        })
    }

    fn attach(
        &self,
        process: Task,
        myself: Status,
        sink: &mut dyn Sink,
        control: &Control,
    ) -> Result<Outcome, Error> {
        sink.event(Event::Lost {
            count: None,
            why: format!("the recording began when process {process} already ran"),
        });
        let tasks = attach::seize_tree(process)?;
        let mut engine = Engine::new(None, self.interest.as_ref(), myself, sink, control);
        for task in tasks {
            engine.meet_running(task);
        }
        engine.watch(process);
        engine.run(Until::All)?;
        Ok(Outcome {
            exit: engine.into_command().exit,
            no_new_privs: false,
        })
    }
}

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
fn check_kernel() -> Result<(), Error> {
    if proc::kernel_version().is_some_and(|version| version < (5, 3)) {
        return Err(Error::System {
            operation: "PTRACE_GET_SYSCALL_INFO, which needs Linux 5.3,",
            source: Errno::ENOSYS,
        });
    }
    Ok(())
}

fn system(operation: &'static str) -> impl Fn(Errno) -> Error {
    move |source| Error::System { operation, source }
}
