//! The listener's side of `SECCOMP_RET_USER_NOTIF` (`seccomp_unotify(2)`).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    /// What the answer names it by.
    id: u64,
    /// The thread, by its id in the pid namespace of the listener's reader; 0 if it has none there.
    pub(crate) thread: i32,
    /// `AUDIT_ARCH_*`.
    pub(crate) arch: u32,
    pub(crate) nr: i32,
}

/// Takes the next notification, and waits for one if there is none. `ENOENT`: the call was interrupted meanwhile.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> nix::Result<Notification> {
    // SAFETY: all zero is a value of the structure, and the kernel demands it.
    let mut got: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes the structure that it is given; newer kernels have not changed its size.
    Errno::result(unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            &raw mut got,
        )
    })?;
    Ok(Notification {
        id: got.id,
        thread: i32::try_from(got.pid).unwrap_or_default(),
        arch: got.data.arch,
        nr: got.data.nr,
    })
}

/// Has the kernel execute the call. `ENOENT`: the caller is gone, or a signal interrupted the call.
pub(crate) fn go_on(listener: BorrowedFd<'_>, notification: Notification) -> nix::Result<()> {
    let answer = libc::seccomp_notif_resp {
        id: notification.id,
        val: 0,
        error: 0,
        flags: u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or_default(),
    };
    // SAFETY: the kernel only reads the structure.
    Errno::result(unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw const answer,
        )
    })
    .map(drop)
}

/// Wakes callers and reader on the same CPU, which is about three times as fast (Linux 6.6). Older kernels refuse it.
pub(crate) fn wake_synchronously(listener: BorrowedFd<'_>) {
    /// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (`linux/seccomp.h`).
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the argument is a value.
    let _ = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            SYNC_WAKE_UP,
        )
    };
}

/// A descriptor that a message of `SCM_RIGHTS` (unix(7)) brought.
pub(crate) fn received(fd: std::os::fd::RawFd) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: recvmsg(2) has just made it for this process, and each is taken once.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}
