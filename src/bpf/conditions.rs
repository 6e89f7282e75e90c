//! The answer to a system call, from the paths that it can take through a program: an action, or actions with conditions on
//! the arguments.
//!
//! Constraints on words become conditions on arguments, and paths with the same action are merged where their conditions
//! differ in one range only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::disassemble::data_word;
use super::emulate::action_of;
use super::walk::{BitConstraint, Budget, Constraints, FULL, ProgramPath, Ranges, SymbolicValue};
use crate::profile::Action;

/// A filter's answer to a system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterAnswer {
    /// The same action for all arguments.
    Always(Action),
    /// The action depends on the arguments.
    Depends {
        /// Actions with the conditions under which they are returned. All conditions of one entry must hold.
        cases: Vec<(Vec<Condition>, Action)>,
        /// The action if no case applies.
        otherwise: Action,
    },
    /// There are too many paths, or the program returns a computed value.
    Unknown,
}

impl FilterAnswer {
    /// The action, if it doesn't depend on the arguments.
    #[must_use]
    pub fn always(&self) -> Option<Action> {
        match self {
            FilterAnswer::Always(action) => Some(*action),
            FilterAnswer::Depends { .. } | FilterAnswer::Unknown => None,
        }
    }

    /// Merges paths with the same action where that makes the conditions simpler. The action that would need the most cases
    /// becomes `otherwise`. `narrow`: the ABI's arguments have 32 bits, so upper halves are 0.
    /// `None` if that takes more than the budget.
    pub(super) fn of(
        paths: Vec<ProgramPath>,
        narrow: bool,
        budget: &mut Budget,
    ) -> Option<FilterAnswer> {
        let mut cases: BTreeMap<Action, Vec<Vec<Condition>>> = BTreeMap::new();
        for path in paths {
            let SymbolicValue::Known(value) = path.returned else {
                return Some(FilterAnswer::Unknown);
            };
            let cases = cases.entry(action_of(value)).or_default();
            cases.extend(conditions(&path.constraints, narrow));
        }
        if cases.len() == 1
            && let Some((action, _)) = cases.first_key_value()
        {
            return Some(FilterAnswer::Always(*action));
        }
        for cases in cases.values_mut() {
            merge_cases(cases, budget)?;
        }
        // Of several, the strictest.
        let most = cases.values().map(Vec::len).max();
        let otherwise = cases.iter().find(|(_, cases)| Some(cases.len()) == most);
        let Some((&otherwise, _)) = otherwise else {
            return Some(FilterAnswer::Always(Action::KillProcess));
        };
        cases.remove(&otherwise);
        let cases = (cases.into_iter().rev())
            .flat_map(|(action, cases)| cases.into_iter().map(move |case| (case, action)));
        Some(FilterAnswer::Depends {
            cases: cases.collect(),
            otherwise,
        })
    }
}

/// A condition on the input of a filter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// The field is in one of these ranges.
    Within {
        /// The field.
        field: DataField,
        /// The ranges, ends included, in order and not adjacent.
        ranges: Vec<(u64, u64)>,
    },
    /// The bits of the field under a mask have a value, or don't have it.
    Masked {
        /// The field.
        field: DataField,
        /// The mask.
        mask: u64,
        /// The value.
        value: u64,
        /// Whether they have it.
        equal: bool,
    },
    /// Anything else, in C notation.
    Other(String),
}

/// A field of `struct seccomp_data` that a condition compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataField {
    /// An argument: 0 to 5.
    Arg(u8),
    /// The instruction pointer.
    Ip,
    /// One half of a field, by its offset.
    Word(u32),
}

impl DataField {
    /// The field that the word at an offset is a half of.
    fn of_word(offset: u32) -> DataField {
        match offset & !7 {
            8 => DataField::Ip,
            start => u8::try_from((start - 16) / 8).map_or(DataField::Word(offset), DataField::Arg),
        }
    }

    fn greatest(self) -> u64 {
        match self {
            DataField::Word(_) => u32::MAX.into(),
            DataField::Arg(_) | DataField::Ip => u64::MAX,
        }
    }
}

impl fmt::Display for DataField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataField::Arg(index) => write!(f, "arg{index}"),
            DataField::Ip => f.write_str("ip"),
            DataField::Word(offset) => f.write_str(&data_word(*offset)),
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Within { field, ranges } => {
                let max = field.greatest();
                if let [(0, below), (above, last)] = ranges[..]
                    && last == max
                    && above.checked_sub(below) == Some(2)
                {
                    return write!(f, "{field} != {:#x}", below + 1);
                }
                let range = |&(first, last): &(u64, u64)| match (first, last) {
                    (first, last) if first == last => format!("{field} == {first:#x}"),
                    (0, last) => format!("{field} <= {last:#x}"),
                    (first, last) if last == max => format!("{field} >= {first:#x}"),
                    (first, last) => format!("{first:#x} <= {field} <= {last:#x}"),
                };
                let ranges: Vec<String> = ranges.iter().map(range).collect();
                match &ranges[..] {
                    [one] => f.write_str(one),
                    several => write!(f, "({})", several.join(" || ")),
                }
            }
            Condition::Masked {
                field,
                mask,
                value,
                equal,
            } => {
                let operator = if *equal { "==" } else { "!=" };
                write!(f, "{field} & {mask:#x} {operator} {value:#x}")
            }
            Condition::Other(text) => f.write_str(text),
        }
    }
}

