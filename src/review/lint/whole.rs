//! Rules about a profile as a whole: its default, its architectures, flags and listener.

use super::libseccomp::{Since, since_action, since_arch, since_flag};
use super::{Context, LintTarget, RuleFinding};
use crate::profile::{Action, ErrnoRet, Flag, ProfilePart};

pub(super) fn allows_by_default(context: &Context<'_>) -> Vec<RuleFinding> {
    let default = context.profile.default_action();
    // A profile that logs is there to find what is missing.
    if default != Action::Allow {
        return Vec::new();
    }
    vec![RuleFinding::at(
        ProfilePart::DefaultAction,
        format!("the default action is {default}"),
    )]
}

pub(super) fn wide_architectures(context: &Context<'_>) -> Vec<RuleFinding> {
    let listed = context.profile.architectures().unwrap_or_default();
    let mut found = Vec::new();
    for (index, arch) in listed.iter().enumerate() {
        let place = ProfilePart::Architecture(index);
        if let Some(recording) = context.recording {
            if !(recording.syscalls().keys()).any(|call| call.arch == *arch) {
                found.push(RuleFinding::at(
                    place,
                    format!("no run of {} made a call of {arch}", recording.name),
                ));
            }
        } else if let Some(wide) = (listed.iter()).find(|wide| wide.companions().contains(arch)) {
            found.push(RuleFinding::at(
                place,
                format!("{arch} beside {wide} is for 32-bit programs only"),
            ));
        }
    }
    found
}

pub(super) fn arch_newer_than_libseccomp(context: &Context<'_>) -> Vec<RuleFinding> {
    let version = context.libseccomp;
    let arches = context.profile.listed().enumerate();
    arches
        .filter(|(_, arch)| !since_arch(*arch).known_to(version))
        .map(|(index, arch)| {
            let since = match since_arch(arch) {
                Since::Release(since) => format!(", which came with {since}"),
                _ => String::new(),
            };
            RuleFinding::at(
                ProfilePart::Architecture(index),
                format!("libseccomp {version} doesn't have {arch}{since}"),
            )
        })
        .collect()
}

pub(super) fn feature_newer_than_libseccomp(context: &Context<'_>) -> Vec<RuleFinding> {
    let version = context.libseccomp;
    let mut found = Vec::new();
    let actions = context.profile.rules().iter().enumerate();
    let actions = actions.map(|(index, rule)| (ProfilePart::Rule(index), rule.action()));
    let default = (ProfilePart::DefaultAction, context.profile.default_action());
    for (place, action) in std::iter::once(default).chain(actions) {
        if let Since::Release(since) = since_action(action)
            && since > version
        {
            found.push(RuleFinding::at(
                place,
                format!("libseccomp {version} doesn't have {action}, which came with {since}"),
            ));
        }
    }
    for &flag in context.profile.flags().into_iter().flatten() {
        if let Since::Release(since) = since_flag(flag)
            && since > version
        {
            found.push(RuleFinding::whole(format!(
                "libseccomp {version} doesn't have {flag}, which came with {since}"
            )));
        }
    }
    found
}

pub(super) fn conditional_rules(context: &Context<'_>) -> Vec<RuleFinding> {
    if context.target.knows_conditions() {
        return Vec::new();
    }
    let paths = context.conditional.to_vec();
    if paths.is_empty() {
        return Vec::new();
    }
    let message = format!("{} drops {}", context.target, paths.join(", "));
    vec![RuleFinding {
        paths,
        ..RuleFinding::whole(message)
    }]
}

pub(super) fn notify_misplaced(context: &Context<'_>) -> Vec<RuleFinding> {
    if !context.target.may_be_runc() {
        return Vec::new();
    }
    let mut found = Vec::new();
    if context.profile.default_action() == Action::Notify {
        found.push(RuleFinding::at(
            ProfilePart::DefaultAction,
            "SCMP_ACT_NOTIFY is the default action",
        ));
    }
    for (index, rule) in context.profile.rules().iter().enumerate() {
        let write = rule.names().iter().position(|name| name == "write");
        if let (Action::Notify, Some(name)) = (rule.action(), write) {
            let place = ProfilePart::Name { rule: index, name };
            found.push(RuleFinding::at(place, "write gets SCMP_ACT_NOTIFY"));
        }
    }
    found
}

