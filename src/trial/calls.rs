//! The calls of a profile by name, and a profile without some of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::profile::{Profile, Rule};
use crate::recording::{ArgumentValues, Run, Tally};
use crate::review::condition;

/// Calls of a profile, as [`allowed_calls`] names them.
pub type CallNames = BTreeSet<String>;

/// The calls that a profile's rules allow: their names, or, of a rule that compares arguments, with its conditions
/// ([`call_of`]).
#[must_use]
pub fn allowed_calls(profile: &Profile) -> CallNames {
    let calls =
        allowing(profile).flat_map(|rule| rule.names().iter().map(|name| call_of(rule, name)));
    calls.collect()
}

/// Those of the allowed calls that a run made, as far as its arguments show. The workload's are by executables that
/// `is_workload` holds for.
pub fn made_calls(
    profile: &Profile,
    run: &Run,
    is_workload: &dyn Fn(&BTreeSet<PathBuf>) -> bool,
) -> CallNames {
    let mut made = BTreeMap::<String, Vec<&Tally>>::new();
    for (syscall, tally) in &run.syscalls {
        let name = syscall.to_string();
        // The execve(2) that starts the workload is the recorder's.
        if name == "execve" || is_workload(&tally.executables) {
            made.entry(name).or_default().push(tally);
        }
    }
    let may_hold = |rule: &Rule, tally: &Tally| {
        rule.alternatives().into_iter().any(|all| {
            all.iter().all(|comparison| {
                let register = u8::try_from(comparison.index()).ok();
                match register.and_then(|register| tally.args.get(&register)) {
                    Some(ArgumentValues::Each(values)) => values.iter().any(|(&value, tally)| {
                        comparison.holds(value) && is_workload(&tally.executables)
                    }),
                    Some(ArgumentValues::Many) | None => true,
                }
            })
        })
    };
    let calls = allowing(profile).flat_map(|rule| {
        let is_made = |name: &&String| {
            let tallies = made.get(*name).into_iter().flatten();
            tallies.into_iter().any(|tally| may_hold(rule, tally))
        };
        let made: Vec<_> = rule.names().iter().filter(is_made).collect();
        made.into_iter().map(|name| call_of(rule, name))
    });
    calls.collect()
}

/// The profile without the rules that allow these calls. They get the action of other rules, or the default action.
#[must_use]
pub fn without_calls(profile: &Profile, denied: &CallNames) -> Profile {
    profile.with_names(|rule, name| {
        !rule.action().executes() || !denied.contains(&call_of(rule, name))
    })
}

/// The name of a call of [`allowed_calls`].
#[must_use]
pub fn name_of(call: &str) -> &str {
    call.split_once('(').map_or(call, |(name, _)| name)
}

fn allowing(profile: &Profile) -> impl Iterator<Item = &Rule> {
    profile
        .rules()
        .iter()
        .filter(|rule| rule.action().executes())
}

/// A call of a rule, with its conditions: `socket(domain == AF_INET, type == SOCK_STREAM)`.
fn call_of(rule: &Rule, name: &str) -> String {
    if rule.args().is_empty() {
        return name.to_owned();
    }
    let alternatives = rule.alternatives().into_iter().map(|all| {
        let conditions: Vec<_> = all.iter().map(|one| condition(name, one)).collect();
        conditions.join(", ")
    });
    let alternatives: Vec<_> = alternatives.collect();
    format!("{name}({})", alternatives.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &str) -> CallNames {
        names.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_profile_without_calls_keeps_other_rules_for_them() {
        use crate::profile::Action;
        use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};
        let profile = Profile::new(EPERM).with_rules([
            allow("read write"),
            rule("mount", Action::Log, ""),
            rule("write clone3", ENOSYS, ""),
        ]);
        assert_eq!(allowed_calls(&profile), names("mount read write"));
        let less = without_calls(&profile, &names("write mount clone3"));
        assert_eq!(less.rules()[0].names(), ["read"]);
        assert_eq!(less.rules()[1], profile.rules()[2]);
        assert_eq!(less.rules().len(), 2);
    }
    #[test]
    fn rules_with_comparisons_are_calls_of_their_own() {
        use crate::profile::Action;
        use crate::profile::shorthand::{EPERM, allow, rule};
        use crate::recording::ValueTally;
        use crate::syscall::{Arch, Syscall};
        let profile = Profile::new(EPERM).with_rules([
            allow("read"),
            rule("socket", Action::Allow, "arg0 == 1"),
            rule("socket", Action::Allow, "arg0 == 2, arg1 == 1"),
            rule("socket", Action::Allow, "arg0 == 2, arg1 == 2"),
        ]);
        let [unix, stream, datagram] = [
            "socket(domain == AF_UNIX)",
            "socket(domain == AF_INET, type == SOCK_STREAM)",
            "socket(domain == AF_INET, type == SOCK_DGRAM)",
        ]
        .map(str::to_owned);
        let all = CallNames::from([
            "read".to_owned(),
            unix.clone(),
            stream.clone(),
            datagram.clone(),
        ]);
        assert_eq!(allowed_calls(&profile), all);
        assert_eq!(name_of(&stream), "socket");
        let less = without_calls(&profile, &CallNames::from([unix, datagram.clone()]));
        assert_eq!(
            less.rules(),
            [&profile.rules()[0], &profile.rules()[2]].map(Clone::clone)
        );

        let workload = BTreeSet::from([PathBuf::from("/app")]);
        let value = |executables: &BTreeSet<PathBuf>| ValueTally {
            count: 1,
            first_ms: None,
            executables: executables.clone(),
        };
        let other = BTreeSet::from([PathBuf::from("/sc-record")]);
        let values = |values: &[(u64, &BTreeSet<PathBuf>)]| {
            ArgumentValues::Each(values.iter().map(|(bits, by)| (*bits, value(by))).collect())
        };
        let tally = Tally {
            count: 2,
            first_ms: None,
            executables: &workload | &other,
            args: BTreeMap::from([
                (0, values(&[(1, &other), (2, &workload)])),
                (1, ArgumentValues::Many),
            ]),
        };
        let mut run =
            crate::recording::RunBuilder::start("/app".into(), "ptrace").finish(None, false);
        let socket = Syscall::from_name(Arch::X86_64, "socket").unwrap();
        run.syscalls.insert(socket, tally);
        let made = made_calls(&profile, &run, &|by| by.contains(&PathBuf::from("/app")));
        assert_eq!(made, CallNames::from([stream, datagram]));
    }
}
