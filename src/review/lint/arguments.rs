//! Rules about comparisons of arguments.

use std::collections::BTreeSet;

use super::{Context, RuleFinding, Version};
use crate::profile::{ArgCmp, Op, ProfilePart, Rule};
use crate::syscall::Arch;
use crate::syscall::multiplexed::multiplexer_on;

/// Every comparison with its place and its rule.
fn args<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (ProfilePart, &'a ArgCmp, &'a Rule)> {
    let rules = context.profile.rules().iter().enumerate();
    rules.flat_map(|(index, rule)| {
        let args = rule.args().iter().enumerate();
        args.map(move |(arg, comparison)| (ProfilePart::Arg { rule: index, arg }, comparison, rule))
    })
}

/// Rules that compare an argument twice, with the place of the second comparison.
fn twice<'a>(context: &'a Context<'_>) -> impl Iterator<Item = (ProfilePart, usize, &'a Rule)> {
    let rules = context.profile.rules().iter().enumerate();
    rules.filter_map(|(index, rule)| {
        let mut seen = BTreeSet::new();
        let (arg, comparison) = (rule.args().iter().enumerate())
            .find(|(_, comparison)| !seen.insert(comparison.index()))?;
        Some((
            ProfilePart::Arg { rule: index, arg },
            comparison.index(),
            rule,
        ))
    })
}

/// Whether a rule that compares an argument twice always holds, by two `!=` of different values.
fn always(rule: &Rule, argument: usize) -> bool {
    let values: BTreeSet<u64> = (rule.args().iter())
        .filter(|arg| arg.index() == argument && arg.op() == Op::Ne)
        .map(ArgCmp::value)
        .collect();
    values.len() > 1
}

pub(super) fn two_not_equal(context: &Context<'_>) -> Vec<RuleFinding> {
    twice(context)
        .filter(|(_, argument, rule)| always(rule, *argument))
        .map(|(place, argument, rule)| {
            RuleFinding::at(
                place,
                format!(
                    "{} gets {} whatever argument {argument} is",
                    list(rule),
                    rule.action()
                ),
            )
        })
        .collect()
}

pub(super) fn argument_twice(context: &Context<'_>) -> Vec<RuleFinding> {
    twice(context)
        .filter(|(_, argument, rule)| !always(rule, *argument))
        .map(|(place, argument, rule)| {
            let all: Vec<_> = rule.args().iter().map(ToString::to_string).collect();
            RuleFinding::at(
                place,
                format!(
                    "argument {argument} is compared twice: {} if {}",
                    list(rule),
                    all.join(" or ")
                ),
            )
        })
        .collect()
}

fn list(rule: &Rule) -> String {
    rule.names().join(", ")
}

/// 32-bit arguments of calls that profiles compare: by the prototypes of their manual pages (int, unsigned int, mode\_t,
/// uid\_t, pid\_t).
#[rustfmt::skip]
const INTS: &[(&str, &[usize])] = &[
    ("accept", &[0]), ("accept4", &[0, 3]), ("add_key", &[4]), ("arch_prctl", &[0]), ("bpf", &[0]), ("clock_gettime", &[0]),
    ("clock_settime", &[0]), ("close", &[0]), ("connect", &[0]), ("dup3", &[0, 1, 2]), ("epoll_create1", &[0]),
    ("epoll_ctl", &[0, 1, 2]), ("eventfd2", &[0, 1]), ("fchmod", &[0, 1]), ("fchmodat", &[0, 2]), ("fcntl", &[0, 1]),
    ("flock", &[0, 1]), ("futex", &[1]), ("getpriority", &[0, 1]), ("getsockopt", &[0, 1, 2]), ("inotify_init1", &[0]),
    ("ioctl", &[0, 1]), ("keyctl", &[0]), ("kill", &[0, 1]), ("listen", &[0, 1]), ("madvise", &[2]),
    ("memfd_create", &[1]), ("mknod", &[1, 2]), ("mlockall", &[0]), ("mmap", &[2, 3, 4]), ("mmap2", &[2, 3, 4]),
    ("mprotect", &[2]), ("msync", &[2]), ("open", &[1, 2]), ("openat", &[0, 2, 3]), ("personality", &[0]), ("pipe2", &[1]),
    ("pkey_mprotect", &[2, 3]), ("prctl", &[0]), ("prlimit64", &[0, 1]), ("quotactl", &[0]), ("reboot", &[0, 1, 2]),
    ("recvfrom", &[0, 3]), ("rt_sigaction", &[0]), ("sched_setscheduler", &[0, 1]), ("seccomp", &[0, 1]),
    ("sendto", &[0, 3]), ("setns", &[0, 1]), ("setpriority", &[0, 1, 2]), ("setsockopt", &[0, 1, 2]), ("shutdown", &[0, 1]),
    ("signalfd4", &[0, 3]), ("socket", &[0, 1, 2]), ("socketpair", &[0, 1, 2]), ("tgkill", &[0, 1, 2]),
    ("timerfd_create", &[0, 1]), ("tkill", &[0, 1]), ("umask", &[0]), ("userfaultfd", &[0]),
    ("wait4", &[0, 2]), ("waitid", &[0, 1, 3]),
];

