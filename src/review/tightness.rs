//! How much of what there is a profile allows.

use std::collections::BTreeSet;

use super::{ByDocker, by_docker};
use crate::profile::{ArgCmp, Op, Profile};
use crate::syscall::arguments::{CallArguments, has_these_names};
use crate::syscall::{Arch, Syscall};

/// How tight a profile is on one ABI, counted in calls that have a name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tightness {
    /// The ABI.
    pub arch: Arch,
    /// Calls that the profile allows, with some arguments at least.
    pub allowed: usize,
    /// Those of them that Docker's default profile allows too, with some arguments at least.
    pub allowed_by_both: usize,
    /// Calls that Docker's default profile allows, with some arguments at least.
    pub by_docker: usize,
    /// All calls.
    pub all: usize,
    /// The values with a name of those arguments of the allowed calls that carry a choice. A flag is a value.
    pub values: usize,
    /// Those of them that the profile allows, with some other arguments at least.
    pub allowed_values: usize,
}

/// How tight a profile is on each of its ABIs; on `native` if it lists none.
#[must_use]
pub fn tightness(profile: &Profile, native: Arch) -> Vec<Tightness> {
    (profile.listed_or(native).into_iter())
        .map(|arch| {
            let all = names_on(arch);
            let allowed = |name: &&String| profile.may_execute(name);
            let docker = |name: &&String| {
                !matches!(by_docker(name), ByDocker::Blocked | ByDocker::Unless(_))
            };
            let values: Vec<bool> = (all.iter().filter(allowed))
                .flat_map(|name| values(profile, name, arch))
                .collect();
            Tightness {
                arch,
                allowed: all.iter().filter(allowed).count(),
                allowed_by_both: all.iter().filter(allowed).filter(docker).count(),
                by_docker: all.iter().filter(docker).count(),
                all: all.len(),
                values: values.len(),
                allowed_values: values.iter().filter(|allowed| **allowed).count(),
            }
        })
        .collect()
}

/// For each named value of the arguments of a call, whether the profile allows it.
fn values(profile: &Profile, name: &str, arch: Arch) -> Vec<bool> {
    let Some(call) = CallArguments::named(name).filter(|_| has_these_names(arch)) else {
        return Vec::new();
    };
    let rules = profile.rules().iter().filter(|rule| {
        rule.action().executes() && rule.names().iter().any(|of_rule| of_rule == name)
    });
    let alternatives: Vec<&[ArgCmp]> = rules.flat_map(|rule| rule.alternatives()).collect();
    // Otherwise the call is allowed by default.
    let is_compared = !alternatives.is_empty();
    let values = (call.registers(name, arch)).flat_map(|(register, argument)| {
        let named = argument.named_values();
        named.map(move |(bits, value)| (usize::from(register), bits, value))
    });
    let is_allowed = |(register, bits, value)| {
        !is_compared
            || alternatives.iter().any(|all| {
                let mut of_register = all.iter().filter(|cmp| cmp.index() == register);
                of_register.all(|cmp| may_hold(cmp, bits, value))
            })
    };
    values.map(is_allowed).collect()
}

/// Whether a comparison may hold for an argument that has this value in these bits.
fn may_hold(cmp: &ArgCmp, bits: u64, value: u64) -> bool {
    let (mask, wanted) = match cmp.op() {
        Op::Eq => (u64::MAX, cmp.value()),
        Op::MaskedEq => (cmp.value(), cmp.value_two().unwrap_or(0)),
        _ => return true,
    };
    wanted & bits & mask == value & mask
}

/// The names of all calls that an ABI has.
pub(super) fn names_on(arch: Arch) -> BTreeSet<String> {
    // The greatest number of all tables is that of MIPS n32: 6000 and some hundred.
    let names = (0..7_000).filter_map(|nr| Syscall { arch, nr }.name());
    names.map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Action, ErrnoRet, Rule};

    #[test]
    fn tightness_counts_calls_of_each_abi() {
        let allow = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Rule::new(names, Action::Allow, vec![]).unwrap()
        };
        let profile = Profile::new(Action::Errno(ErrnoRet::EPERM))
            .with_architectures(Some(vec![Arch::X86_64, Arch::Aarch64]))
            .with_rules([allow(&["read", "open", "mount", "nonsense"])]);
        let tightness = tightness(&profile, Arch::NATIVE);
        let [x86_64, aarch64] = &tightness[..] else {
            panic!("{tightness:?}")
        };
        assert_eq!((x86_64.allowed, x86_64.allowed_by_both), (3, 2));
        assert_eq!((aarch64.allowed, aarch64.allowed_by_both), (2, 1));
        assert!(x86_64.by_docker > 300 && x86_64.by_docker < x86_64.all);
        let all = super::tightness(&Profile::new(Action::Allow), Arch::X86_64);
        assert_eq!(all[0].allowed, all[0].all);
        assert_eq!(all[0].allowed_by_both, all[0].by_docker);
    }

    #[test]
    fn tightness_counts_values_of_arguments() {
        let rule = |name: &str, args: Vec<ArgCmp>| {
            Rule::new(vec![name.to_owned()], Action::Allow, args).unwrap()
        };
        let with = |rules: Vec<Rule>| {
            let profile = Profile::new(Action::Errno(ErrnoRet::EPERM)).with_rules(rules);
            let tightness = tightness(&profile, Arch::X86_64)[0];
            (tightness.allowed_values, tightness.values)
        };
        let (all, values) = with(vec![rule("socket", vec![])]);
        assert_eq!(all, values);
        let family = |family| ArgCmp::new(0, Op::Eq, family, None).unwrap();
        let stream = ArgCmp::new(1, Op::MaskedEq, 0xf, Some(1)).unwrap();
        // AF_UNIX and AF_INET; SOCK_STREAM with any flags.
        let rules = vec![
            rule("socket", vec![family(1), stream]),
            rule("socket", vec![family(2), stream]),
        ];
        let argument = |index: usize| {
            CallArguments::named("socket").unwrap().arguments[index]
                .named_values()
                .count()
        };
        let (families, types) = (argument(0), argument(1));
        assert_eq!(with(rules), (2 + 3 + (values - families - types), values));
        assert_eq!(with(vec![rule("read", vec![])]), (0, 0));
    }
}
