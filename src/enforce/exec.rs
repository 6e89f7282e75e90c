//! Becoming a command under a filter.

use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::listener::Courier;
use super::{Filter, ListenerError};
use crate::bpf::BadProgram;
use crate::profile::{Action, Flag, Listener};
use crate::sys::exec::{self as sys, Image, Load};
use crate::syscall::{Arch, Syscall};

/// Whether programs under the filter can gain privileges (`no_new_privs`, prctl(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Privileges {
    /// Set-user-ID programs and file capabilities have no effect. Loading a filter needs no privilege then.
    #[default]
    NoNew,
    /// They have the effect that they have without the filter. Loading it needs `CAP_SYS_ADMIN`. If the process has
    /// `no_new_privs` already it keeps it: nobody can take it away.
    Keep,
}

/// Why a command can't be executed under a filter. Nothing of this process has changed then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The path or an argument has a NUL.
    #[error("{}: a path or an argument with a NUL can't be executed", .path.display())]
    Nul {
        /// The command.
        path: PathBuf,
    },
    /// The filter would refuse the one call that it must let through.
    #[error("the profile answers {action} to execve: no command can be started under it")]
    Refused {
        /// What it answers.
        action: Action,
    },
    /// The filter's program can't be followed.
    #[error("the filter can't be followed")]
    Unreadable(#[from] BadProgram),
    /// Nobody answers notifications.
    #[error(transparent)]
    Listener(#[from] ListenerError),
    /// `no_new_privs` can't be set.
    #[error("cannot set no_new_privs")]
    NoNewPrivs(#[source] Errno),
    /// A filter can be loaded without `no_new_privs` by those only who have `CAP_SYS_ADMIN`.
    #[error("loading a filter without no_new_privs needs CAP_SYS_ADMIN")]
    NeedsCapability,
    /// The kernel refuses the filter.
    #[error("the kernel refuses the filter")]
    Load(#[source] Errno),
}

/// Loads a filter and becomes the command, in place: the process id, the terminal, the standard descriptors, the signal
/// dispositions and the exit status are the command's own. Returns only if the filter was not loaded.
///
/// `path` must have been found already ([`crate::command::find_executable`]): from the loading of the filter on there is no
/// other system call than execve(2). If that fails, the reason goes to stderr and the process exits with 127 if there is no
/// such file (the interpreter of a script for instance), and 126 otherwise, as far as the filter lets it.
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
    let image = Image::new(path, argv.collect::<Result<_, _>>().map_err(nul)?);
    check_execve(filter, &image)?;

    let courier = match (filter.notifies, listener) {
        (false, _) => None,
        (true, None) => return Err(ListenerError::NoPath.into()),
        (true, Some(listener)) => Some(Courier::start(listener, undelivered(listener))?),
    };
    let load = Load {
        program: &filter.program,
        flags: flags(filter),
        no_new_privs: privileges == Privileges::NoNew,
    };
    let deliver = |fd| {
        if let Some(courier) = &courier {
            courier.deliver(fd);
        }
    };
    let failure = sys::load_and_exec(&load, &image, deliver);
    if let Some(courier) = &courier {
        courier.dismiss();
    }
    Err(match failure {
        sys::Failure::NoNewPrivs(errno) => ExecError::NoNewPrivs(errno),
        sys::Failure::Load(Errno::EACCES) => ExecError::NeedsCapability,
        sys::Failure::Load(errno) => ExecError::Load(errno),
    })
}

/// The filter must let execve(2) through with the very arguments that it will have.
fn check_execve(filter: &Filter, image: &Image) -> Result<(), ExecError> {
    let Some(execve) = Syscall::from_name(Arch::NATIVE, "execve") else {
        return Ok(());
    };
    match filter.answer(execve, &image.args())? {
        // The listener may let it through, and so may a tracer.
        Action::Allow | Action::Log | Action::Notify | Action::Trace(_) => Ok(()),
        action => Err(ExecError::Refused { action }),
    }
}

/// The flags of seccomp(2).
fn flags(filter: &Filter) -> libc::c_ulong {
    let mut flags = 0;
    for flag in &filter.flags {
        flags |= match flag {
            // There is one thread, but for the one that serves the listener, and the kernel refuses the two flags together.
            Flag::Tsync if filter.notifies => 0,
            Flag::Tsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            Flag::Log => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // The kernel refuses it where there is no listener to wait for.
            Flag::WaitKillableRecv if !filter.notifies => 0,
            Flag::WaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
        };
    }
    if filter.notifies {
        flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    }
    flags
}

/// Ends the process: the filter is there, but nobody would answer.
fn undelivered(listener: &Listener) -> impl FnOnce(io::Error) + Send + use<> {
    let path = listener.path().to_owned();
    move |error| {
        // There is nobody left to tell if that fails.
        let _ = writeln!(
            io::stderr(),
            "sc-record: error: cannot send the descriptor of the notifications to {path}: {error}"
        );
        sys::exit_process(125)
    }
}
