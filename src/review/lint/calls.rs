//! Rules about the calls in a profile.

use std::collections::{BTreeMap, BTreeSet};

use super::libseccomp::{Since, since};
use super::{Context, LintTarget, RuleFinding};
use crate::profile::baseline::needed;
use crate::profile::families::{FAMILIES, PROBES};
use crate::profile::{Action, ErrnoRet, ProfilePart, Runtime};
use crate::review::{Risk, RiskClass, risk};
use crate::syscall::Syscall;
use crate::syscall::multiplexed::multiplexer_on;

/// Every name of every rule with its place.
fn names<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (ProfilePart, &'a str)> {
    let rules = context.profile.rules().iter().enumerate();
    rules.flat_map(|(rule, names)| {
        let names = names.names().iter().enumerate();
        names.map(move |(name, text)| (ProfilePart::Name { rule, name }, text.as_str()))
    })
}

/// Every name whose rule allows or logs the call.
fn executed<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (ProfilePart, &'a str)> {
    names(context).filter(|(place, _)| match place {
        ProfilePart::Name { rule, .. } => {
            (context.profile.rules().get(*rule)).is_some_and(|rule| rule.action().executes())
        }
        _ => false,
    })
}

fn may(context: &Context<'_>, name: &str) -> bool {
    context.profile.may_execute(name)
}

pub(super) fn missing_exit(context: &Context<'_>) -> Vec<RuleFinding> {
    let missing = ["exit", "exit_group"];
    let missing: Vec<_> = missing
        .into_iter()
        .filter(|name| !may(context, name))
        .collect();
    // systemd adds @default, which has them, to every list.
    let by_itself = context.target == LintTarget::Systemd;
    if missing.is_empty() || by_itself || context.profile.rules().is_empty() {
        return Vec::new();
    }
    vec![RuleFinding::whole(format!(
        "{} not allowed",
        is_or_are(&missing)
    ))]
}

fn is_or_are(names: &[&str]) -> String {
    let verb = if names.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", names.join(" and "))
}

