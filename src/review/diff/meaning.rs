//! The normal form of a profile: equal for profiles of the same meaning.
//!
//! It drops everything without a meaning: the order of rules, names and comparisons, which names share a rule, names
//! and rules that are given twice, rules with the default action (runc and crun skip them), how a comparison
//! is written (`< 5` is `<= 4`), and rules that another rule with the same action includes.

use std::collections::{BTreeMap, BTreeSet};

use crate::profile::{Action, ArgCmp, Flag, Listener, Op, Profile, Rule};
use crate::syscall::Arch;

/// Comparisons that must all hold. No comparisons always hold.
pub type All = BTreeSet<ArgCmp>;

/// The actions for one call, each with the alternatives of which one must hold. If none holds, the default action applies.
pub type CallActions = BTreeMap<Action, BTreeSet<All>>;

/// What a profile means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    pub(super) default_action: Action,
    /// `None` is the native ABI.
    pub(super) architectures: Option<BTreeSet<Arch>>,
    pub(super) flags: BTreeSet<Flag>,
    pub(super) listener: Option<Listener>,
    /// The calls that rules are about.
    pub(super) calls: BTreeMap<String, CallActions>,
}

impl Meaning {
    pub(super) fn of(profile: &Profile) -> Meaning {
        let mut calls = BTreeMap::<String, CallActions>::new();
        for rule in profile.rules() {
            if rule.action() == profile.default_action() {
                continue;
            }
            let alternatives: Vec<All> = (rule.alternatives().into_iter())
                .filter_map(normal)
                .collect();
            if alternatives.is_empty() {
                continue;
            }
            for name in rule.names() {
                let answers = calls.entry(name.clone()).or_default();
                let of_action = answers.entry(rule.action()).or_default();
                of_action.extend(alternatives.iter().cloned());
            }
        }
        for answers in calls.values_mut() {
            for alternatives in answers.values_mut() {
                *alternatives = simplest(alternatives);
            }
        }
        let architectures = profile.architectures();
        Meaning {
            default_action: profile.default_action(),
            architectures: architectures
                .filter(|arches| !arches.is_empty())
                .map(|arches| arches.iter().copied().collect()),
            flags: profile.effective_flags(),
            listener: profile.listener().cloned(),
            calls,
        }
    }

    /// The profile with this meaning. All calls with the same action and no comparisons share a rule.
    pub(super) fn profile(&self) -> Profile {
        let mut plain = BTreeMap::<Action, Vec<String>>::new();
        let mut rules = Vec::new();
        for (name, answers) in &self.calls {
            for (&action, alternatives) in answers {
                for all in alternatives {
                    if all.is_empty() {
                        plain.entry(action).or_default().push(name.clone());
                    } else {
                        let args = all.iter().copied().collect();
                        rules.extend(Rule::new(vec![name.clone()], action, args));
                    }
                }
            }
        }
        let plain = plain.into_iter().rev();
        let plain = plain.flat_map(|(action, names)| Rule::new(names, action, Vec::new()));
        let flags = self.flags.iter().copied().collect();
        Profile::new(self.default_action)
            .with_architectures((self.architectures.clone()).map(|set| set.into_iter().collect()))
            .with_flags((self.flags != BTreeSet::from([Flag::SpecAllow])).then_some(flags))
            .with_listener(self.listener.clone())
            .with_rules(plain.chain(rules))
    }
}

/// Comparisons in canonical form; `None` if they can't all hold.
fn normal(all: &[ArgCmp]) -> Option<All> {
    let mut normal = All::new();
    for arg in all {
        match compare(arg) {
            Compared::Always => {}
            Compared::Never => return None,
            Compared::As(arg) => {
                normal.insert(arg);
            }
        }
    }
    Some(normal)
}

enum Compared {
    Always,
    Never,
    As(ArgCmp),
}

/// A comparison in canonical form.
fn compare(arg: &ArgCmp) -> Compared {
    let value = arg.value();
    let as_op = |op, value, two| {
        let index = u64::try_from(arg.index()).unwrap_or(0);
        // The index comes from a valid comparison.
        ArgCmp::new(index, op, value, two).map_or(Compared::Never, Compared::As)
    };
    let at_most = |value| match value {
        u64::MAX => Compared::Always,
        0 => as_op(Op::Eq, 0, None),
        value if value == u64::MAX - 1 => as_op(Op::Ne, u64::MAX, None),
        value => as_op(Op::Le, value, None),
    };
    let at_least = |value| match value {
        0 => Compared::Always,
        u64::MAX => as_op(Op::Eq, u64::MAX, None),
        1 => as_op(Op::Ne, 0, None),
        value => as_op(Op::Ge, value, None),
    };
    match arg.op() {
        Op::Eq | Op::Ne => as_op(arg.op(), value, None),
        Op::Le => at_most(value),
        Op::Ge => at_least(value),
        Op::Lt => value.checked_sub(1).map_or(Compared::Never, at_most),
        Op::Gt => value.checked_add(1).map_or(Compared::Never, at_least),
        Op::MaskedEq => match (value, arg.value_two().unwrap_or(0) & value) {
            (0, _) => Compared::Always,
            (u64::MAX, expected) => as_op(Op::Eq, expected, None),
            (mask, expected) => as_op(Op::MaskedEq, mask, Some(expected)),
        },
    }
}

