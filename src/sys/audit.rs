//! What the log backend needs of seccomp(2) and netlink(7) that nix has no safe function for.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Names the calling thread (at most 15 bytes), loads a filter, and calls getppid(2). The thread keeps the filter, the name and
/// `no_new_privs`, so it should end soon.
pub(crate) fn getppid_under_filter(name: &CStr, filter: &[libc::sock_filter]) -> nix::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::EINVAL)?,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the name ends with NUL; the program points to its instructions, and both live until seccomp(2) has copied
    // them; the other arguments are passed by value.
    unsafe {
        Errno::result(libc::prctl(libc::PR_SET_NAME, name.as_ptr()))?;
        Errno::result(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        Errno::result(libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        ))?;
        libc::syscall(libc::SYS_getppid);
    }
    Ok(())
}

/// How many messages the kernel could not give to a socket since it was made (`SO_MEMINFO`, Linux 4.12); `None` where the
/// kernel doesn't tell.
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
    let told = length as usize > DROPS * size_of::<u32>();
    (result == 0 && told).then(|| values[DROPS])
}

/// A socket of the kernel's connector (`NETLINK_CONNECTOR`), a protocol that nix doesn't know.
pub(crate) fn connector_socket() -> nix::Result<OwnedFd> {
    // SAFETY: the arguments are passed by value.
    let fd = Errno::result(unsafe {
        libc::socket(
            libc::AF_NETLINK,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            libc::NETLINK_CONNECTOR,
        )
    })?;
    // SAFETY: the kernel made this descriptor just now, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