/// The conditions of a path; `None` if no arguments fulfil them.
fn conditions(constraints: &Constraints, narrow: bool) -> Option<Vec<Condition>> {
    let all: Ranges = vec![FULL];
    let zero: Ranges = vec![(0, 0)];
    let mut conditions = BTreeSet::new();
    // From 8 on: number and ABI are known.
    let fields: BTreeSet<(u32, u32)> = (constraints.ranges.keys())
        .filter(|offset| **offset >= 8)
        .map(|offset| halves(*offset))
        .collect();
    for (low, high) in fields {
        let lower = constraints.ranges.get(&low).unwrap_or(&all);
        let mut upper = constraints.ranges.get(&high).unwrap_or(&all);
        let field = DataField::of_word(low);
        if narrow && matches!(field, DataField::Arg(_)) {
            if upper.first().is_none_or(|&(first, _)| first != 0) {
                return None;
            }
            upper = &zero;
        }
        if let Some(mut ranges) = join_halves(upper, lower) {
            // A range that ends with the greatest argument has no end.
            if let Some((first, last)) = ranges.last_mut()
                && narrow
                && *last == u64::from(u32::MAX)
                && first < last
            {
                *last = u64::MAX;
            }
            if ranges != [(0, u64::MAX)] {
                conditions.insert(Condition::Within { field, ranges });
            }
            continue;
        }
        for (offset, ranges) in [(high, upper), (low, lower)] {
            if *ranges != all {
                let ranges = ranges.iter().map(|&(a, b)| (u64::from(a), u64::from(b)));
                conditions.insert(Condition::Within {
                    field: DataField::Word(offset),
                    ranges: ranges.collect(),
                });
            }
        }
    }
    conditions.extend(bit_conditions(&constraints.bits));
    conditions.extend(constraints.others.iter().cloned().map(Condition::Other));
    Some(conditions.into_iter().collect())
}

/// The offsets of the lower and the upper half of the field that a word is a half of.
fn halves(offset: u32) -> (u32, u32) {
    let start = offset & !7;
    if cfg!(target_endian = "big") {
        (start + 4, start)
    } else {
        (start, start + 4)
    }
}

/// The ranges of a field, from those of its halves; `None` if one range of the field can't express them.
fn join_halves(upper: &Ranges, lower: &Ranges) -> Option<Vec<(u64, u64)>> {
    let join = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    if lower[..] == [FULL] {
        let ranges = upper.iter();
        return Some(
            ranges
                .map(|&(a, b)| (join(a, 0), join(b, u32::MAX)))
                .collect(),
        );
    }
    match upper[..] {
        [(first, last)] if first == last => {
            let ranges = lower.iter();
            Some(
                ranges
                    .map(|&(a, b)| (join(first, a), join(first, b)))
                    .collect(),
            )
        }
        _ => None,
    }
}

/// Bit constraints as conditions: of one field, all that hold with `==` become one.
fn bit_conditions(constraints: &BTreeSet<BitConstraint>) -> Vec<Condition> {
    let mut equal: BTreeMap<DataField, (u64, u64)> = BTreeMap::new();
    let mut conditions = Vec::new();
    for constraint in constraints {
        let (low, _) = halves(constraint.offset);
        let shift = if low == constraint.offset { 0 } else { 32 };
        let mask = u64::from(constraint.mask) << shift;
        let value = u64::from(constraint.value) << shift;
        let field = DataField::of_word(constraint.offset);
        if constraint.equal {
            let (of_mask, of_value) = equal.entry(field).or_default();
            *of_mask |= mask;
            *of_value |= value;
        } else {
            conditions.push(Condition::Masked {
                field,
                mask,
                value,
                equal: false,
            });
        }
    }
    let equal = equal.into_iter();
    conditions.extend(equal.map(|(field, (mask, value))| Condition::Masked {
        field,
        mask,
        value,
        equal: true,
    }));
    conditions
}

/// Merges cases with the same action until no two can be merged.
fn merge_cases(cases: &mut Vec<Vec<Condition>>, budget: &mut Budget) -> Option<()> {
    cases.sort();
    cases.dedup();
    while let Some((first, second, merged)) = find_mergeable(cases, budget)? {
        cases.remove(second);
        cases[first] = merged;
    }
    cases.sort();
    Some(())
}

/// Two cases and the one for both; `None` within if there are none, and outside if the budget is used up.
#[expect(clippy::option_option, reason = "two reasons to have none")]
fn find_mergeable(
    cases: &[Vec<Condition>],
    budget: &mut Budget,
) -> Option<Option<(usize, usize, Vec<Condition>)>> {
    for first in 0..cases.len() {
        for second in first + 1..cases.len() {
            let [one, other] = [first, second].map(|case| cases[case].len());
            budget.take(1 + one * other)?;
            if let Some(merged) = merge_two(&cases[first], &cases[second]) {
                return Some(Some((first, second, merged)));
            }
        }
    }
    Some(None)
}

/// One case for two that differ in the ranges of one field, or of which one includes the other.
fn merge_two(one: &[Condition], other: &[Condition]) -> Option<Vec<Condition>> {
    if one.iter().all(|condition| other.contains(condition)) {
        return Some(one.to_vec());
    }
    if one.len() != other.len() {
        return None;
    }
    let mut different = one.iter().zip(other).filter(|(a, b)| a != b);
    let (a, b) = different.next()?;
    if different.next().is_some() {
        return None;
    }
    let (
        Condition::Within { field, ranges },
        Condition::Within {
            field: other_field,
            ranges: more,
        },
    ) = (a, b)
    else {
        return None;
    };
    if field != other_field {
        return None;
    }
    let mut all: Vec<(u64, u64)> = ranges.iter().chain(more).copied().collect();
    all.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (first, last) in all {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    let rest = one.iter().filter(|condition| *condition != a).cloned();
    let mut conditions: Vec<Condition> = rest.collect();
    // The full range is no condition.
    if merged != [(0, field.greatest())] {
        conditions.push(Condition::Within {
            field: *field,
            ranges: merged,
        });
    }
    conditions.sort();
    Some(conditions)
}