/// Arguments that are pointers.
#[rustfmt::skip]
const POINTERS: &[(&str, &[usize])] = &[
    ("accept", &[1, 2]), ("access", &[0]), ("add_key", &[0, 1, 2]), ("bind", &[1]), ("bpf", &[1]), ("chdir", &[0]),
    ("chmod", &[0]), ("chown", &[0]), ("clone3", &[0]), ("connect", &[1]), ("creat", &[0]), ("epoll_ctl", &[3]),
    ("execve", &[0, 1, 2]), ("execveat", &[1, 2, 3]), ("faccessat", &[1]), ("fchmodat", &[1]), ("link", &[0, 1]),
    ("lstat", &[0, 1]), ("memfd_create", &[0]), ("mkdir", &[0]), ("mkdirat", &[1]), ("mknod", &[0]), ("mount", &[0, 1, 2, 4]),
    ("newfstatat", &[1, 2]), ("open", &[0]), ("openat", &[1]), ("openat2", &[1, 2]), ("pivot_root", &[0, 1]),
    ("pread64", &[1]), ("pwrite64", &[1]), ("read", &[1]), ("readlink", &[0, 1]), ("rename", &[0, 1]), ("rmdir", &[0]),
    ("sendto", &[1, 4]), ("stat", &[0, 1]), ("statx", &[1, 4]), ("symlink", &[0, 1]), ("umount2", &[0]), ("unlink", &[0]),
    ("unlinkat", &[1]), ("write", &[1]),
];

fn is_in(table: &[(&str, &[usize])], name: &str, argument: usize) -> bool {
    let entry = table.iter().find(|(of, _)| *of == name);
    entry.is_some_and(|(_, arguments)| arguments.contains(&argument))
}

/// Whether registers of the profile's ABIs have an upper half.
fn has_64_bits(context: &Context<'_>) -> bool {
    let is_32_bit = |arch: &Arch| {
        matches!(
            arch,
            Arch::X86
                | Arch::Arm
                | Arch::Mips
                | Arch::Mipsel
                | Arch::Ppc
                | Arch::Parisc
                | Arch::S390
        )
    };
    !context.arches().iter().all(is_32_bit)
}

pub(super) fn unmasked_int(context: &Context<'_>) -> Vec<RuleFinding> {
    if !has_64_bits(context) {
        return Vec::new();
    }
    let compared = args(context)
        .filter(|(_, arg, _)| {
            // A mask within the lower half is the fix.
            arg.op() != Op::MaskedEq || arg.value() > u64::from(u32::MAX)
        })
        .filter_map(|(place, arg, rule)| Some((place, of_names(INTS, arg, rule)?)));
    RuleFinding::names(compared.collect(), |compared| {
        format!("these arguments have 32 bits: {compared}")
    })
}

/// `socket arg0 == 0x1`, with the rule's names whose argument is in a table; `None` if there are none.
fn of_names(table: &[(&str, &[usize])], arg: &ArgCmp, rule: &Rule) -> Option<String> {
    let names = rule.names().iter();
    let names = names.filter(|name| is_in(table, name, arg.index()));
    let names: Vec<_> = names.map(String::as_str).collect();
    (!names.is_empty()).then(|| format!("{} {arg}", names.join("/")))
}

