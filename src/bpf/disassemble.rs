//! The disassembler: programs as text.

use std::fmt;

use super::emulate::action_of;
use super::instruction::{Comparison, Instruction, Operand};
use super::program::Program;
use crate::syscall::Arch;

impl fmt::Display for Program {
    /// One instruction per line: index, encoding, meaning. `0003: 0x15 0x03 0x00 0x0000003b  if (A == 59) goto 0007`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The offset that A was loaded from, which says how to print constants that it is compared with.
        let mut loaded: Option<u32> = None;
        let encoded = self.encoded().iter();
        for (at, (encoded, &instruction)) in encoded.zip(self.instructions()).enumerate() {
            match instruction {
                Instruction::LoadData(offset) => loaded = Some(offset),
                Instruction::Branch(..)
                | Instruction::Jump(_)
                | Instruction::Store(_)
                | Instruction::StoreIndex(_) => {}
                _ => loaded = None,
            }
            writeln!(
                f,
                "{at:04}: {:#04x} {:#04x} {:#04x} {:#010x}  {}",
                encoded.code,
                encoded.jt,
                encoded.jf,
                encoded.k,
                in_c(instruction, at, loaded)
            )?;
        }
        Ok(())
    }
}

/// A word of `struct seccomp_data`, by its offset.
pub(super) fn data_word(offset: u32) -> String {
    let upper = (offset % 8 == 4) != cfg!(target_endian = "big");
    let half = if upper { "hi" } else { "lo" };
    match offset {
        0 => "nr".to_owned(),
        4 => "arch".to_owned(),
        8 | 12 => format!("ip.{half}"),
        offset => format!("arg{}.{half}", (offset - 16) / 8),
    }
}

/// An instruction in C notation.
fn in_c(instruction: Instruction, at: usize, loaded: Option<u32>) -> String {
    let text = |operand| match operand {
        Operand::Constant(constant) => format!("{constant:#x}"),
        Operand::Index => "X".to_owned(),
    };
    let target = |offset: usize| at + 1 + offset;
    match instruction {
        Instruction::LoadData(offset) => format!("A = {}", data_word(offset)),
        Instruction::LoadConstant(constant) => format!("A = {constant:#x}"),
        Instruction::LoadIndexConstant(constant) => format!("X = {constant:#x}"),
        Instruction::LoadMemory(word) => format!("A = M[{word}]"),
        Instruction::LoadIndexMemory(word) => format!("X = M[{word}]"),
        Instruction::Store(word) => format!("M[{word}] = A"),
        Instruction::StoreIndex(word) => format!("M[{word}] = X"),
        Instruction::Alu(op, operand) => format!("A {}= {}", op.operator(), text(operand)),
        Instruction::Negate => "A = -A".to_owned(),
        Instruction::CopyToIndex => "X = A".to_owned(),
        Instruction::CopyFromIndex => "A = X".to_owned(),
        Instruction::Jump(offset) => format!("goto {:04}", target(offset)),
        Instruction::Branch(comparison, operand, jt, jf) => {
            let (operator, negated) = match comparison {
                Comparison::Equal => ("==", Some("!=")),
                Comparison::Greater => (">", Some("<=")),
                Comparison::GreaterOrEqual => (">=", Some("<")),
                Comparison::AnyBit => ("&", None),
            };
            let operand = match (operand, loaded) {
                (Operand::Constant(nr), Some(0)) => format!("{nr}"),
                (Operand::Constant(audit_arch), Some(4)) => arch(audit_arch),
                (operand, _) => text(operand),
            };
            match (jt, jf, negated) {
                (0, 0, _) => "no effect: both branches continue".to_owned(),
                (jt, 0, _) => format!("if (A {operator} {operand}) goto {:04}", target(jt)),
                (0, jf, Some(negated)) => {
                    format!("if (A {negated} {operand}) goto {:04}", target(jf))
                }
                (0, jf, None) => format!("if (!(A {operator} {operand})) goto {:04}", target(jf)),
                (jt, jf, _) => format!(
                    "if (A {operator} {operand}) goto {:04}; else goto {:04}",
                    target(jt),
                    target(jf)
                ),
            }
        }
        Instruction::Return(value) => format!("return {}", action_of(value)),
        Instruction::ReturnA => "return A".to_owned(),
    }
}

/// An `AUDIT_ARCH_*` value, with the name of its ABI.
fn arch(audit_arch: u32) -> String {
    match Arch::from_audit(audit_arch) {
        Some(arch) => format!("{audit_arch:#x} ({arch})"),
        None => format!("{audit_arch:#x}"),
    }
}
