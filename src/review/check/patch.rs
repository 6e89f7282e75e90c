//! The change after which a profile allows what it denied: with the arguments that were used, if they are known.

use std::collections::{BTreeMap, BTreeSet};

use itertools::Itertools;

use super::answers::Answers;
use super::values::{Choice, MAX_COMBINATIONS, Values};
use super::{Because, Finding};
use crate::profile::{ArgCmp, Edit, Op};
use crate::syscall::Syscall;
use crate::syscall::arguments::CallArguments;

/// The most rules that a patch adds for a call: with more, it allows the call with any arguments.
const MAX_RULES: usize = 64;

/// The combinations with a denied value, as far as they are known: each denied value with all that were recorded of the others.
/// Empty if there are too many.
pub(super) fn denied_choices(values: &Values, denied: &BTreeSet<(u8, u64)>) -> BTreeSet<Choice> {
    let mut choices = BTreeSet::new();
    for &(register, value) in denied {
        let each = values.iter().map(|(&other, counts)| {
            let of_other = counts.keys().copied();
            let these = of_other.filter(move |&of| other != register || of == value);
            these.map(move |value| (other, value)).collect_vec()
        });
        let each = each.collect_vec();
        if each.iter().map(Vec::len).product::<usize>() > MAX_COMBINATIONS {
            return BTreeSet::new();
        }
        choices.extend(each.into_iter().multi_cartesian_product());
    }
    choices
}

/// The comparisons under which a profile has to allow a call so that it allows these choices. Only arguments are compared that
/// it compares already, and bits that don't matter only if it does. `None`: it has to allow any.
pub(super) fn rules_for(
    answers: &Answers,
    syscall: Syscall,
    choices: &BTreeSet<Choice>,
) -> Option<BTreeSet<Vec<ArgCmp>>> {
    let name = syscall.to_string();
    let call = CallArguments::named(&name)?;
    let lower = u64::from(u32::MAX);
    let masks: BTreeMap<u8, u64> = (call.registers(&name, syscall.arch))
        .map(|(register, argument)| {
            let compared = answers.compared(syscall, register);
            let mask = lower & (!argument.ignored | compared);
            (register, if compared == 0 { 0 } else { mask })
        })
        .collect();
    let rules = choices.iter().map(|choice| {
        let mut rule = Vec::new();
        for (register, value) in choice {
            let mask = masks.get(register).copied().filter(|&mask| mask != 0);
            let Some(mask) = mask else { continue };
            if value & !lower != 0 {
                return None;
            }
            rule.push(
                ArgCmp::new((*register).into(), Op::MaskedEq, mask, Some(value & mask)).ok()?,
            );
        }
        rule.sort_by_key(ArgCmp::index);
        (!rule.is_empty()).then_some(rule)
    });
    let rules: BTreeSet<Vec<ArgCmp>> = rules.collect::<Option<_>>()?;
    (1..=MAX_RULES).contains(&rules.len()).then_some(rules)
}

impl Edit {
    pub(super) fn add(&mut self, finding: &Finding, answers: &Answers, choices: &BTreeSet<Choice>) {
        let Some(name) = finding.syscall.name() else {
            return;
        };
        if matches!(finding.because, Because::Arguments { .. })
            && let Some(rules) = rules_for(answers, finding.syscall, choices)
        {
            let name = name.into_owned();
            let rules = rules.into_iter().map(|args| (name.clone(), args));
            return self.allow_with.extend(rules);
        }
        if !finding.because.can_be_patched() {
            return;
        }
        if finding.because == Because::UnlistedAbi {
            self.arches.insert(finding.syscall.arch);
        }
        self.allow.insert(name.into_owned());
    }
}
