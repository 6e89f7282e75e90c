//! Generates a profile from recorded runs, with the reason for each name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::arguments::{self, ArgumentRule};
use super::baseline::RuntimeCalls;
use super::policy::{ArgumentRules, Policy};
use super::{Action, ArgCmp, ErrnoRet, Profile, Rule};
use crate::recording::{Recording, RunId, Seen};
use crate::syscall::multiplexed::multiplexer_on;
use crate::syscall::{Arch, Syscall};

/// A profile, and where everything in it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated<'a> {
    /// The profile.
    pub profile: Profile,
    /// The names that it allows, each with the ABIs it is allowed for and why. In the profile a name holds for all of the
    /// ABIs that have a call of that name, also for those on which it was neither recorded nor added: OCI has one list
    /// of names for all ABIs.
    pub names: BTreeMap<String, BTreeMap<Arch, Reason<'a>>>,
    /// The names that answer ENOSYS, and why.
    pub probes: BTreeMap<String, &'static str>,
    /// What was decided about the arguments of the allowed names that carry a choice. Empty if no rules were asked for.
    pub arguments: BTreeMap<String, Vec<ArgumentRule>>,
    /// Calls that were recorded and can't be in a profile. The profile denies them.
    pub unnamed: Vec<Unnamed<'a>>,
    /// The runs that may lack calls.
    pub incomplete: Vec<Incomplete>,
}

impl<'a> Generated<'a> {
    /// The names that the policy adds, each with its ABI and reason.
    pub fn additions(&self) -> impl Iterator<Item = (&str, Arch, &Reason<'a>)> {
        self.names.iter().flat_map(|(name, reasons)| {
            let added = reasons
                .iter()
                .filter(|(_, reason)| matches!(reason, Reason::Added { .. }));
            added.map(|(&arch, reason)| (name.as_str(), arch, reason))
        })
    }

    /// The names that are allowed on some ABI because a program can make the call, and for no other reason.
    #[must_use]
    pub fn reachable(&self) -> BTreeSet<&str> {
        self.names_for(|reason| matches!(reason, Reason::Reachable))
    }

    fn names_for(&self, wanted: impl Fn(&Reason<'_>) -> bool) -> BTreeSet<&str> {
        let names = self.names.iter();
        let names = names.filter(|(_, reasons)| reasons.values().any(&wanted));
        names.map(|(name, _)| name.as_str()).collect()
    }

    /// The names that are allowed on some ABI for a container alone: its runtime calls them, or they passed unseen.
    #[must_use]
    pub fn for_containers(&self) -> BTreeSet<&str> {
        self.names_for(|reason| matches!(reason, Reason::Container { .. }))
    }
}

/// Why a name is allowed on an ABI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason<'a> {
    /// The workload made the call: how often, in which runs, by which executables.
    Recorded(Seen<'a>),
    /// The policy adds the call.
    Added {
        /// The end of the sentence "NAME is allowed because …".
        why: &'static str,
        /// The recorded calls that it can stand for; empty where it needs none.
        for_recorded: BTreeSet<String>,
    },
    /// The container runtime calls it, or the recording let it pass unseen.
    Container {
        /// The end of the sentence "NAME is allowed because …".
        why: &'static str,
    },
    /// A recorded program can make it, by its code.
    Reachable,
}

/// A recorded number that has no name, and so can't be in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed<'a> {
    /// The call.
    pub syscall: Syscall,
    /// How often it was seen, in which runs, made by which executables.
    pub seen: Seen<'a>,
}

impl fmt::Display for Unnamed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Syscall { arch, nr } = self.syscall;
        match self.seen.count {
            count if !self.seen.count_is_exact() => {
                write!(f, "{arch} number {nr}, called at least {count} times")?;
            }
            1 => write!(f, "{arch} number {nr}, called once")?,
            count => write!(f, "{arch} number {nr}, called {count} times")?,
        }
        let executables = self.seen.executables.iter().map(|path| path.display());
        write_list(f, " by ", executables)?;
        write_list(f, " in run ", self.seen.runs.iter())
    }
}

fn write_list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    before: &str,
    items: impl Iterator<Item = T>,
) -> fmt::Result {
    for (index, item) in items.enumerate() {
        let before = if index == 0 { before } else { ", " };
        write!(f, "{before}{item}")?;
    }
    Ok(())
}

