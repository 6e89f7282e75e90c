//! System calls that distinguish filters: every number of an ABI, with arguments on both sides of all values in rules.

use std::collections::BTreeSet;

use crate::profile::arg_width::has_32_bit_args;
use crate::profile::{ARGS, ArgCmp, Op, Rule};
use crate::syscall::Arch;

/// The maximum number of argument combinations per call. To need more, a profile would have to compare one call's arguments
/// hundreds of times; then every nth is used.
const MAX_COMBINATIONS: usize = 20_000;

type Args = [u64; ARGS];

/// All numbers of an ABI's calls, and some unused ones.
pub(crate) fn numbers(arch: Arch) -> std::ops::Range<i32> {
    const CALLS: i32 = 1000;
    let first = match arch {
        Arch::Mips | Arch::Mipsel => 4000,
        Arch::Mips64 | Arch::Mipsel64 => 5000,
        Arch::Mips64n32 | Arch::Mipsel64n32 => 6000,
        _ => 0,
    };
    first..first + CALLS
}

/// Arguments on both sides of all values that rules compare with.
pub(crate) fn combinations(rules: &[Rule], arch: Arch) -> Vec<Args> {
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
        // The kernel passes 32 bits.
        for arg in combinations.iter_mut().flatten() {
            *arg &= u64::from(u32::MAX);
        }
    }
    combinations
}

/// Arguments that fulfil all comparisons, if there are any.
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

/// Values on both sides of a comparison's value, in each half of the argument.
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
    // Bits inside and outside of a mask.
    let mask = arg.value();
    let lowest = mask & mask.wrapping_neg();
    near.chain([value ^ lowest, value | !mask, value ^ mask, !value])
}

/// Formats arguments for messages.
pub(crate) fn hex(args: &Args) -> String {
    args.map(|arg| format!("{arg:#x}")).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Action;

    /// As many rules as `--args` makes of a call: their combinations are more than the maximum.
    #[test]
    fn each_comparison_of_many_rules_is_made_on_both_sides() {
        let rule = |n: u64| {
            let compared = [
                (0, 0xffff_ffff, n),
                (1, 0xf, n % 10),
                (2, 0xffff_ffff, n / 2),
            ];
            let args = compared.map(|(index, mask, value)| {
                ArgCmp::new(index, Op::MaskedEq, mask, Some(value)).unwrap()
            });
            Rule::new(vec!["socket".to_owned()], Action::Allow, args.to_vec()).unwrap()
        };
        let rules: Vec<Rule> = (0..64).map(rule).collect();
        let all = combinations(&rules, Arch::X86_64);
        assert!(all.len() > MAX_COMBINATIONS / 2 && all.len() <= MAX_COMBINATIONS + 66);
        for arg in rules
            .iter()
            .flat_map(|rule| rule.args().iter().map(move |arg| (rule, arg)))
        {
            let (rule, arg) = arg;
            let others = rule.args().iter().filter(|other| *other != arg);
            let meets = |args: &&Args| others.clone().all(|other| other.holds(args[other.index()]));
            let sides: BTreeSet<bool> = (all.iter().filter(meets))
                .map(|args| arg.holds(args[arg.index()]))
                .collect();
            assert_eq!(sides.len(), 2, "{rule:?}: {arg:?}");
        }
    }
}
