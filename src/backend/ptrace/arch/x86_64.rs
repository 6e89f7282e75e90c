//! Registers and ABIs of x86-64 machines.

use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace as requests;

use super::machine::{CallEntry, CallRegisters, KernelTraits, NOTHING, width};
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::syscall::Arch;

pub(in crate::backend::ptrace) const MACHINE: KernelTraits = KernelTraits {
    abis: &[Arch::X86_64, Arch::X86, Arch::X32],
    abis_by_audit: &[Arch::X86_64, Arch::X86],
    clone_flags: 0,
    result_replaces_argument: false,
};

/// The general registers. These are the 64-bit ones for a 32-bit tracee too.
pub(in crate::backend::ptrace) struct Registers(user_regs_struct);

/// The kernel skips a call whose number is changed to this.
const NO_CALL: u64 = u64::MAX;

/// The length of each instruction that makes a call: `syscall`, `sysenter`, `int $0x80`.
const CALL_LENGTH: u64 = 2;

impl Registers {
    /// The register of an argument, by syscall(2).
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
}

impl CallRegisters for Registers {
    fn read(stopped: &Stopped) -> Result<Registers, Died> {
        requests::getregs(stopped.pid())
            .map(Registers)
            .map_err(|_| Died)
    }

    fn write(self, stopped: &Stopped) -> Result<(), Died> {
        requests::setregs(stopped.pid(), self.0).map_err(|_| Died)
    }

    fn argument(&self, arch: Arch, index: usize) -> u64 {
        *Registers(self.0).place(arch, index) & width(arch)
    }

    fn set_argument(&mut self, arch: Arch, index: usize, value: u64) {
        let place = self.place(arch, index);
        *place = (*place & !width(arch)) | (value & width(arch));
    }

    fn keeps_argument(_index: usize) -> bool {
        true
    }

    fn number(&self) -> Option<i32> {
        // The kernel takes an int. -1: the tracee doesn't come from a call.
        #[allow(clippy::cast_possible_truncation)]
        Some(self.0.orig_rax as i32).filter(|nr| *nr != -1)
    }

    fn set_result(&mut self, value: i64) {
        self.0.rax = value.cast_unsigned();
    }

    fn set_call(&mut self, nr: i32) {
        self.0.orig_rax = u64::from(nr.cast_unsigned());
    }

    fn skip_call(&mut self, result: i64) {
        self.0.orig_rax = NO_CALL;
        self.set_result(result);
    }

    fn returned_eintr(&self, arch: Arch, _entry: Option<CallEntry>) -> bool {
        let eintr = -i64::from(Errno::EINTR as i32);
        // The upper half of a 32-bit result is zero or the sign.
        self.number().is_some() && (self.0.rax ^ eintr.cast_unsigned()) & width(arch) == 0
    }

    fn enter_again(&mut self, _entry: Option<CallEntry>) {
        self.0.rax = std::mem::replace(&mut self.0.orig_rax, NO_CALL);
        self.0.rip = self.0.rip.wrapping_sub(CALL_LENGTH);
    }

    fn end_with_eintr(&mut self, nr: i32) {
        self.set_call(nr);
        self.0.rip = self.0.rip.wrapping_add(CALL_LENGTH);
        self.set_result(-i64::from(Errno::EINTR as i32));
    }

    fn fault(&mut self) {
        self.0.rip = NOTHING;
    }

    fn back_to_breakpoint(&mut self, stopped: &Stopped) -> bool {
        const INT1: u64 = 0xf1;
        const INT3: u64 = 0xcc;
        self.0.rip = self.0.rip.wrapping_sub(1);
        (stopped.read_word(self.0.rip)).is_some_and(|code| [INT1, INT3].contains(&(code & 0xff)))
    }
}
