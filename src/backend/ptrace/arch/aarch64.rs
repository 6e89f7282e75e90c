//! Registers and ABIs of 64-bit ARM machines.

use std::path::Path;

use nix::errno::Errno;

use super::machine::{CallEntry, CallRegisters, KernelTraits, NOTHING};
use crate::backend::Interest;
use crate::backend::ptrace::special_table::SpecialTable;
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::backend::ptrace::tracee::Again;
use crate::event::Task;
use crate::sys::ptrace::{read_register_set, write_register_set};
use crate::syscall::{Arch, Syscall};

pub(in crate::backend::ptrace) const MACHINE: KernelTraits = KernelTraits {
    abis: &[Arch::Aarch64, Arch::Arm],
    abis_by_audit: &[Arch::Aarch64, Arch::Arm],
    clone_flags: 0,
    result_replaces_argument: true,
};

/// The general registers (`linux/elf.h`).
const NT_PRSTATUS: i32 = 1;
/// The number of the call that the tracee is in, an int; -1 skips the call (`linux/elf.h`, Linux 4.0).
const NT_ARM_SYSTEM_CALL: i32 = 0x404;

/// The length of the set of a 64-bit tracee (`struct user_pt_regs`): x0 to x30, sp, pc, pstate.
const LENGTH: usize = 34 * size_of::<u64>();
/// The length of the set of a 32-bit tracee (`compat_elf_gregset_t`): r0 to r15, cpsr, the original r0.
const COMPAT_LENGTH: usize = 18 * size_of::<u32>();

/// The bit of cpsr for Thumb code (`PSR_AA32_T_BIT`).
const THUMB: u64 = 0x20;

/// The general registers, in the tracee's own layout.
pub(in crate::backend::ptrace) struct Registers {
    bytes: [u8; LENGTH],
    length: usize,
    /// The number that the call gets when this is written.
    new_number: Option<i32>,
}

impl Registers {
    fn is_compat(&self) -> bool {
        self.length == COMPAT_LENGTH
    }

    fn get(&self, index: usize) -> u64 {
        if self.is_compat() {
            let words = self.bytes.as_chunks().0;
            words
                .get(index)
                .map_or(0, |word| u32::from_ne_bytes(*word).into())
        } else {
            let words = self.bytes.as_chunks().0;
            words.get(index).map_or(0, |word| u64::from_ne_bytes(*word))
        }
    }

    fn set(&mut self, index: usize, value: u64) {
        if self.is_compat() {
            if let Some(word) = self.bytes.as_chunks_mut().0.get_mut(index) {
                // A register has 32 bits.
                #[allow(clippy::cast_possible_truncation)]
                let value = value as u32;
                *word = value.to_ne_bytes();
            }
        } else if let Some(word) = self.bytes.as_chunks_mut().0.get_mut(index) {
            *word = value.to_ne_bytes();
        }
    }

    fn pc(&self) -> usize {
        if self.is_compat() { 15 } else { 32 }
    }

    /// Moves the program counter by the length of `svc`, back or forth.
    fn step(&mut self, step: impl FnOnce(u64, u64) -> u64) {
        let length = if self.is_compat() && self.get(16) & THUMB != 0 {
            2
        } else {
            4
        };
        self.set(self.pc(), step(self.get(self.pc()), length));
    }
}

impl CallRegisters for Registers {
    fn read(stopped: &Stopped) -> Result<Registers, Died> {
        let mut bytes = [0; LENGTH];
        let length =
            read_register_set(stopped.task(), NT_PRSTATUS, &mut bytes).map_err(|_| Died)?;
        Ok(Registers {
            bytes,
            length,
            new_number: None,
        })
    }

    fn write(self, stopped: &Stopped) -> Result<(), Died> {
        let set =
            |kind, bytes: &[u8]| write_register_set(stopped.task(), kind, bytes).map_err(|_| Died);
        if let Some(nr) = self.new_number {
            set(NT_ARM_SYSTEM_CALL, &nr.to_ne_bytes())?;
        }
        set(
            NT_PRSTATUS,
            self.bytes.get(..self.length).unwrap_or(&self.bytes),
        )
    }

    fn argument(&self, _arch: Arch, index: usize) -> u64 {
        self.get(index)
    }

    fn set_argument(&mut self, _arch: Arch, index: usize, value: u64) {
        self.set(index, value);
    }

    fn keeps_argument(index: usize) -> bool {
        index != 0
    }

    /// From x8 or r7: at a stop by a signal the kernel has forgotten the number.
    fn number(&self) -> Option<i32> {
        let register = self.get(if self.is_compat() { 7 } else { 8 });
        i32::try_from(register).ok()
    }

    fn set_result(&mut self, value: i64) {
        self.set(0, value.cast_unsigned());
    }

