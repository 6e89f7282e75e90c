//! The registers of a task at a stop.

use nix::libc::user_regs_struct;
use nix::sys::ptrace as requests;

use crate::backend::ptrace::stop::{Died, Stopped};
use crate::sys::ptrace::SyscallOp;

/// The arguments of the call that a task enters, as wide as the ABI's.
pub(super) fn arguments(stopped: &Stopped) -> Result<[u64; 6], Died> {
    match stopped.syscall_info()?.op {
        SyscallOp::Entry { args, .. } => Ok(args),
        _ => Err(Died),
    }
}

pub(super) fn registers(stopped: &Stopped) -> Result<user_regs_struct, Died> {
    requests::getregs(stopped.pid()).map_err(|_| Died)
}

pub(super) fn write(stopped: &Stopped, registers: user_regs_struct) -> Result<(), Died> {
    requests::setregs(stopped.pid(), registers).map_err(|_| Died)
}

/// Whether the code segment is that of 64-bit programs.
pub(super) fn is_64_bit(registers: &user_regs_struct) -> bool {
    registers.cs == 0x33
}

/// Whether the call that makes a task gives it the same memory. If that is not known, it is taken for a copy: what is then known of it
/// may be incomplete, and what isn't known isn't changed.
pub(super) fn shares_memory(stopped: &Stopped) -> bool {
    const CLONE_VM: u64 = 0x100;
    let Ok(registers) = registers(stopped) else {
        return false;
    };
    match registers.orig_rax {
        56 => registers.rdi & CLONE_VM != 0,
        // vfork(2), of 64 and 32 bits.
        58 | 190 => true,
        435 => (stopped.read_word(registers.rdi)).is_some_and(|flags| flags & CLONE_VM != 0),
        // clone(2) of 32 bits.
        120 => registers.rbx & CLONE_VM != 0,
        _ => false,
    }
}
