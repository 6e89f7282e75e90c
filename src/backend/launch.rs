//! Starts the command of a target, for every backend.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use super::{Command, Error};
use crate::event::Task;
use crate::sys::exec::Image;
use crate::sys::launch::{self, Child, Failure, Filter};

/// A process that waits to be released before it executes the command.
pub(super) struct Launched {
    child: Child,
    command: Command,
}

/// Creates a process that executes the command once it is released.
pub(super) fn launch(command: &Command, filter: Option<&Filter>) -> Result<Launched, Error> {
    let nul = |_| Error::Nul {
        path: command.path.clone(),
    };
    let path = CString::new(command.path.as_os_str().as_bytes()).map_err(nul)?;
    let argv = (command.argv.iter())
        .map(|arg| CString::new(arg.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(nul)?;
    let child = launch::spawn(&Image::new(path, argv), filter).map_err(Error::Fork)?;
    Ok(Launched {
        child,
        command: command.clone(),
    })
}

impl Launched {
    /// The process.
    pub(super) fn task(&self) -> Task {
        self.child.task
    }

    /// Lets it load its filter and exec.
    pub(super) fn release(&mut self) -> Result<(), Error> {
        (self.child.release()).map_err(Error::io("releasing the workload"))
    }

    /// Why it did not execute the command. Call this only after the process ended without executing anything.
    pub(super) fn failure(self) -> Option<Error> {
        Some(match self.child.failure()? {
            Failure::Filter(errno) => Error::Filter(errno),
            Failure::Exec(source) => Error::Exec {
                path: self.command.path,
                source,
            },
        })
    }
}
