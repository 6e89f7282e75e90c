//! What to do about an error: the last line that the user sees.

use nix::errno::Errno;
use sc_record::backend;
use sc_record::command::CommandError;

/// The advice for an error, where there is some. The first cause that has one decides.
pub(crate) fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(of_cause)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let advice = match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(CommandError::NotFound { .. }), _) => {
            "a program that is not in PATH needs its path: ./NAME"
        }
        (Some(CommandError::NotExecutable { .. }), _) | (_, Some(backend::Error::Exec { .. })) => {
            "see that it is executable (chmod +x) and that its interpreter exists"
        }
        (_, Some(backend::Error::Traced { .. })) => {
            "end the other tracer first: a task can have one only"
        }
        (
            _,
            Some(backend::Error::Task {
                source: Errno::EPERM,
                ..
            }),
        ) => {
            "run as root or with CAP_SYS_PTRACE; /proc/sys/kernel/yama/ptrace_scope can forbid it too"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}