    fn set_call(&mut self, nr: i32) {
        self.new_number = Some(nr);
    }

    fn skip_call(&mut self, result: i64) {
        self.set_call(-1);
        self.set_result(result);
    }

    fn returned_eintr(&self, _arch: Arch, entry: Option<CallEntry>) -> bool {
        // A register of a 32-bit tracee is negative as an int.
        #[allow(clippy::cast_possible_truncation)]
        let result = self.get(0) as i32;
        entry.is_some_and(|entry| entry.ip == self.get(self.pc()))
            && result == -(Errno::EINTR as i32)
    }

    fn enter_again(&mut self, entry: Option<CallEntry>) {
        if let Some(entry) = entry {
            self.set(0, entry.argument);
            self.step(u64::wrapping_sub);
        }
    }

    fn end_with_eintr(&mut self, _nr: i32) {
        self.set_result(-i64::from(Errno::EINTR as i32));
        self.step(u64::wrapping_add);
    }

    fn fault(&mut self) {
        self.set(self.pc(), NOTHING);
    }

    fn back_to_breakpoint(&mut self, stopped: &Stopped) -> bool {
        /// `brk`, with any immediate. The program counter is still there.
        const BRK: u64 = 0xd420_0000;
        let code = stopped.read_word(self.get(self.pc()));
        code.is_some_and(|code| code & 0xffe0_001f == BRK)
    }
}

/// No page of this architecture makes calls that ptrace(2) doesn't show.
pub(in crate::backend::ptrace) enum Vsyscall {}

impl Vsyscall {
    pub(in crate::backend::ptrace) fn new() -> Option<Vsyscall> {
        None
    }

    pub(in crate::backend::ptrace) fn executes(&mut self, _task: Task) -> Vec<String> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn called(
        &mut self,
        _task: Task,
        _syscall: Syscall,
        _args: [u64; 6],
    ) -> Option<String> {
        match *self {}
    }
}

/// Calls always stop on this architecture.
pub(in crate::backend::ptrace) enum FastPath {}

/// See [`FastPath`].
#[derive(Debug)]
pub(in crate::backend::ptrace) enum AtExit {}

/// What the engine is to do with a call.
#[derive(Debug)]
#[expect(dead_code, reason = "no FastPath makes one")]
pub(in crate::backend::ptrace) enum Entered {
    Nothing,
    Then(AtExit),
    SeeAll,
}

/// See [`FastPath`].
pub(in crate::backend::ptrace) fn can_allow() -> bool {
    false
}

/// The recording filter allows no call.
pub(in crate::backend::ptrace) fn known_calls(_arch: Arch) -> Vec<libc::sock_filter> {
    Vec::new()
}

impl FastPath {
    pub(in crate::backend::ptrace) fn new(
        _allowed: bool,
        _specials: &SpecialTable,
        _interest: Option<&Interest>,
    ) -> Option<FastPath> {
        None
    }

    pub(in crate::backend::ptrace) fn is_used(&mut self) -> bool {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn executed(
        &mut self,
        _stopped: &Stopped,
        _path: &Path,
    ) -> (bool, bool) {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn forked(&mut self, _stopped: &Stopped, _child: Task) {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn met_early(&mut self, _task: Task) {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn gone(&mut self, _task: Task) {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn is_changed(&self, _task: Task) -> bool {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn all_seen(&self) -> Vec<Task> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn is_before_call(
        &mut self,
        _stopped: &Stopped,
        _ip: u64,
    ) -> Result<bool, Died> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn loss(&mut self) -> Option<&'static str> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn sharers(&self, _task: Task) -> Vec<Task> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn entered(
        &mut self,
        _stopped: &Stopped,
        _syscall: Syscall,
        _is_credited: bool,
        _may_change: bool,
    ) -> Result<Entered, Died> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn exited(
        &mut self,
        _stopped: &Stopped,
        at_exit: AtExit,
        _value: i64,
    ) -> Result<(Option<(Syscall, u64)>, bool), Died> {
        match at_exit {}
    }

    pub(in crate::backend::ptrace) fn end(&mut self) {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn close(&mut self, _stopped: &Stopped) -> Result<(), Died> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn stopped(
        &mut self,
        _stopped: &Stopped,
        _again: &mut Option<Again>,
    ) -> Result<bool, Died> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn stopped_at_call(
        &mut self,
        _stopped: &Stopped,
    ) -> Result<(), Died> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn show_original(
        &mut self,
        _stopped: &Stopped,
    ) -> Result<(), Died> {
        match *self {}
    }

    pub(in crate::backend::ptrace) fn is_of_changed_code(
        &mut self,
        _stopped: &Stopped,
    ) -> Result<bool, Died> {
        match *self {}
    }
}
