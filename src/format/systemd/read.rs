//! Reads a drop-in as systemd does: lines are applied in order.

use std::collections::{BTreeMap, BTreeSet};

use super::restriction::{Restriction, family_of};
use super::write::{ARCHES, DEFAULT};
use crate::format::by_call::Said;
use crate::format::docker::errno_of_name;
use crate::format::error::{ParseError, Position};
use crate::format::name::Format;
use crate::format::reading::{Groups, Parsed, PartPositions, ReadState};
use crate::profile::{Action, ErrnoRet, Profile, ProfilePart, Rule};
use crate::syscall::Arch;

/// The settings after the lines that were read.
#[derive(Default)]
struct Unit {
    /// Whether it is a list of allowed calls; `None` without a list.
    allows: Option<bool>,
    /// The list: calls, and groups that were not expanded yet, each with its errno, if any.
    list: BTreeMap<String, (Option<Action>, Position)>,
    /// Calls that are not logged; `None` without such a list.
    unlogged: Option<BTreeMap<String, Position>>,
    number: Option<Action>,
    arches: Option<Vec<(Arch, Position)>>,
    restrictions: BTreeMap<Restriction, Position>,
    /// Whether these families of sockets are those that are allowed; `None` without a list.
    families: Option<(bool, BTreeSet<u64>, Position)>,
}

struct UnitReader<'a, 'b> {
    groups: Option<Groups>,
    input: &'a mut ReadState<'b>,
}

pub(super) fn parse(text: &str, input: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
    let groups = input.reading.groups;
    let mut reader = UnitReader { groups, input };
    let mut unit = Unit::default();
    let mut in_service = true;
    for (line, position) in logical_lines(text) {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if content.starts_with('[') {
            in_service = content == "[Service]";
            continue;
        }
        let Some((key, value)) = content.split_once('=') else {
            return Err(form(
                position,
                "neither KEY=VALUE nor a [Section]".to_owned(),
            ));
        };
        if !in_service {
            continue;
        }
        reader.assign(&mut unit, key.trim(), value.trim(), position)?;
    }
    reader.profile(unit)
}

/// Lines, with those that end in a backslash joined to the next, and where each begins.
fn logical_lines(text: &str) -> Vec<(String, Position)> {
    let mut lines = Vec::new();
    let mut held: Option<(String, Position)> = None;
    for (number, line) in text.lines().enumerate() {
        let here = Position {
            line: number + 1,
            column: 1 + line.len() - line.trim_start().len(),
        };
        let (mut logical, position) = held.take().unwrap_or((String::new(), here));
        let is_comment = line.trim_start().starts_with(['#', ';']);
        match line.strip_suffix('\\').filter(|_| !is_comment) {
            Some(start) => {
                logical.push_str(start);
                logical.push(' ');
                held = Some((logical, position));
            }
            // A comment between the parts of a line is not part of it.
            None if is_comment && !logical.is_empty() => held = Some((logical, position)),
            None => lines.push((logical + line, position)),
        }
    }
    lines.extend(held);
    lines
}

fn form(position: Position, message: String) -> ParseError {
    ParseError::form(Some(position), message)
}

impl UnitReader<'_, '_> {
    fn assign(
        &mut self,
        unit: &mut Unit,
        key: &str,
        value: &str,
        position: Position,
    ) -> Result<(), ParseError> {
        match key {
            "SystemCallFilter" => self.filter(unit, value, position),
            "SystemCallLog" => {
                if value.is_empty() {
                    unit.unlogged = None;
                    return Ok(());
                }
                let Some(list) = value.strip_prefix('~') else {
                    return self.input.lose(
                        Some(position),
                        "SystemCallLog= with a list of logged calls: a profile can't log and refuse at once",
                    );
                };
                for word in list.split_whitespace() {
                    for name in self.expand(word, position)? {
                        let unlogged = unit.unlogged.get_or_insert_default();
                        unlogged.insert(name, position);
                    }
                }
                Ok(())
            }
            "SystemCallErrorNumber" => {
                unit.number = match value {
                    "" | "kill" => None,
                    name => Some(read_errno(name, position)?),
                };
                Ok(())
            }
            "SystemCallArchitectures" => {
                for word in value.split_whitespace() {
                    let arches = unit.arches.get_or_insert_default();
                    let known = ARCHES.iter().find(|(name, _)| *name == word);
                    match known {
                        Some((_, arch)) => arches.push((*arch, position)),
                        None if word == "native" => {}
                        None => {
                            return Err(form(
                                position,
                                format!("{word:?} is not an architecture of systemd"),
                            ));
                        }
                    }
                }
                if value.is_empty() {
                    unit.arches = None;
                }
                Ok(())
            }
            "RestrictNamespaces" if is_true(value) => {
                unit.restrictions.insert(Restriction::Namespaces, position);
                Ok(())
            }
            "LockPersonality" if is_true(value) => {
                unit.restrictions.insert(Restriction::Personality, position);
                Ok(())
            }
            "RestrictRealtime" if is_true(value) => {
                unit.restrictions.insert(Restriction::Realtime, position);
                Ok(())
            }
            "RestrictAddressFamilies" if value != "none" => self.families(unit, value, position),
            // Other settings have nothing to do with calls, or restrict some by other means.
            "RestrictAddressFamilies"
            | "RestrictNamespaces"
            | "MemoryDenyWriteExecute"
            | "RestrictRealtime"
            | "RestrictSUIDSGID"
            | "LockPersonality"
            | "ProtectClock"
            | "ProtectKernelModules"
            | "ProtectKernelTunables"
            | "ProtectKernelLogs"
            | "ProtectHostname"
            | "PrivateDevices" => {
                let what = format!("{key}=: systemd adds a filter of its own to it");
                self.input.lose(Some(position), what)
            }
            _ => Ok(()),
        }
    }

