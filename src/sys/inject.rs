//! One system call, made under a filter by a process that is made for it.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

use super::exec::{Load, exit_process};
use super::wait::Status;
use super::{inherited, pidfd, supervise};

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As a call of this program's own ABI; on x86-64 also of x32.
    Native,
    /// `int 0x80` on x86-64: a call of i386.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    Int80,
}

/// What became of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// It returned this: a result or a negative errno.
    Returned(i64),
    /// The process ended by this signal.
    Killed(i32),
    /// The process ended with this status instead.
    Ended(i32),
    /// It still waited when the time was over.
    Waits,
    /// The filter could not be loaded.
    NotLoaded(Errno),
}

/// What the two processes share. Nothing but memory can be relied on under a filter.
struct Shared {
    step: AtomicU32,
    value: AtomicI64,
}

const NOT_LOADED: u32 = 1;
const RETURNED: u32 = 2;

/// Makes a call under a filter, with every argument -1, and waits for it no longer than this.
pub(crate) fn call(load: &Load<'_>, way: Way, nr: i32, at_most: Duration) -> nix::Result<Made> {
    let size = size_of::<Shared>();
    // SAFETY: a new mapping at an address of the kernel's choice. It is zeroed, which is a valid `Shared`, aligned to a page,
    // and lives until the end of this function.
    let shared = unsafe {
        let memory = libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if memory == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        &*memory.cast::<Shared>()
    };
    let made = call_with(shared, load, way, nr, at_most);
    // SAFETY: the mapping of above; `shared` isn't used any more.
    unsafe { libc::munmap(std::ptr::from_ref(shared).cast_mut().cast(), size) };
    made
}

fn call_with(
    shared: &Shared,
    load: &Load<'_>,
    way: Way,
    nr: i32,
    at_most: Duration,
) -> nix::Result<Made> {
    // SAFETY: the child calls async-signal-safe functions only, and never returns.
    let pid = match Errno::result(unsafe { libc::fork() })? {
        0 => child(shared, load, way, nr),
        pid => pid,
    };
    let (status, in_time) = wait(pid, at_most)?;
    Ok(match shared.step.load(Ordering::Acquire) {
        NOT_LOADED => {
            let errno = i32::try_from(shared.value.load(Ordering::Acquire));
            Made::NotLoaded(errno.map_or(Errno::UnknownErrno, Errno::from_raw))
        }
        RETURNED => Made::Returned(shared.value.load(Ordering::Acquire)),
        _ if !in_time => Made::Waits,
        _ => match status {
            Some(Status::Signaled(signal)) => Made::Killed(signal),
            Some(Status::Exited(code)) => Made::Ended(code),
            Some(Status::Stopped { .. }) | None => Made::Waits,
        },
    })
}

/// Waits for a child, and kills it when the time is over; gives whether it ended before that.
fn wait(pid: i32, at_most: Duration) -> nix::Result<(Option<Status>, bool)> {
    let deadline = Instant::now() + at_most;
    let ended = pidfd::open(pid)?;
    let in_time = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(ready) => break ready > 0,
        }
    };
    let mut status = 0;
    // SAFETY: a child that nobody has waited for, so the number is nobody else's; the status is a local.
    unsafe {
        if !in_time {
            libc::kill(pid, libc::SIGKILL);
        }
        while libc::waitpid(pid, &raw mut status, 0) == -1 && Errno::last() == Errno::EINTR {}
    }
    Ok((Status::from_raw(status), in_time))
}

/// The child. Async-signal-safe.
fn child(shared: &Shared, load: &Load<'_>, way: Way, nr: i32) -> ! {
    inherited::restore_signals();
    let program = libc::sock_fprog {
        // seccomp(2) refuses more than BPF_MAXINSNS (4096) anyway.
        len: u16::try_from(load.program.len()).unwrap_or(u16::MAX),
        filter: load.program.as_ptr().cast_mut(),
    };
    // SAFETY: the limit and the program are valid for the duration of the calls; what the call itself gets are no addresses
    // of this process, and whatever it does, this process ends.
    let value = unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // A process that a filter kills leaves a core dump otherwise.
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // No terminal and no files for it to do anything with.
        libc::setsid();
        supervise::close_all(0, i32::MAX);
        let no_new_privs =
            load.no_new_privs && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0;
        let failed = no_new_privs
            || libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                load.flags,
                &raw const program,
            ) != 0;
        if failed {
            shared
                .value
                .store(i64::from(Errno::last_raw()), Ordering::Release);
            shared.step.store(NOT_LOADED, Ordering::Release);
            exit_process(1);
        }
        match way {
            Way::Native => native(nr),
            Way::Int80 => int80(nr),
        }
    };
    shared.value.store(value, Ordering::Release);
    shared.step.store(RETURNED, Ordering::Release);
    exit_process(0)
}

/// A call of this program's own ABI.
unsafe fn native(nr: i32) -> i64 {
    const ARG: libc::c_long = -1;
    // SAFETY: left to the caller. What returns -1 may also have no errno: nothing else is ever returned that is negative.
    unsafe {
        *libc::__errno_location() = 0;
        let value = libc::syscall(libc::c_long::from(nr), ARG, ARG, ARG, ARG, ARG, ARG);
        match (value, Errno::last_raw()) {
            (-1, errno) if errno != 0 => -i64::from(errno),
            _ => value,
        }
    }
}

/// A call of i386.
#[cfg(target_arch = "x86_64")]
unsafe fn int80(nr: i32) -> i64 {
    let value: i32;
    // SAFETY: left to the caller. The registers that the compiler can't be told of are put back.
    unsafe {
        core::arch::asm!(
            "push rbx",
            "push rbp",
            "mov ebx, -1",
            "mov ebp, -1",
            "int 0x80",
            "pop rbp",
            "pop rbx",
            inlateout("eax") nr => value,
            inlateout("ecx") -1 => _,
            inlateout("edx") -1 => _,
            inlateout("esi") -1 => _,
            inlateout("edi") -1 => _,
            lateout("r8") _,
            lateout("r9") _,
            lateout("r10") _,
            lateout("r11") _,
        );
    }
    i64::from(value)
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn int80(_nr: i32) -> i64 {
    -i64::from(libc::ENOSYS)
}
