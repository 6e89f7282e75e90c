//! A difference between profiles, in words.

use std::collections::BTreeSet;

use itertools::Itertools;
use sc_record::profile::{Action, Listener};
use sc_record::review::diff::{All, CallActions, Change, Difference};
use sc_record::review::{RiskClass, condition};
use sc_record::syscall::Arch;
use serde_json::{Value, json};

/// What a wider difference puts at risk.
pub(crate) fn class(difference: &Difference) -> RiskClass {
    match (difference.risk, &difference.change) {
        (Some(risk), _) => risk.class,
        // Every call that no rule names.
        (None, Change::Default { .. }) => RiskClass::KernelWide,
        (None, Change::ArchAdded(_) | Change::ArchesNamed { .. }) => RiskClass::AttackSurface,
        (None, _) => RiskClass::Ordinary,
    }
}

/// The risk of a difference, and a remark.
pub(crate) fn about(difference: &Difference) -> String {
    let risk = (difference.risk).filter(|risk| risk.class != RiskClass::Ordinary);
    let risk = risk.map(|risk| format!("{}: {}", risk.class, risk.why));
    let mut about = risk.into_iter().chain(difference.note.map(str::to_owned));
    about.join("; ")
}

/// A change in a few words, with the sign of a diff in front.
pub(crate) fn what(change: &Change) -> String {
    match change {
        Change::Default { from, to } => format!("~ default {from} -> {to}"),
        Change::ArchAdded(arch) => format!("+ architecture {arch}"),
        Change::ArchRemoved(arch) => format!("- architecture {arch}"),
        Change::ArchesNamed { from, to } => {
            let list = |arches: &Option<BTreeSet<Arch>>| match arches {
                None => "the native one".to_owned(),
                Some(arches) => arches.iter().join(", "),
            };
            format!("~ architectures {} -> {}", list(from), list(to))
        }
        Change::FlagAdded(flag) => format!("+ {flag}"),
        Change::FlagRemoved(flag) => format!("- {flag}"),
        Change::Listener { from, to } => {
            let [from, to] = [from, to].map(|listener| listener.as_ref().map(Listener::path));
            let (from, to) = (from.unwrap_or("none"), to.unwrap_or("none"));
            format!("~ listener {from} -> {to}")
        }
        Change::Call { name, from, to } => match (from.is_empty(), to.is_empty()) {
            (true, _) if is_plain_allow(to) => format!("+ {name}"),
            (true, _) => format!("+ {name} {}", answers(name, to)),
            (_, true) if is_plain_allow(from) => format!("- {name}"),
            (_, true) => format!("- {name} {}", answers(name, from)),
            _ => format!("~ {name} {} -> {}", answers(name, from), answers(name, to)),
        },
    }
}

/// Whether a call is simply allowed.
fn is_plain_allow(answers: &CallActions) -> bool {
    let allow = answers.get(&Action::Allow);
    answers.len() == 1 && allow.is_some_and(|alternatives| alternatives.iter().any(All::is_empty))
}

/// `SCMP_ACT_ALLOW if domain == AF_UNIX or arg1 == 0x2`.
pub(crate) fn answers(name: &str, answers: &CallActions) -> String {
    let mut each = answers.iter().map(|(action, alternatives)| {
        if alternatives.iter().any(All::is_empty) {
            return action.to_string();
        }
        let mut conditions = alternatives.iter().map(|all| {
            let mut all = all.iter().map(|arg| condition(name, arg));
            all.join(" and ")
        });
        format!("{action} if {}", conditions.join(" or "))
    });
    each.join(", ")
}

/// Answers as JSON: a list of actions with the comparisons of each alternative.
pub(crate) fn answers_json(answers: &CallActions) -> Value {
    let each = answers.iter().map(|(action, alternatives)| {
        let alternatives: Vec<Vec<String>> = (alternatives.iter())
            .map(|all| all.iter().map(ToString::to_string).collect())
            .collect();
        json!({"action": action.to_string(), "if_any_of_all": alternatives})
    });
    each.collect()
}
