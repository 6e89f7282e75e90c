//! System calls of any ABI of this machine, made in child processes under a filter.

use std::io;
use std::sync::atomic::AtomicI64;

use nix::errno::Errno;

use crate::syscall::Arch;

/// How a call enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallInstruction {
    /// The instruction of the native ABI; on `x86_64` also for x32, with its bit in the number.
    Native,
    /// `int 0x80` on `x86_64`, for i386.
    #[cfg(target_arch = "x86_64")]
    Int80,
}

impl CallInstruction {
    /// How this machine makes calls of an ABI, if it can.
    pub(crate) fn of(arch: Arch) -> Option<CallInstruction> {
        match arch {
            #[cfg(target_arch = "x86_64")]
            Arch::X86 => Some(CallInstruction::Int80),
            #[cfg(target_arch = "x86_64")]
            Arch::X32 => Some(CallInstruction::Native),
            arch if arch == Arch::NATIVE => Some(CallInstruction::Native),
            _ => None,
        }
    }
}

/// Zeroed memory that a process shares with its children. Under a filter, a child may have no other way to report.
pub(super) struct SharedWords {
    address: *mut libc::c_void,
    length: usize,
}

impl SharedWords {
    pub(super) fn new(words: usize) -> io::Result<SharedWords> {
        let length = words * size_of::<AtomicI64>();
        // SAFETY: a new anonymous mapping, which overlaps no memory in use.
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
        Ok(SharedWords { address, length })
    }

    pub(super) fn words(&self) -> &[AtomicI64] {
        let words = self.length / size_of::<AtomicI64>();
        // SAFETY: the mapping has this length, is zeroed and aligned to a page, and lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.address.cast(), words) }
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: nothing borrows from the mapping any more.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// For a child that makes calls: a crash ends it by its signal, without a core dump and without a handler of Rust's runtime.
/// Async-signal-safe.
pub(super) fn crash_plainly() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a local; the dispositions are the default ones.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        for signal in [libc::SIGILL, libc::SIGSEGV, libc::SIGBUS] {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Makes a call. Returns the result or a negative errno.
///
/// # Safety
/// The call must not be executed: a filter must refuse it with an errno.
pub(super) unsafe fn call(entry: CallInstruction, nr: i32, args: [u64; 6]) -> i64 {
    match entry {
        CallInstruction::Native => {
            let nr = libc::c_long::from(nr);
            // SAFETY: the caller guarantees it.
            match unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) }
            {
                -1 => -i64::from(Errno::last_raw()),
                result => result,
            }
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller guarantees it.
        CallInstruction::Int80 => unsafe { int80(nr, args) },
    }
}

/// # Safety
/// As [`call`].
#[cfg(target_arch = "x86_64")]
unsafe fn int80(nr: i32, args: [u64; 6]) -> i64 {
    let result: i32;
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the ABI's registers have 32 bits"
    )]
    let args = args.map(|arg| arg as u32);
    // SAFETY: rbx and rbp, which the compiler reserves, are saved on the stack. The array outlives the block.
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
    i64::from(result)
}

/// Makes a call with these arguments, stores its result in `value` and 1 in `done`, and ends the process.
///
/// It can be any call, and the kernel may execute it. So the code doesn't use the stack: vfork(2) returns twice on the
/// same one, and `rt_sigreturn` reads registers from it. The stack pointer is 0, with which `rt_sigreturn` raises
/// SIGSEGV.
///
/// # Safety
/// Only in a child process that holds nothing of value: the call may change its memory and descriptors.
pub(super) unsafe fn call_and_exit(
    entry: CallInstruction,
    nr: i32,
    args: [u64; 6],
    value: &AtomicI64,
    done: &AtomicI64,
) -> ! {
    #[cfg(target_arch = "x86_64")]
    macro_rules! and_exit {
        ($enter:literal, $rdi:expr, $rsi:expr) => {
            std::arch::asm!(
                "xor esp, esp",
                $enter,
                "mov [r12], rax",
                "mov qword ptr [r13], 1",
                "mov eax, 231",
                "xor edi, edi",
                "syscall",
                "mov eax, 60",
                "syscall",
                "ud2",
                in("rax") i64::from(nr),
                in("rdi") $rdi,
                in("rsi") $rsi,
                in("rdx") args[2],
                in("rcx") args[1],
                in("r8") args[4],
                in("r9") args[5],
                in("r10") args[3],
                in("r14") args[0],
                in("r12") value.as_ptr(),
                in("r13") done.as_ptr(),
                options(noreturn),
            )
        };
    }
    match entry {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller guarantees it. The block doesn't return, so it need not restore registers.
        CallInstruction::Native => unsafe { and_exit!("syscall", args[0], args[1]) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        CallInstruction::Int80 => unsafe {
            and_exit!(
                "mov ebx, r14d\nmov ebp, r9d\nint 0x80\nmovsxd rax, eax",
                args[4],
                args[3]
            )
        },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: as above.
        CallInstruction::Native => unsafe {
            std::arch::asm!(
                "mov x11, 0",
                "mov sp, x11",
                "svc 0",
                "str x0, [x9]",
                "mov x0, 1",
                "stlr x0, [x10]",
                "mov x0, 0",
                "mov x8, 94",
                "svc 0",
                "mov x8, 93",
                "svc 0",
                "udf 0",
                in("x0") args[0],
                in("x1") args[1],
                in("x2") args[2],
                in("x3") args[3],
                in("x4") args[4],
                in("x5") args[5],
                in("x8") i64::from(nr),
                in("x9") value.as_ptr(),
                in("x10") done.as_ptr(),
                options(noreturn),
            )
        },
    }
}
