//! Whether ptrace(2) works here, found out by trying.

use nix::errno::Errno;
use nix::sys::ptrace::Options;

use super::attach;
use crate::backend::launch::launch;
use crate::backend::{Command, Error, Unavailable, proc};
use crate::event::Task;
use crate::sys::wait;

/// Traces a child that executes nothing.
pub(super) fn trace_child() -> Result<(), Unavailable> {
    let nothing = Command::new("/".into(), Vec::new());
    let child = launch(&nothing, None).map_err(Unavailable::failed)?;
    let task = child.task();
    let traced = attach::seize(task, Options::empty());
    let reason = traced.map_err(|error| reason(error, task));
    // Closes its gate, so that it exits.
    drop(child);
    while matches!(
        wait::wait_child(task),
        Err(Errno::EINTR) | Ok(wait::ChildChange::Stopped(_))
    ) {}
    reason
}

/// Whether a process may be traced. Opening its memory asks the kernel the same question as tracing it (`PTRACE_MODE_ATTACH`,
/// ptrace(2)), and doesn't disturb it.
pub(super) fn may_trace(process: Task) -> Result<(), Unavailable> {
    let tracer = proc::tracer_of(process);
    let error = match (proc::open_memory(process), tracer) {
        (Ok(_), None) => return trace_child(),
        (Ok(_), Some(tracer)) => Error::Traced {
            task: process,
            tracer,
        },
        (Err(error), _) => match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT) => Error::NoProcess(process),
            _ => Error::Task {
                operation: "PTRACE_SEIZE",
                task: process,
                source: Errno::EPERM,
            },
        },
    };
    Err(reason(error, process))
}

/// Why tracing is refused, as far as it is known.
fn reason(error: Error, task: Task) -> Unavailable {
    let Error::Task { source, .. } = &error else {
        return match error {
            Error::Traced { tracer, .. } if proc::parent_of(task) == Some(proc::myself()) => {
                Unavailable::Forbidden(format!(
                    "process {tracer} traces sc-record and all that it starts"
                ))
            }
            error => Unavailable::failed(error),
        };
    };
    match (source, proc::ptrace_scope()) {
        (Errno::EPERM, Some(3)) => Unavailable::Forbidden(
            "kernel.yama.ptrace_scope is 3: nobody may trace until the next boot".to_owned(),
        ),
        (Errno::EPERM, Some(1 | 2)) => Unavailable::Capability {
            what: "tracing it, as kernel.yama.ptrace_scope is set,",
            capability: "CAP_SYS_PTRACE",
        },
        (Errno::EPERM | Errno::ENOSYS, _) if proc::Status::of_recorder().has_filter => {
            Unavailable::Forbidden(format!(
                "ptrace(2) fails ({}), probably by the seccomp filter that sc-record runs under; in a container of Docker or \
                 Podman, --cap-add SYS_PTRACE changes its default",
                source.desc()
            ))
        }
        _ => Unavailable::failed(error),
    }
}