pub(super) fn missing_listener(context: &Context<'_>) -> Vec<RuleFinding> {
    let rules = context.profile.rules();
    let asks = rules
        .iter()
        .position(|rule| rule.action() == Action::Notify);
    match (asks, context.profile.listener()) {
        (Some(rule), None) => vec![RuleFinding::at(
            ProfilePart::Rule(rule),
            "there is no listenerPath",
        )],
        _ => Vec::new(),
    }
}

pub(super) fn unused_listener(context: &Context<'_>) -> Vec<RuleFinding> {
    let mut rules = context.profile.rules().iter();
    let asks = rules.any(|rule| rule.action() == Action::Notify)
        || context.profile.default_action() == Action::Notify;
    match context.profile.listener() {
        Some(listener) if !asks => {
            let path = listener.path();
            vec![RuleFinding::whole(format!(
                "no rule notifies the listener at {path}"
            ))]
        }
        _ => Vec::new(),
    }
}

pub(super) fn not_for_systemd(context: &Context<'_>) -> Vec<RuleFinding> {
    if context.target != LintTarget::Systemd {
        return Vec::new();
    }
    let mut found = Vec::new();
    let default = context.profile.default_action();
    for (index, rule) in context.profile.rules().iter().enumerate() {
        let place = ProfilePart::Rule(index);
        if !rule.args().is_empty() {
            found.push(RuleFinding::at(
                place,
                format!("arguments of {} are compared", rule.names().join(", ")),
            ));
        } else if !is_answer_of_systemd(rule.action()) && rule.action() != default {
            found.push(RuleFinding::at(
                place,
                format!("SystemCallFilter= has no {}", rule.action()),
            ));
        }
    }
    found
}

/// systemd.exec(5): calls are listed as allowed, or with an errno or `kill`.
fn is_answer_of_systemd(action: Action) -> bool {
    matches!(
        action,
        Action::Allow | Action::Errno(_) | Action::KillProcess
    )
}

pub(super) fn no_rules(context: &Context<'_>) -> Vec<RuleFinding> {
    let executes = context
        .profile
        .rules()
        .iter()
        .any(|rule| rule.action().executes());
    let default = context.profile.default_action();
    if executes || default.executes() || matches!(default, Action::Notify | Action::Trace(_)) {
        return Vec::new();
    }
    vec![RuleFinding::whole("no rule allows any call")]
}

pub(super) fn no_spec_allow(context: &Context<'_>) -> Vec<RuleFinding> {
    match context.profile.flags() {
        Some(flags) if !flags.contains(&Flag::SpecAllow) => {
            vec![RuleFinding::whole(
                "`flags` lacks SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            )]
        }
        _ => Vec::new(),
    }
}

pub(super) fn recorded_but_refused(context: &Context<'_>) -> Vec<RuleFinding> {
    let Some(recording) = context.recording else {
        return Vec::new();
    };
    let arches = context.arches();
    let calls = recording.syscalls().into_keys();
    let probes = |name: &str| {
        let answers = context.profile.answers(name, &[0; 6]);
        answers.contains(&Action::Errno(ErrnoRet::ENOSYS))
    };
    let refused = calls.filter_map(|call| {
        let name = call.name();
        let name = name.as_deref();
        let refused = match name {
            _ if !arches.contains(&call.arch) => true,
            Some(name) => !context.profile.may_execute(name),
            None => !context.profile.default_action().executes(),
        };
        let told = match name {
            Some(name) if probes(name) => " (answers ENOSYS)",
            _ => "",
        };
        refused.then(|| format!("{} {call}{told}", call.arch))
    });
    let refused: Vec<String> = refused.collect();
    if refused.is_empty() {
        return Vec::new();
    }
    let message = format!("recorded, but denied: {}", refused.join(", "));
    vec![RuleFinding::whole(message)]
}
