//! The parts of ptrace(2) for which nix has no safe function.

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::event::Task;

/// How far a tracee runs after a ptrace-stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Until the next event (`PTRACE_CONT`).
    Cont,
    /// Until the next event, or the next entry to or exit from a system call (`PTRACE_SYSCALL`).
    Syscall,
}

/// Resumes a tracee, delivering this signal (0: none), which can be a real-time signal.
pub(crate) fn resume(task: Task, how: Resume, signal: i32) -> nix::Result<()> {
    let request = match how {
        Resume::Cont => libc::PTRACE_CONT,
        Resume::Syscall => libc::PTRACE_SYSCALL,
    };
    let signal = signal.unsigned_abs() as usize;
    // SAFETY: these requests take the signal by value in `data` and ignore `addr`; they access none of our memory.
    Errno::result(unsafe { libc::ptrace(request, task.0, 0usize, signal) }).map(drop)
}

/// Leaves a tracee in its group-stop until SIGCONT wakes it (`PTRACE_LISTEN`, Linux 3.4).
pub(crate) fn listen(task: Task) -> nix::Result<()> {
    // SAFETY: the request ignores `addr` and `data`.
    Errno::result(unsafe { libc::ptrace(libc::PTRACE_LISTEN, task.0, 0usize, 0usize) }).map(drop)
}

/// The system call at which a tracee is stopped (`PTRACE_GET_SYSCALL_INFO`, Linux 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyscallInfo {
    /// The `AUDIT_ARCH_*` value of the call.
    pub(crate) arch: u32,
    /// The address of the instruction after the call.
    pub(crate) ip: u64,
    /// The point in the call.
    pub(crate) op: SyscallOp,
}

/// The point in a system call at which a tracee is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyscallOp {
    /// At its entry: a syscall-enter-stop or a `PTRACE_EVENT_SECCOMP`. The arguments are as wide as the ABI's: the kernel
    /// ignores the upper halves of the registers of a 32-bit ABI.
    Entry { nr: i32, args: [u64; 6] },
    /// At its exit, with the value for the caller: a result, or a negative errno.
    Exit { value: i64 },
    /// Not in a syscall-stop.
    None,
}

/// Reads [`SyscallInfo`] of a tracee in a ptrace-stop.
pub(crate) fn syscall_info(task: Task) -> nix::Result<SyscallInfo> {
    /// `__AUDIT_ARCH_64BIT` (`linux/audit.h`).
    const IS_64_BIT: u32 = 0x8000_0000;
    let info = nix::sys::ptrace::syscall_info(Pid::from_raw(task.0))?;
    let width = match info.arch & IS_64_BIT {
        0 => u32::MAX.into(),
        _ => u64::MAX,
    };
    let op = match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: `op` says that `entry` is the member that the kernel filled.
            let entry = unsafe { info.u.entry };
            SyscallOp::Entry {
                nr: number(entry.nr),
                args: entry.args.map(|arg| arg & width),
            }
        }
        libc::PTRACE_SYSCALL_INFO_SECCOMP => {
            // SAFETY: `op` says that `seccomp` is the member that the kernel filled.
            let seccomp = unsafe { info.u.seccomp };
            SyscallOp::Entry {
                nr: number(seccomp.nr),
                args: seccomp.args.map(|arg| arg & width),
            }
        }
        libc::PTRACE_SYSCALL_INFO_EXIT => {
            // SAFETY: `op` says that `exit` is the member that the kernel filled.
            let exit = unsafe { info.u.exit };
            SyscallOp::Exit { value: exit.sval }
        }
        _ => SyscallOp::None,
    };
    Ok(SyscallInfo {
        arch: info.arch,
        ip: info.instruction_pointer,
        op,
    })
}

/// The number as in `struct seccomp_data`, an int: the kernel ignores the register's upper half.
#[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
fn number(register: u64) -> i32 {
    register as u32 as i32
}

/// The sender of the signal in whose signal-delivery-stop a tracee is; `None` if the kernel sent it.
pub(crate) fn sender_of_signal(task: Task) -> nix::Result<Option<i32>> {
    let info = nix::sys::ptrace::getsiginfo(Pid::from_raw(task.0))?;
    let sent = matches!(
        info.si_code,
        libc::SI_USER | libc::SI_QUEUE | libc::SI_TKILL
    );
    // SAFETY: with these codes the kernel filled `si_pid`.
    Ok(sent.then(|| unsafe { info.si_pid() }))
}

/// Whether the signal in whose signal-delivery-stop a tracee is comes from a fault of the tracee (`si_code` above 0,
/// sigaction(2)).
pub(crate) fn is_fault(task: Task) -> bool {
    let info = nix::sys::ptrace::getsiginfo(Pid::from_raw(task.0));
    info.is_ok_and(|info| info.si_code > 0)
}

/// Whether two tasks have the same memory (kcmp(2)), or that can't be found out.
pub(crate) fn share_memory(one: Task, other: Task) -> bool {
    /// `linux/kcmp.h`.
    const KCMP_VM: libc::c_int = 1;
    // SAFETY: all arguments are passed by value.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one.0, other.0, KCMP_VM, 0, 0) };
    match Errno::result(order) {
        // One is gone.
        Err(Errno::ESRCH) => false,
        Ok(order) => order == 0,
        Err(_) => true,
    }
}

