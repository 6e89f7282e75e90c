//! The recorder's child, from fork(2) to the execve(2) that makes it the workload.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::exec::ExecImage;
use super::inherited;
use super::pidfd;
use super::seccomp::{LoadFilter, notify_flags};
use crate::event::Task;

/// A classic BPF program for seccomp(2), and whether `no_new_privs` must be set to load it.
#[derive(Clone, Debug)]
pub(crate) struct LaunchFilter {
    pub(crate) program: Vec<libc::sock_filter>,
    pub(crate) no_new_privs: bool,
    /// Its listener goes to the parent ([`Child::listener`]).
    pub(crate) listener: bool,
}

/// A child that waits to be released.
pub(crate) struct Child {
    pub(crate) task: Task,
    /// Until the release.
    gate: Option<File>,
    report: File,
}

/// The step of the child that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// prctl(2) `PR_SET_NO_NEW_PRIVS` or seccomp(2).
    Filter(Errno),
    /// execve(2).
    Exec(Errno),
}

impl Child {
    /// Lets the child load its filter and exec.
    pub(crate) fn release(&mut self) -> std::io::Result<()> {
        match self.gate.take() {
            Some(mut gate) => gate.write_all(&[1]),
            None => Ok(()),
        }
    }

    /// The listener of the filter of a released child. Until its calls are answered, the child waits in execve(2).
    /// `Ok(None)`: it failed to load the filter, or died.
    pub(crate) fn listener(&mut self) -> nix::Result<Option<OwnedFd>> {
        let process = pidfd::open(self.task.0)?;
        let mut message = [0; 5];
        if self.report.read_exact(&mut message).is_err() {
            return Ok(None);
        }
        let [_, number @ ..] = message;
        let number = i32::from_ne_bytes(number);
        loop {
            match pidfd::descriptor_of(&process, number) {
                Ok(listener) => return Ok(Some(listener)),
                Err(Errno::EBADF) if self.has_reported(1)? => return Ok(None),
                // Not yet loaded.
                Err(Errno::EBADF) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Whether the child has executed the program, failed to, or died, after this many milliseconds at the latest.
    pub(crate) fn has_reported(&self, milliseconds: u16) -> nix::Result<bool> {
        let mut fds = [PollFd::new(self.report.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(milliseconds)) {
            Err(Errno::EINTR) => Ok(false),
            ready => Ok(ready? > 0),
        }
    }

    /// Why the child did not become the workload; `None` if it did. Blocks until the child executes the program or
    /// ends, so call it only after one of these happened.
    pub(crate) fn failure(mut self) -> Option<Failure> {
        let mut message = [0; 5];
        // execve(2) and the child's death close the other end.
        self.report.read_exact(&mut message).ok()?;
        let [step, errno @ ..] = message;
        let errno = Errno::from_raw(i32::from_ne_bytes(errno));
        Some(match step {
            STEP_FILTER => Failure::Filter(errno),
            _ => Failure::Exec(errno),
        })
    }
}

const STEP_LISTENER: u8 = 0;
const STEP_FILTER: u8 = 1;
const STEP_EXEC: u8 = 2;

/// Creates a child that executes a command once it is released, under this filter and with the state that this process
/// inherited. The filter is loaded with `SECCOMP_FILTER_FLAG_SPEC_ALLOW`, so that older kernels don't slow the
/// workload. Between loading the filter and the workload, execve(2) is the only system call.
pub(crate) fn spawn(image: &ExecImage, filter: Option<&LaunchFilter>) -> nix::Result<Child> {
    let flags = OFlag::O_CLOEXEC;
    let (gate_read, gate_write) = nix::unistd::pipe2(flags)?;
    let (report_read, report_write) = nix::unistd::pipe2(flags)?;
    // The child closes standard descriptors that were closed at start. It must not close these.
    let gate_read = above_standard(&gate_read)?;
    let report_write = above_standard(&report_write)?;
    // SAFETY: the child calls async-signal-safe functions only, and never returns from here.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            // Otherwise the child's own copy would keep the gate open after the recorder's death.
            drop(gate_write);
            child(
                image,
                filter,
                gate_read.as_raw_fd(),
                report_write.as_raw_fd(),
            )
        }
        pid => Ok(Child {
            task: Task(pid),
            gate: Some(File::from(gate_write)),
            report: File::from(report_read),
        }),
    }
}

/// A copy of a descriptor, above the standard ones.
pub(super) fn above_standard(fd: &OwnedFd) -> nix::Result<OwnedFd> {
    let moved = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just created this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(moved) })
}

/// The child. Async-signal-safe.
fn child(image: &ExecImage, filter: Option<&LaunchFilter>, gate: RawFd, report: RawFd) -> ! {
    inherited::restore();
    let say = |step: u8, number: i32| {
        let mut message = [step; 5];
        message[1..].copy_from_slice(&number.to_ne_bytes());
        // SAFETY: the buffer is valid.
        unsafe { libc::write(report, message.as_ptr().cast(), message.len()) };
    };
    let fail = |step: u8| -> ! {
        say(step, Errno::last_raw());
        // SAFETY: _exit ends the child without running the parent's handlers.
        unsafe { libc::_exit(127) }
    };
    let mut byte = 0u8;
    loop {
        // SAFETY: the pointer is to a local.
        match unsafe { libc::read(gate, (&raw mut byte).cast(), 1) } {
            1 => break,
            -1 if Errno::last() == Errno::EINTR => {}
            // The recorder is gone, so the workload must not start. SAFETY: _exit ends the child without running the
            // parent's handlers.
            _ => unsafe { libc::_exit(127) },
        }
    }
    if let Some(filter) = filter {
        let mut flags = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
        if filter.listener {
            flags |= notify_flags();
            // The kernel takes the lowest free number. Once the filter is loaded, saying it would wait for an answer.
            // SAFETY: the calls take and give numbers.
            let next = unsafe { libc::dup(report) };
            // SAFETY: as above.
            unsafe { libc::close(next) };
            say(STEP_LISTENER, next);
        }
        let filter = LoadFilter {
            program: &filter.program,
            flags,
            no_new_privs: filter.no_new_privs,
        };
        if filter.load().is_err() {
            fail(STEP_FILTER);
        }
    }
    image.execute();
    fail(STEP_EXEC)
}
