//! A program's answers to all system calls, ABI by ABI.
//!
//! They are the program's answers, which may differ from its author's intent.

use std::collections::{BTreeMap, BTreeSet};

use super::conditions::FilterAnswer;
use super::instruction::{Instruction, Operand};
use super::program::Program;
use super::samples;
use super::walk::{Budget, paths};
use crate::profile::arg_width::has_32_bit_args;
use crate::syscall::{Arch, Syscall};

/// A filter's answers to the system calls of an ABI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchAnswers {
    /// The ABI.
    pub arch: Arch,
    /// The answer to every number that isn't in `calls`.
    pub rest: FilterAnswer,
    /// Other answers, by number in the ABI's own table.
    pub calls: BTreeMap<i32, FilterAnswer>,
}

impl ArchAnswers {
    /// The answer to a number.
    #[must_use]
    pub fn answer(&self, nr: i32) -> &FilterAnswer {
        self.calls.get(&nr).unwrap_or(&self.rest)
    }
}

/// The answers of a filter, for each ABI that it distinguishes. All take a bounded time: what would take longer is
/// [`FilterAnswer::Unknown`].
#[must_use]
pub fn explain(program: &Program) -> Vec<ArchAnswers> {
    let mut budget = Budget::new();
    let arches = arches(program).into_iter();
    let answers = arches.map(|arch| explain_within(program, arch, &mut budget));
    answers.collect()
}

/// The ABIs that a program compares with, and x32 where it shares the `AUDIT_ARCH_*` value of one; the native one if the
/// program doesn't compare the ABI.
pub(super) fn arches(program: &Program) -> Vec<Arch> {
    let mut arches: BTreeSet<Arch> = compared_constants(program)
        .into_iter()
        .filter(|(_, origins)| origins & bit_of(4) != 0)
        .filter_map(|(constant, _)| Arch::from_audit(constant))
        .collect();
    if arches.is_empty() {
        arches.insert(Arch::NATIVE);
    }
    if arches.contains(&Arch::X86_64) {
        arches.insert(Arch::X32);
    }
    arches.into_iter().collect()
}

/// The words of `struct seccomp_data` that A can come from, as bits.
type Origins = u32;

fn bit_of(offset: u32) -> Origins {
    1 << (offset / 4)
}

/// The constants that a program compares A with, and where A can come from at that instruction.
fn compared_constants(program: &Program) -> Vec<(u32, Origins)> {
    let mut at_entry: Vec<Origins> = vec![0; program.len()];
    let mut compared = Vec::new();
    for (at, instruction) in program.instructions().iter().enumerate() {
        let mut origins = at_entry[at];
        let targets: &[usize] = match *instruction {
            Instruction::Jump(offset) => &[offset],
            Instruction::Branch(_, operand, jt, jf) => {
                if let Operand::Constant(constant) = operand {
                    compared.push((constant, origins));
                }
                &[jt, jf]
            }
            Instruction::Return(_) | Instruction::ReturnA => &[],
            _ => &[0],
        };
        match *instruction {
            Instruction::LoadData(offset) => origins = bit_of(offset),
            Instruction::LoadConstant(_) => origins = 0,
            // X and memory can come from anywhere.
            Instruction::LoadMemory(_) | Instruction::CopyFromIndex => origins = Origins::MAX,
            _ => {}
        }
        for offset in targets {
            if let Some(there) = at_entry.get_mut(at + 1 + offset) {
                *there |= origins;
            }
        }
    }
    compared
}

/// The answer to the calls of an ABI that the program doesn't know.
#[must_use]
pub fn explain_other_arches(program: &Program) -> FilterAnswer {
    // No ABI has the value 0.
    answer(program, 0, 0, false, &mut Budget::new())
}

/// The answers to the calls of an ABI.
#[must_use]
pub fn explain_arch(program: &Program, arch: Arch) -> ArchAnswers {
    explain_within(program, arch, &mut Budget::new())
}

fn explain_within(program: &Program, arch: Arch, budget: &mut Budget) -> ArchAnswers {
    // libseccomp compares the lower halves for x32 and MIPS n32 too, but their registers have 64 bits.
    let narrow =
        has_32_bit_args(arch) && !matches!(arch, Arch::X32 | Arch::Mips64n32 | Arch::Mipsel64n32);
    let mut of = |nr| {
        let syscall = Syscall { arch, nr };
        answer(program, arch.audit(), syscall.audit_nr(), narrow, budget)
    };
    let rest = of(UNUSED_NR);
    let calls = numbers(program, arch).into_iter();
    let calls = calls
        .map(|nr| (nr, of(nr)))
        .filter(|(_, answer)| *answer != rest);
    ArchAnswers {
        arch,
        calls: calls.collect(),
        rest,
    }
}

/// The answer to one call. `narrow`: the arguments have no upper halves.
fn answer(
    program: &Program,
    audit_arch: u32,
    nr: i32,
    narrow: bool,
    budget: &mut Budget,
) -> FilterAnswer {
    let paths = paths(program, audit_arch, nr, budget);
    let answer = paths.and_then(|paths| FilterAnswer::of(paths, narrow, budget));
    answer.unwrap_or(FilterAnswer::Unknown)
}

/// The numbers that an ABI's calls can have, and those that the program compares with, with their neighbours.
fn numbers(program: &Program, arch: Arch) -> BTreeSet<i32> {
    let mut numbers: BTreeSet<i32> = samples::numbers(arch).collect();
    let compared = compared_constants(program).into_iter();
    for (constant, _) in compared.filter(|(_, origins)| origins & bit_of(0) != 0) {
        let number = constant.cast_signed();
        let own = Syscall::from_audit(arch.audit(), number).map(|syscall| syscall.nr);
        for number in own.into_iter().chain([number]) {
            let near = [number.wrapping_sub(1), number, number.wrapping_add(1)];
            numbers.extend(near.into_iter().filter(|nr| is_own(arch, *nr)));
        }
    }
    numbers
}

/// A number that no call has.
const UNUSED_NR: i32 = 0x2fff_ffff;

/// Whether a number belongs to the ABI, and not to the one that shares its `AUDIT_ARCH_*` value.
fn is_own(arch: Arch, nr: i32) -> bool {
    let syscall = Syscall { arch, nr };
    let is_shared = matches!(arch, Arch::X86_64 | Arch::X32);
    (0..1 << 20).contains(&nr)
        && (!is_shared || Syscall::from_audit(arch.audit(), syscall.audit_nr()) == Some(syscall))
}
