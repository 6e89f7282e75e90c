//! The arguments of a recording: the values that were seen, and those that are dangerous.

use std::collections::BTreeMap;
use std::fmt;

use crate::profile::{ArgCmp, ArgumentRule, ArgumentRules, Op, Policy, generate};
use crate::recording::{ArgumentValues, Recording};
use crate::syscall::arguments::{Argument, ArgumentKind, CallArguments, Danger, danger};
use crate::syscall::{Arch, Syscall};

/// An argument of a recorded call that carries a choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenArgument {
    /// The ABI.
    pub arch: Arch,
    /// The argument.
    pub argument: &'static Argument,
    /// The values, each with the number of calls that had it; `None`: too many, or not recorded for all calls.
    pub values: Option<BTreeMap<u64, u64>>,
}

/// A dangerous value that a workload used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DangerousValue {
    /// The call and its value: `socket(AF_ALG, …)`.
    pub shown: String,
    /// Why it is dangerous.
    pub danger: &'static Danger,
}

impl fmt::Display for DangerousValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.shown, self.danger.why)?;
        match self.danger.cve {
            Some(cve) => write!(f, " ({cve})"),
            None => Ok(()),
        }
    }
}

/// The arguments of a call, over all runs. Empty if none were recorded.
#[must_use]
pub fn seen_arguments(recording: &Recording, name: &str) -> Vec<SeenArgument> {
    let mut all = Vec::new();
    let Some(call) = CallArguments::named(name) else {
        return all;
    };
    for &arch in Arch::ALL {
        let Some(syscall) = Syscall::from_name(arch, name) else {
            continue;
        };
        let runs = recording.runs.values();
        let tallies: Vec<_> = runs.filter_map(|run| run.syscalls.get(&syscall)).collect();
        if tallies.iter().all(|tally| tally.args.is_empty()) {
            continue;
        }
        for (register, argument) in call.registers(name, arch) {
            let mut values = Some(BTreeMap::new());
            for tally in &tallies {
                match (tally.args.get(&register), &mut values) {
                    (Some(ArgumentValues::Each(of_run)), Some(values)) => {
                        for (&value, tally) in of_run {
                            let count: &mut u64 = values.entry(value).or_default();
                            *count = count.saturating_add(tally.count);
                        }
                    }
                    _ => values = None,
                }
            }
            all.push(SeenArgument {
                arch,
                argument,
                values,
            });
        }
    }
    all
}

/// The dangerous values that the runs have, each once.
#[must_use]
pub fn dangerous_values(recording: &Recording) -> Vec<DangerousValue> {
    let mut all = BTreeMap::new();
    for (syscall, tally) in recording.runs.values().flat_map(|run| &run.syscalls) {
        let Some((name, call)) = syscall
            .name()
            .and_then(|name| Some((name.clone(), CallArguments::named(&name)?)))
        else {
            continue;
        };
        for (register, argument) in call.registers(&name, syscall.arch) {
            let Some(ArgumentValues::Each(values)) = tally.args.get(&register) else {
                continue;
            };
            for &value in values.keys() {
                if let Some(danger) = danger(call, argument, value) {
                    all.insert(call_with_value(*syscall, register, value), danger);
                }
            }
        }
    }
    let all = all.into_iter();
    all.map(|(shown, danger)| DangerousValue { shown, danger })
        .collect()
}

/// A call with the value of one argument: `ioctl(…, TIOCSTI, …)`.
#[must_use]
pub fn call_with_value(syscall: Syscall, register: u8, value: u64) -> String {
    let name = syscall.to_string();
    let call = CallArguments::named(&name);
    let argument = call.and_then(|call| {
        let mut registers = call.registers(&name, syscall.arch);
        registers.find(|(of, _)| *of == register)
    });
    let shown = match argument {
        Some((_, argument)) => argument.show(value, syscall.arch),
        None => format!("{value:#x}"),
    };
    let before = if register > 0 { "…, " } else { "" };
    let more = call.is_none_or(|call| register + 1 < call.arity);
    let after = if more { ", …" } else { "" };
    format!("{name}({before}{shown}{after})")
}

/// What `generate --args safe` decides about the arguments of each call. Empty if no arguments were recorded.
#[must_use]
pub fn safe_rules(recording: &Recording) -> BTreeMap<String, Vec<ArgumentRule>> {
    let mut tallies = recording
        .runs
        .values()
        .flat_map(|run| run.syscalls.values());
    if tallies.all(|tally| tally.args.is_empty()) {
        return BTreeMap::new();
    }
    let policy = Policy {
        arguments: ArgumentRules::Safe,
        ..Policy::default()
    };
    generate(recording, policy).map_or_else(|_| BTreeMap::new(), |generated| generated.arguments)
}

/// The condition of a rule for the call of this name, with the names of the table: `domain != AF_ALG`, `arg1 > 0x5`.
#[must_use]
pub fn condition(name: &str, comparison: &ArgCmp) -> String {
    let argument = CallArguments::named(name).and_then(|call| {
        // Where the ABIs differ, the numbers say which.
        let mut registers = call.registers(name, Arch::X86_64);
        registers.find(|(register, _)| usize::from(*register) == comparison.index())
    });
    let Some((_, argument)) = argument else {
        return comparison.to_string();
    };
    // An argument with a name has 32 bits; a wider value equals none.
    let show = |value: u64| match u32::try_from(value) {
        Ok(_) => argument.show(value, Arch::X86_64),
        Err(_) => format!("{value:#x}"),
    };
    let numbers = || {
        let number = format!("arg{}", comparison.index());
        comparison.to_string().replacen(&number, argument.name, 1)
    };
    match comparison.op() {
        Op::Eq => format!("{} == {}", argument.name, show(comparison.value())),
        Op::Ne => format!("{} != {}", argument.name, show(comparison.value())),
        Op::MaskedEq => {
            let expected = comparison.value_two().unwrap_or(0);
            masked(argument, comparison.value(), expected).unwrap_or_else(numbers)
        }
        // Values with names have no order.
        Op::Lt | Op::Le | Op::Ge | Op::Gt => numbers(),
    }
}

