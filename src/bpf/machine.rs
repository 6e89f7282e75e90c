//! The programs of filters: what they are made of, which ones the kernel takes, and what they answer to a call.
//!
//! The language is classic BPF as far as seccomp(2) allows it: the instructions of `seccomp_check_filter`
//! (`kernel/seccomp.c`), under the rules of `bpf_check_classic` (`net/core/filter.c`).

use libc::{
    BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_DIV, BPF_IMM, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT,
    BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_LEN, BPF_LSH, BPF_MEM, BPF_MISC, BPF_MUL,
    BPF_NEG, BPF_OR, BPF_RET, BPF_RSH, BPF_ST, BPF_STX, BPF_SUB, BPF_TAX, BPF_TXA, BPF_W, BPF_X,
    BPF_XOR, sock_filter,
};

use crate::profile::{ARGS, Action, ErrnoRet};
use crate::syscall::Syscall;

/// The kernel refuses longer programs (`BPF_MAXINSNS`, `linux/bpf_common.h`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// How many words a program can put aside (`BPF_MEMWORDS`, `linux/filter.h`).
pub(crate) const MEMORY: usize = 16;

/// The size of `struct seccomp_data`.
pub(crate) const DATA: u32 = 64;

const WORD: usize = size_of::<u32>();
pub(crate) const INSTRUCTION: usize = size_of::<sock_filter>();

/// What the kernel tells a filter of a call: `struct seccomp_data` (seccomp(2)), as the words that programs load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data([u8; 64]);

impl Data {
    pub(crate) fn new(syscall: Syscall, args: &[u64; ARGS]) -> Data {
        Data::raw(syscall.arch.audit(), syscall.audit_nr(), args)
    }

    pub(crate) fn raw(audit_arch: u32, nr: i32, args: &[u64; ARGS]) -> Data {
        let mut bytes = [0; 64];
        bytes[..4].copy_from_slice(&nr.to_ne_bytes());
        bytes[4..8].copy_from_slice(&audit_arch.to_ne_bytes());
        // From 8 on: the instruction pointer, which no profile looks at.
        for (place, arg) in bytes[16..].chunks_exact_mut(8).zip(args) {
            place.copy_from_slice(&arg.to_ne_bytes());
        }
        Data(bytes)
    }

    fn load(&self, offset: u32) -> Option<u32> {
        let offset = usize::try_from(offset)
            .ok()
            .filter(|offset| offset % WORD == 0)?;
        let word = self.0.get(offset..offset + WORD)?;
        Some(u32::from_ne_bytes(word.try_into().ok()?))
    }
}

/// What can't be read, or would not end with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("instruction {at} ({code:#06x}) of the program can't be followed")]
pub struct BadProgram {
    /// Which instruction, from 0.
    pub at: usize,
    /// Its code; 0 beyond the end.
    pub code: u16,
}

/// Why bytes are not a program that the kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidProgram {
    /// There are no whole instructions.
    #[error("{0} bytes are no whole number of instructions of {INSTRUCTION}")]
    Length(usize),
    /// There is nothing.
    #[error("a program has at least one instruction")]
    Empty,
    /// There are too many.
    #[error("{0} instructions; the kernel takes {MAX_INSTRUCTIONS}")]
    TooLong(usize),
    /// seccomp(2) doesn't allow it.
    #[error("instruction {at} ({code:#06x}) is not one that seccomp allows")]
    Code {
        /// Which instruction, from 0.
        at: usize,
        /// Its code.
        code: u16,
    },
    /// An operand has no meaning: an offset, a place in memory, a shift, a division by zero.
    #[error("instruction {at} ({code:#06x}) has the operand {k:#x}, which means nothing")]
    Operand {
        /// Which instruction, from 0.
        at: usize,
        /// Its code.
        code: u16,
        /// Its operand.
        k: u32,
    },
    /// It leads out of the program.
    #[error("instruction {at} jumps to {to}, beyond the end")]
    Jump {
        /// Which instruction, from 0.
        at: usize,
        /// Where to.
        to: usize,
    },
    /// It reads what was never written, on some way to it.
    #[error("instruction {at} reads M[{k}], which is not written on every way to it")]
    Memory {
        /// Which instruction, from 0.
        at: usize,
        /// Which word.
        k: u32,
    },
    /// The last instruction isn't an answer.
    #[error("instruction {at}, the last one, does not end the program")]
    NoEnd {
        /// Which instruction, from 0.
        at: usize,
    },
}

