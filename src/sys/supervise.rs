//! A command under a supervisor: a process between it and this one that ends with all of its descendants.
//!
//! The supervisor is a child subreaper (`PR_SET_CHILD_SUBREAPER`, prctl(2)): a descendant of the command that loses its
//! parent becomes the supervisor's child, however it detached itself (setsid(2), a double fork). So the supervisor ends all
//! of them by killing its children until it has none.

use std::ffi::c_char;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::exec::{ExecImage, die};
use super::inherited;
use super::launch::above_standard;
use super::wait::WaitStatus;

/// A command under its own supervisor, in its own session. It is killed when this is dropped, or when this process
/// ends, in whatever way.
pub(crate) struct Supervised {
    supervisor: i32,
    /// The supervisor ends when the last descriptor of this end of the pipe is closed.
    control: Option<OwnedFd>,
    report: File,
}

/// Starts a command with these descriptors as stdin, stdout and stderr, and with the signal state that this process
/// inherited.
pub(crate) fn spawn(image: &ExecImage, stdio: [BorrowedFd<'_>; 3]) -> nix::Result<Supervised> {
    let flags = OFlag::O_CLOEXEC;
    let (control_read, control_write) = nix::unistd::pipe2(flags)?;
    let (report_read, report_write) = nix::unistd::pipe2(flags)?;
    let control_read = above_standard(&control_read)?;
    let report_write = above_standard(&report_write)?;
    let stdio = stdio.map(|fd| fd.as_raw_fd());
    // SAFETY: the child calls only async-signal-safe functions and never returns from here.
    match Errno::result(unsafe { libc::fork() })? {
        0 => supervise(
            image,
            stdio,
            control_read.as_raw_fd(),
            report_write.as_raw_fd(),
        ),
        supervisor => Ok(Supervised {
            supervisor,
            control: Some(control_write),
            report: File::from(report_read),
        }),
    }
}

impl Supervised {
    /// Waits for the command itself, at most this long.
    pub(crate) fn wait(&mut self, at_most: PollTimeout) -> nix::Result<Option<WaitStatus>> {
        let mut fds = [PollFd::new(self.report.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, at_most) {
            Ok(0) | Err(Errno::EINTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno),
        }
        let mut status = [0; size_of::<i32>()];
        // There is no report if another process killed the supervisor.
        (self.report.read_exact(&mut status)).map_err(|_| Errno::ECHILD)?;
        Ok(WaitStatus::from_raw(i32::from_ne_bytes(status)))
    }
}

impl Drop for Supervised {
    /// Kills the command and all its descendants, and waits until they are gone.
    fn drop(&mut self) {
        drop(self.control.take());
        loop {
            // SAFETY: no status is asked for.
            let waited = unsafe { libc::waitpid(self.supervisor, std::ptr::null_mut(), 0) };
            if waited != -1 || Errno::last() != Errno::EINTR {
                return;
            }
        }
    }
}

/// The supervisor. Async-signal-safe: its parent may have threads.
fn supervise(image: &ExecImage, stdio: [RawFd; 3], control: RawFd, report: RawFd) -> ! {
    // SAFETY: every pointer is to a local that outlives the call; all-zero bytes are a valid sigaction. This is a child
    // after fork(2): it shares its descriptors with no other process, uses only the two that it keeps, and has no
    // children but the command.
    unsafe {
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        libc::setsid();
        // If SIGCHLD was ignored when this program started, there would be no statuses.
        let default: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGCHLD, &raw const default, std::ptr::null_mut());
        let command = libc::fork();
        if command == 0 {
            become_command(image, stdio);
        }
        // The child inherited the other ends of the pipes, and those of other supervisors.
        let (low, high) = (control.min(report), control.max(report));
        for (first, last) in [(0, low - 1), (low + 1, high - 1), (high + 1, i32::MAX)] {
            close_all(first, last);
        }
        if command > 0
            && let Some(status) = status_unless_ended(command, control)
        {
            let bytes = status.to_ne_bytes();
            libc::write(report, bytes.as_ptr().cast(), bytes.len());
        }
        kill_children();
        libc::_exit(0)
    }
}

/// The command's process.
///
/// # Safety
/// Only in a child after fork(2): it replaces the standard descriptors and never returns.
unsafe fn become_command(image: &ExecImage, stdio: [RawFd; 3]) -> ! {
    inherited::restore_signals();
    // SAFETY: dup2 takes numbers. The arrays of the image end with a null and lead to strings that it owns.
    unsafe {
        // The descriptors are above the standard ones, so none is overwritten before it is copied.
        for (standard, fd) in (0..).zip(stdio) {
            libc::dup2(fd, standard);
        }
        image.execute();
    }
    die(image.path(), Errno::last())
}

/// Waits until the command has ended, and returns its status; `None` if the recorder closes its end of the pipe first.
/// Async-signal-safe.
fn status_unless_ended(command: i32, control: RawFd) -> Option<i32> {
    // SAFETY: the array of descriptors and the status are locals that outlive the calls.
    unsafe {
        let pidfd = libc::syscall(libc::SYS_pidfd_open, command, 0);
        let pidfd = i32::try_from(pidfd).ok().filter(|fd| *fd >= 0)?;
        let wanted = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut fds = [wanted(pidfd), wanted(control)];
        while libc::poll(fds.as_mut_ptr(), 2, -1) == -1 && Errno::last() == Errno::EINTR {}
        if fds[0].revents == 0 {
            return None;
        }
        let mut status = 0;
        (libc::waitpid(command, &raw mut status, 0) == command).then_some(status)
    }
}

/// After how many rounds without a successful kill to give up: the rest are programs of another user.
const VAIN_ROUNDS: u32 = 200;

/// Kills the children of this process, and the orphans that this reparents to it, until there are none.
///
/// proc(5) lists them. The caller of [`spawn`] checks that this kernel has the list (`CONFIG_PROC_CHILDREN`).
/// Async-signal-safe.
///
/// # Safety
/// Only in a process made for this: no other code may use its children or wait for them.
unsafe fn kill_children() {
    let mut in_vain = 0;
    while in_vain < VAIN_ROUNDS {
        let mut buffer = [0u8; 4096];
        // SAFETY: the path ends with NUL; the buffer has the given length; kill and waitpid get numbers and null.
        unsafe {
            let file = libc::open(
                c"/proc/thread-self/children".as_ptr().cast::<c_char>(),
                libc::O_RDONLY | libc::O_CLOEXEC,
            );
            let length = libc::read(file, buffer.as_mut_ptr().cast(), buffer.len());
            libc::close(file);
            let text = buffer
                .get(..usize::try_from(length).unwrap_or(0))
                .unwrap_or(&[]);
            in_vain += 1;
            let mut pid = 0_i32;
            for &byte in text {
                if byte.is_ascii_digit() {
                    pid = pid
                        .saturating_mul(10)
                        .saturating_add(i32::from(byte - b'0'));
                } else {
                    // A space follows each number; one that the buffer cuts off is left for the next round. No one has
                    // waited for this child, so its pid can't have been reused.
                    if pid > 1 && libc::kill(pid, libc::SIGKILL) == 0 {
                        in_vain = 0;
                    }
                    pid = 0;
                }
            }
            loop {
                match libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) {
                    0 => break,
                    -1 if Errno::last() == Errno::ECHILD => return,
                    _ => {}
                }
            }
            let moment = libc::timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            libc::nanosleep(&raw const moment, std::ptr::null_mut());
        }
    }
}

/// Closes the descriptors from the first to the last. Async-signal-safe.
///
/// # Safety
/// The process must not use any of them afterwards, and must not share its descriptor table.
pub(super) unsafe fn close_all(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: the caller guarantees it.
    unsafe {
        // Linux 5.9.
        if libc::syscall(libc::SYS_close_range, first, last, 0) == -1 {
            let most = i32::try_from(libc::sysconf(libc::_SC_OPEN_MAX)).unwrap_or(1024);
            for fd in first..=last.min(most) {
                libc::close(fd);
            }
        }
    }
}
