//! Loads seccomp filters.

use std::ffi::CStr;
use std::os::fd::RawFd;

use nix::errno::Errno;

/// A filter, and how to load it.
#[derive(Clone, Copy)]
pub(crate) struct LoadFilter<'a> {
    pub(crate) program: &'a [libc::sock_filter],
    /// `SECCOMP_FILTER_FLAG_*`.
    pub(crate) flags: libc::c_ulong,
    /// Whether to set `no_new_privs` first.
    pub(crate) no_new_privs: bool,
}

/// The step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadError {
    NoNewPrivs(Errno),
    Load(Errno),
}

impl LoadError {
    pub(crate) fn errno(self) -> Errno {
        match self {
            LoadError::NoNewPrivs(errno) | LoadError::Load(errno) => errno,
        }
    }
}

impl LoadFilter<'_> {
    /// Loads the filter for the calling thread. Returns the listener's descriptor with `SECCOMP_FILTER_FLAG_NEW_LISTENER`, and
    /// otherwise 0. Async-signal-safe.
    pub(super) fn load(&self) -> Result<RawFd, LoadError> {
        let len = u16::try_from(self.program.len());
        let program = libc::sock_fprog {
            len: len.map_err(|_| LoadError::Load(Errno::EINVAL))?,
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: the call takes no pointer.
        if self.no_new_privs && unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(LoadError::NoNewPrivs(Errno::last()));
        }
        // SAFETY: the program outlives the call. The kernel copies it and writes nothing.
        let loaded = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                self.flags,
                &raw const program,
            )
        };
        match i32::try_from(loaded) {
            Ok(-1) | Err(_) => Err(LoadError::Load(Errno::last())),
            Ok(thread)
                if thread != 0 && self.flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 =>
            {
                // SECCOMP_FILTER_FLAG_TSYNC: this thread can't take over the filter.
                Err(LoadError::Load(Errno::ESRCH))
            }
            Ok(fd) => Ok(fd),
        }
    }
}

/// The flags for a filter with a listener, as far as the kernel has them. Async-signal-safe.
pub(super) fn notify_flags() -> libc::c_ulong {
    let killable =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: without a program, the kernel looks at the flags only: EFAULT if it knows them, EINVAL if not.
    let tried = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            killable,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    match (tried, Errno::last()) {
        (-1, Errno::EINVAL) => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        _ => killable,
    }
}

/// Tries whether a filter with a listener can be loaded here, in a thread that ends with it. It must allow every call.
pub(crate) fn try_listener(program: &[libc::sock_filter], no_new_privs: bool) -> nix::Result<()> {
    let filter = LoadFilter {
        program,
        flags: notify_flags(),
        no_new_privs,
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| filter.load().map_err(LoadError::errno));
        let fd = thread.join().unwrap_or(Err(Errno::EIO))?;
        // SAFETY: the kernel has just made the descriptor, and nothing else has it.
        unsafe { libc::close(fd) };
        Ok(())
    })
}

/// Names the calling thread (at most 15 bytes), loads a filter, and calls getppid(2). The thread keeps the filter, the name and
/// `no_new_privs`, so it should end soon.
pub(crate) fn getppid_under_filter(name: &CStr, filter: &[libc::sock_filter]) -> nix::Result<()> {
    // SAFETY: the name ends with NUL and outlives the call.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) })?;
    let filter = LoadFilter {
        program: filter,
        flags: libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        no_new_privs: true,
    };
    filter.load().map_err(LoadError::errno)?;
    // nix calls it by libc, which doesn't cache the result.
    nix::unistd::getppid();
    Ok(())
}
