//! The proof that the emulator answers as the kernel does: a child makes the calls, under the same program.
//!
//! The program is loaded with one change: each instruction that ends it returns an errno of its own, whatever action it
//! returned. So no call is executed, dangerous ones can be made too, and the errno says not only which answer the kernel
//! came to but on which way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;

use libc::sock_filter;

use super::conditions::{Condition, Outcome, Subject, arches, table};
use super::machine::{self, Op};
use super::program::Program;
use super::samples::{combinations, hex, numbers};
use crate::profile::narrow::has_32_bit_args;
use crate::profile::{ARGS, Action, Profile};
use crate::sys::probe::{self, Entry, Probe};
use crate::syscall::{Arch, Syscall};

/// What was found to agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    /// How many calls were made.
    pub calls: usize,
    /// Of these ABIs.
    pub arches: Vec<Arch>,
    /// How many ways of the program they ended on, of how many that there are.
    pub ways: (usize, usize),
}

/// A call to which emulator and kernel answer differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// The call.
    pub syscall: Syscall,
    /// Its arguments.
    pub args: [u64; ARGS],
    /// The instruction that ends the emulated program, and the answer.
    pub emulator: (usize, Action),
    /// The same for the kernel; the errno, where it is that of no instruction.
    pub kernel: Result<(usize, Action), i32>,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Syscall { arch, .. } = self.syscall;
        let (at, action) = self.emulator;
        write!(
            f,
            "{arch} {} with {}: instruction {at} answers {action} here, and in the kernel ",
            self.syscall,
            hex(&self.args)
        )?;
        match &self.kernel {
            Ok((at, action)) => write!(f, "instruction {at} {action}"),
            Err(errno) => write!(f, "errno {errno} comes"),
        }
    }
}

/// Why nothing was proven.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The answer is computed, so it can't be exchanged.
    #[error(
        "instruction {0} returns what the program computes: the kernel can't be asked without executing calls"
    )]
    Computed(usize),
    /// This machine can't make calls of any ABI of the program.
    #[error("this machine can't make calls of any ABI of the filter")]
    NoArch,
    /// The child failed.
    #[error("can't make the calls in a child")]
    Child(#[source] io::Error),
    /// Emulator and kernel differ.
    #[error("the emulator is wrong about {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Wrong(Vec<Disagreement>),
}

/// Makes calls in a child under the program, and compares what the kernel answers with what [`Program::ends`] says: every
/// number of every ABI that this machine has, with arguments on both sides of everything that the program compares them
/// with, and that the profile does, if there is one.
pub fn prove(program: &Program, profile: Option<&Profile>) -> Result<Proven, ProveError> {
    let (changed, ends) = with_errnos(program.instructions())?;
    let arches: Vec<Arch> = (arches(program).into_iter())
        .filter(|&arch| entry(arch).is_some())
        .collect();
    if arches.is_empty() {
        return Err(ProveError::NoArch);
    }
    let mut calls: Vec<(Syscall, [u64; ARGS])> = Vec::new();
    for &arch in &arches {
        let table = table(program, arch);
        for nr in numbers(arch).chain([-1, i32::MIN]) {
            let syscall = Syscall { arch, nr };
            if is_unfiltered(syscall) {
                continue;
            }
            let outcome = table.calls.get(&nr).unwrap_or(&table.rest);
            let name = syscall.name();
            let rules = match (profile, name.as_deref()) {
                (Some(profile), Some(name)) => profile.only(name).rules,
                _ => Vec::new(),
            };
            let mut args: BTreeSet<[u64; ARGS]> = combinations(&rules, arch).into_iter().collect();
            args.extend(around(outcome, arch));
            calls.extend(args.into_iter().map(|args| (syscall, args)));
        }
    }
    let probes: Vec<Probe> = (calls.iter())
        .filter_map(|(syscall, args)| {
            Some(Probe {
                entry: entry(syscall.arch)?,
                nr: syscall.audit_nr(),
                args: *args,
            })
        })
        .collect();
    let errnos = probe::errnos(&changed, &probes).map_err(ProveError::Child)?;
    let mut wrong = Vec::new();
    let mut ways = BTreeSet::new();
    for ((syscall, args), errno) in calls.iter().zip(errnos) {
        let emulator = program.ends(*syscall, args);
        let kernel = ends.get(&errno).copied().ok_or(errno);
        ways.insert(emulator.0);
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
    Ok(Proven {
        calls: calls.len(),
        arches,
        ways: (ways.len(), ends.len()),
    })
}

/// The calls with which uprobes return to the kernel: filters aren't asked about them (`seccomp_uprobe_exception`,
/// `kernel/seccomp.c`, Linux 6.13), and whoever makes them without a probe gets SIGILL. 335 and 336 on `x86_64`.
fn is_unfiltered(syscall: Syscall) -> bool {
    syscall.arch == Arch::X86_64 && matches!(syscall.nr, 335 | 336)
}

/// How this machine makes calls of an ABI.
fn entry(arch: Arch) -> Option<Entry> {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::X86 => Some(Entry::Int80),
        #[cfg(target_arch = "x86_64")]
        Arch::X32 => Some(Entry::Native),
        arch if arch == Arch::NATIVE => Some(Entry::Native),
        _ => None,
    }
}

/// Instructions that end a program, by the errno that they answer in its place.
type Ends = BTreeMap<i32, (usize, Action)>;

fn with_errnos(program: &[sock_filter]) -> Result<(Vec<sock_filter>, Ends), ProveError> {
    let mut changed = program.to_vec();
    let mut ends = Ends::new();
    for (at, instruction) in changed.iter_mut().enumerate() {
        match machine::decode(*instruction) {
            Some(Op::Return(value)) => {
                // 1 to 4095: a program has fewer ends than instructions, but for one that is nothing else.
                let errno = u32::try_from(ends.len() + 1).unwrap_or(u32::MAX).min(4095);
                instruction.k = libc::SECCOMP_RET_ERRNO | errno;
                let errno = i32::try_from(errno).unwrap_or(i32::MAX);
                ends.insert(errno, (at, machine::action(value)));
            }
            Some(Op::ReturnA) => return Err(ProveError::Computed(at)),
            _ => {}
        }
    }
    Ok((changed, ends))
}

/// Arguments on both sides of what a call's answer depends on.
fn around(outcome: &Outcome, arch: Arch) -> Vec<[u64; ARGS]> {
    const MOST: usize = 2_000;
    let Outcome::Depends { ways, .. } = outcome else {
        return Vec::new();
    };
    let mut values: [BTreeSet<u64>; ARGS] = Default::default();
    let mut bases = vec![[0; ARGS], [u64::MAX; ARGS]];
    for (conditions, _) in ways {
        let mut base = [0; ARGS];
        for condition in conditions {
            let (what, near) = match condition {
                Condition::Within { what, ranges } => {
                    let ends = ranges.iter().flat_map(|&(first, last)| [first, last]);
                    (what, ends.collect::<Vec<_>>())
                }
                Condition::Masked {
                    what, mask, value, ..
                } => (
                    what,
                    vec![*value, value ^ (mask & mask.wrapping_neg()), value | !mask],
                ),
                Condition::Other(_) => continue,
            };
            let (index, shift) = match what {
                Subject::Arg(index) => (usize::from(*index), 0),
                Subject::Word(offset) if *offset >= 16 => {
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