    /// As systemd adds them up (`config_parse_address_families`).
    fn families(
        &mut self,
        unit: &mut Unit,
        value: &str,
        position: Position,
    ) -> Result<(), ParseError> {
        if value.is_empty() {
            unit.families = None;
            return Ok(());
        }
        let (adds, names) = match value.strip_prefix('~') {
            Some(names) => (false, names),
            None => (true, value),
        };
        let (allows, families, _) =
            (unit.families).get_or_insert_with(|| (adds, BTreeSet::new(), position));
        for name in names.split_whitespace() {
            match family_of(name) {
                Some(family) if adds == *allows => {
                    families.insert(family);
                }
                Some(family) => {
                    families.remove(&family);
                }
                None => {
                    let what = format!("{name:?}: the number of this family is not known");
                    self.input.lose(Some(position), what)?;
                }
            }
        }
        Ok(())
    }

    fn filter(
        &mut self,
        unit: &mut Unit,
        value: &str,
        position: Position,
    ) -> Result<(), ParseError> {
        if value.is_empty() {
            unit.allows = None;
            unit.list.clear();
            return Ok(());
        }
        let (inverted, words) = match value.strip_prefix('~') {
            Some(words) => (true, words),
            None => (false, value),
        };
        let allows = *unit.allows.get_or_insert_with(|| {
            if !inverted {
                unit.list.insert(DEFAULT.to_owned(), (None, position));
            }
            !inverted
        });
        for word in words.split_whitespace() {
            let (name, action) = match word.split_once(':') {
                None => (word, None),
                Some((_, _)) if !inverted => {
                    let message = format!("{word:?}: only lists with ~ have errnos");
                    return Err(form(position, message));
                }
                Some((name, "kill")) => (name, Some(Action::KillProcess)),
                Some((name, errno)) => (name, Some(read_errno(errno, position)?)),
            };
            if inverted != allows || action.is_some() {
                // A group is not expanded until its calls differ.
                let names = match action {
                    None => vec![name.to_owned()],
                    Some(_) => self.expand(name, position)?,
                };
                for name in names {
                    unit.list.insert(name, (action, position));
                }
            } else {
                self.remove(&mut unit.list, name, position)?;
            }
        }
        Ok(())
    }

    /// Removes a call or a group from the list.
    fn remove(
        &mut self,
        list: &mut BTreeMap<String, (Option<Action>, Position)>,
        name: &str,
        position: Position,
    ) -> Result<(), ParseError> {
        // Keys are sorted, so groups are side by side.
        let is_group = |entry: Option<(&String, _)>| {
            entry.is_none_or(|(known, _): (&String, &_)| known.starts_with('@'))
        };
        if name.starts_with('@')
            && is_group(list.first_key_value())
            && is_group(list.last_key_value())
        {
            list.remove(name);
            if list.is_empty() {
                return Ok(());
            }
        }
        let groups = list.range("@".to_owned().."A".to_owned());
        let groups: Vec<String> = groups.map(|(known, _)| known.clone()).collect();
        for group in groups {
            if let Some((action, at)) = list.remove(&group) {
                for call in self.expand(&group, at)? {
                    list.entry(call).or_insert((action, at));
                }
            }
        }
        for call in self.expand(name, position)? {
            list.remove(&call);
        }
        Ok(())
    }

    /// A call, or the calls of a group.
    fn expand(&mut self, word: &str, position: Position) -> Result<Vec<String>, ParseError> {
        if !word.starts_with('@') {
            return Ok(vec![word.to_owned()]);
        }
        if let Some(calls) = self.groups.and_then(|groups| groups(word)) {
            return Ok(calls);
        }
        let what = if self.groups.is_some() {
            format!("the calls of {word}, which systemd-analyze on this machine doesn't know")
        } else {
            format!("the calls of {word}, which only systemd knows")
        };
        self.input.lose(Some(position), what)?;
        Ok(Vec::new())
    }

