//! A profile's answers to the values of arguments that were recorded.
//!
//! A recording has the values of each argument, not which of them a call had together. So a value is denied if it is denied
//! whatever the other arguments are, and the others are allowed if all their combinations are.

use std::collections::{BTreeMap, BTreeSet};

use itertools::Itertools;

use super::answers::{Answer, Answers};
use crate::profile::ARGS;
use crate::profile::arg_width::has_32_bit_args;
use crate::recording::{ArgumentValues, Recording};
use crate::syscall::Syscall;
use crate::syscall::arguments::CallArguments;

/// The number of combinations that are tried.
pub(super) const MAX_COMBINATIONS: usize = 4096;

/// The values of a call's arguments, by register, each with the number of calls. Registers whose values are not all known are
/// left out.
pub(super) type Values = BTreeMap<u8, BTreeMap<u64, u64>>;

/// The values that all runs have.
pub(super) fn recorded(recording: &Recording, syscall: Syscall) -> Values {
    let name = syscall.to_string();
    let folded = recording.folded.seen.syscalls.contains_key(&syscall);
    let Some(call) = CallArguments::named(&name).filter(|call| !folded && !call.is_in_memory())
    else {
        return Values::new();
    };
    let runs = recording.runs.values();
    let tallies: Vec<_> = runs.filter_map(|run| run.syscalls.get(&syscall)).collect();
    let of_register = |register: u8| {
        let mut counts = BTreeMap::<u64, u64>::new();
        for tally in &tallies {
            let Some(ArgumentValues::Each(values)) = tally.args.get(&register) else {
                return None;
            };
            for (&value, tally) in values {
                let count = counts.entry(value).or_default();
                *count = count.saturating_add(tally.count);
            }
        }
        Some((register, counts))
    };
    let registers = call.registers(&name, syscall.arch);
    registers
        .filter_map(|(register, _)| of_register(register))
        .collect()
}

/// What a profile answers to the values.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Registers and values that it denies.
    pub(super) denied: BTreeSet<(u8, u64)>,
    /// The number of calls that had one of them, at least.
    pub(super) calls: u64,
    /// It is the exact number.
    pub(super) is_exact: bool,
    /// The answers to the denied values.
    pub(super) denials: Vec<Answer>,
    /// The answers to all other combinations.
    pub(super) others: Vec<Answer>,
}

/// Evaluates a profile for the values; `None` if it doesn't depend on them.
pub(super) fn verdict(answers: &Answers, syscall: Syscall, values: &Values) -> Option<Verdict> {
    let mut compared: BTreeMap<u8, Vec<u64>> = (values.iter())
        .filter(|(register, _)| answers.compared(syscall, **register) != 0)
        .map(|(&register, counts)| (register, counts.keys().copied().collect()))
        .collect();
    if compared.is_empty() {
        return None;
    }
    let mut verdict = Verdict::default();
    let mut registers = 0;
    for (&register, of_register) in &mut compared {
        let mut calls = 0_u64;
        of_register.retain(|&value| {
            let answer = answer(answers, syscall, &[(register, value)]);
            let is_denied = answer.executes() == Some(false);
            if is_denied {
                calls = calls.saturating_add(values[&register][&value]);
                verdict.denied.insert((register, value));
                verdict.denials.push(answer);
            }
            !is_denied
        });
        registers += u32::from(calls > 0);
        verdict.calls = verdict.calls.max(calls);
    }
    verdict.is_exact = registers == 1;
    let combinations = compared.values().map(Vec::len);
    if combinations.product::<usize>() > MAX_COMBINATIONS {
        verdict.others.push(answers.answer(syscall, None));
        return Some(verdict);
    }
    let each = compared.iter().map(|(&register, values)| {
        values
            .iter()
            .map(move |&value| (register, value))
            .collect_vec()
    });
    let combinations = each.multi_cartesian_product();
    let others = combinations.map(|known| answer(answers, syscall, &known));
    verdict.others.extend(others);
    Some(verdict)
}

/// The answer to a call of which some registers are known. A register may hold a negative int with its sign or without it.
fn answer(answers: &Answers, syscall: Syscall, known: &[(u8, u64)]) -> Answer {
    let mut args = [None; ARGS];
    for &(register, value) in known {
        args[usize::from(register)] = Some(value);
    }
    let mut answer = answers.answer_of(syscall, &args);
    let is_negative = |value: u64| value >> 31 == 1;
    if !has_32_bit_args(syscall.arch) && known.iter().any(|&(_, value)| is_negative(value)) {
        let extended = |value: u64| {
            value
                | if is_negative(value) {
                    !u64::from(u32::MAX)
                } else {
                    0
                }
        };
        let other = answers.answer_of(syscall, &args.map(|arg| arg.map(extended)));
        answer.actions.extend(other.actions);
        answer.rules.extend(other.rules);
    }
    answer
}

/// Arguments of one call that carry a choice, with their registers.
pub(super) type Choice = Vec<(u8, u64)>;

/// The arguments of a call that carry a choice; `None` if none of them does.
pub(super) fn choice(syscall: Syscall, args: &[u64; ARGS]) -> Option<Choice> {
    let name = syscall.to_string();
    let call = CallArguments::named(&name).filter(|call| !call.is_in_memory())?;
    let registers = call.registers(&name, syscall.arch);
    let each =
        registers.map(|(register, argument)| (register, argument.cut(args[usize::from(register)])));
    Some(each.collect())
}
