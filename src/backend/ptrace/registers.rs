//! The few places where the recorder changes what a tracee sees, always to undo a trace of its own presence.

use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace as requests;

use super::stop::{Died, Stopped};
use crate::syscall::Arch;

/// The general registers of a tracee at a stop. On `x86_64` these are the 64-bit ones for a 32-bit tracee too.
pub(super) struct Registers(user_regs_struct);

/// What no call has: the kernel skips a call whose number is changed to this.
const NO_CALL: u64 = u64::MAX;

/// The length of each instruction that makes a call: `syscall`, `sysenter`, `int $0x80`.
const CALL_LENGTH: u64 = 2;

impl Registers {
    pub(super) fn read(stopped: &Stopped) -> Result<Registers, Died> {
        requests::getregs(stopped.pid())
            .map(Registers)
            .map_err(|_| Died)
    }

    pub(super) fn write(self, stopped: &Stopped) -> Result<(), Died> {
        requests::setregs(stopped.pid(), self.0).map_err(|_| Died)
    }

    /// An argument of a call of this ABI, counted from 0.
    pub(super) fn argument(&mut self, arch: Arch, index: usize) -> u64 {
        *self.place(arch, index)
    }

    /// Changes an argument of a call of this ABI, counted from 0.
    pub(super) fn set_argument(&mut self, arch: Arch, index: usize, value: u64) {
        *self.place(arch, index) = value;
    }

    /// Where syscall(2) says the argument is. There are six.
    fn place(&mut self, arch: Arch, index: usize) -> &mut u64 {
        let r = &mut self.0;
        match (arch, index) {
            (Arch::X86, 0) => &mut r.rbx,
            (Arch::X86, 1) => &mut r.rcx,
            (Arch::X86, 2) => &mut r.rdx,
            (Arch::X86, 3) => &mut r.rsi,
            (Arch::X86, 4) => &mut r.rdi,
            (Arch::X86, _) => &mut r.rbp,
            (_, 0) => &mut r.rdi,
            (_, 1) => &mut r.rsi,
            (_, 2) => &mut r.rdx,
            (_, 3) => &mut r.r10,
            (_, 4) => &mut r.r8,
            (_, _) => &mut r.r9,
        }
    }

    /// What the call returns. At the entry of a call it counts only if the call is skipped.
    pub(super) fn set_result(&mut self, value: i64) {
        self.0.rax = value.cast_unsigned();
    }

    /// At the entry of a call: makes it another, with the number as the ABI's register has it.
    pub(super) fn set_call(&mut self, nr: i32) {
        self.0.orig_rax = u64::from(nr.unsigned_abs());
    }

    /// At the entry of a call: makes the kernel skip it.
    pub(super) fn skip_call(&mut self) {
        self.0.orig_rax = NO_CALL;
    }

    /// Whether the tracee is just coming back from a call that ended with EINTR.
    pub(super) fn returned_eintr(&self) -> bool {
        self.0.orig_rax.cast_signed() >= 0
            && self.0.rax.cast_signed() == -i64::from(Errno::EINTR as i32)
    }

    /// The number of the call that the tracee comes back from.
    pub(super) fn number(&self) -> Option<i32> {
        i32::try_from(self.0.orig_rax).ok()
    }

    /// Makes the tracee that comes back from a call enter it again, as the kernel does to restart one. Gives the number.
    pub(super) fn enter_again(&mut self) -> u64 {
        self.0.rax = self.0.orig_rax;
        self.0.rip = self.0.rip.wrapping_sub(CALL_LENGTH);
        std::mem::replace(&mut self.0.orig_rax, NO_CALL)
    }

    /// Takes [`Registers::enter_again`] back.
    pub(super) fn end_with_eintr(&mut self, nr: u64) {
        self.0.orig_rax = nr;
        self.0.rip = self.0.rip.wrapping_add(CALL_LENGTH);
        self.set_result(-i64::from(Errno::EINTR as i32));
    }
}

/// Reads a 64-bit word of a tracee's memory; `None` where it can't be read.
pub(super) fn read_word(stopped: &Stopped, address: u64) -> Option<u64> {
    let word = requests::read(stopped.pid(), address as requests::AddressType);
    word.ok().map(i64::cast_unsigned)
}

/// Writes a 64-bit word of a tracee's memory, and says whether it could.
pub(super) fn write_word(stopped: &Stopped, address: u64, word: u64) -> bool {
    requests::write(
        stopped.pid(),
        address as requests::AddressType,
        word.cast_signed(),
    )
    .is_ok()
}
