//! Compares the emulator with the kernel: a child makes system calls under the program.
//!
//! The program is loaded with one change: each instruction that returns gets an errno of its own, whatever action it
//! returned. So the kernel executes no call, which makes dangerous calls harmless, and the errno identifies the instruction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use libc::sock_filter;

use super::conditions::{Condition, DataField, FilterAnswer};
use super::emulate::action_of;
use super::explain::{arches, explain_arch};
use super::instruction::Instruction;
use super::program::Program;
use super::samples::{combinations, hex, numbers};
use crate::profile::arg_width::has_32_bit_args;
use crate::profile::{ARGS, Action, Profile};
use crate::sys::probe::{ProbeCall, errnos};
use crate::sys::raw_call::CallInstruction;
use crate::syscall::{Arch, Syscall};

/// The extent of a comparison without a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The number of calls.
    pub calls: usize,
    /// The ABIs of the calls.
    pub arches: Vec<Arch>,
    /// The number of returning instructions that calls reached, and of all.
    pub ends: (usize, usize),
}

/// A call that emulator and kernel answer differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The call.
    pub syscall: Syscall,
    /// Its arguments.
    pub args: [u64; ARGS],
    /// The instruction that returns in the emulator, and its action.
    pub emulator: (usize, Action),
    /// The same for the kernel, or an errno that belongs to no instruction.
    pub kernel: Result<(usize, Action), i32>,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Syscall { arch, .. } = self.syscall;
        let (at, action) = self.emulator;
        write!(
            f,
            "{arch} {} with {}: the emulator ends at instruction {at} with {action}, the kernel ",
            self.syscall,
            hex(&self.args)
        )?;
        match &self.kernel {
            Ok((at, action)) => write!(f, "at instruction {at} with {action}"),
            Err(errno) => write!(f, "with errno {errno}"),
        }
    }
}

/// Why the comparison failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// An instruction returns a computed value, which can't be replaced by an errno.
    #[error(
        "instruction {0} returns a computed value, so the program can't be tried without executing calls"
    )]
    Computed(usize),
    /// This machine can make calls of none of the program's ABIs.
    #[error("this machine can't make calls of the filter's ABIs")]
    NoArch,
    /// The child failed.
    #[error("can't make the calls in a child process")]
    Child(#[source] io::Error),
    /// Emulator and kernel differ.
    #[error("emulator and kernel differ: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<Disagreement>),
}

/// Makes calls in a child under the program, and compares the kernel's answers with [`Program::end`]: every number of every
/// ABI that this machine has, with arguments on both sides of all values that the program or the profile compares them with.
pub fn prove(program: &Program, profile: Option<&Profile>) -> Result<Proof, ProveError> {
    let (changed, ends) = with_errnos(program)?;
    let arches: Vec<Arch> = (arches(program).into_iter())
        .filter(|&arch| CallInstruction::of(arch).is_some())
        .collect();
    if arches.is_empty() {
        return Err(ProveError::NoArch);
    }
    let mut calls: Vec<(Syscall, [u64; ARGS])> = Vec::new();
    for &arch in &arches {
        let answers = explain_arch(program, arch);
        for nr in numbers(arch).chain([-1, i32::MIN]) {
            let syscall = Syscall { arch, nr };
            if is_unfiltered(syscall) {
                continue;
            }
            let name = syscall.name();
            let rules = match (profile, name.as_deref()) {
                (Some(profile), Some(name)) => profile.only(name).rules().to_vec(),
                _ => Vec::new(),
            };
            let mut args: BTreeSet<[u64; ARGS]> = combinations(&rules, arch).into_iter().collect();
            args.extend(around(answers.answer(nr), arch));
            calls.extend(args.into_iter().map(|args| (syscall, args)));
        }
    }
    let probes: Vec<ProbeCall> = (calls.iter())
        .filter_map(|(syscall, args)| {
            Some(ProbeCall {
                entry: CallInstruction::of(syscall.arch)?,
                nr: syscall.audit_nr(),
                args: *args,
            })
        })
        .collect();
    let errnos = errnos(&changed, &probes).map_err(ProveError::Child)?;
    let mut wrong = Vec::new();
    let mut reached = BTreeSet::new();
    for ((syscall, args), errno) in calls.iter().zip(errnos) {
        let emulator = program.end(*syscall, args);
        let kernel = ends.get(&errno).copied().ok_or(errno);
        reached.insert(emulator.0);
        if kernel != Ok(emulator) {
            wrong.push(Disagreement {
                syscall: *syscall,
                args: *args,
                emulator,
                kernel,
            });
        }
    }
    if !wrong.is_empty() {
        wrong.truncate(10);
        return Err(ProveError::Wrong(wrong));
    }
    Ok(Proof {
        calls: calls.len(),
        arches,
        ends: (reached.len(), ends.len()),
    })
}

