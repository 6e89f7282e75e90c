//! A filter's program on its own, wherever it comes from: as bytes, as text, and what it answers.

use std::fmt;

use libc::sock_filter;

use super::machine::{self, Alu, Data, InvalidProgram, Op, Operand, Test};
use crate::profile::{ARGS, Action};
use crate::syscall::Syscall;

/// A program that the kernel takes as a filter.
#[derive(Clone, Debug)]
pub struct Program(Vec<sock_filter>);

impl PartialEq for Program {
    fn eq(&self, other: &Program) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Program {}

impl Program {
    /// Reads an array of `struct sock_filter` in this machine's byte order: what seccomp(2) is given, what
    /// `seccomp_export_bpf(3)` writes and bubblewrap reads.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program, InvalidProgram> {
        if !bytes.len().is_multiple_of(machine::INSTRUCTION) {
            return Err(InvalidProgram::Length(bytes.len()));
        }
        Program::new(machine::from_bytes(bytes))
    }

    pub(crate) fn new(program: Vec<sock_filter>) -> Result<Program, InvalidProgram> {
        machine::check(&program)?;
        Ok(Program(program))
    }

    /// The bytes that [`Program::from_bytes`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        machine::to_bytes(&self.0)
    }

    /// How many instructions it has: 1 to 4096.
    #[must_use]
    #[allow(
        clippy::len_without_is_empty,
        reason = "a program has at least one instruction"
    )]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// What it answers to a call.
    #[must_use]
    pub fn answer(&self, syscall: Syscall, args: &[u64; ARGS]) -> Action {
        self.ends(syscall, args).1
    }

    /// The instruction that ends it for a call, and the answer.
    #[must_use]
    pub fn ends(&self, syscall: Syscall, args: &[u64; ARGS]) -> (usize, Action) {
        // A program that was checked ends for every call. If it didn't, the kernel would kill the process.
        let end = machine::returned(&self.0, &Data::new(syscall, args));
        end.map_or((0, Action::KillProcess), |(at, value)| {
            (at, machine::action(value))
        })
    }

    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.0
    }
}

/// The words of `struct seccomp_data` as people call them.
pub(crate) fn word(offset: u32) -> String {
    let upper = (offset % 8 == 4) != cfg!(target_endian = "big");
    let half = if upper { "hi" } else { "lo" };
    match offset {
        0 => "nr".to_owned(),
        4 => "arch".to_owned(),
        8 | 12 => format!("ip.{half}"),
        offset => format!("arg{}.{half}", (offset - 16) / 8),
    }
}

impl fmt::Display for Program {
    /// One instruction a line, numbered from 0, with the meaning of what has one: `0003: if (A == 59) goto 0007`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What A was loaded with, to tell what it is compared with.
        let mut loaded: Option<u32> = None;
        for (at, instruction) in self.0.iter().enumerate() {
            write!(
                f,
                "{at:04}: {:#04x} {:#04x} {:#04x} {:#010x}  ",
                instruction.code, instruction.jt, instruction.jf, instruction.k
            )?;
            let Some(op) = machine::decode(*instruction) else {
                // A program that was checked has none.
                writeln!(f, "?")?;
                continue;
            };
            match op {
                Op::Load(offset) => loaded = Some(offset),
                Op::Branch(..) | Op::Jump(_) | Op::Store(_) | Op::StoreIndex(_) => {}
                _ => loaded = None,
            }
            writeln!(f, "{}", text(op, at, loaded))?;
        }
        Ok(())
    }
}

/// An instruction in the words of C.
fn text(op: Op, at: usize, loaded: Option<u32>) -> String {
    let operand = |operand| match operand {
        Operand::Number(number) => format!("{number:#x}"),
        Operand::Index => "X".to_owned(),
    };
    let target = |skip: usize| at + 1 + skip;
    match op {
        Op::Load(offset) => format!("A = {}", word(offset)),
        Op::Set(number) => format!("A = {number:#x}"),
        Op::SetIndex(number) => format!("X = {number:#x}"),
        Op::Recall(place) => format!("A = M[{place}]"),
        Op::RecallIndex(place) => format!("X = M[{place}]"),
        Op::Store(place) => format!("M[{place}] = A"),
        Op::StoreIndex(place) => format!("M[{place}] = X"),
        Op::Alu(alu, value) => format!("A {}= {}", sign(alu), operand(value)),
        Op::Negate => "A = -A".to_owned(),
        Op::ToIndex => "X = A".to_owned(),
        Op::FromIndex => "A = X".to_owned(),
        Op::Jump(skip) => format!("goto {:04}", target(skip)),
        Op::Branch(test, value, jt, jf) => {
            let (holds, fails) = match test {
                Test::Equal => ("==", "!="),
                Test::Greater => (">", "<="),
                Test::GreaterOrEqual => (">=", "<"),
                Test::AnyBit => ("&", "&"),
            };
            let value = match (value, loaded) {
                (Operand::Number(number), Some(0)) => format!("{number}"),
                (Operand::Number(number), Some(4)) => arch(number),
                (value, _) => operand(value),
            };
            let not = if test == Test::AnyBit { "!" } else { "" };
            match (jt, jf) {
                (0, 0) => "nothing: both ways lead on".to_owned(),
                (jt, 0) => format!("if (A {holds} {value}) goto {:04}", target(jt)),
                (0, jf) if not.is_empty() => {
                    format!("if (A {fails} {value}) goto {:04}", target(jf))
                }
                (0, jf) => format!("if (!(A {holds} {value})) goto {:04}", target(jf)),
                (jt, jf) => format!(
                    "if (A {holds} {value}) goto {:04}; else goto {:04}",
                    target(jt),
                    target(jf)
                ),
            }
        }
        Op::Return(value) => format!("return {}", machine::action(value)),
        Op::ReturnA => "return A".to_owned(),
    }
}

pub(crate) fn sign(alu: Alu) -> &'static str {
    match alu {
        Alu::Add => "+",
        Alu::Sub => "-",
        Alu::Mul => "*",
        Alu::Div => "/",
        Alu::And => "&",
        Alu::Or => "|",
        Alu::Xor => "^",
        Alu::ShiftLeft => "<<",
        Alu::ShiftRight => ">>",
    }
}

/// An audit value, with the ABI that has it.
fn arch(number: u32) -> String {
    match crate::syscall::Arch::from_audit(number) {
        Some(arch) => format!("{number:#x} ({arch})"),
        None => format!("{number:#x}"),
    }
}
