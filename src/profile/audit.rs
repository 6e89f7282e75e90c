//! Profiles that log the calls they don't allow, to find out what a profile lacks.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Action, ArgCmp, ErrnoRet, Listener, Op, Profile, Rule};
use crate::syscall::{Arch, Syscall};

/// The calls that can load a filter.
const CAN_LOAD_FILTER: [&str; 2] = ["prctl", "seccomp"];

/// More numbers than any ABI has calls, those of MIPS with their offset included.
const NUMBERS: i32 = 8000;

impl Profile {
    /// The profile that logs every call, on all ABIs of a kernel that has these. prctl(2) is logged only where it may load
    /// a filter: records have no arguments, and otherwise each could hide the calls that such a filter refuses.
    #[must_use]
    pub fn log_all(arches: impl IntoIterator<Item = Arch>) -> Profile {
        // A filter kills callers of an unlisted ABI instead of logging them.
        let mut all = BTreeSet::new();
        for arch in arches {
            let mut machines = Arch::ALL.iter().copied();
            let machine = machines.find(|machine| machine.companions().contains(&arch));
            let machine = machine.unwrap_or(arch);
            all.extend(std::iter::once(machine).chain(machine.companions().iter().copied()));
        }
        Profile::new(Action::Log)
            .with_architectures(Some(all.into_iter().collect()))
            .with_rules(prctl_without_filter())
    }

    /// The calls that pass unlogged under [`Profile::log_all`], at least with some arguments.
    #[must_use]
    pub fn never_logged(arches: impl IntoIterator<Item = Arch>) -> BTreeSet<Syscall> {
        let all = Profile::log_all(arches);
        all.listed()
            .filter_map(|arch| Syscall::from_name(arch, "prctl"))
            .collect()
    }

    /// The profile that notifies a listener of every call that has a name, on all ABIs of a kernel that has these, except for
    /// the calls that are `not_observed`, which it allows. A call without a name, or one that the runtime's libseccomp doesn't
    /// know, fails with ENOSYS, as on an older kernel: runtimes refuse to notify of what isn't named.
    #[must_use]
    pub fn notify_all(
        arches: impl IntoIterator<Item = Arch>,
        listener: Listener,
        not_observed: &BTreeSet<&str>,
    ) -> Profile {
        let all = Profile::log_all(arches);
        let names: BTreeSet<String> = (all.listed())
            .flat_map(|arch| (0..NUMBERS).map(move |nr| Syscall { arch, nr }))
            .filter_map(|syscall| syscall.name().map(Cow::into_owned))
            .collect();
        let (allowed, notified): (BTreeSet<String>, _) =
            (names.into_iter()).partition(|name| not_observed.contains(name.as_str()));
        all.with_default_action(Action::Errno(ErrnoRet::ENOSYS))
            .with_listener(Some(listener))
            .with_rules(
                rule(notified, Action::Notify)
                    .into_iter()
                    .chain(allow(allowed)),
            )
    }

    /// The profile that logs the calls that this one doesn't simply allow.
    #[must_use]
    pub fn audit(&self) -> Profile {
        let mut names = self.names_allowed();
        names.retain(|name| !CAN_LOAD_FILTER.contains(&name.as_str()));
        Profile::log_all(self.listed_or(Arch::NATIVE))
            .with_flags(self.flags.clone())
            .with_rules(allow(names).into_iter().chain(prctl_without_filter()))
    }

    /// The calls that are allowed with any arguments, by a rule.
    #[must_use]
    pub fn allowed(&self) -> BTreeSet<Syscall> {
        let arches = self.listed_or(Arch::NATIVE);
        let names = self.names_allowed();
        let on_all = |name: &String| {
            let name = name.clone();
            arches
                .clone()
                .into_iter()
                .filter_map(move |arch| Syscall::from_name(arch, &name))
        };
        names.iter().flat_map(on_all).collect()
    }

    /// This profile, which also allows the calls that the other one allows.
    #[must_use]
    pub fn or_allowed_by(&self, other: &Profile) -> Profile {
        let plain = self.rules.iter().filter(|rule| is_plain(rule));
        let mut names: BTreeSet<_> = plain.flat_map(Rule::names).cloned().collect();
        names.extend(other.names_allowed());
        let refused_otherwise = |rule: &&Rule| !is_plain(rule);
        let mut rules: Vec<_> = self
            .rules
            .iter()
            .filter(refused_otherwise)
            .cloned()
            .collect();
        for rule in &other.rules {
            if rule.action() == Action::Allow && !rule.args().is_empty() {
                let more = rule.names().iter().filter(|name| !names.contains(*name));
                rules.extend(more.filter_map(|name| rule.only(name)));
            }
        }
        let native = Arch::NATIVE;
        let arches = &self.listed_or(native) | &other.listed_or(native);
        (self.clone())
            .with_architectures(Some(arches.into_iter().collect()))
            .with_rules(allow(names).into_iter().chain(rules))
    }

