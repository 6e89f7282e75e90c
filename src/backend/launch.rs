//! Starts the command of a target, for every backend.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use super::{Command, Error, Stop};
use crate::event::Task;
use crate::recording::Exit;
use crate::sys::exec::Image;
use crate::sys::launch::{self, Child, Failure, Filter};
use crate::sys::wait;

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

/// How the command ended; `None` if the recording must end first.
pub(super) fn wait_for(command: &Command, task: Task, stop: &Stop) -> Result<Option<Exit>, Error> {
    let job = &command.job;
    let _interruptible = (stop.interrupt_this_thread()).map_err(Error::system("sigaction"))?;
    let mut stopped = false;
    while !stop.is_requested() {
        match wait::wait_child(task) {
            Ok(wait::Child::Exited(code)) => return Ok(Some(Exit::Code(code))),
            Ok(wait::Child::Signaled(signal)) => return Ok(Some(Exit::Signal(signal))),
            Ok(wait::Child::Stopped(signal)) => {
                // If it continued in between, the kernel reports only the latest state.
                if std::mem::replace(&mut stopped, true) {
                    job.continued();
                }
                job.stopped(signal);
            }
            Ok(wait::Child::Continued) => {
                stopped = false;
                job.continued();
            }
            Err(Errno::EINTR) => {}
            Err(source) => return Err(Error::system("waiting for the command")(source)),
        }
    }
    Ok(None)
}