impl InvalidProgram {
    /// The instruction that is wrong, from 0.
    #[must_use]
    pub fn at(self) -> Option<usize> {
        match self {
            InvalidProgram::Code { at, .. }
            | InvalidProgram::Operand { at, .. }
            | InvalidProgram::Jump { at, .. }
            | InvalidProgram::Memory { at, .. }
            | InvalidProgram::NoEnd { at } => Some(at),
            InvalidProgram::TooLong(_) => Some(MAX_INSTRUCTIONS),
            InvalidProgram::Length(_) | InvalidProgram::Empty => None,
        }
    }
}

/// What an instruction does, told apart as programs do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// A = the word at an offset of the call's data.
    Load(u32),
    /// A = a number.
    Set(u32),
    /// X = a number.
    SetIndex(u32),
    /// A = a word of memory.
    Recall(usize),
    /// X = a word of memory.
    RecallIndex(usize),
    /// A word of memory = A.
    Store(usize),
    /// A word of memory = X.
    StoreIndex(usize),
    /// A = A combined with an operand.
    Alu(Alu, Operand),
    /// A = -A.
    Negate,
    /// X = A.
    ToIndex,
    /// A = X.
    FromIndex,
    /// Skip so many instructions.
    Jump(usize),
    /// Skip so many if A compares so with an operand, and so many if it doesn't.
    Branch(Test, Operand, usize, usize),
    /// The answer is a number.
    Return(u32),
    /// The answer is A.
    ReturnA,
}