/// Whether the signal in whose signal-delivery-stop a tracee is was sent to this thread, and not to its process: by tgkill(2),
/// or by a fault.
pub(crate) fn is_for_thread(task: Task) -> bool {
    let faults = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGILL,
        libc::SIGFPE,
        libc::SIGTRAP,
        libc::SIGSYS,
    ];
    let info = nix::sys::ptrace::getsiginfo(Pid::from_raw(task.0));
    info.is_ok_and(|info| {
        info.si_code == libc::SI_TKILL || (info.si_code > 0 && faults.contains(&info.si_signo))
    })
}

/// Whether a filter sent the SIGSYS in whose signal-delivery-stop a tracee is.
pub(crate) fn is_of_seccomp(task: Task) -> bool {
    /// `asm-generic/siginfo.h`.
    const SYS_SECCOMP: i32 = 1;
    let info = nix::sys::ptrace::getsiginfo(Pid::from_raw(task.0));
    info.is_ok_and(|info| info.si_code == SYS_SECCOMP)
}

/// Makes a task a tracee without stopping it (`PTRACE_SEIZE`, Linux 3.4). No option is set, so the task runs on if the
/// tracer dies.
pub(crate) fn seize(task: Task) -> nix::Result<()> {
    let options = nix::sys::ptrace::Options::empty();
    nix::sys::ptrace::seize(Pid::from_raw(task.0), options)
}

/// Detaches from a tracee in a ptrace-stop, delivering this signal (0: none), which can be a real-time signal.
pub(crate) fn detach(task: Task, signal: i32) -> nix::Result<()> {
    let signal = signal.unsigned_abs() as usize;
    // SAFETY: the request takes the signal by value in `data` and ignores `addr`; it accesses none of our memory.
    Errno::result(unsafe { libc::ptrace(libc::PTRACE_DETACH, task.0, 0usize, signal) }).map(drop)
}

/// From `linux/ptrace.h`; the crate libc lacks them.
const PTRACE_SECCOMP_GET_FILTER: libc::c_uint = 0x420c;
const PTRACE_SECCOMP_GET_METADATA: libc::c_uint = 0x420d;

/// A filter of a tracee in a ptrace-stop (`PTRACE_SECCOMP_GET_FILTER`, Linux 4.4). Index 0 is the oldest. ENOENT: there
/// are no more filters; EINVAL: there are none at all.
pub(crate) fn seccomp_filter(task: Task, index: usize) -> nix::Result<Vec<libc::sock_filter>> {
    let none = libc::sock_filter {
        code: 0,
        jt: 0,
        jf: 0,
        k: 0,
    };
    // The kernel accepts no longer ones (`BPF_MAXINSNS`).
    let mut instructions = vec![none; 4096];
    let place = instructions.as_mut_ptr();
    // SAFETY: `place` is valid for the maximum number of instructions, and the kernel writes no more.
    let result = unsafe { libc::ptrace(PTRACE_SECCOMP_GET_FILTER, task.0, index, place) };
    let length = usize::try_from(Errno::result(result)?).map_err(|_| Errno::EINVAL)?;
    instructions.truncate(length);
    Ok(instructions)
}

/// The metadata of a filter.
pub(crate) struct FilterMetadata {
    /// `SECCOMP_FILTER_FLAG_LOG`, or 0.
    pub(crate) flags: u64,
}

/// Reads [`FilterMetadata`] of a filter of a tracee in a ptrace-stop (`PTRACE_SECCOMP_GET_METADATA`, Linux 4.16).
pub(crate) fn seccomp_metadata(task: Task, index: usize) -> nix::Result<FilterMetadata> {
    // `struct seccomp_metadata`: the index of the filter, which the kernel reads, and the flags, which it writes.
    let mut data = [u64::try_from(index).unwrap_or(u64::MAX), 0];
    let size = size_of_val(&data);
    // SAFETY: `data` is valid for `size` bytes.
    let result =
        unsafe { libc::ptrace(PTRACE_SECCOMP_GET_METADATA, task.0, size, data.as_mut_ptr()) };
    Errno::result(result)?;
    Ok(FilterMetadata { flags: data[1] })
}

/// Reads a set of registers of a tracee in a ptrace-stop, and returns its length in bytes (`PTRACE_GETREGSET`).
#[cfg(target_arch = "aarch64")]
pub(crate) fn read_register_set(task: Task, kind: i32, bytes: &mut [u8]) -> nix::Result<usize> {
    let mut buffer = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    let place = &raw mut buffer;
    // SAFETY: the kernel writes no more than `iov_len` bytes to `iov_base`, which is valid for that many.
    Errno::result(unsafe { libc::ptrace(libc::PTRACE_GETREGSET, task.0, kind as usize, place) })?;
    Ok(buffer.iov_len)
}

/// Writes a set of registers of a tracee in a ptrace-stop (`PTRACE_SETREGSET`).
#[cfg(target_arch = "aarch64")]
pub(crate) fn write_register_set(task: Task, kind: i32, bytes: &[u8]) -> nix::Result<()> {
    let buffer = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let place = &raw const buffer;
    // SAFETY: the kernel reads `iov_len` bytes from `iov_base`, which is valid for that many.
    let set = unsafe { libc::ptrace(libc::PTRACE_SETREGSET, task.0, kind as usize, place) };
    Errno::result(set).map(drop)
}
