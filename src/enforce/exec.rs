//! Loads a filter and executes a command under it, in this process.

use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::Filter;
use super::notify::{FdSender, NotifyError};
use crate::profile::{Action, Flag, Listener};
use crate::sys::exec::{self as sys, ExecImage};
use crate::sys::seccomp::{LoadError, LoadFilter};
use crate::syscall::{Arch, Syscall};

/// Whether programs under the filter can gain privileges by execve(2) (`no_new_privs`, prctl(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Privileges {
    /// Set-user-ID bits and file capabilities have no effect. Loading the filter needs no privilege.
    #[default]
    NoNew,
    /// They have their usual effect, unless `no_new_privs` is set already, which can't be undone. Loading the filter needs
    /// `CAP_SYS_ADMIN`.
    Keep,
}

/// Why a command can't be executed under a filter. The process is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The path or an argument contains a NUL byte.
    #[error("{}: the path or an argument contains a NUL byte", .path.display())]
    Nul {
        /// The command.
        path: PathBuf,
    },
    /// The filter would deny execve(2).
    #[error("the profile answers {action} to execve: no command can be started under it")]
    Refused {
        /// The action.
        action: Action,
    },
    /// No process would answer notifications.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// `no_new_privs` can't be set.
    #[error("can't set no_new_privs")]
    NoNewPrivs(#[source] Errno),
    /// Loading a filter without `no_new_privs` needs `CAP_SYS_ADMIN`.
    #[error("loading a filter without no_new_privs needs CAP_SYS_ADMIN")]
    NeedsCapability,
    /// The kernel refuses the filter.
    #[error("the kernel refuses the filter")]
    Load(#[source] Errno),
}

/// Loads a filter and executes the command in this process, which keeps its pid, terminal, standard descriptors and signal
/// dispositions. Returns only if the filter was not loaded.
///
/// `path` must be resolved already ([`crate::command::find_executable`]): between loading the filter and execve(2) there is
/// no other system call. If execve(2) fails, the process prints the reason and exits with 127 if a file is missing (such as
/// the interpreter of a script) and 126 otherwise, as far as the filter allows.
#[must_use]
pub fn exec(
    filter: &Filter,
    listener: Option<&Listener>,
    path: &Path,
    argv: &[OsString],
    privileges: Privileges,
) -> ExecError {
    match load_and_exec(filter, listener, path, argv, privileges) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

fn load_and_exec(
    filter: &Filter,
    listener: Option<&Listener>,
    path: &Path,
    argv: &[OsString],
    privileges: Privileges,
) -> Result<std::convert::Infallible, ExecError> {
    let nul = |_| ExecError::Nul {
        path: path.to_owned(),
    };
    let path = CString::new(path.as_os_str().as_bytes()).map_err(nul)?;
    let argv = argv.iter().map(|arg| CString::new(arg.as_bytes()));
    let image = ExecImage::new(path, argv.collect::<Result<_, _>>().map_err(nul)?);
    require_execve(filter, &image)?;

    let sender = match (filter.notifies, listener) {
        (false, _) => None,
        (true, None) => return Err(NotifyError::NoPath.into()),
        (true, Some(listener)) => Some(FdSender::start(listener, exit_unsent(listener))?),
    };
    let load = LoadFilter {
        program: filter.program.encoded(),
        flags: flags(filter),
        no_new_privs: privileges == Privileges::NoNew,
    };
    let deliver = |fd| {
        if let Some(sender) = &sender {
            sender.send(fd);
        }
    };
    let error = sys::load_and_exec(&load, &image, deliver);
    if let Some(sender) = &sender {
        sender.cancel();
    }
    Err(match error {
        LoadError::NoNewPrivs(errno) => ExecError::NoNewPrivs(errno),
        LoadError::Load(Errno::EACCES) => ExecError::NeedsCapability,
        LoadError::Load(errno) => ExecError::Load(errno),
    })
}

/// Fails if the filter denies execve(2) with the arguments that it will have.
fn require_execve(filter: &Filter, image: &ExecImage) -> Result<(), ExecError> {
    let Some(execve) = Syscall::from_name(Arch::NATIVE, "execve") else {
        return Ok(());
    };
    match filter.action(execve, &image.args()) {
        // The listener or a tracer can allow it.
        Action::Allow | Action::Log | Action::Notify | Action::Trace(_) => Ok(()),
        action => Err(ExecError::Refused { action }),
    }
}

/// The flags of seccomp(2).
fn flags(filter: &Filter) -> libc::c_ulong {
    let mut flags = 0;
    for flag in &filter.flags {
        flags |= match flag {
            // Not needed, since the only other thread sends the descriptor, and the kernel refuses it with NEW_LISTENER.
            Flag::Tsync if filter.notifies => 0,
            Flag::Tsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            Flag::Log => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // The kernel refuses it without NEW_LISTENER.
            Flag::WaitKillableRecv if !filter.notifies => 0,
            Flag::WaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        };
    }
    if filter.notifies {
        flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    }
    flags
}

/// Ends the process, which is under the filter without a process that answers.
fn exit_unsent(listener: &Listener) -> impl FnOnce(io::Error) + Send + use<> {
    let path = listener.path().to_owned();
    move |error| {
        // A failure to print can't be reported either.
        let _ = writeln!(
            io::stderr(),
            "sc-record: error: can't send the notification descriptor to {path}: {error}"
        );
        sys::exit_process(125)
    }
}
