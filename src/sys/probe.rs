//! A child that makes system calls under a filter that denies all of them, and reports the errno of each.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

use libc::{BPF_K, BPF_RET, SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ERRNO, sock_filter};
use nix::errno::Errno;

use super::raw_call::{CallInstruction, SharedWords, call, crash_plainly};
use super::seccomp::{LoadError, LoadFilter};

/// A call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeCall {
    pub(crate) entry: CallInstruction,
    /// The number in `struct seccomp_data`.
    pub(crate) nr: i32,
    pub(crate) args: [u64; 6],
}

/// The errno of each call under a program. Every instruction that returns must return `SECCOMP_RET_ERRNO`.
pub(crate) fn errnos(program: &[sock_filter], calls: &[ProbeCall]) -> io::Result<Vec<i32>> {
    // A program that lets a call through would make the calls below unsound.
    let denies_all = program.iter().all(|instruction| {
        let code = u32::from(instruction.code);
        let is_errno = instruction.k & SECCOMP_RET_ACTION_FULL == SECCOMP_RET_ERRNO;
        code & 7 != BPF_RET || code == BPF_RET | BPF_K && is_errno
    });
    if !denies_all {
        return Err(Errno::EINVAL.into());
    }
    let filter = LoadFilter {
        program,
        flags: 0,
        no_new_privs: true,
    };
    let shared = SharedWords::new(calls.len() + 2)?;
    let words = shared.words();
    // SAFETY: the child is async-signal-safe and never returns.
    let child = unsafe { libc::fork() };
    if child == 0 {
        be_the_child(&filter, calls, words)
    }
    Errno::result(child)?;
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a local.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        match Errno::result(waited) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => break,
        }
    }
    let errno = |word: &AtomicI64| i32::try_from(word.load(Ordering::SeqCst)).unwrap_or(0);
    match errno(&words[0]) {
        0 => {}
        failure => return Err(io::Error::from_raw_os_error(failure)),
    }
    let done = errno(&words[1]);
    if usize::try_from(done) != Ok(calls.len()) {
        let message = format!("the child ended after {done} of {} calls", calls.len());
        return Err(io::Error::other(message));
    }
    Ok(words[2..].iter().map(errno).collect())
}

/// Async-signal-safe.
fn be_the_child(filter: &LoadFilter<'_>, calls: &[ProbeCall], words: &[AtomicI64]) -> ! {
    // The child can only end by a crash.
    crash_plainly();
    if let Err(error) = filter.load().map_err(LoadError::errno) {
        words[0].store(i64::from(error as i32), Ordering::SeqCst);
        // SAFETY: _exit runs no handlers.
        unsafe { libc::_exit(1) }
    }
    for (probe, word) in calls.iter().zip(&words[2..]) {
        // SAFETY: the filter denies every call with an errno, as checked in `errnos`.
        let result = unsafe { call(probe.entry, probe.nr, probe.args) };
        word.store(-result, Ordering::SeqCst);
        words[1].fetch_add(1, Ordering::SeqCst);
    }
    crash()
}

/// Ends the process without a system call.
fn crash() -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction raises SIGILL, which ends the process.
    unsafe {
        std::arch::asm!("ud2", options(noreturn))
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("udf 0", options(noreturn))
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    // SAFETY: abort(3) ends with an invalid instruction once its system calls have failed.
    unsafe {
        libc::abort()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_made_only_under_a_program_that_denies_all() {
        let answer = |k| sock_filter {
            code: 0x06, // BPF_RET | BPF_K
            jt: 0,
            jf: 0,
            k,
        };
        let getpid = ProbeCall {
            entry: CallInstruction::Native,
            nr: i32::try_from(libc::SYS_getpid).unwrap(),
            args: [0; 6],
        };
        let denying = answer(SECCOMP_RET_ERRNO | 7);
        assert_eq!(errnos(&[denying], &[getpid, getpid]).unwrap(), [7, 7]);
        for allowing in [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_LOG] {
            let error = errnos(&[denying, answer(allowing)], &[getpid]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
        }
    }
}
