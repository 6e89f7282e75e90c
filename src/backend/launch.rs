//! Starts the command of a target, for every backend.

use std::ffi::CString;
use std::io::{PipeReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;

use super::{Command, Error, Stop, proc};
use crate::event::{Exit, Task};
use crate::panic;
use crate::sys::exec::ExecImage;
use crate::sys::launch::{self, Child, Failure, LaunchFilter};
use crate::sys::wait;

/// A process that waits to be released before it executes the command.
pub(super) struct Launched {
    child: Child,
    command: Command,
}

/// Creates a process that executes the command once it is released.
pub(super) fn launch(command: &Command, filter: Option<&LaunchFilter>) -> Result<Launched, Error> {
    let nul = |_| Error::Nul {
        path: command.path.clone(),
    };
    let path = CString::new(command.path.as_os_str().as_bytes()).map_err(nul)?;
    let argv = (command.argv.iter())
        .map(|arg| CString::new(arg.as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(nul)?;
    let child = launch::spawn(&ExecImage::new(path, argv), filter).map_err(Error::Fork)?;
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

    /// Lets it load a filter with a listener, which it gives, and exec. It waits until its calls are answered.
    pub(super) fn release_to_listener(&mut self) -> Result<OwnedFd, Error> {
        self.release()?;
        match self.child.listener() {
            Ok(Some(listener)) => Ok(listener),
            // The failure says more.
            Ok(None) => Err(Error::Filter(Errno::EINVAL)),
            Err(source) => Err(Error::System {
                operation: "pidfd_getfd",
                source,
            }),
        }
    }

    /// Whether it has executed the command, or failed to.
    pub(super) fn has_reported(&self) -> Result<bool, Error> {
        self.child.has_reported(0).map_err(Error::system("poll"))
    }

    /// Ends the process, which was never released.
    pub(super) fn abandon(self) {
        let task = self.task();
        drop(self);
        while let Err(Errno::EINTR) = wait::wait_child(task) {}
    }

    /// Lets it execute the command, and waits until that has ended. Gives how it ended; `None` if the recording must end first.
    pub(super) fn run(mut self, stop: &Stop) -> Result<Option<Exit>, Error> {
        self.release()?;
        let (command, task) = (self.command.clone(), self.task());
        if let Some(error) = self.failure() {
            // It is gone, or about to be.
            let _ = wait::wait_child(task);
            return Err(error);
        }
        wait_for(&command, task, stop)
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

/// The command of a backend that doesn't trace it is about to run.
pub(super) fn started(command: &Command, task: Task) {
    (command.job).started(task, move |sender| {
        proc::ancestors(sender).any(|ancestor| ancestor == task)
    });
}

/// Releases the command of a backend that doesn't trace it, and waits for it in another thread. Meanwhile, `record` runs,
/// with a pipe that becomes readable when the command has ended. Gives how the command ended; `None` if the recording
/// must end first.
pub(super) fn while_waiting(
    command: &Command,
    launched: Launched,
    stop: &Stop,
    record: impl FnOnce(&PipeReader) -> Result<(), Error>,
) -> Result<Option<Exit>, Error> {
    started(command, launched.task());
    let exit = std::thread::scope(|scope| {
        let (is_over, mut over) = std::io::pipe().map_err(Error::io("pipe"))?;
        let waiter = std::thread::Builder::new().name("waiter".to_owned());
        let waiter = waiter
            .spawn_scoped(scope, move || {
                let ended = launched.run(stop);
                // The reader lives longer than this thread.
                let _ = over.write_all(&[0]);
                ended
            })
            .map_err(Error::io("starting a thread"))?;
        record(&is_over)?;
        panic::join(waiter.join())
    });
    command.job.ended();
    exit
}

/// How the command ended; `None` if the recording must end first.
fn wait_for(command: &Command, task: Task, stop: &Stop) -> Result<Option<Exit>, Error> {
    let job = &command.job;
    let _interruptible = (stop.interrupt_this_thread()).map_err(Error::system("sigaction"))?;
    let mut stopped = false;
    let exited = |exit| {
        job.exited(exit);
        Ok(Some(exit))
    };
    while !stop.is_requested() {
        match wait::wait_child(task) {
            Ok(wait::ChildChange::Exited(code)) => return exited(Exit::Code(code)),
            Ok(wait::ChildChange::Signaled(signal)) => return exited(Exit::Signal(signal)),
            Ok(wait::ChildChange::Stopped(signal)) => {
                // If it continued in between, the kernel reports only the latest state.
                if std::mem::replace(&mut stopped, true) {
                    job.continued();
                }
                job.stopped(signal);
            }
            Ok(wait::ChildChange::Continued) => {
                stopped = false;
                job.continued();
            }
            Err(Errno::EINTR) => {}
            Err(source) => return Err(Error::system("waiting for the command")(source)),
        }
    }
    Ok(None)
}
