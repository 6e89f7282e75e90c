//! A child that makes system calls under a filter which lets none of them through, and tells how each was refused.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

use libc::sock_filter;
use nix::errno::Errno;

/// How a call enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// syscall(2): the native ABI, and x32 with its bit in the number.
    Native,
    /// `int 0x80` of `x86_64`: i386 calls, whose arguments have 32 bits.
    #[cfg(target_arch = "x86_64")]
    Int80,
}

/// A call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) entry: Entry,
    /// As `struct seccomp_data` has it.
    pub(crate) nr: i32,
    pub(crate) args: [u64; 6],
}

/// Memory that parent and child share.
struct Shared {
    address: *mut libc::c_void,
    length: usize,
}

impl Shared {
    fn new(words: usize) -> io::Result<Shared> {
        let length = words * size_of::<AtomicI32>();
        // SAFETY: a new mapping of nothing; no memory of ours is touched.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared { address, length })
    }

    fn words(&self) -> &[AtomicI32] {
        let words = self.length / size_of::<AtomicI32>();
        // SAFETY: the mapping is that long, zeroed, aligned to a page, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.address.cast(), words) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrows from it any more.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// The errno of each call under a program that must answer ERRNO, and nothing else, to every call.
pub(crate) fn errnos(program: &[sock_filter], calls: &[Probe]) -> io::Result<Vec<i32>> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    let shared = Shared::new(calls.len() + 2)?;
    let words = shared.words();
    // SAFETY: the child makes system calls, and writes to the shared memory; it neither allocates nor takes a lock, and
    // never returns.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe { be_the_child(&program, calls, words) }
    }
    Errno::result(child)?;
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the status of our own child.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        match Errno::result(waited) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => break,
        }
    }
    let (failure, done) = (
        words[0].load(Ordering::SeqCst),
        words[1].load(Ordering::SeqCst),
    );
    if failure != 0 {
        return Err(io::Error::from_raw_os_error(failure));
    }
    if usize::try_from(done) != Ok(calls.len()) {
        let message = format!("the child ended after {done} of {} calls", calls.len());
        return Err(io::Error::other(message));
    }
    let results = words[2..].iter().map(|word| word.load(Ordering::SeqCst));
    Ok(results.collect())
}

/// # Safety
/// Only in a child after fork(2): it ends the process.
unsafe fn be_the_child(program: &libc::sock_fprog, calls: &[Probe], words: &[AtomicI32]) -> ! {
    let no_core = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: plain system calls; the program lives until the last returns.
    unsafe {
        // Its end is a crash that is nobody's fault.
        libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core);
        libc::signal(libc::SIGILL, libc::SIG_DFL);
        libc::signal(libc::SIGSEGV, libc::SIG_DFL);
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
            || libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, program) != 0
        {
            words[0].store(Errno::last_raw(), Ordering::SeqCst);
            libc::_exit(1);
        }
    }
    for (call, word) in calls.iter().zip(&words[2..]) {
        // SAFETY: the filter refuses every call, so none does anything, whatever its arguments are.
        let errno = unsafe { make(call) };
        word.store(errno, Ordering::SeqCst);
        words[1].fetch_add(1, Ordering::SeqCst);
    }
    // exit(2) is refused too.
    crash()
}

/// # Safety
/// Under a filter that refuses every call.
unsafe fn make(call: &Probe) -> i32 {
    match call.entry {
        Entry::Native => {
            let args = call.args;
            let nr = libc::c_long::from(call.nr);
            // SAFETY: the caller's.
            let result =
                unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
            if result == -1 { Errno::last_raw() } else { 0 }
        }
        #[cfg(target_arch = "x86_64")]
        Entry::Int80 => {
            // SAFETY: the caller's.
            let result = unsafe { int80(call.nr, call.args) };
            result.checked_neg().unwrap_or(0)
        }
    }
}

/// # Safety
/// Under a filter that refuses every call.
#[cfg(target_arch = "x86_64")]
unsafe fn int80(nr: i32, args: [u64; 6]) -> i32 {
    let result: i32;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the registers of the ABI have 32 bits"
    )]
    let args = args.map(|arg| arg as u32);
    // SAFETY: ebx and ebp, which the compiler keeps for itself, are put aside on the stack; the array lives until the end.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "push rbp",
            "mov ebx, [rdi]",
            "mov ecx, [rdi + 4]",
            "mov edx, [rdi + 8]",
            "mov esi, [rdi + 12]",
            "mov ebp, [rdi + 20]",
            "mov edi, [rdi + 16]",
            "int 0x80",
            "pop rbp",
            "pop rbx",
            inout("eax") nr => result,
            inout("rdi") args.as_ptr() => _,
            out("rcx") _,
            out("rdx") _,
            out("rsi") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    result
}

/// Ends the process without a system call.
fn crash() -> ! {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the instruction raises SIGILL, which ends the process.
    unsafe {
        std::arch::asm!("ud2", options(noreturn))
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: abort(3) ends with an instruction that the processor refuses, once its system calls have failed.
    unsafe {
        libc::abort()
    }
}