/// Drops the alternatives that others include. If together they always hold, one that always holds remains.
fn simplest(alternatives: &BTreeSet<All>) -> BTreeSet<All> {
    let single = |all: &All| match all.iter().next() {
        Some(&arg) if all.len() == 1 => Some(arg),
        _ => None,
    };
    let singles: Vec<ArgCmp> = alternatives.iter().filter_map(single).collect();
    if cover_all(&singles) {
        return BTreeSet::from([All::new()]);
    }
    let included = |all: &&All| !includes_a_part(alternatives, all);
    alternatives.iter().filter(included).cloned().collect()
}

/// Whether two of these comparisons hold together whatever the argument is. Time that is linear: of each argument, only the
/// widest comparisons are compared with the others.
fn cover_all(singles: &[ArgCmp]) -> bool {
    let widest = |op, pick: fn(&ArgCmp, &ArgCmp) -> bool| {
        let mut widest = BTreeMap::<usize, ArgCmp>::new();
        for one in singles.iter().filter(|one| one.op() == op) {
            let known = widest.entry(one.index()).or_insert(*one);
            if pick(one, known) {
                *known = *one;
            }
        }
        widest
    };
    // Two `!=` of one argument differ in their values, and cover all.
    let unequal = widest(Op::Ne, |_, _| false);
    let up_to = widest(Op::Le, |one, known| one.value() > known.value());
    let from = widest(Op::Ge, |one, known| one.value() < known.value());
    let covers = |wide: &BTreeMap<usize, ArgCmp>, one: &ArgCmp| {
        wide.get(&one.index())
            .is_some_and(|wide| wide != one && cover(wide, one))
    };
    singles
        .iter()
        .any(|one| covers(&unequal, one) || covers(&up_to, one) || covers(&from, one))
}

/// Whether another alternative has some of these comparisons and no other.
fn includes_a_part(alternatives: &BTreeSet<All>, all: &All) -> bool {
    /// From this length on, all alternatives are compared instead of all parts looked up: no small file has many of them.
    const MANY: usize = 9;
    if all.len() >= MANY {
        let mut others = alternatives.iter();
        return others.any(|other| other != all && other.is_subset(all));
    }
    let whole = (1_u32 << all.len()) - 1;
    (0..whole).any(|chosen| {
        let parts = all.iter().enumerate();
        let part = parts.filter(|(number, _)| chosen >> number & 1 == 1);
        alternatives.contains(&part.map(|(_, arg)| *arg).collect::<All>())
    })
}

/// Whether one of two comparisons holds for every argument. Two `!=` of different values do, though their author meant
/// "neither".
fn cover(one: &ArgCmp, other: &ArgCmp) -> bool {
    if one.index() != other.index() {
        return false;
    }
    let values = (one.value(), other.value());
    match (one.op(), other.op()) {
        (Op::Ne, Op::Ne) => values.0 != values.1,
        (Op::Ne, _) => other.holds(values.0),
        (_, Op::Ne) => one.holds(values.1),
        (Op::Le, Op::Ge) => values.1 <= values.0.saturating_add(1),
        (Op::Ge, Op::Le) => values.0 <= values.1.saturating_add(1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// [`simplest`] as its definition says, by comparing each with each.
    fn by_definition(alternatives: &BTreeSet<All>) -> BTreeSet<All> {
        let singles = alternatives.iter().filter(|all| all.len() == 1).flatten();
        let singles: Vec<_> = singles.collect();
        let covered = (singles.iter().enumerate())
            .any(|(number, one)| singles[..number].iter().any(|other| cover(one, other)));
        if covered {
            return BTreeSet::from([All::new()]);
        }
        let included = |all: &&All| {
            let mut others = alternatives.iter();
            !others.any(|other| other != *all && other.is_subset(all))
        };
        alternatives.iter().filter(included).cloned().collect()
    }

    fn comparison() -> impl Strategy<Value = ArgCmp> {
        let op = select(vec![
            Op::Eq,
            Op::Eq,
            Op::Eq,
            Op::Ne,
            Op::Le,
            Op::Ge,
            Op::MaskedEq,
        ]);
        (0..2_u64, op, 0..6_u64, 0..6_u64).prop_filter_map("valid", |(index, op, value, two)| {
            let two = (op == Op::MaskedEq).then_some(two & value);
            ArgCmp::new(index, op, value, two).ok()
        })
    }

    proptest! {
        #[test]
        fn the_simplest_alternatives_are_those_by_definition(
            alternatives in prop::collection::btree_set(prop::collection::btree_set(comparison(), 0..4), 0..8),
        ) {
            prop_assert_eq!(simplest(&alternatives), by_definition(&alternatives));
        }
    }
}