    /// Names that rules without comparisons allow, and that have no rule with another action.
    fn names_allowed(&self) -> BTreeSet<String> {
        let of = |plain: bool| {
            let rules = self
                .rules
                .iter()
                .filter(move |rule| is_plain(rule) == plain);
            rules.flat_map(Rule::names)
        };
        let otherwise: BTreeSet<_> = of(false).collect();
        of(true)
            .filter(|name| !otherwise.contains(name))
            .cloned()
            .collect()
    }
}

/// Rules that allow prctl(2) with operations up to 127 but `PR_SET_SECCOMP`, and with most others: an operation differs from it
/// in one of the lower seven bits. The upper half of the argument may be junk.
fn prctl_without_filter() -> impl Iterator<Item = Rule> {
    let filter = u64::from(libc::PR_SET_SECCOMP.cast_unsigned());
    (0..7).filter_map(move |bit| {
        let mask = 1 << bit;
        // A mask with a value is complete, and the name is one.
        let differs = ArgCmp::new(0, Op::MaskedEq, mask, Some(!filter & mask)).ok()?;
        Rule::new(vec!["prctl".to_owned()], Action::Allow, vec![differs]).ok()
    })
}

fn is_plain(rule: &Rule) -> bool {
    rule.action() == Action::Allow && rule.args().is_empty()
}

fn allow(names: BTreeSet<String>) -> Option<Rule> {
    rule(names, Action::Allow)
}

fn rule(names: BTreeSet<String>, action: Action) -> Option<Rule> {
    // Names of calls make a rule, unless there are none.
    Rule::new(names.into_iter().collect(), action, Vec::new()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::shorthand::{EPERM, allow, rule};

    fn profile() -> Profile {
        Profile::new(EPERM)
            .with_architectures(Some(vec![Arch::X86_64]))
            .with_rules([
                allow("write read close"),
                rule("socket", Action::Allow, "arg0 == 1"),
                rule("close", EPERM, "arg0 == 1"),
                rule("clone3", EPERM, ""),
            ])
    }

    #[test]
    fn an_audit_profile_logs_all_that_is_not_allowed_with_any_arguments() {
        let audit = profile().audit();
        assert_eq!(audit.default_action, Action::Log);
        let arches = vec![Arch::X86_64, Arch::X86, Arch::X32];
        assert_eq!(audit.architectures, Some(arches));
        let (plain, conditional): (Vec<_>, Vec<_>) =
            audit.rules.iter().partition(|rule| is_plain(rule));
        assert_eq!(plain, [&allow("read write")]);
        assert!(conditional.iter().all(|rule| rule.names() == ["prctl"]));
    }

    #[test]
    fn prctl_is_logged_where_it_loads_a_filter_and_seccomp_always() {
        let can = allow("prctl seccomp read");
        let audit = profile().with_rules([can]).audit();
        for profile in [audit, Profile::log_all([Arch::X86_64])] {
            let log = BTreeSet::from([Action::Log]);
            let of = |name: &str, arg: u64| profile.answers(name, &[arg, 0, 0, 0, 0, 0]);
            let filter = u64::from(libc::PR_SET_SECCOMP.cast_unsigned());
            assert_eq!(of("prctl", filter), log);
            assert_eq!(of("prctl", filter | 7 << 32), log);
            for operation in (0..128).filter(|&operation| operation != filter) {
                let allowed = BTreeSet::from([Action::Allow]);
                assert_eq!(of("prctl", operation), allowed, "{operation}");
            }
            assert_eq!(of("seccomp", 1), log);
        }
    }

    #[test]
    fn allowed_calls_are_those_of_the_abis_of_the_profile() {
        let allowed = profile().allowed();
        let names: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["read", "write"]);
        assert!(allowed.iter().all(|call| call.arch == Arch::X86_64));
    }

    #[test]
    fn a_union_keeps_what_both_allow_and_what_the_first_refuses() {
        let mut new = Profile::new(EPERM);
        new.architectures = Some(vec![Arch::X86]);
        new.rules = vec![allow("mmap")];
        let union = new.or_allowed_by(&profile());
        assert_eq!(union.architectures, Some(vec![Arch::X86_64, Arch::X86]));
        let socket = rule("socket", Action::Allow, "arg0 == 1");
        assert_eq!(union.rules, [allow("mmap read write"), socket]);
    }
}
