//! The instruction set of seccomp filters, and the checks that the kernel makes before it accepts a program.
//!
//! It is classic BPF as far as seccomp(2) allows it: the instructions of `seccomp_check_filter` (`kernel/seccomp.c`), under
//! the rules of `bpf_check_classic` (`net/core/filter.c`).

use libc::{
    BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_DIV, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT,
    BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_MISC, BPF_MUL,
    BPF_NEG, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_STX, BPF_SUB, BPF_TAX, BPF_TXA, BPF_W, BPF_X,
    BPF_XOR, sock_filter,
};

/// The kernel refuses longer programs (`BPF_MAXINSNS`, `linux/bpf_common.h`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// The number of scratch memory words (`BPF_MEMWORDS`, `linux/filter.h`).
pub(super) const MEMORY_WORDS: usize = 16;

/// The size of `struct seccomp_data`, in bytes.
pub(super) const DATA_SIZE: u32 = 64;

/// The size of an encoded instruction, in bytes.
pub(super) const INSTRUCTION_SIZE: usize = size_of::<sock_filter>();

/// Why the kernel would refuse a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProgram {
    /// The length is not a multiple of an instruction's size.
    #[error("{0} bytes are not a whole number of {INSTRUCTION_SIZE}-byte instructions")]
    Length(usize),
    /// There are no instructions.
    #[error("a program has at least one instruction")]
    Empty,
    /// There are more than [`MAX_INSTRUCTIONS`].
    #[error("{0} instructions; the kernel accepts at most {MAX_INSTRUCTIONS}")]
    TooLong(usize),
    /// seccomp(2) doesn't allow the instruction.
    #[error("instruction {at} ({code:#06x}) is not allowed by seccomp")]
    Code {
        /// The instruction's index.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// An operand is out of range: an offset, a memory word, a shift, or a division by zero.
    #[error("instruction {at} ({code:#06x}) has the invalid operand {k:#x}")]
    Operand {
        /// The instruction's index.
        at: usize,
        /// Its code.
        code: u16,
        /// Its operand.
        k: u32,
    },
    /// A jump leaves the program.
    #[error("instruction {at} jumps to {to}, beyond the end")]
    Jump {
        /// The instruction's index.
        at: usize,
        /// The jump's target.
        to: usize,
    },
    /// A memory word is read that some path to the instruction didn't write.
    #[error("instruction {at} reads M[{k}], which not every path to it writes")]
    Memory {
        /// The instruction's index.
        at: usize,
        /// The memory word.
        k: u32,
    },
    /// The last instruction doesn't return.
    #[error("the last instruction ({at}) does not return")]
    NoReturn {
        /// The instruction's index.
        at: usize,
    },
}

impl InvalidProgram {
    /// The index of the invalid instruction.
    #[must_use]
    pub fn at(self) -> Option<usize> {
        match self {
            InvalidProgram::Code { at, .. }
            | InvalidProgram::Operand { at, .. }
            | InvalidProgram::Jump { at, .. }
            | InvalidProgram::Memory { at, .. }
            | InvalidProgram::NoReturn { at } => Some(at),
            InvalidProgram::TooLong(_) => Some(MAX_INSTRUCTIONS),
            InvalidProgram::Length(_) | InvalidProgram::Empty => None,
        }
    }
}

/// A decoded instruction. A is the accumulator, X the index register, M the scratch memory; jumps are relative to the next
/// instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// A = the word of `struct seccomp_data` at this offset.
    LoadData(u32),
    /// A = a constant.
    LoadConstant(u32),
    /// X = a constant.
    LoadIndexConstant(u32),
    /// A = `M[n]`.
    LoadMemory(usize),
    /// X = `M[n]`.
    LoadIndexMemory(usize),
    /// `M[n]` = A.
    Store(usize),
    /// `M[n]` = X.
    StoreIndex(usize),
    /// A = A combined with an operand.
    Alu(AluOp, Operand),
    /// A = -A.
    Negate,
    /// X = A.
    CopyToIndex,
    /// A = X.
    CopyFromIndex,
    /// Jumps forward.
    Jump(usize),
    /// Compares A with an operand, and jumps to the first offset if the comparison holds and to the second otherwise.
    Branch(Comparison, Operand, usize, usize),
    /// Returns a constant.
    Return(u32),
    /// Returns A.
    ReturnA,
}

