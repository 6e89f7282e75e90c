//! The rules of a profile by call, for formats without rules of several names.

use std::collections::BTreeMap;

use super::error::RenderError;
use super::writing::Output;
use crate::profile::{Action, ArgCmp, Flag, Profile, ProfilePart, Rule};

/// A profile's answer to one call, if it isn't always the default action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// The same for all arguments.
    Always(Action),
    /// The action of the alternative whose comparisons hold; the default action if none does.
    When(Vec<(&'a [ArgCmp], Action)>),
}

/// The calls of a profile, by name. Like runc, it leaves out rules with the default action. A call with contradicting rules
/// is lost.
pub(super) fn calls<'a>(
    profile: &'a Profile,
    out: &mut Output<'_>,
) -> Result<BTreeMap<&'a str, Said<'a>>, RenderError> {
    let mut rules: BTreeMap<&str, Vec<(ProfilePart, &Rule)>> = BTreeMap::new();
    for (index, rule) in profile.rules().iter().enumerate() {
        if rule.action() == profile.default_action() {
            continue;
        }
        for (name_index, name) in rule.names().iter().enumerate() {
            let place = ProfilePart::Name {
                rule: index,
                name: name_index,
            };
            rules.entry(name).or_default().push((place, rule));
        }
    }
    let mut calls = BTreeMap::new();
    for (name, rules) in rules {
        let always = rules.iter().find(|(_, rule)| rule.args().is_empty());
        let Some((_, always)) = always else {
            let when = rules.iter().flat_map(|(_, rule)| {
                let alternatives = rule.alternatives().into_iter();
                alternatives.map(|all| (all, rule.action()))
            });
            calls.insert(name, Said::When(when.collect()));
            continue;
        };
        let other = rules
            .iter()
            .find(|(_, rule)| rule.action() != always.action());
        match other {
            None => {
                calls.insert(name, Said::Always(always.action()));
            }
            Some((place, _)) => {
                out.lose(format!("{place}: rules for {name} contradict each other"))?;
            }
        }
    }
    Ok(calls)
}

/// Loses the parts for container runtimes only: flags other than the usual one, and a listener.
pub(super) fn without_loading(profile: &Profile, out: &mut Output<'_>) -> Result<(), RenderError> {
    for flag in profile.flags().into_iter().flatten() {
        if *flag != Flag::SpecAllow {
            out.lose(format!("flags: {flag}"))?;
        }
    }
    if profile.listener().is_some() {
        out.lose("listenerPath")?;
    }
    Ok(())
}

/// Whether a name can be written without quotes.
pub(super) fn is_plain(name: &str) -> bool {
    let first = name.bytes().next();
    first.is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && (name.bytes()).all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Loses calls whose names can't stand in a text.
pub(super) fn with_plain_names<'a>(
    mut calls: BTreeMap<&'a str, Said<'a>>,
    out: &mut Output<'_>,
) -> Result<BTreeMap<&'a str, Said<'a>>, RenderError> {
    for name in calls.keys().filter(|name| !is_plain(name)) {
        out.lose(format!("the name {name:?}"))?;
    }
    calls.retain(|name, _| is_plain(name));
    Ok(calls)
}

/// The comparisons of a rule as a condition, for messages.
pub(super) fn condition(all: &[ArgCmp]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    all.join(" && ")
}
