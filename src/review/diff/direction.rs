//! Whether a change is wider or narrower.

use std::collections::BTreeSet;
use std::fmt;

use super::meaning::{All, CallActions};
use crate::profile::{ARGS, Action, ArgCmp, Op};

/// What a change means for the workload and for an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// More calls are executed, or passed to a listener or tracer, which may execute them.
    Wider,
    /// Wider for some arguments, narrower for others.
    Mixed,
    /// Fewer are.
    Narrower,
    /// Neither: another errno, logging, another way of denying.
    Other,
}

impl Direction {
    /// The name in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Direction::Wider => "wider",
            Direction::Mixed => "mixed",
            Direction::Narrower => "narrower",
            Direction::Other => "other",
        }
    }

    /// Compares the old reach with the new one.
    fn between<T: Ord>(from: &T, to: &T) -> Direction {
        match to.cmp(from) {
            std::cmp::Ordering::Greater => Direction::Wider,
            std::cmp::Ordering::Less => Direction::Narrower,
            std::cmp::Ordering::Equal => Direction::Other,
        }
    }

    fn and(self, other: Direction) -> Direction {
        match (self, other) {
            (Direction::Other, direction) | (direction, Direction::Other) => direction,
            (one, other) if one == other => one,
            _ => Direction::Mixed,
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How far an answer lets a call go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    Refused,
    /// A listener or a tracer decides.
    Asked,
    Executed,
}

fn reach(action: Action) -> Reach {
    match action {
        action if action.executes() => Reach::Executed,
        Action::Notify | Action::Trace(_) => Reach::Asked,
        _ => Reach::Refused,
    }
}

/// The direction from one answer to another.
pub(super) fn of_actions(from: Action, to: Action) -> Direction {
    Direction::between(&reach(from), &reach(to))
}

/// How many alternatives a call can have before they are compared as they are written: trying arguments takes time that
/// grows with the fourth power.
const MANY: usize = 64;

/// The direction of one call's change, found by arguments around every value that either side compares with. If rules
/// contradict one another, the most permissive one counts.
pub(super) fn of_call(from: (&CallActions, Action), to: (&CallActions, Action)) -> Direction {
    if from
        .0
        .values()
        .chain(to.0.values())
        .map(BTreeSet::len)
        .sum::<usize>()
        > MANY
    {
        return of_many(from, to);
    }
    let points = points(from.0, to.0);
    let directions = points.iter().map(|args| {
        Direction::between(&furthest(from.0, from.1, args), &furthest(to.0, to.1, args))
    });
    directions.fold(Direction::Other, Direction::and)
}

/// The direction by which alternatives were added and removed; [`Direction::Mixed`] where that alone can't tell.
fn of_many(from: (&CallActions, Action), to: (&CallActions, Action)) -> Direction {
    let default = reach(from.1);
    let actions = from.0.keys().chain(to.0.keys());
    let mut reaches: BTreeSet<Reach> = actions.map(|&action| reach(action)).collect();
    // One kind of alternatives, all of which go further than the rest: each that is added only adds arguments.
    reaches.insert(default);
    if reach(to.1) != default || reaches.len() != 2 || reaches.first() != Some(&default) {
        return Direction::Mixed;
    }
    let alternatives = |answers: &CallActions| -> BTreeSet<All> {
        let further = answers
            .iter()
            .filter(|(action, _)| reach(**action) > default);
        further.flat_map(|(_, all)| all.iter().cloned()).collect()
    };
    let (from, to) = (alternatives(from.0), alternatives(to.0));
    match (to.is_subset(&from), from.is_subset(&to)) {
        (true, true) => Direction::Other,
        (true, false) => Direction::Narrower,
        (false, true) => Direction::Wider,
        (false, false) => Direction::Mixed,
    }
}

fn furthest(answers: &CallActions, default: Action, args: &[u64; ARGS]) -> Reach {
    let holds = |all: &All| all.iter().all(|arg| arg.holds(args[arg.index()]));
    let holding = (answers.iter()).filter(|(_, alternatives)| alternatives.iter().any(holds));
    let furthest = holding.map(|(&action, _)| reach(action)).max();
    furthest.unwrap_or_else(|| reach(default))
}

/// Arguments that distinguish the two sides: for every alternative, arguments that satisfy it, and those with each argument
/// changed to each compared value and its neighbours.
fn points(from: &CallActions, to: &CallActions) -> BTreeSet<[u64; ARGS]> {
    let alternatives: BTreeSet<&All> = (from.values().chain(to.values())).flatten().collect();
    let mut values: [BTreeSet<u64>; ARGS] = Default::default();
    for arg in alternatives.iter().copied().flatten() {
        values[arg.index()].extend(around(arg));
    }
    let mut points = BTreeSet::from([[0; ARGS], [u64::MAX; ARGS]]);
    // Arguments of one alternative also satisfy the next one if the two compare different arguments.
    for one in &alternatives {
        for other in &alternatives {
            let mut point = [0; ARGS];
            for arg in other.iter().chain(one.iter()) {
                point[arg.index()] = satisfying(arg);
            }
            points.insert(point);
        }
    }
    let bases: Vec<_> = points.iter().copied().collect();
    for base in bases {
        for (index, values) in values.iter().enumerate() {
            for &value in values {
                let mut point = base;
                point[index] = value;
                points.insert(point);
            }
        }
    }
    points
}

/// A value that satisfies a comparison in the form of [`super::meaning`], which can always be satisfied.
fn satisfying(arg: &ArgCmp) -> u64 {
    match arg.op() {
        Op::Ne => u64::from(arg.value() == 0),
        Op::MaskedEq => arg.value_two().unwrap_or(0),
        Op::Eq | Op::Le | Op::Ge => arg.value(),
        Op::Lt => arg.value().saturating_sub(1),
        Op::Gt => arg.value().saturating_add(1),
    }
}

/// Values on both sides of a comparison's value.
fn around(arg: &ArgCmp) -> Vec<u64> {
    let value = arg.value();
    match arg.op() {
        Op::MaskedEq => {
            let expected = arg.value_two().unwrap_or(0);
            let mut values = vec![expected, expected | !value];
            values.extend((0..64).map(|bit| expected ^ (1 << bit)));
            values
        }
        _ => vec![value, value.wrapping_sub(1), value.wrapping_add(1)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(values: std::ops::Range<u64>) -> CallActions {
        let alternative = |value| All::from([ArgCmp::new(0, Op::Eq, value, None).unwrap()]);
        CallActions::from([(Action::Allow, values.map(alternative).collect())])
    }

    #[test]
    fn many_alternatives_have_the_direction_that_few_have() {
        let denied = Action::KillProcess;
        for (from, to, expect) in [
            (0..3, 0..4, Direction::Wider),
            (0..4, 1..4, Direction::Narrower),
            (0..3, 1..4, Direction::Mixed),
        ] {
            for factor in [1, 50] {
                let side = |range: &std::ops::Range<u64>| allowed(range.start..range.end * factor);
                let (from, to) = (side(&from), side(&to));
                assert_eq!(of_call((&from, denied), (&to, denied)), expect);
            }
        }
    }
}
