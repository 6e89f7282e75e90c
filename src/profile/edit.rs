//! A change of a profile.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, ArgCmp, Profile, Rule};
use crate::syscall::Arch;

/// A change of a profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Calls to be allowed with any arguments.
    pub allow: BTreeSet<String>,
    /// Calls to be allowed with some arguments: those for which all comparisons hold.
    pub allow_with: BTreeSet<(String, Vec<ArgCmp>)>,
    /// ABIs to be listed. Where a profile lists none, the native one is listed with them.
    pub arches: BTreeSet<Arch>,
    /// Names to be taken out of rules, by the number of the rule.
    pub remove: BTreeMap<usize, BTreeSet<String>>,
}

impl Edit {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty()
            && self.allow_with.is_empty()
            && self.arches.is_empty()
            && self.remove.is_empty()
    }

    /// The profile that comes of it. Names go into the first rule that allows calls with any arguments, where they belong by
    /// the alphabet if its names are sorted; where there is no such rule, one is added. Rules with comparisons
    /// come last. A rule without names is left out.
    #[must_use]
    pub fn apply(&self, profile: &Profile) -> Profile {
        let target = Edit::target(profile);
        let mut rules = Vec::new();
        for (index, rule) in profile.rules.iter().enumerate() {
            let mut names = rule.names().to_vec();
            if Some(index) == target {
                let is_sorted = names.is_sorted();
                for name in self.new_in(rule) {
                    names.insert(Edit::place(&names, is_sorted, name), name.clone());
                }
            }
            if let Some(gone) = self.remove.get(&index) {
                names.retain(|name| !gone.contains(name));
            }
            // Without names there is none.
            let rule = Rule::new(names, rule.action(), rule.args().to_vec());
            rules.extend(rule);
        }
        if target.is_none() {
            let names = self.allow.iter().cloned().collect();
            rules.extend(Rule::new(names, Action::Allow, Vec::new()));
        }
        rules.extend(
            self.allow_with.iter().flat_map(|(name, args)| {
                Rule::new(vec![name.clone()], Action::Allow, args.clone())
            }),
        );
        (profile.clone())
            .with_architectures(self.architectures(profile))
            .with_rules(rules)
    }

    /// The ABIs that the profile lists afterwards.
    fn architectures(&self, profile: &Profile) -> Option<Vec<Arch>> {
        if self.arches.is_empty() {
            return profile.architectures.clone();
        }
        let mut listed = profile.architectures.clone().unwrap_or_default();
        listed.extend(self.new_arches(&listed));
        Some(listed)
    }

    /// The ABIs that a list gets.
    pub(crate) fn new_arches(&self, listed: &[Arch]) -> Vec<Arch> {
        let native = listed.is_empty().then_some(Arch::NATIVE);
        let new: BTreeSet<Arch> = self.arches.iter().copied().chain(native).collect();
        new.into_iter()
            .filter(|arch| !self.arches.is_empty() && !listed.contains(arch))
            .collect()
    }

    /// The names that a rule gets which allows calls with any arguments.
    pub(crate) fn new_in(&self, rule: &Rule) -> impl Iterator<Item = &String> {
        let names: BTreeSet<&String> = rule.names().iter().collect();
        self.allow.iter().filter(move |name| !names.contains(name))
    }

    /// The rule that takes names to be allowed.
    #[must_use]
    pub fn target(profile: &Profile) -> Option<usize> {
        let plain = |rule: &Rule| rule.action() == Action::Allow && rule.args().is_empty();
        profile.rules.iter().position(plain)
    }

    /// Where a name goes in a list: where it belongs in a sorted one, else behind the last.
    pub(crate) fn place(names: &[String], is_sorted: bool, new: &str) -> usize {
        if is_sorted {
            names.partition_point(|name| name.as_str() < new)
        } else {
            names.len()
        }
    }
}