pub(super) fn missing_runtime_call(context: &Context<'_>) -> Vec<RuleFinding> {
    if context.profile.rules().is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let runtimes = [
        (Runtime::Runc, context.target.may_be_runc()),
        (Runtime::Crun, context.target.may_be_crun()),
    ];
    let several = context.target.may_be_runc() && context.target.may_be_crun();
    for (runtime, _) in runtimes.into_iter().filter(|(_, used)| *used) {
        let is_missing = |name: &&str| !may(context, name);
        let with: Vec<_> = (needed(runtime, true).into_iter())
            .filter(is_missing)
            .collect();
        let mut without: Vec<_> = needed(runtime, false)
            .into_iter()
            .filter(is_missing)
            .collect();
        without.retain(|name| !with.contains(name));
        let parts = [
            (!with.is_empty()).then(|| with.join(", ")),
            (!without.is_empty()).then(|| format!("without no_new_privs {}", without.join(", "))),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if !parts.is_empty() {
            let when = if several {
                format!("if it is {runtime}, the runtime")
            } else {
                runtime.to_string()
            };
            found.push(RuleFinding::whole(format!(
                "{when} calls {} before it starts the program",
                parts.join(", and ")
            )));
        }
    }
    found
}

pub(super) fn io_uring(context: &Context<'_>) -> Vec<RuleFinding> {
    let allowed = executed(context).filter(|(_, name)| *name == "io_uring_setup");
    let runs = context
        .recording
        .into_iter()
        .flat_map(|recording| recording.runs.values());
    let submitted: BTreeSet<String> = runs
        .flat_map(|run| run.io_uring.keys().map(ToString::to_string))
        .collect();
    RuleFinding::names(
        allowed
            .map(|(place, name)| (place, name.to_owned()))
            .collect(),
        |name| {
            let submitted: Vec<_> = submitted.into_iter().collect();
            match &submitted[..] {
                [] => format!("{name} is allowed"),
                some => format!(
                    "{name} is allowed, and the workload submitted {}",
                    some.join(", ")
                ),
            }
        },
    )
}

pub(super) fn unknown_call(context: &Context<'_>) -> Vec<RuleFinding> {
    let unknown = names(context).filter(|(_, name)| since(name) == Since::NoCall);
    let unknown = unknown.map(|(place, name)| (place, format!("{name:?}")));
    RuleFinding::names(unknown.collect(), |names| {
        format!("no architecture has a call named {names}")
    })
}

pub(super) fn newer_than_libseccomp(context: &Context<'_>) -> Vec<RuleFinding> {
    let version = context.libseccomp;
    let arches = context.arches();
    // Skipping a rule that denies changes nothing if the default denies too; nor does skipping a call that no listed ABI has.
    let newer = executed(context)
        .filter(|(_, name)| arches.iter().any(|&arch| exists(arch, name)))
        .filter_map(|(place, name)| match since(name) {
            Since::Release(since) if since > version => {
                Some((place, format!("{name} (since {since})")))
            }
            since @ Since::NoRelease if !since.known_to(version) => {
                Some((place, format!("{name} (in no release up to 2.6.0)")))
            }
            _ => None,
        });
    RuleFinding::names(newer.collect(), |names| {
        format!("libseccomp {version} doesn't know {names}")
    })
}

pub(super) fn enosys_trap(context: &Context<'_>) -> Vec<RuleFinding> {
    let default = context.profile.default_action();
    // runc has its stub for every default action that refuses with an errno or more; only an errno that isn't ENOSYS is a
    // trap.
    if !context.target.may_be_runc()
        || !matches!(default, Action::Errno(errno) if errno != ErrnoRet::ENOSYS)
    {
        return Vec::new();
    }
    let named: BTreeSet<&str> = names(context).map(|(_, name)| name).collect();
    let mut found = Vec::new();
    for arch in context.arches() {
        let nr = |name: &str| Syscall::from_name(arch, name).map(|call| call.nr);
        let highest = names(context).filter_map(|(place, name)| Some((nr(name)?, place, name)));
        let Some((highest, place, newest)) = highest.max_by_key(|(nr, ..)| *nr) else {
            continue;
        };
        let trapped: Vec<String> = (PROBES.iter())
            .filter(|probe| !named.contains(probe.name))
            .filter_map(|probe| Some((probe.name, nr(probe.name)?)))
            .filter(|(_, nr)| *nr < highest)
            .map(|(name, nr)| format!("{name} ({nr})"))
            .collect();
        if !trapped.is_empty() {
            found.push(RuleFinding::at(
                place,
                format!(
                    "{newest} is {highest} on {arch}, so these get {default}, not ENOSYS: {}",
                    trapped.join(", ")
                ),
            ));
        }
    }
    found
}

pub(super) fn call_of_no_architecture(context: &Context<'_>) -> Vec<RuleFinding> {
    let arches = context.arches();
    let absent = names(context)
        .filter(|(_, name)| since(name) != Since::NoCall)
        .filter(|(_, name)| !arches.iter().any(|&arch| exists(arch, name)))
        .map(|(place, name)| (place, name.to_owned()));
    let arches: Vec<_> = arches.iter().map(|arch| arch.name()).collect();
    RuleFinding::names(absent.collect(), |names| {
        format!("{} has no {names}", arches.join(", "))
    })
}

/// 64-bit ABIs among the listed that lack an allowed call of another one, and have none of its family that is allowed.
pub(super) fn lacking_on_architecture(context: &Context<'_>) -> Vec<RuleFinding> {
    let mut arches = context.arches();
    // Programs of 32 bits needn't do what those of the machine do.
    arches.retain(|arch| arch.is_64_bit());
    let mut found = Vec::new();
    for family in FAMILIES.iter().filter(|family| family.is_symmetrical()) {
        let members = || family.add.split(' ');
        let allowed: Vec<_> = (executed(context))
            .filter(|(_, name)| members().any(|member| member == *name))
            .collect();
        let has = |arch, name: &str| Syscall::from_name(arch, name).is_some();
        let has_allowed = |arch| allowed.iter().any(|(_, name)| has(arch, name));
        for &arch in &arches {
            let others: Vec<_> = members().filter(|name| has(arch, name)).collect();
            if has_allowed(arch)
                || others.is_empty()
                || !arches.iter().any(|&arch| has_allowed(arch))
            {
                continue;
            }
            let names = allowed
                .iter()
                .map(|(place, name)| (*place, (*name).to_owned()));
            found.extend(RuleFinding::names(names.collect(), |names| {
                format!(
                    "{arch} has no {names}, and of their kind only {}",
                    others.join(", ")
                )
            }));
        }
    }
    found
}

/// Whether an ABI has a call, of its own or through socketcall(2) and ipc(2).
fn exists(arch: crate::syscall::Arch, name: &str) -> bool {
    Syscall::from_name(arch, name).is_some() || multiplexer_on(arch, name).is_some()
}

pub(super) fn contradiction(context: &Context<'_>) -> Vec<RuleFinding> {
    let mut said = BTreeMap::<&str, (ProfilePart, Action)>::new();
    let mut found = Vec::new();
    for (place, name) in names(context) {
        let ProfilePart::Name { rule, .. } = place else {
            continue;
        };
        let Some(rule) = context.profile.rules().get(rule) else {
            continue;
        };
        if !rule.args().is_empty() || rule.action() == context.profile.default_action() {
            continue;
        }
        match said.get(name) {
            Some((first, action)) if *action != rule.action() => found.push(RuleFinding::at(
                place,
                format!(
                    "{name} gets {} here, and {action} at {first}",
                    rule.action()
                ),
            )),
            Some(_) => {}
            None => {
                said.insert(name, (place, rule.action()));
            }
        }
    }
    found
}

pub(super) fn rule_like_default(context: &Context<'_>) -> Vec<RuleFinding> {
    let default = context.profile.default_action();
    let rules = context.profile.rules().iter().enumerate();
    rules
        .filter(|(_, rule)| rule.action() == default)
        .map(|(rule, _)| {
            RuleFinding::at(
                ProfilePart::Rule(rule),
                format!("its action is the default action, {default}"),
            )
        })
        .collect()
}

pub(super) fn risky_call(context: &Context<'_>) -> Vec<RuleFinding> {
    let mut by_reason = BTreeMap::<Risk, Vec<(ProfilePart, String)>>::new();
    for (place, name) in executed(context) {
        let risk = risk(name);
        let grave = matches!(risk.class, RiskClass::KernelWide | RiskClass::Escape);
        // clone is needed for threads and processes, and its flags can be compared.
        if grave && !matches!(name, "clone" | "clone3") {
            let names = by_reason.entry(risk).or_default();
            names.push((place, name.to_owned()));
        }
    }
    let found = by_reason
        .into_iter()
        .map(|(risk, names)| RuleFinding::names(names, |names| format!("{names}: {}", risk.why)));
    found.flatten().collect()
}

pub(super) fn clone3_unfiltered(context: &Context<'_>) -> Vec<RuleFinding> {
    let rules = context.profile.rules();
    let of_clone = || {
        rules.iter().filter(|rule| {
            rule.action().executes() && rule.names().iter().any(|name| name == "clone")
        })
    };
    let filtered = of_clone().next().is_some() && of_clone().all(|rule| !rule.args().is_empty());
    if !filtered {
        return Vec::new();
    }
    executed(context)
        .filter(|(_, name)| *name == "clone3")
        .map(|(place, _)| RuleFinding::at(place, "clone3 is allowed with all flags, clone is not"))
        .collect()
}

pub(super) fn multiplexed(context: &Context<'_>) -> Vec<RuleFinding> {
    executed(context)
        .filter(|(_, name)| matches!(*name, "socketcall" | "ipc"))
        .filter(|(_, name)| {
            let mut arches = context.arches().into_iter();
            arches.any(|arch| Syscall::from_name(arch, name).is_some())
        })
        .map(|(place, name)| {
            RuleFinding::at(
                place,
                format!("{name} allows every call that is made through it"),
            )
        })
        .collect()
}
