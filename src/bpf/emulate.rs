//! The emulator: runs a program on a system call as the kernel would.

use super::instruction::{Instruction, MEMORY_WORDS, Operand};
use super::program::Program;
use crate::profile::{ARGS, Action, ErrnoRet};
use crate::syscall::Syscall;

const WORD: usize = size_of::<u32>();

/// `struct seccomp_data` (seccomp(2)): the input of a filter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeccompData([u8; 64]);

impl SeccompData {
    pub(crate) fn new(audit_arch: u32, nr: i32, args: &[u64; ARGS]) -> SeccompData {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&nr.to_ne_bytes());
        bytes[4..8].copy_from_slice(&audit_arch.to_ne_bytes());
        // The instruction pointer, at 8, stays 0: no profile compares it.
        for (place, arg) in bytes[16..].chunks_exact_mut(8).zip(args) {
            place.copy_from_slice(&arg.to_ne_bytes());
        }
        SeccompData(bytes)
    }

    /// The same call from another place.
    #[cfg(all(test, target_arch = "x86_64"))]
    pub(crate) fn at(mut self, ip: u64) -> SeccompData {
        self.0[8..16].copy_from_slice(&ip.to_ne_bytes());
        self
    }

    /// The word at an offset; 0 for an offset that no valid program loads.
    fn word(&self, offset: u32) -> u32 {
        let bytes = usize::try_from(offset).ok();
        let bytes = bytes.and_then(|offset| self.0.get(offset..offset + WORD)?.try_into().ok());
        u32::from_ne_bytes(bytes.unwrap_or_default())
    }
}

impl Program {
    /// The action for a system call.
    #[must_use]
    pub fn action(&self, syscall: Syscall, args: &[u64; ARGS]) -> Action {
        self.end(syscall, args).1
    }

    /// The index of the instruction that returns for a system call, and the action.
    #[must_use]
    pub fn end(&self, syscall: Syscall, args: &[u64; ARGS]) -> (usize, Action) {
        let data = SeccompData::new(syscall.arch.audit(), syscall.audit_nr(), args);
        let (at, value) = self.run(&data);
        (at, action_of(value))
    }

    /// The index of the instruction that returns, and the value that it returns.
    pub(crate) fn run(&self, data: &SeccompData) -> (usize, u32) {
        let (mut a, mut x) = (0_u32, 0_u32);
        let mut memory = [0_u32; MEMORY_WORDS];
        let mut next = 0;
        // Jumps go forward only, so the loop ends.
        while let Some(&instruction) = self.instructions().get(next) {
            let at = next;
            next += 1;
            let value = |operand| match operand {
                Operand::Constant(constant) => constant,
                Operand::Index => x,
            };
            // A valid program's memory indices are in range.
            match instruction {
                Instruction::LoadData(offset) => a = data.word(offset),
                Instruction::LoadConstant(constant) => a = constant,
                Instruction::LoadIndexConstant(constant) => x = constant,
                Instruction::LoadMemory(word) => a = memory[word],
                Instruction::LoadIndexMemory(word) => x = memory[word],
                Instruction::Store(word) => memory[word] = a,
                Instruction::StoreIndex(word) => memory[word] = x,
                Instruction::Alu(op, operand) => match op.apply(a, value(operand)) {
                    Some(result) => a = result,
                    None => return (at, 0),
                },
                Instruction::Negate => a = a.wrapping_neg(),
                Instruction::CopyToIndex => x = a,
                Instruction::CopyFromIndex => a = x,
                Instruction::Jump(offset) => next += offset,
                Instruction::Branch(comparison, operand, jt, jf) => {
                    let holds = comparison.holds(a, value(operand));
                    next += if holds { jt } else { jf };
                }
                Instruction::Return(constant) => return (at, constant),
                Instruction::ReturnA => return (at, a),
            }
        }
        // Not reached: a valid program returns.
        (next, libc::SECCOMP_RET_KILL_PROCESS)
    }
}

/// The action in a filter's return value (seccomp(2)). The kernel treats unknown actions as killing the process, and caps
/// the errno.
pub(crate) fn action_of(value: u32) -> Action {
    let data = value & libc::SECCOMP_RET_DATA;
    match value & libc::SECCOMP_RET_ACTION_FULL {
        libc::SECCOMP_RET_KILL_THREAD => Action::KillThread,
        libc::SECCOMP_RET_TRAP => Action::Trap,
        libc::SECCOMP_RET_ERRNO => Action::Errno(ErrnoRet::new(data).unwrap_or(ErrnoRet::MAX)),
        libc::SECCOMP_RET_USER_NOTIF => Action::Notify,
        // 16 bits.
        libc::SECCOMP_RET_TRACE => Action::Trace(u16::try_from(data).unwrap_or(u16::MAX)),
        libc::SECCOMP_RET_LOG => Action::Log,
        libc::SECCOMP_RET_ALLOW => Action::Allow,
        _ => Action::KillProcess,
    }
}
