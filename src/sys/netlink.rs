//! Parts of netlink(7) that nix lacks.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// The number of messages that a socket has dropped (`SO_MEMINFO`, Linux 4.12); `None` if the kernel doesn't report it.
pub(crate) fn drops(socket: BorrowedFd<'_>) -> Option<u32> {
    /// `SK_MEMINFO_VARS` and `SK_MEMINFO_DROPS` (`linux/sock_diag.h`).
    const VARS: usize = 9;
    const DROPS: usize = 8;
    let mut values = [0u32; VARS];
    let mut length = u32::try_from(size_of_val(&values)).ok()?;
    // SAFETY: the kernel writes at most `length` bytes into the array.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            values.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    let has_drops = length as usize > DROPS * size_of::<u32>();
    (result == 0 && has_drops).then(|| values[DROPS])
}

/// A socket of the kernel's connector (`NETLINK_CONNECTOR`).
pub(crate) fn connector_socket() -> nix::Result<OwnedFd> {
    // SAFETY: the arguments are passed by value.
    let fd = Errno::result(unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            libc::NETLINK_CONNECTOR,
        )
    })?;
    // SAFETY: socket(2) has just returned the descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