/// A run that may lack calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// The run.
    pub run: RunId,
    /// Why. Never empty.
    pub because: BTreeSet<String>,
}

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.run)?;
        let because = self.because.iter();
        for (index, why) in because.enumerate() {
            write!(f, "{}{why}", if index == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

/// Why no profile can be generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// There are no runs.
    #[error("no run was recorded")]
    NoRuns,
    /// The runs have no calls, or none with a name. A profile that allows nothing can't even start the workload.
    #[error("the runs recorded no system call that has a name")]
    NoCalls,
}

/// Why calls are allowed that a container's profile let pass without a notification.
const NOT_OBSERVED: &str =
    "the workload may have called it: the recording profile let it pass unseen";

/// Why calls of a container's runtime are allowed.
const RUNTIME: &str =
    "the container runtime called it under the profile, before the program was executed";

/// The calls that containers need although nobody saw the workload make them, and why.
fn container_calls(
    recording: &Recording,
    policy: Policy,
    arches: &BTreeSet<Arch>,
) -> Vec<(Syscall, &'static str)> {
    let runs = || recording.runs.values();
    let not_observed = runs().flat_map(|run| &run.not_observed);
    let mut calls: Vec<_> = not_observed.map(|&call| (call, NOT_OBSERVED)).collect();
    match policy.runtime {
        None => {
            let runtime = runs().flat_map(|run| run.runtime.keys());
            calls.extend(runtime.map(|&call| (call, RUNTIME)));
        }
        Some(RuntimeCalls { runtime, names }) => {
            let on_all = arches.iter().flat_map(|&arch| {
                let names = names.iter();
                names.filter_map(move |name| Syscall::from_name(arch, name))
            });
            calls.extend(on_all.map(|call| (call, runtime.why())));
        }
    }
    calls
}

/// Generates the profile of a workload from its recording.
///
/// The profile denies with EPERM what it does not allow. It depends on the set of calls and on the policy alone.
pub fn generate(recording: &Recording, policy: Policy) -> Result<Generated<'_>, GenerateError> {
    if recording.number_of_runs() == 0 {
        return Err(GenerateError::NoRuns);
    }
    let mut names: BTreeMap<String, BTreeMap<Arch, Reason>> = BTreeMap::new();
    let mut unnamed = Vec::new();
    let mut recorded: BTreeMap<Arch, BTreeSet<String>> = BTreeMap::new();
    for (syscall, seen) in recording.syscalls() {
        // An ABI is listed even if no call of it has a name: a call of an unlisted ABI kills the process.
        let on_arch = recorded.entry(syscall.arch).or_default();
        let Some(name) = syscall.name() else {
            unnamed.push(Unnamed { syscall, seen });
            continue;
        };
        on_arch.insert(name.to_string());
        let reasons = names.entry(name.into_owned()).or_default();
        reasons.insert(syscall.arch, Reason::Recorded(seen));
    }
    if names.is_empty() {
        return Err(GenerateError::NoCalls);
    }
    for (&arch, on_arch) in &recorded {
        for addition in policy.additions(arch, on_arch) {
            let reasons = names.entry(addition.name.to_owned()).or_default();
            // The first reason stands: several families can have the same call.
            reasons.entry(arch).or_insert(Reason::Added {
                why: addition.why,
                for_recorded: addition.for_recorded,
            });
        }
    }
    let arches: BTreeSet<Arch> = recorded.into_keys().collect();
    for (call, why) in container_calls(recording, policy, &arches) {
        let Some(name) = call.name().filter(|_| arches.contains(&call.arch)) else {
            continue;
        };
        let reasons = names.entry(name.into_owned()).or_default();
        reasons
            .entry(call.arch)
            .or_insert(Reason::Container { why });
    }
    for &call in policy.reachable.into_iter().flatten() {
        let Some(name) = call.name().filter(|_| arches.contains(&call.arch)) else {
            continue;
        };
        let reasons = names.entry(name.into_owned()).or_default();
        reasons.entry(call.arch).or_insert(Reason::Reachable);
    }
    let arguments = argument_rules(recording, policy, &arches, &mut names);
    let mut probes = policy.probes(&arches, |name| names.contains_key(name));
    if has_rule(&arguments, "clone") {
        names.remove("clone3");
        probes.insert("clone3".to_owned(), CLONE3);
    }
    for multiplexer in passing_by(&arguments, &arches) {
        if policy.refuse_multiplexers {
            names.remove(multiplexer);
        }
        if !names.contains_key(multiplexer) {
            probes.insert(multiplexer.to_owned(), MULTIPLEXER);
        }
    }
    let incomplete = (recording.runs.values()).filter(|run| !run.is_complete());
    Ok(Generated {
        profile: profile(arches, names.keys(), probes.keys(), &arguments)?,
        unnamed,
        incomplete: incomplete
            .map(|run| Incomplete {
                run: run.id,
                because: run.incomplete_because.clone(),
            })
            .collect(),
        names,
        probes,
        arguments,
    })
}