pub(super) fn pointer_compared(context: &Context<'_>) -> Vec<RuleFinding> {
    let compared = args(context)
        // Comparing with NULL makes sense.
        .filter(|(_, arg, _)| !(matches!(arg.op(), Op::Eq | Op::Ne) && arg.value() == 0))
        .filter_map(|(place, arg, rule)| Some((place, of_names(POINTERS, arg, rule)?)));
    RuleFinding::names(compared.collect(), |compared| {
        format!("these arguments are pointers: {compared}")
    })
}

pub(super) fn clone_on_s390(context: &Context<'_>) -> Vec<RuleFinding> {
    let arches = context.arches();
    let is_s390 = |arch: &Arch| matches!(arch, Arch::S390 | Arch::S390x);
    if !arches.iter().any(is_s390) {
        return Vec::new();
    }
    args(context)
        .filter(|(_, arg, rule)| {
            arg.index() == 0 && rule.names().iter().any(|name| name == "clone")
        })
        .map(|(place, ..)| RuleFinding::at(place, "argument 0 of clone is the stack on s390"))
        .collect()
}

/// The last release that merges comparisons wrongly.
const LAST_WRONG: Version = Version::new(2, 6, 0);

pub(super) fn merged_comparisons(context: &Context<'_>) -> Vec<RuleFinding> {
    if context.libseccomp > LAST_WRONG {
        return Vec::new();
    }
    let ordered = |arg: &ArgCmp| matches!(arg.op(), Op::Lt | Op::Le | Op::Ge | Op::Gt);
    let rules = context.profile.rules().iter().enumerate();
    // Calls with an ordered comparison, and another comparison of the same argument.
    rules
        .filter(|(_, rule)| rule.args().iter().any(ordered))
        .filter(|(index, rule)| {
            let compared: BTreeSet<usize> = rule
                .args()
                .iter()
                .filter(|arg| ordered(arg))
                .map(ArgCmp::index)
                .collect();
            let mut others = (context.profile.rules().iter().enumerate())
                .filter(|(other, _)| other != index)
                .filter(|(_, other)| other.names().iter().any(|name| rule.names().contains(name)));
            rule.args().len() > compared.len()
                || others.any(|(_, other)| {
                    other
                        .args()
                        .iter()
                        .any(|arg| compared.contains(&arg.index()))
                })
        })
        .map(|(index, rule)| {
            RuleFinding::at(
                ProfilePart::Rule(index),
                format!(
                    "{} has an ordered comparison and others of the same argument",
                    list(rule)
                ),
            )
        })
        .collect()
}

pub(super) fn never_holds(context: &Context<'_>) -> Vec<RuleFinding> {
    args(context)
        .filter(|(_, arg, _)| match arg.op() {
            Op::Lt => arg.value() == 0,
            Op::Gt => arg.value() == u64::MAX,
            // libseccomp ignores expected bits outside the mask; the author meant something else.
            Op::MaskedEq => arg.value_two().unwrap_or(0) & !arg.value() != 0,
            _ => false,
        })
        .map(|(place, arg, _)| match arg.op() {
            Op::MaskedEq => RuleFinding::at(
                place,
                format!("{arg}: libseccomp ignores the expected bits outside the mask"),
            ),
            _ => RuleFinding::at(place, format!("{arg} never holds")),
        })
        .collect()
}

pub(super) fn rule_passed_by(context: &Context<'_>) -> Vec<RuleFinding> {
    let arches = context.arches();
    // A rule that answers like the default action is skipped.
    let is_refused = |multiplexer: &str| {
        context.profile.rules().iter().any(|rule| {
            !rule.action().executes()
                && rule.action() != context.profile.default_action()
                && rule.args().is_empty()
                && rule.names().iter().any(|name| name == multiplexer)
        })
    };
    let mut found = Vec::new();
    for (index, rule) in context.profile.rules().iter().enumerate() {
        if rule.args().is_empty() || !rule.action().executes() {
            continue;
        }
        for name in rule.names() {
            let on = |&arch: &Arch| Some((arch, multiplexer_on(arch, name)?));
            if let Some((arch, multiplexer)) = arches.iter().find_map(on)
                && !is_refused(multiplexer)
            {
                found.push(RuleFinding::at(
                    ProfilePart::Rule(index),
                    format!("on {arch}, {multiplexer} makes {name} with any arguments"),
                ));
            }
        }
    }
    found
}
