//! A finding of a check, in words.

use std::collections::BTreeSet;
use std::fmt::Write;

use itertools::Itertools;
use sc_record::escape;
use sc_record::event::Code;
use sc_record::profile::{Profile, Rule};
use sc_record::review::check::{Because, Caller, Finding};
use sc_record::review::{call_with_value, condition};
use sc_record::syscall::Arch;
use sc_record::syscall::arguments::call_with_arguments;

use super::summary::count as plural;

/// The name of a call, with its ABI unless that is the native one, and with the values that decide: `socket(AF_ALG, …)`.
pub(crate) fn name(finding: &Finding) -> String {
    let syscall = finding.syscall;
    let values = finding.values.iter();
    let mut values = values.map(|&(register, value)| call_with_value(syscall, register, value));
    let shown = match values.join(", ") {
        none if none.is_empty() => syscall.to_string(),
        values => values,
    };
    if syscall.arch == Arch::NATIVE {
        shown
    } else {
        format!("{}:{shown}", syscall.arch)
    }
}

/// Why a profile doesn't simply allow a call, as the rest of a sentence that begins with its name.
pub(crate) fn why(profile: &Profile, finding: &Finding) -> String {
    let of = |numbers| rules(profile, &finding.syscall.to_string(), numbers);
    match &finding.because {
        Because::NotNamed => "is not in the profile".to_owned(),
        Because::Arguments { rules } => {
            format!("is allowed with other arguments only ({})", of(rules))
        }
        Because::Refused { rules } => format!("is refused by a rule ({})", of(rules)),
        Because::UnlistedAbi => format!(
            "is a call of {}, which the profile does not list",
            finding.syscall.arch
        ),
        Because::NoName => "has no name, so no profile can allow it".to_owned(),
        Because::UnknownArguments { rules } => format!(
            "is allowed with some arguments only, and its arguments are unknown ({})",
            of(rules)
        ),
        Because::Contradiction { rules } => {
            format!("has rules that contradict each other ({})", of(rules))
        }
    }
}

/// `syscalls[3]: domain != AF_ALG`, with the conditions of each rule.
fn rules(profile: &Profile, name: &str, rules: &BTreeSet<usize>) -> String {
    const MOST: usize = 4;
    let all = profile.rules();
    let shown = rules.iter().take(MOST).map(|&rule| {
        let alternatives = all.get(rule).map(Rule::alternatives).unwrap_or_default();
        let conditions = alternatives
            .iter()
            .filter(|all| !all.is_empty())
            .map(|all| {
                let all: Vec<_> = all.iter().map(|arg| condition(name, arg)).collect();
                all.join(" and ")
            });
        let conditions: Vec<_> = conditions.collect();
        if conditions.is_empty() {
            format!("syscalls[{rule}]")
        } else {
            format!("syscalls[{rule}]: {}", conditions.join(" or "))
        }
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    match rules.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown}, {more} more"),
    }
}

/// `nginx[123] (thread "worker", /usr/sbin/nginx) at /lib/libc.so.6+0x12: io_setup(0x20, …), 3 calls`
pub(crate) fn called_by(finding: &Finding, caller: &Caller) -> String {
    let mut text = String::from("by ");
    match &caller.executable {
        Some(path) => text += &escape::path(path).to_string(),
        None => text += "unknown",
    }
    if let Some(process) = caller.process {
        let _ = write!(text, ", process {process}");
        if process != caller.task {
            let _ = write!(text, " thread {}", caller.task);
        }
    }
    if let Some(name) = thread(caller) {
        let _ = write!(text, " ({name})");
    }
    if let Some(place) = place(caller) {
        let _ = write!(text, ", at {place}");
    }
    if caller.count != finding.count {
        let _ = write!(text, ", {}", plural(caller.count, "call"));
    }
    if let Some(args) = &caller.args {
        text += ": ";
        text += &call_with_arguments(finding.syscall, args);
    }
    text
}

/// The profile's answer, in words.
pub(crate) fn answers(finding: &Finding) -> String {
    let actions: Vec<_> = finding.actions.iter().map(ToString::to_string).collect();
    actions.join(" or ")
}

/// The name of a thread, readable.
pub(crate) fn thread(caller: &Caller) -> Option<String> {
    let name = caller.thread.as_deref()?;
    Some(String::from_utf8_lossy(name).escape_debug().to_string())
}

/// Where a call is made: `libc.so.6+0x1234`, or what else is known of the address.
pub(crate) fn place(caller: &Caller) -> Option<String> {
    match (&*caller.code, caller.ip) {
        (Code::File { .. } | Code::Named { .. }, _) => Some(caller.code.to_string()),
        (Code::Anonymous, Some(ip)) => Some(format!("{ip:#x} in memory without a file")),
        (Code::Unknown, Some(ip)) => Some(format!("{ip:#x}")),
        (_, None) => None,
    }
}