/// A comparison of the bits of a mask; `None` if they have no names.
fn masked(argument: &Argument, mask: u64, expected: u64) -> Option<String> {
    let lower = u64::from(u32::MAX);
    let show = |value| argument.show(value, Arch::X86_64);
    // Some flags may be left out.
    let few = (!mask & lower).count_ones() <= 8;
    if matches!(argument.kind, ArgumentKind::Flags(..)) && few || mask & lower == lower {
        return Some(format!("{} == {}", argument.name, show(expected)));
    }
    match argument.kind {
        // Several values, joined.
        ArgumentKind::One(names) | ArgumentKind::Command(names) => {
            let values = names.iter().filter(|(_, value)| value & mask == expected);
            let values: Vec<_> = values.map(|(name, _)| *name).collect();
            let all = 1_u64.checked_shl((!mask & lower).count_ones())?;
            (values.len() as u64 == all)
                .then(|| format!("{} == {}", argument.name, values.join(" or ")))
        }
        ArgumentKind::Flags(_, _, flags) => {
            let named = flags.iter().fold(0, |all, (_, bits)| all | bits);
            // No flag of the mask.
            let expected = if expected == 0 {
                "0x0".to_owned()
            } else {
                show(expected)
            };
            (mask & !named == 0)
                .then(|| format!("{} & ({}) == {expected}", argument.name, show(mask)))
        }
        ArgumentKind::Number => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under_mask(name: &str, index: u64, mask: u64, expected: u64) -> String {
        let comparison = ArgCmp::new(index, Op::MaskedEq, mask, Some(expected)).unwrap();
        condition(name, &comparison)
    }

    #[test]
    fn comparisons_have_the_names_of_their_values() {
        assert_eq!(under_mask("socket", 0, 0xffff_ffff, 38), "domain == AF_ALG");
        assert_eq!(
            under_mask("socket", 0, 0xffff_fff7, 2),
            "domain == AF_INET or AF_INET6"
        );
        assert_eq!(
            under_mask("socket", 1, 0xfff7_f7ff, 1),
            "type == SOCK_STREAM"
        );
        assert_eq!(under_mask("mprotect", 2, 4, 0), "prot & (PROT_EXEC) == 0x0");
        assert_eq!(
            under_mask("clone", 0, 0x1000_0000, 0),
            "flags & (CLONE_NEWUSER) == 0x0"
        );
        assert_eq!(under_mask("read", 0, 0xff, 1), "arg0 & 0xff == 0x1");
        let check =
            |name: &str, index: u8, op: Op, value: u64, two: Option<u64>, expected: &str| {
                let arg = ArgCmp::new(index.into(), op, value, two).unwrap();
                assert_eq!(condition(name, &arg), expected);
            };
        check("socket", 0, Op::Ne, 38, None, "domain != AF_ALG");
        check("socket", 1, Op::Eq, 2, None, "type == SOCK_DGRAM");
        check("socket", 0, Op::Le, 2, None, "domain <= 0x2");
        check(
            "socket",
            0,
            Op::Eq,
            1 << 32 | 1,
            None,
            "domain == 0x100000001",
        );
        let low = u64::from(u32::MAX);
        check("socket", 0, Op::MaskedEq, low, Some(1), "domain == AF_UNIX");
        let new = 0x7e02_0000;
        check(
            "clone",
            0,
            Op::MaskedEq,
            new,
            Some(0),
            "flags & (CLONE_NEWNS|CLONE_NEWCGROUP|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWUSER|CLONE_NEWPID|CLONE_NEWNET) == 0x0",
        );
        check(
            "clone",
            1,
            Op::MaskedEq,
            new,
            Some(0),
            "arg1 & 0x7e020000 == 0x0",
        );
        check("personality", 0, Op::Eq, 0, None, "persona == PER_LINUX");
        check(
            "mprotect",
            2,
            Op::MaskedEq,
            4,
            Some(4),
            "prot & (PROT_EXEC) == PROT_EXEC",
        );
        check("read", 0, Op::Eq, 3, None, "arg0 == 0x3");
    }

    #[test]
    fn a_value_is_shown_in_its_place() {
        let shown = |name, register, value| {
            call_with_value(
                Syscall::from_name(Arch::X86_64, name).unwrap(),
                register,
                value,
            )
        };
        assert_eq!(shown("socket", 0, 38), "socket(AF_ALG, …)");
        assert_eq!(shown("ioctl", 1, 0x5412), "ioctl(…, TIOCSTI, …)");
        assert_eq!(shown("setns", 1, 0x1000_0000), "setns(…, CLONE_NEWUSER)");
        assert_eq!(
            shown("personality", 0, 0x40_0000),
            "personality(READ_IMPLIES_EXEC)"
        );
    }
}
