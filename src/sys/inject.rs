//! A system call that a child makes under a filter.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::exec::exit_process;
use super::raw_call::{CallInstruction, SharedWords, call_and_exit, crash_plainly};
use super::seccomp::LoadFilter;
use super::wait::WaitStatus;
use super::{inherited, pidfd, supervise};

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// It returned this result, or a negative errno.
    Returned(i64),
    /// This signal ended the process.
    Killed(i32),
    /// The process ended with this status.
    Ended(i32),
    /// It was still waiting at the end of the time limit.
    Waits,
    /// The filter could not be loaded.
    NotLoaded(Errno),
}

/// Makes a call under a filter, with these arguments and this time limit.
pub(crate) fn call_under_filter(
    filter: &LoadFilter<'_>,
    entry: CallInstruction,
    nr: i32,
    args: [u64; 6],
    at_most: Duration,
) -> io::Result<CallEnd> {
    let shared = SharedWords::new(3)?;
    // SAFETY: the child is async-signal-safe and never returns.
    let pid = match Errno::result(unsafe { libc::fork() })? {
        0 => be_the_child(&shared, filter, entry, nr, args),
        pid => pid,
    };
    let (status, in_time) = wait(pid, at_most)?;
    let [value, done, not_loaded] = [0, 1, 2].map(|i| shared.words()[i].load(Ordering::Acquire));
    Ok(match status {
        _ if not_loaded != 0 => {
            CallEnd::NotLoaded(i32::try_from(not_loaded).map_or(Errno::EINVAL, Errno::from_raw))
        }
        _ if done != 0 => CallEnd::Returned(value),
        Some(WaitStatus::Signaled(signal)) if in_time => CallEnd::Killed(signal),
        Some(WaitStatus::Exited(code)) if in_time => CallEnd::Ended(code),
        _ => CallEnd::Waits,
    })
}

/// Waits for a child, and kills it at the end of the time limit. Returns its status, and whether it ended before.
fn wait(pid: i32, at_most: Duration) -> nix::Result<(Option<WaitStatus>, bool)> {
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
    // SAFETY: the child with this pid has not been waited for; the pointer is to a local.
    unsafe {
        if !in_time {
            libc::kill(pid, libc::SIGKILL);
        }
        while libc::waitpid(pid, &raw mut status, 0) == -1 && Errno::last() == Errno::EINTR {}
    }
    Ok((WaitStatus::from_raw(status), in_time))
}

/// Async-signal-safe.
fn be_the_child(
    shared: &SharedWords,
    filter: &LoadFilter<'_>,
    entry: CallInstruction,
    nr: i32,
    args: [u64; 6],
) -> ! {
    inherited::restore_signals();
    crash_plainly();
    // SAFETY: no pointers; this process uses none of the descriptors.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // The call gets no terminal and no files.
        libc::setsid();
        supervise::close_all(0, i32::MAX);
    }
    let [value, done, not_loaded] = [0, 1, 2].map(|index| &shared.words()[index]);
    if let Err(error) = filter.load() {
        not_loaded.store(i64::from(error.errno() as i32), Ordering::Release);
        exit_process(1);
    }
    // SAFETY: this child holds nothing but its memory, of which the parent reads only the shared words.
    unsafe { call_and_exit(entry, nr, args, value, done) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::{Arch, Syscall};

    /// vfork(2) returns twice on one stack, and sigreturn(2) replaces all registers.
    #[test]
    fn any_call_can_be_made() {
        let allow = [libc::sock_filter {
            code: 0x06, // BPF_RET | BPF_K
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ALLOW,
        }];
        let filter = LoadFilter {
            program: &allow,
            flags: 0,
            no_new_privs: true,
        };
        for arch in [Arch::NATIVE, Arch::X86] {
            let Some(entry) = CallInstruction::of(arch) else {
                continue;
            };
            let end = |name| {
                let nr = Syscall::from_name(arch, name)?.nr;
                Some(
                    call_under_filter(&filter, entry, nr, [u64::MAX; 6], Duration::from_secs(10))
                        .unwrap(),
                )
            };
            for name in ["fork", "vfork", "getpid"] {
                let end = end(name);
                let returned = matches!(end, None | Some(CallEnd::Returned(0..)));
                assert!(returned, "{arch} {name} {end:?}");
            }
            let killed = Some(CallEnd::Killed(libc::SIGSEGV));
            assert_eq!(end("rt_sigreturn"), killed, "{arch}");
            assert_eq!(end("exit"), Some(CallEnd::Ended(255)), "{arch}");
            let efault = CallEnd::Returned(-i64::from(libc::EFAULT));
            assert_eq!(end("uname"), Some(efault), "{arch}");
        }
    }
}
