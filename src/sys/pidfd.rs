//! Descriptors of processes (`pidfd_open(2)`, Linux 5.3).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// A descriptor that becomes readable when all threads of the process have ended. ESRCH: there is no such process.
pub(crate) fn open(process: i32) -> nix::Result<OwnedFd> {
    open_with(process, 0)
}

/// A descriptor of a thread (`PIDFD_THREAD`, Linux 6.9). EINVAL: the kernel has none.
pub(crate) fn open_thread(thread: i32) -> nix::Result<OwnedFd> {
    /// `linux/pidfd.h`.
    const PIDFD_THREAD: libc::c_int = libc::O_EXCL;
    open_with(thread, PIDFD_THREAD)
}

fn open_with(task: i32, flags: libc::c_int) -> nix::Result<OwnedFd> {
    // SAFETY: both arguments are passed by value.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, task, flags) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just created this descriptor (close-on-exec), and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A copy of a descriptor of another process or thread (`pidfd_getfd(2)`, Linux 5.6). The caller must be allowed to trace it.
pub(crate) fn descriptor_of(process: &OwnedFd, fd: i32) -> nix::Result<OwnedFd> {
    // SAFETY: all arguments are passed by value.
    let fd =
        Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just created this descriptor (close-on-exec), and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