/// The calls with which uprobes return to the kernel, which bypass filters (`seccomp_uprobe_exception`, `kernel/seccomp.c`,
/// Linux 6.13) and raise SIGILL outside of a probe. 335 and 336 on `x86_64`.
fn is_unfiltered(syscall: Syscall) -> bool {
    syscall.arch == Arch::X86_64 && matches!(syscall.nr, 335 | 336)
}

/// The instructions that return, by the errno that replaces their value.
type Ends = BTreeMap<i32, (usize, Action)>;

fn with_errnos(program: &Program) -> Result<(Vec<sock_filter>, Ends), ProveError> {
    let mut changed = program.encoded().to_vec();
    let mut ends = Ends::new();
    for (at, instruction) in program.instructions().iter().enumerate() {
        match instruction {
            Instruction::Return(value) => {
                // 1 to 4095: only a program that does nothing but return has 4096 of them.
                let errno = u32::try_from(ends.len() + 1).unwrap_or(u32::MAX).min(4095);
                changed[at].k = libc::SECCOMP_RET_ERRNO | errno;
                let errno = i32::try_from(errno).unwrap_or(i32::MAX);
                ends.insert(errno, (at, action_of(*value)));
            }
            Instruction::ReturnA => return Err(ProveError::Computed(at)),
            _ => {}
        }
    }
    Ok((changed, ends))
}

/// Arguments on both sides of the values that an answer depends on.
fn around(answer: &FilterAnswer, arch: Arch) -> Vec<[u64; ARGS]> {
    const MOST: usize = 2_000;
    let FilterAnswer::Depends { cases, .. } = answer else {
        return Vec::new();
    };
    let mut values: [BTreeSet<u64>; ARGS] = Default::default();
    let mut bases = vec![[0; ARGS], [u64::MAX; ARGS]];
    for (conditions, _) in cases {
        let mut base = [0; ARGS];
        for condition in conditions {
            let (field, near) = match condition {
                Condition::Within { field, ranges } => {
                    let ends = ranges.iter().flat_map(|&(first, last)| [first, last]);
                    (field, ends.collect::<Vec<_>>())
                }
                Condition::Masked {
                    field, mask, value, ..
                } => (
                    field,
                    vec![*value, value ^ (mask & mask.wrapping_neg()), value | !mask],
                ),
                Condition::Other(_) => continue,
            };
            let (index, shift) = match field {
                DataField::Arg(index) => (usize::from(*index), 0),
                DataField::Word(offset) if *offset >= 16 => {
                    let upper = (offset % 8 == 4) != cfg!(target_endian = "big");
                    let index = usize::try_from((offset - 16) / 8).unwrap_or(0);
                    (index, if upper { 32 } else { 0 })
                }
                _ => continue,
            };
            base[index] |= near.first().copied().unwrap_or(0) << shift;
            for value in near {
                for value in [value.wrapping_sub(1), value, value.wrapping_add(1)] {
                    values[index].insert(value << shift);
                    values[index].insert((value << shift) ^ (1 << 32));
                }
            }
        }
        bases.push(base);
    }
    let mut all = bases.clone();
    for base in bases {
        for (index, values) in values.iter().enumerate() {
            for &value in values {
                let mut args = base;
                args[index] = value;
                all.push(args);
            }
        }
        if all.len() > MOST {
            break;
        }
    }
    if has_32_bit_args(arch) && arch != Arch::X32 {
        for arg in all.iter_mut().flatten() {
            *arg &= u64::from(u32::MAX);
        }
    }
    all
}

#[cfg(test)]
mod tests;