/// What something is combined or compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Number(u32),
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Alu {
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
pub(crate) enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

impl Alu {
    /// As the kernel computes: modulo 2^32, shifts modulo 32. `None`: a division by zero, which ends the program with 0.
    pub(crate) fn apply(self, a: u32, operand: u32) -> Option<u32> {
        Some(match self {
            Alu::Add => a.wrapping_add(operand),
            Alu::Sub => a.wrapping_sub(operand),
            Alu::Mul => a.wrapping_mul(operand),
            Alu::Div => return a.checked_div(operand),
            Alu::And => a & operand,
            Alu::Or => a | operand,
            Alu::Xor => a ^ operand,
            Alu::ShiftLeft => a.wrapping_shl(operand),
            Alu::ShiftRight => a.wrapping_shr(operand),
        })
    }
}

impl Test {
    pub(crate) fn holds(self, a: u32, operand: u32) -> bool {
        match self {
            Test::Equal => a == operand,
            Test::Greater => a > operand,
            Test::GreaterOrEqual => a >= operand,
            Test::AnyBit => a & operand != 0,
        }
    }
}

/// What an instruction does; `None` where seccomp(2) doesn't allow it.
pub(crate) fn decode(instruction: sock_filter) -> Option<Op> {
    const LOAD: u32 = BPF_LD | BPF_W | BPF_ABS;
    const LENGTH: u32 = BPF_LD | BPF_W | BPF_LEN;
    const INDEX_LENGTH: u32 = BPF_LDX | BPF_W | BPF_LEN;
    const SET: u32 = BPF_LD | BPF_IMM;
    const SET_INDEX: u32 = BPF_LDX | BPF_IMM;
    const RECALL: u32 = BPF_LD | BPF_MEM;
    const RECALL_INDEX: u32 = BPF_LDX | BPF_MEM;
    const NEGATE: u32 = BPF_ALU | BPF_NEG;
    const TO_INDEX: u32 = BPF_MISC | BPF_TAX;
    const FROM_INDEX: u32 = BPF_MISC | BPF_TXA;
    const JUMP: u32 = BPF_JMP | BPF_JA;
    const RETURN: u32 = BPF_RET | BPF_K;
    const RETURN_A: u32 = BPF_RET | libc::BPF_A;
    let sock_filter { code, jt, jf, k } = instruction;
    let code = u32::from(code);
    let place = || usize::try_from(k).ok();
    let operand = if code & BPF_X == 0 {
        Operand::Number(k)
    } else {
        Operand::Index
    };
    Some(match code {
        LOAD => Op::Load(k),
        LENGTH => Op::Set(DATA),
        INDEX_LENGTH => Op::SetIndex(DATA),
        SET => Op::Set(k),
        SET_INDEX => Op::SetIndex(k),
        RECALL => Op::Recall(place()?),
        RECALL_INDEX => Op::RecallIndex(place()?),
        BPF_ST => Op::Store(place()?),
        BPF_STX => Op::StoreIndex(place()?),
        NEGATE => Op::Negate,
        TO_INDEX => Op::ToIndex,
        FROM_INDEX => Op::FromIndex,
        JUMP => Op::Jump(place()?),
        RETURN => Op::Return(k),
        RETURN_A => Op::ReturnA,
        code if code & !0xf8 == BPF_ALU => Op::Alu(
            match code & 0xf0 {
                BPF_ADD => Alu::Add,
                BPF_SUB => Alu::Sub,
                BPF_MUL => Alu::Mul,
                BPF_DIV => Alu::Div,
                BPF_AND => Alu::And,
                BPF_OR => Alu::Or,
                BPF_XOR => Alu::Xor,
                BPF_LSH => Alu::ShiftLeft,
                BPF_RSH => Alu::ShiftRight,
                _ => return None,
            },
            operand,
        ),
        code if code & !0xf8 == BPF_JMP => Op::Branch(
            match code & 0xf0 {
                BPF_JEQ => Test::Equal,
                BPF_JGT => Test::Greater,
                BPF_JGE => Test::GreaterOrEqual,
                BPF_JSET => Test::AnyBit,
                _ => return None,
            },
            operand,
            usize::from(jt),
            usize::from(jf),
        ),
        _ => return None,
    })
}

/// The program in the bytes that libseccomp exports and the kernel gives: an array of `struct sock_filter`
/// (`linux/filter.h`).
pub(crate) fn from_bytes(bytes: &[u8]) -> Vec<sock_filter> {
    let instruction = |bytes: &[u8]| sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    bytes.chunks_exact(INSTRUCTION).map(instruction).collect()
}

pub(crate) fn to_bytes(program: &[sock_filter]) -> Vec<u8> {
    let instruction = |one: &sock_filter| {
        let [code, operand] = [
            one.code.to_ne_bytes().to_vec(),
            one.k.to_ne_bytes().to_vec(),
        ];
        [code, vec![one.jt, one.jf], operand].concat()
    };
    program.iter().flat_map(instruction).collect()
}

/// What the kernel checks before it takes a program.
pub(crate) fn check(program: &[sock_filter]) -> Result<(), InvalidProgram> {
    if program.is_empty() {
        return Err(InvalidProgram::Empty);
    }
    if program.len() > MAX_INSTRUCTIONS {
        return Err(InvalidProgram::TooLong(program.len()));
    }
    // The words of memory that are written on every way to an instruction, as bits (`check_load_and_stores`).
    let mut written = vec![u16::MAX; program.len()];
    let mut here: u16 = 0;
    for (at, instruction) in program.iter().enumerate() {
        let &sock_filter { code, k, .. } = instruction;
        let op = decode(*instruction).ok_or(InvalidProgram::Code { at, code })?;
        let operand = InvalidProgram::Operand { at, code, k };
        here &= written[at];
        let bit = |place: usize| {
            let bit = u32::try_from(place)
                .ok()
                .and_then(|place| 1_u16.checked_shl(place));
            bit.filter(|_| place < MEMORY).ok_or(operand)
        };
        let mut leads_to = |skip: usize, here: u16| {
            let to = at.saturating_add(1).saturating_add(skip);
            match written.get_mut(to) {
                Some(there) => {
                    *there &= here;
                    Ok(())
                }
                None => Err(InvalidProgram::Jump { at, to }),
            }
        };
        match op {
            Op::Load(offset) if offset % 4 != 0 || offset >= DATA => return Err(operand),
            Op::Alu(Alu::Div, Operand::Number(0)) => return Err(operand),
            Op::Alu(Alu::ShiftLeft | Alu::ShiftRight, Operand::Number(32..)) => {
                return Err(operand);
            }
            Op::Store(place) | Op::StoreIndex(place) => here |= bit(place)?,
            Op::Recall(place) | Op::RecallIndex(place) if here & bit(place)? == 0 => {
                return Err(InvalidProgram::Memory { at, k });
            }
            Op::Jump(skip) => {
                leads_to(skip, here)?;
                here = u16::MAX;
            }
            Op::Branch(_, _, jt, jf) => {
                leads_to(jt, here)?;
                leads_to(jf, here)?;
                here = u16::MAX;
            }
            _ => {}
        }
    }
    let at = program.len() - 1;
    match decode(program[at]) {
        Some(Op::Return(_) | Op::ReturnA) => Ok(()),
        _ => Err(InvalidProgram::NoEnd { at }),
    }
}

/// What the program answers to a call.
pub(crate) fn answer(program: &[sock_filter], data: &Data) -> Result<Action, BadProgram> {
    returned(program, data).map(|(_, value)| action(value))
}

/// The instruction that ends the program for a call, and the value that it returns.
pub(crate) fn returned(program: &[sock_filter], data: &Data) -> Result<(usize, u32), BadProgram> {
    let (mut accumulator, mut index) = (0_u32, 0_u32);
    let mut memory = [0_u32; MEMORY];
    let mut next = 0;
    loop {
        let at = next;
        let Some(instruction) = program.get(at) else {
            return Err(BadProgram { at, code: 0 });
        };
        let bad = BadProgram {
            at,
            code: instruction.code,
        };
        // Jumps go forward only, so the loop ends.
        next += 1;
        let value = |operand| match operand {
            Operand::Number(number) => number,
            Operand::Index => index,
        };
        match decode(*instruction).ok_or(bad)? {
            Op::Load(offset) => accumulator = data.load(offset).ok_or(bad)?,
            Op::Set(number) => accumulator = number,
            Op::SetIndex(number) => index = number,
            Op::Recall(place) => accumulator = *memory.get(place).ok_or(bad)?,
            Op::RecallIndex(place) => index = *memory.get(place).ok_or(bad)?,
            Op::Store(place) => *memory.get_mut(place).ok_or(bad)? = accumulator,
            Op::StoreIndex(place) => *memory.get_mut(place).ok_or(bad)? = index,
            Op::Alu(alu, operand) => match alu.apply(accumulator, value(operand)) {
                Some(result) => accumulator = result,
                None => return Ok((at, 0)),
            },
            Op::Negate => accumulator = accumulator.wrapping_neg(),
            Op::ToIndex => index = accumulator,
            Op::FromIndex => accumulator = index,
            Op::Jump(skip) => next = next.saturating_add(skip),
            Op::Branch(test, operand, jt, jf) => {
                let holds = test.holds(accumulator, value(operand));
                next += if holds { jt } else { jf };
            }
            Op::Return(number) => return Ok((at, number)),
            Op::ReturnA => return Ok((at, accumulator)),
        }
    }
}

/// The action in a filter's return value (seccomp(2)). The kernel takes what it doesn't know for a kill of the process, and
/// an errno that is too great for the greatest.
pub(crate) fn action(value: u32) -> Action {
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