    /// The profile with rules for the call that a setting restricts.
    fn restricted(
        &mut self,
        profile: Profile,
        restriction: &Restriction,
        at: Position,
    ) -> Result<Profile, ParseError> {
        let call = restriction.call();
        let without =
            profile.with_names(|rule, name| rule.action() != Action::Allow || name != call);
        let added = restriction.rules(profile.default_action());
        let rules = without.rules().iter().chain(&added).cloned();
        let restricted = without.clone().with_rules(rules);
        let when = added.iter().map(|rule| (rule.args(), rule.action()));
        let said = Said::When(when.collect());
        if profile.may_execute(call)
            && Restriction::of(call, &said, &restricted).as_ref() == Ok(restriction)
        {
            return Ok(restricted);
        }
        let what = format!(
            "{}: systemd adds a filter of its own to it",
            restriction.setting()
        );
        self.input.lose(Some(at), what)?;
        Ok(profile)
    }

    fn profile(&mut self, unit: Unit) -> Result<Parsed, ParseError> {
        let mut places = BTreeMap::new();
        let start = Position { line: 1, column: 1 };
        let (default_action, list) = match (unit.allows, unit.unlogged) {
            (None, None) => {
                return Err(form(
                    start,
                    "there is neither SystemCallFilter= nor SystemCallLog=".to_owned(),
                ));
            }
            (None, Some(unlogged)) => {
                let list = unlogged.into_iter();
                let list = list.map(|(name, at)| (name, (Some(Action::Allow), at)));
                (Action::Log, list.collect())
            }
            (Some(allows), unlogged) => {
                if let Some(at) = unlogged.and_then(|list| list.into_values().next()) {
                    let what = "SystemCallLog= beside SystemCallFilter=";
                    self.input.lose(Some(at), what)?;
                }
                let refused = unit.number.unwrap_or(Action::KillProcess);
                let mut list = BTreeMap::new();
                for (name, (action, at)) in unit.list {
                    let action = match (allows, action) {
                        (_, Some(action)) => action,
                        (true, None) => Action::Allow,
                        (false, None) => refused,
                    };
                    for call in self.expand(&name, at)? {
                        // A call has an errno of its own even if it is in a group without one.
                        if call == name {
                            list.insert(call, (Some(action), at));
                        } else {
                            list.entry(call).or_insert((Some(action), at));
                        }
                    }
                }
                (if allows { refused } else { Action::Allow }, list)
            }
        };
        let mut by_action: BTreeMap<Action, Vec<(String, Position)>> = BTreeMap::new();
        for (name, (action, at)) in list {
            let action = action.unwrap_or(default_action);
            by_action.entry(action).or_default().push((name, at));
        }
        let mut rules = Vec::new();
        // ALLOW first: it is the longest.
        for (action, names) in by_action.into_iter().rev() {
            let rule = rules.len();
            for (name, (_, at)) in names.iter().enumerate() {
                places.insert(ProfilePart::Name { rule, name }, *at);
            }
            places.extend(names.first().map(|(_, at)| (ProfilePart::Rule(rule), *at)));
            let names = names.into_iter().map(|(name, _)| name).collect();
            let rule = Rule::new(names, action, Vec::new());
            rules.push(rule.map_err(|error| form(start, error.to_string()))?);
        }
        let mut arches = Vec::new();
        for (arch, at) in unit.arches.into_iter().flatten() {
            if !arches.contains(&arch) {
                places.insert(ProfilePart::Architecture(arches.len()), at);
                arches.push(arch);
            }
        }
        let mut profile = Profile::new(default_action)
            .with_architectures((!arches.is_empty()).then_some(arches))
            .with_rules(rules);
        let mut restrictions = unit.restrictions;
        if let Some((allows, families, at)) = unit.families {
            restrictions.insert(Restriction::Families(allows, families), at);
        }
        for (restriction, at) in restrictions {
            profile = self.restricted(profile, &restriction, at)?;
        }
        Ok(Parsed::new(
            Format::Systemd,
            profile,
            PartPositions::Noted(places),
        ))
    }
}

/// A boolean of systemd (`parse_boolean`).
fn is_true(text: &str) -> bool {
    ["1", "yes", "y", "true", "t", "on"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

fn read_errno(text: &str, position: Position) -> Result<Action, ParseError> {
    let number = text.parse().ok().or_else(|| errno_of_name(text));
    let errno = number.and_then(ErrnoRet::new);
    errno.map(Action::Errno).ok_or_else(|| {
        let message = format!("{text:?} is neither the name of an errno nor one of 0 to 4095");
        form(position, message)
    })
}
