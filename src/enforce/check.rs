//! Checks what libseccomp compiled, before it is relied on.
//!
//! libseccomp up to 2.6.0 can weaken a filter when it unites 64-bit comparisons of one call (GHSA-4q85-33p6-j5g6), and it
//! had the like before. So every call of every ABI is put to the program, with arguments around each value that the
//! profile compares with, and the answer must be one that the profile gives.

use std::collections::BTreeSet;

use libc::sock_filter;

use super::CompileError;
use super::bpf::{self, Data};
use super::compile::{OTHER_ARCH, Part};
use crate::profile::narrow::has_32_bit_args;
use crate::profile::{ARGS, Action, ArgCmp, Op, Profile, Rule};
use crate::syscall::{Arch, Syscall};

/// How many combinations of arguments are tried for a call. A profile would have to compare one call's arguments hundreds of
/// times to need more; then every nth is tried.
const MAX_COMBINATIONS: usize = 20_000;

type Args = [u64; ARGS];

/// Checks a program against what it should say of each ABI.
pub(super) fn check(program: &[sock_filter], parts: &[Part]) -> Result<(), CompileError> {
    for part in parts {
        for nr in numbers(part.arch) {
            let syscall = Syscall {
                arch: part.arch,
                nr,
            };
            check_call(program, part, syscall)?;
        }
    }
    let arches = parts.iter().map(|part| part.arch);
    check_other_arches(program, &arches.collect())
}

/// The numbers that an ABI's calls have, and some beyond.
pub(super) fn numbers(arch: Arch) -> std::ops::Range<i32> {
    const CALLS: i32 = 1000;
    let first = match arch {
        Arch::Mips | Arch::Mipsel => 4000,
        Arch::Mips64 | Arch::Mipsel64 => 5000,
        Arch::Mips64n32 | Arch::Mipsel64n32 => 6000,
        _ => 0,
    };
    first..first + CALLS
}

fn check_call(program: &[sock_filter], part: &Part, syscall: Syscall) -> Result<(), CompileError> {
    let name = syscall.name();
    let profile = match name.as_deref() {
        // Their rules come from the names of the calls that go through them.
        Some("socketcall" | "ipc") if part.multiplexed => return Ok(()),
        Some(name) if !part.left_out.contains(name) => part.profile.only(name),
        _ => Profile::new(part.profile.default_action),
    };
    for args in combinations(&profile.rules, part.arch) {
        let answers = profile.answers(name.as_deref().unwrap_or_default(), &args);
        expect(program, syscall, &args, &answers)?;
    }
    Ok(())
}

/// Calls of ABIs that are not in the filter.
fn check_other_arches(
    program: &[sock_filter],
    arches: &BTreeSet<Arch>,
) -> Result<(), CompileError> {
    let audits: BTreeSet<u32> = arches.iter().map(|arch| arch.audit()).collect();
    let answers = BTreeSet::from([OTHER_ARCH]);
    let others = (Arch::ALL.iter().copied()).filter(|arch| match arch {
        // The number tells it from x86_64.
        Arch::X32 => !arches.contains(&Arch::X32),
        arch => !audits.contains(&arch.audit()),
    });
    for arch in others {
        for nr in [0, 1, 59, 300] {
            expect(program, Syscall { arch, nr }, &[0; ARGS], &answers)?;
        }
    }
    Ok(())
}

fn expect(
    program: &[sock_filter],
    syscall: Syscall,
    args: &Args,
    answers: &BTreeSet<Action>,
) -> Result<(), CompileError> {
    let actual =
        bpf::answer(program, &Data::new(syscall, args)).map_err(CompileError::Unreadable)?;
    if answers.contains(&actual) {
        return Ok(());
    }
    Err(CompileError::Wrong {
        syscall,
        args: *args,
        expected: answers.iter().copied().collect(),
        actual,
    })
}

/// Arguments around everything that rules compare with.
pub(super) fn combinations(rules: &[Rule], arch: Arch) -> Vec<Args> {
    let mut bases = vec![[0; ARGS], [u64::MAX; ARGS]];
    let mut values: [BTreeSet<u64>; ARGS] = Default::default();
    for rule in rules {
        for all in rule.alternatives() {
            bases.push(satisfying(all));
        }
        for arg in rule.args() {
            values[arg.index()].extend(around(arg));
        }
    }
    let mut combinations = bases.clone();
    let changes: Vec<(usize, u64)> = (values.iter().enumerate())
        .flat_map(|(index, values)| values.iter().map(move |&value| (index, value)))
        .collect();
    let all = bases.len() * changes.len();
    let step = all.div_ceil(MAX_COMBINATIONS).max(1);
    for number in (0..all).step_by(step) {
        let mut args = bases[number / changes.len()];
        let (index, value) = changes[number % changes.len()];
        args[index] = value;
        combinations.push(args);
    }
    if has_32_bit_args(arch) {
        // The kernel gives no more than 32 bits there.
        for arg in combinations.iter_mut().flatten() {
            *arg &= u64::from(u32::MAX);
        }
    }
    combinations
}

/// Arguments for which all comparisons hold, where there are some.
fn satisfying(all: &[ArgCmp]) -> Args {
    let mut args = [0; ARGS];
    for arg in all {
        let value = arg.value();
        args[arg.index()] = match arg.op() {
            Op::Eq | Op::Le | Op::Ge => value,
            Op::Ne | Op::Gt => value.wrapping_add(1),
            Op::Lt => value.wrapping_sub(1),
            Op::MaskedEq => arg.value_two().unwrap_or(0) & value,
        };
    }
    args
}

/// Values on both sides of what a comparison tells apart, in each half of the argument.
fn around(arg: &ArgCmp) -> impl Iterator<Item = u64> {
    const HIGH: u64 = 1 << 32;
    let value = match arg.op() {
        Op::MaskedEq => arg.value_two().unwrap_or(0) & arg.value(),
        _ => arg.value(),
    };
    let halves = [value, value & (HIGH - 1), value & !(HIGH - 1)];
    let near = halves.into_iter().flat_map(|value| {
        [
            value,
            value.wrapping_sub(1),
            value.wrapping_add(1),
            value.wrapping_add(HIGH),
            value.wrapping_sub(HIGH),
            value ^ (1 << 63),
            value ^ (1 << 31),
            value | (HIGH - 1),
            value | !(HIGH - 1),
        ]
    });
    // The bits that a mask looks at, and those that it doesn't.
    let mask = arg.value();
    let lowest = mask & mask.wrapping_neg();
    near.chain([value ^ lowest, value | !mask, value ^ mask, !value])
}