/// Decides about the arguments of all allowed names. A rule for clone(2) replaces clone3(2).
fn argument_rules(
    recording: &Recording,
    policy: Policy,
    arches: &BTreeSet<Arch>,
    names: &mut BTreeMap<String, BTreeMap<Arch, Reason<'_>>>,
) -> BTreeMap<String, Vec<ArgumentRule>> {
    if policy.arguments == ArgumentRules::Off {
        return BTreeMap::new();
    }
    let of_containers: BTreeSet<Syscall> = (container_calls(recording, policy, arches).into_iter())
        .map(|(call, _)| call)
        .collect();
    let decide = |name: &str, reasons: &BTreeMap<Arch, Reason>| {
        let on: BTreeSet<Arch> = reasons.keys().copied().collect();
        let of_container = |&arch: &Arch| {
            Syscall::from_name(arch, name).is_some_and(|call| of_containers.contains(&call))
        };
        let is_added = |reason: &Reason| !matches!(reason, Reason::Recorded(_));
        let other_callers = policy.always(name).is_some()
            || on.iter().any(of_container)
            || name != "clone" && reasons.values().any(is_added);
        arguments::rules(recording, name, &on, policy.arguments, other_callers)
    };
    let mut rules: BTreeMap<String, Vec<ArgumentRule>> = (names.iter())
        .map(|(name, reasons)| (name.clone(), decide(name, reasons)))
        .filter(|(_, rules)| !rules.is_empty())
        .collect();
    if let (Some(of_clone3), false) = (names.get("clone3"), names.contains_key("clone")) {
        let added = Reason::Added {
            why: "libraries call it instead of clone3, which answers ENOSYS",
            for_recorded: BTreeSet::from(["clone3".to_owned()]),
        };
        let reasons: BTreeMap<Arch, Reason> =
            (of_clone3.keys().map(|&arch| (arch, added.clone()))).collect();
        rules.insert("clone".to_owned(), decide("clone", &reasons));
        if has_rule(&rules, "clone") {
            names.insert("clone".to_owned(), reasons);
        } else {
            rules.remove("clone");
        }
    }
    rules
}

fn has_rule(arguments: &BTreeMap<String, Vec<ArgumentRule>>, name: &str) -> bool {
    let rules = arguments.get(name).into_iter().flatten();
    rules.into_iter().any(|rule| rule.values.is_ok())
}

/// Why clone3(2) answers ENOSYS, as the end of the sentence "NAME answers ENOSYS because …".
const CLONE3: &str = "its flags are in memory, which no filter can read: libraries fall back to clone, whose flags are compared";

/// The multiplexers of the ABIs through which a call with a rule can be made. libseccomp allows a call through them with any
/// arguments.
fn passing_by(
    arguments: &BTreeMap<String, Vec<ArgumentRule>>,
    arches: &BTreeSet<Arch>,
) -> BTreeSet<&'static str> {
    let with_rule = arguments.keys().filter(|name| has_rule(arguments, name));
    let on_each = |name| {
        arches
            .iter()
            .filter_map(move |&arch| multiplexer_on(arch, name))
    };
    with_rule.flat_map(|name| on_each(name)).collect()
}

/// Why a multiplexer answers ENOSYS.
const MULTIPLEXER: &str = "it has the arguments of its calls in memory, where no filter can read them: rules for these calls would not hold";

/// The profile that allows the one names, answers ENOSYS to the others, and EPERM to the rest.
fn profile<'a>(
    arches: BTreeSet<Arch>,
    allowed: impl Iterator<Item = &'a String>,
    probes: impl Iterator<Item = &'a String>,
    arguments: &BTreeMap<String, Vec<ArgumentRule>>,
) -> Result<Profile, GenerateError> {
    let rule = |names: Vec<String>, action| {
        // A name comes from a table and is not empty; so the one thing that can be missing is names.
        Rule::new(names, action, Vec::new()).map_err(|_| GenerateError::NoCalls)
    };
    let mut any = Vec::new();
    // Calls with the same comparisons share a rule.
    let mut compared: BTreeMap<Vec<ArgCmp>, Vec<String>> = BTreeMap::new();
    for name in allowed {
        let alternatives = arguments
            .get(name)
            .map(|rules| arguments::alternatives(rules));
        match alternatives.unwrap_or_default() {
            none if none.is_empty() => any.push(name.clone()),
            alternatives => {
                for alternative in alternatives {
                    compared.entry(alternative).or_default().push(name.clone());
                }
            }
        }
    }
    let mut rules = vec![rule(any, Action::Allow)?];
    for (args, names) in compared {
        rules.push(rule(names, Action::Allow)?.with_args(args));
    }
    let probes: Vec<String> = probes.cloned().collect();
    if !probes.is_empty() {
        rules.push(rule(probes, Action::Errno(ErrnoRet::ENOSYS))?);
    }
    Ok(Profile::new(Action::Errno(ErrnoRet::EPERM))
        .with_architectures(Some(arches.into_iter().collect()))
        .with_rules(rules))
}

#[cfg(test)]
mod tests;
