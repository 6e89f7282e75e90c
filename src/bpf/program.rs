//! A valid seccomp program.

use libc::sock_filter;

use super::instruction::{INSTRUCTION_SIZE, Instruction, InvalidProgram, decode_program};

/// A program that the kernel accepts as a filter.
#[derive(Clone, Debug)]
pub struct Program {
    encoded: Vec<sock_filter>,
    instructions: Vec<Instruction>,
}

impl PartialEq for Program {
    fn eq(&self, other: &Program) -> bool {
        self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Program {}

impl Program {
    /// Reads an array of `struct sock_filter` (`linux/filter.h`) in this machine's byte order: what seccomp(2) takes,
    /// `seccomp_export_bpf(3)` writes and bubblewrap reads.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program, InvalidProgram> {
        let (instructions, rest) = bytes.as_chunks::<INSTRUCTION_SIZE>();
        if !rest.is_empty() {
            return Err(InvalidProgram::Length(bytes.len()));
        }
        let encoded = instructions
            .iter()
            .map(|&[code0, code1, jt, jf, k0, k1, k2, k3]| sock_filter {
                code: u16::from_ne_bytes([code0, code1]),
                jt,
                jf,
                k: u32::from_ne_bytes([k0, k1, k2, k3]),
            });
        Program::new(encoded.collect())
    }

    pub(crate) fn new(encoded: Vec<sock_filter>) -> Result<Program, InvalidProgram> {
        let instructions = decode_program(&encoded)?;
        Ok(Program {
            encoded,
            instructions,
        })
    }

    /// The bytes that [`Program::from_bytes`] reads.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = |instruction: &sock_filter| {
            let mut bytes = [0; INSTRUCTION_SIZE];
            bytes[..2].copy_from_slice(&instruction.code.to_ne_bytes());
            bytes[2..4].copy_from_slice(&[instruction.jt, instruction.jf]);
            bytes[4..].copy_from_slice(&instruction.k.to_ne_bytes());
            bytes
        };
        self.encoded.iter().flat_map(bytes).collect()
    }

    /// The number of instructions: 1 to 4096.
    #[must_use]
    #[allow(
        clippy::len_without_is_empty,
        reason = "a program has at least one instruction"
    )]
    pub fn len(&self) -> usize {
        self.encoded.len()
    }

    /// The program as the kernel takes it.
    pub(crate) fn encoded(&self) -> &[sock_filter] {
        &self.encoded
    }

    pub(crate) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }
}