/// The second operand of a computation or comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Constant(u32),
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum AluOp {
    Add,
    Sub,
    Mul,
    Div,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Comparison {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

impl AluOp {
    /// Computes as the kernel does: modulo 2^32, with shifts modulo 32. `None` for a division by zero, on which the program
    /// returns 0.
    pub(super) fn apply(self, a: u32, operand: u32) -> Option<u32> {
        Some(match self {
            AluOp::Add => a.wrapping_add(operand),
            AluOp::Sub => a.wrapping_sub(operand),
            AluOp::Mul => a.wrapping_mul(operand),
            AluOp::Div => return a.checked_div(operand),
            AluOp::And => a & operand,
            AluOp::Or => a | operand,
            AluOp::Xor => a ^ operand,
            AluOp::ShiftLeft => a.wrapping_shl(operand),
            AluOp::ShiftRight => a.wrapping_shr(operand),
        })
    }

    /// The operator in C.
    pub(super) fn operator(self) -> &'static str {
        match self {
            AluOp::Add => "+",
            AluOp::Sub => "-",
            AluOp::Mul => "*",
            AluOp::Div => "/",
            AluOp::And => "&",
            AluOp::Or => "|",
            AluOp::Xor => "^",
            AluOp::ShiftLeft => "<<",
            AluOp::ShiftRight => ">>",
        }
    }
}

impl Comparison {
    pub(super) fn holds(self, a: u32, operand: u32) -> bool {
        match self {
            Comparison::Equal => a == operand,
            Comparison::Greater => a > operand,
            Comparison::GreaterOrEqual => a >= operand,
            Comparison::AnyBit => a & operand != 0,
        }
    }
}

/// Decodes an instruction. `None` if seccomp(2) doesn't allow it.
fn decode(instruction: sock_filter) -> Option<Instruction> {
    const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;
    const LENGTH: u32 = BPF_LD | BPF_W | BPF_LEN;
    const INDEX_LENGTH: u32 = BPF_LDX | BPF_W | BPF_LEN;
    const CONSTANT: u32 = BPF_LD | BPF_IMM;
    const INDEX_CONSTANT: u32 = BPF_LDX | BPF_IMM;
    const MEMORY: u32 = BPF_LD | BPF_MEM;
    const INDEX_MEMORY: u32 = BPF_LDX | BPF_MEM;
    const NEGATE: u32 = BPF_ALU | BPF_NEG;
    const TO_INDEX: u32 = BPF_MISC | BPF_TAX;
    const FROM_INDEX: u32 = BPF_MISC | BPF_TXA;
    const JUMP: u32 = BPF_JMP | BPF_JA;
    const RETURN: u32 = BPF_RET | BPF_K;
    const RETURN_A: u32 = BPF_RET | libc::BPF_A;
    let sock_filter { code, jt, jf, k } = instruction;
    let code = u32::from(code);
    let index = || usize::try_from(k).ok();
    let operand = if code & BPF_X == 0 {
        Operand::Constant(k)
    } else {
        Operand::Index
    };
    Some(match code {
        LOAD => Instruction::LoadData(k),
        LENGTH => Instruction::LoadConstant(DATA_SIZE),
        INDEX_LENGTH => Instruction::LoadIndexConstant(DATA_SIZE),
        CONSTANT => Instruction::LoadConstant(k),
        INDEX_CONSTANT => Instruction::LoadIndexConstant(k),
        MEMORY => Instruction::LoadMemory(index()?),
        INDEX_MEMORY => Instruction::LoadIndexMemory(index()?),
        BPF_ST => Instruction::Store(index()?),
        BPF_STX => Instruction::StoreIndex(index()?),
        NEGATE => Instruction::Negate,
        TO_INDEX => Instruction::CopyToIndex,
        FROM_INDEX => Instruction::CopyFromIndex,
        JUMP => Instruction::Jump(index()?),
        RETURN => Instruction::Return(k),
        RETURN_A => Instruction::ReturnA,
        code if code & !0xf8 == BPF_ALU => Instruction::Alu(
            match code & 0xf0 {
                BPF_ADD => AluOp::Add,
                BPF_SUB => AluOp::Sub,
                BPF_MUL => AluOp::Mul,
                BPF_DIV => AluOp::Div,
                BPF_AND => AluOp::And,
                BPF_OR => AluOp::Or,
                BPF_XOR => AluOp::Xor,
                BPF_LSH => AluOp::ShiftLeft,
                BPF_RSH => AluOp::ShiftRight,
                _ => return None,
            },
            operand,
        ),
        code if code & !0xf8 == BPF_JMP => Instruction::Branch(
            match code & 0xf0 {
                BPF_JEQ => Comparison::Equal,
                BPF_JGT => Comparison::Greater,
                BPF_JGE => Comparison::GreaterOrEqual,
                BPF_JSET => Comparison::AnyBit,
                _ => return None,
            },
            operand,
            usize::from(jt),
            usize::from(jf),
        ),
        _ => return None,
    })
}

/// Decodes a program, and refuses it if the kernel would.
pub(super) fn decode_program(program: &[sock_filter]) -> Result<Vec<Instruction>, InvalidProgram> {
    if program.is_empty() {
        return Err(InvalidProgram::Empty);
    }
    if program.len() > MAX_INSTRUCTIONS {
        return Err(InvalidProgram::TooLong(program.len()));
    }
    // The memory words that every path to an instruction writes, as bits (`check_load_and_stores`).
    let mut written = vec![u16::MAX; program.len()];
    let mut here: u16 = 0;
    let mut decoded = Vec::with_capacity(program.len());
    for (at, encoded) in program.iter().enumerate() {
        let &sock_filter { code, k, .. } = encoded;
        let instruction = decode(*encoded).ok_or(InvalidProgram::Code { at, code })?;
        let invalid_operand = InvalidProgram::Operand { at, code, k };
        here &= written[at];
        let bit = |word: usize| match u32::try_from(word) {
            Ok(shift) if word < MEMORY_WORDS => Ok(1_u16 << shift),
            _ => Err(invalid_operand),
        };
        let mut jump = |offset: usize, here: u16| {
            let to = at.saturating_add(1).saturating_add(offset);
            let there = written.get_mut(to);
            *there.ok_or(InvalidProgram::Jump { at, to })? &= here;
            Ok(())
        };
        match instruction {
            Instruction::LoadData(offset) if offset % 4 != 0 || offset >= DATA_SIZE => {
                return Err(invalid_operand);
            }
            Instruction::Alu(AluOp::Div, Operand::Constant(0))
            | Instruction::Alu(AluOp::ShiftLeft | AluOp::ShiftRight, Operand::Constant(32..)) => {
                return Err(invalid_operand);
            }
            Instruction::Store(word) | Instruction::StoreIndex(word) => here |= bit(word)?,
            Instruction::LoadMemory(word) | Instruction::LoadIndexMemory(word)
                if here & bit(word)? == 0 =>
            {
                return Err(InvalidProgram::Memory { at, k });
            }
            Instruction::Jump(offset) => {
                jump(offset, here)?;
                here = u16::MAX;
            }
            Instruction::Branch(_, _, jt, jf) => {
                jump(jt, here)?;
                jump(jf, here)?;
                here = u16::MAX;
            }
            _ => {}
        }
        decoded.push(instruction);
    }
    match decoded.last() {
        Some(Instruction::Return(_) | Instruction::ReturnA) => Ok(decoded),
        _ => Err(InvalidProgram::NoReturn {
            at: program.len() - 1,
        }),
    }
}
