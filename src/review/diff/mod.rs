//! Compares the meaning of two profiles.
//!
//! A difference is data: [`Diff::apply`] turns one profile into the other. Two files with the same meaning have none,
//! whatever their form ([`meaning`]).

mod direction;
mod meaning;
#[cfg(test)]
mod tests;

pub use direction::Direction;
pub use meaning::{All, CallActions};

use std::collections::{BTreeMap, BTreeSet};

use self::meaning::Meaning;
use super::risk::{Risk, risk};
use crate::profile::{Action, Flag, Listener, Profile};
use crate::syscall::{Arch, Syscall};

/// One thing that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The action for calls that no rule matches.
    Default {
        /// The old one.
        from: Action,
        /// The new one.
        to: Action,
    },
    /// The rules apply to the calls of an ABI; before, they killed the process.
    ArchAdded(Arch),
    /// A call of this ABI kills the process; before, the rules applied.
    ArchRemoved(Arch),
    /// One side lists ABIs, the other (`None`) means the native one.
    ArchesNamed {
        /// The old ones.
        from: Option<BTreeSet<Arch>>,
        /// The new ones.
        to: Option<BTreeSet<Arch>>,
    },
    /// The filter is loaded with another flag.
    FlagAdded(Flag),
    /// The filter is loaded without a flag.
    FlagRemoved(Flag),
    /// The process that is notified.
    Listener {
        /// The old one.
        from: Option<Listener>,
        /// The new one.
        to: Option<Listener>,
    },
    /// The rules for a call.
    Call {
        /// The call.
        name: String,
        /// The old ones. Empty: the default action applied.
        from: CallActions,
        /// The new ones.
        to: CallActions,
    },
}

/// A change, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The change.
    pub change: Change,
    /// Whether more or less is allowed.
    pub direction: Direction,
    /// The risk of the call; `None` for a change that isn't about a call.
    pub risk: Option<Risk>,
    /// A remark for people.
    pub note: Option<&'static str>,
}

/// All differences between two profiles: first those that concern all calls, then those of single calls, the wider first, and
/// of those the gravest.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Diff {
    /// The differences.
    pub differences: Vec<Difference>,
}

impl Profile {
    /// The profile in the canonical form of its meaning.
    #[must_use]
    pub fn canonical(&self) -> Profile {
        Meaning::of(self).profile()
    }

    /// The rules' answers for each call that doesn't just get the default action.
    #[must_use]
    pub fn meaning_of_calls(&self) -> BTreeMap<String, CallActions> {
        Meaning::of(self).calls
    }
}

/// The changes that turn the meaning of `from` into that of `to`.
#[must_use]
pub fn diff(from: &Profile, to: &Profile) -> Diff {
    let (from, to) = (Meaning::of(from), Meaning::of(to));
    let mut differences = of_whole(&from, &to);
    let names: BTreeSet<&String> = from.calls.keys().chain(to.calls.keys()).collect();
    let nothing = CallActions::new();
    let arches: Option<BTreeSet<Arch>> = match (&from.architectures, &to.architectures) {
        (Some(from), Some(to)) => Some(from.union(to).copied().collect()),
        _ => None,
    };
    for name in names {
        let answers = |meaning: &Meaning| meaning.calls.get(name).unwrap_or(&nothing).clone();
        let (old, new) = (answers(&from), answers(&to));
        if old == new {
            continue;
        }
        let mut direction =
            direction::of_call((&old, from.default_action), (&new, to.default_action));
        let exists = (arches.as_ref()).is_none_or(|arches| {
            let mut arches = arches.iter();
            arches.any(|&arch| Syscall::from_name(arch, name).is_some())
        });
        let mut note = None;
        if !exists {
            direction = Direction::Other;
            note = Some("no listed architecture has a call of this name");
        } else if direction == Direction::Other && reaches_the_same(&old, &new, &from, &to) {
            note = Some("the default action does the same");
        }
        differences.push(Difference {
            risk: Some(risk(name)),
            change: Change::Call {
                name: name.clone(),
                from: old,
                to: new,
            },
            direction,
            note,
        });
    }
    differences.sort_by_key(|difference| {
        (
            difference.risk.is_some(),
            difference.direction,
            difference.risk.map(|risk| risk.class),
        )
    });
    Diff { differences }
}

/// Whether a rule of one side has the default action of the other.
fn reaches_the_same(old: &CallActions, new: &CallActions, from: &Meaning, to: &Meaning) -> bool {
    let only = |answers: &CallActions, default| {
        let always = BTreeSet::from([All::new()]);
        answers.len() == 1 && answers.get(&default) == Some(&always)
    };
    (old.is_empty() && only(new, from.default_action))
        || (new.is_empty() && only(old, to.default_action))
}

