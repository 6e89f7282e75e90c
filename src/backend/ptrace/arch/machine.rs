//! What each architecture provides: facts about its kernel, and its registers.

use crate::backend::ptrace::stop::{Died, Stopped};
use crate::syscall::Arch;

/// How a machine's kernel differs from others.
pub(in crate::backend::ptrace) struct KernelTraits {
    /// The ABIs whose calls it runs. A call of another ABI is counted, but can't be handled specially.
    pub(in crate::backend::ptrace) abis: &'static [Arch],
    /// Those of them that their audit value identifies: all but x32, which shares the value of `x86_64`.
    pub(in crate::backend::ptrace) abis_by_audit: &'static [Arch],
    /// The argument of clone(2) that holds the flags, counted from 0. The order differs by architecture.
    pub(in crate::backend::ptrace) clone_flags: usize,
    /// The result of a call overwrites its first argument, so a [`CallEntry`] must be kept to enter the call again.
    pub(in crate::backend::ptrace) result_replaces_argument: bool,
}

/// An address that no program can have anything at, with 64 bits or cut to 32.
pub(in crate::backend::ptrace) const NOTHING: u64 = 0xffff_ffff_ffff_f000;

/// The maximum value of an ABI's argument.
pub(in crate::backend::ptrace) fn width(arch: Arch) -> u64 {
    match arch {
        Arch::X86 | Arch::Arm => u32::MAX.into(),
        _ => u64::MAX,
    }
}

/// The data kept from the entry of a call where [`KernelTraits::result_replaces_argument`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend::ptrace) struct CallEntry {
    /// The first argument.
    pub(in crate::backend::ptrace) argument: u64,
    /// The address after the instruction that made the call.
    pub(in crate::backend::ptrace) ip: u64,
}

/// The registers of a tracee at a stop, as system calls use them. Arguments are counted from 0; there are six.
pub(in crate::backend::ptrace) trait CallRegisters: Sized {
    fn read(stopped: &Stopped) -> Result<Self, Died>;

    fn write(self, stopped: &Stopped) -> Result<(), Died>;

    /// An argument of a call of this ABI.
    fn argument(&self, arch: Arch, index: usize) -> u64;

    /// Changes an argument of a call of this ABI.
    fn set_argument(&mut self, arch: Arch, index: usize, value: u64);

    /// Whether the register of an argument keeps it when the call returns.
    fn keeps_argument(index: usize) -> bool;

    /// The number of the call that the tracee is in or just returned from, as the kernel or the register has it.
    fn number(&self) -> Option<i32>;

    /// Changes the result of a call, at its exit.
    fn set_result(&mut self, value: i64);

    /// At the entry of a call: makes it another, whose number is given as `struct seccomp_data` has it.
    fn set_call(&mut self, nr: i32);

    /// At the entry of a call: makes the kernel skip it and return this result.
    fn skip_call(&mut self, result: i64);

    /// Whether the tracee is just returning with EINTR from a call of this ABI, the one of this [`CallEntry`] if that is needed.
    fn returned_eintr(&self, arch: Arch, entry: Option<CallEntry>) -> bool;

    /// Makes a tracee that is just returning from a call enter it again, as the kernel does to restart one.
    fn enter_again(&mut self, entry: Option<CallEntry>);

    /// Reverts [`CallRegisters::enter_again`]: the call with this number ends with EINTR.
    fn end_with_eintr(&mut self, nr: i32);

    /// Makes the tracee raise SIGSEGV instead of going on: there is no code at the end of the address space.
    fn fault(&mut self);

    /// Moves the program counter to the breakpoint that has just raised SIGTRAP. Returns whether there is one.
    fn back_to_breakpoint(&mut self, stopped: &Stopped) -> bool;
}
