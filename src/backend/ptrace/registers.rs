//! The few places where the recorder changes what a tracee sees, always to undo a trace of its own presence.

use nix::libc::user_regs_struct;
use nix::sys::ptrace as requests;

use super::stop::{Died, Stopped};
use crate::syscall::Arch;

/// The general registers of a tracee at a stop. On `x86_64` these are the 64-bit ones for a 32-bit tracee too.
pub(super) struct Registers(user_regs_struct);

/// What no call has: the kernel skips a call whose number is changed to this.
const NO_CALL: u64 = u64::MAX;

impl Registers {
    pub(super) fn read(stopped: &Stopped) -> Result<Registers, Died> {
        requests::getregs(stopped.pid())
            .map(Registers)
            .map_err(|_| Died)
    }

    pub(super) fn write(self, stopped: &Stopped) -> Result<(), Died> {
        requests::setregs(stopped.pid(), self.0).map_err(|_| Died)
    }

    /// The first argument of a call of this ABI.
    pub(super) fn first_argument(&mut self, arch: Arch) -> &mut u64 {
        match arch {
            Arch::X86 => &mut self.0.rbx,
            _ => &mut self.0.rdi,
        }
    }

    /// What the call returns. At the entry of a call it counts only if the call is skipped.
    pub(super) fn set_result(&mut self, value: i64) {
        self.0.rax = value.cast_unsigned();
    }

    /// At the entry of a call: makes the kernel skip it.
    pub(super) fn skip_call(&mut self) {
        self.0.orig_rax = NO_CALL;
    }
}

/// Reads a 64-bit word of a tracee's memory; `None` where it can't be read.
pub(super) fn read_word(stopped: &Stopped, address: u64) -> Option<u64> {
    (requests::read(stopped.pid(), address as requests::AddressType).ok()).map(i64::cast_unsigned)
}

/// Writes a 64-bit word of a tracee's memory. Whether it could is for the caller to see by its effect.
pub(super) fn write_word(stopped: &Stopped, address: u64, word: u64) -> bool {
    requests::write(
        stopped.pid(),
        address as requests::AddressType,
        word.cast_signed(),
    )
    .is_ok()
}