/// The differences other than calls.
fn of_whole(from: &Meaning, to: &Meaning) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut add = |change, direction, note| {
        differences.push(Difference {
            change,
            direction,
            risk: None,
            note,
        });
    };
    if from.default_action != to.default_action {
        let (from, to) = (from.default_action, to.default_action);
        add(
            Change::Default { from, to },
            direction::of_actions(from, to),
            None,
        );
    }
    match (&from.architectures, &to.architectures) {
        (Some(from), Some(to)) => {
            for &arch in to.difference(from) {
                add(Change::ArchAdded(arch), Direction::Wider, None);
            }
            for &arch in from.difference(to) {
                add(Change::ArchRemoved(arch), Direction::Narrower, None);
            }
        }
        (from, to) if from != to => add(
            Change::ArchesNamed {
                from: from.clone(),
                to: to.clone(),
            },
            Direction::Other,
            Some("without a list, the native architecture of the machine"),
        ),
        _ => {}
    }
    let flag = |flag, direction: Direction| match flag {
        Flag::SpecAllow => (
            direction,
            Some("speculative store bypass is not mitigated with it"),
        ),
        Flag::Tsync | Flag::Log | Flag::WaitKillableRecv => (Direction::Other, None),
    };
    for &added in to.flags.difference(&from.flags) {
        let (direction, note) = flag(added, Direction::Wider);
        add(Change::FlagAdded(added), direction, note);
    }
    for &removed in from.flags.difference(&to.flags) {
        let (direction, note) = flag(removed, Direction::Narrower);
        add(Change::FlagRemoved(removed), direction, note);
    }
    if from.listener != to.listener {
        let (from, to) = (from.listener.clone(), to.listener.clone());
        add(Change::Listener { from, to }, Direction::Other, None);
    }
    differences
}

/// Why a difference doesn't fit a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the profile is not the one that was compared: {0} differs")]
pub struct DoesNotFit(String);

impl Diff {
    /// Whether the profiles mean the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// How many differences there are of each direction.
    #[must_use]
    pub fn count(&self) -> BTreeMap<Direction, usize> {
        let mut counts = BTreeMap::new();
        for difference in &self.differences {
            *counts.entry(difference.direction).or_default() += 1;
        }
        counts
    }

    /// The profile with these changes applied, in the form of [`Profile::canonical`]. `diff(a, b)` turns `a` into `b`, and
    /// doesn't apply to a profile that differs from `a` where `a` and `b` differ.
    pub fn apply(&self, profile: &Profile) -> Result<Profile, DoesNotFit> {
        let mut meaning = Meaning::of(profile);
        for difference in &self.differences {
            apply(&mut meaning, &difference.change)?;
        }
        Ok(meaning.profile())
    }
}

fn apply(meaning: &mut Meaning, change: &Change) -> Result<(), DoesNotFit> {
    let expect = |fits: bool, what: &dyn Fn() -> String| {
        if fits {
            Ok(())
        } else {
            Err(DoesNotFit(what()))
        }
    };
    match change {
        Change::Default { from, to } => {
            expect(meaning.default_action == *from, &|| {
                "the default action".to_owned()
            })?;
            meaning.default_action = *to;
        }
        Change::ArchAdded(arch) => {
            let added = (meaning.architectures.as_mut()).is_some_and(|arches| arches.insert(*arch));
            expect(added, &|| format!("architecture {arch}"))?;
        }
        Change::ArchRemoved(arch) => {
            let arches = meaning.architectures.as_mut();
            let removed = arches.is_some_and(|arches| arches.remove(arch));
            expect(removed, &|| format!("architecture {arch}"))?;
        }
        Change::ArchesNamed { from, to } => {
            expect(meaning.architectures == *from, &|| {
                "the list of architectures".to_owned()
            })?;
            meaning.architectures.clone_from(to);
        }
        Change::FlagAdded(flag) => {
            expect(meaning.flags.insert(*flag), &|| format!("flag {flag}"))?;
        }
        Change::FlagRemoved(flag) => {
            expect(meaning.flags.remove(flag), &|| format!("flag {flag}"))?;
        }
        Change::Listener { from, to } => {
            expect(meaning.listener == *from, &|| "the listener".to_owned())?;
            meaning.listener.clone_from(to);
        }
        Change::Call { name, from, to } => {
            let old = meaning.calls.remove(name).unwrap_or_default();
            expect(old == *from, &|| format!("the rule for {name}"))?;
            if !to.is_empty() {
                meaning.calls.insert(name.clone(), to.clone());
            }
        }
    }
    Ok(())
}
