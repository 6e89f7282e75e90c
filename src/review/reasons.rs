//! The reason for each name in a profile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{ByDocker, Risk, by_docker, risk};
use crate::profile::{Extent, Generated, Policy, Profile, Reason, baseline, generate};
use crate::recording::Recording;
use crate::review::diff::{All, CallActions};
use crate::syscall::{Arch, Syscall};

/// Everything known about a name of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The name.
    pub name: String,
    /// The rules' actions with their conditions. Empty: the default action applies.
    pub answers: CallActions,
    /// Where it comes from, for each ABI of the profile that has the call.
    pub origins: BTreeMap<Arch, NameOrigin>,
    /// Its risk.
    pub risk: Risk,
    /// What Docker's default profile does with it.
    pub docker: ByDocker,
}

/// Where a name comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameOrigin {
    /// The workload made the call.
    Recorded {
        /// How often, in all runs.
        count: u64,
        /// Whether `count` is exact, not a lower bound.
        exact: bool,
        /// In how many runs.
        runs: usize,
        /// The earliest time since the start of a run at which it was seen, in milliseconds, if known.
        first_ms: Option<u64>,
        /// By which executables.
        executables: BTreeSet<PathBuf>,
    },
    /// A policy adds it.
    Added {
        /// The narrowest policy that does.
        policy: Extent,
        /// The end of the sentence "NAME is allowed because …".
        why: &'static str,
        /// The recorded calls that it can stand for.
        for_recorded: BTreeSet<String>,
    },
    /// The container runtime calls it, or the recording let it pass unseen.
    Container {
        /// The end of the sentence "NAME is allowed because …".
        why: &'static str,
    },
    /// It answers ENOSYS because of `--enosys-probes`.
    Probe {
        /// The end of the sentence "NAME answers ENOSYS because …".
        why: &'static str,
    },
    /// Neither recorded nor added on this ABI, but on another one: OCI has one list of names for all.
    OtherArch,
    /// Neither the recording nor any policy has it: it was written by hand, or comes from another recording.
    Unexplained,
}

/// The explanation of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// All names of the profile.
    pub names: Vec<Explanation>,
    /// Recorded calls that the profile denies: it is older than the recording.
    pub refused: BTreeSet<Syscall>,
}

/// Explains every name of a profile by a recording. Without a recording there are no origins.
#[must_use]
pub fn explain(profile: &Profile, recording: Option<&Recording>, native: Arch) -> Explained {
    let generated = recording.map(ByPolicy::of);
    let answers = profile.meaning_of_calls();
    let arches = profile.listed_or(native);
    let explain = |(name, answers): (String, CallActions)| {
        let origins = generated
            .as_ref()
            .map_or_else(BTreeMap::new, |generated| generated.origins(&name, &arches));
        Explanation {
            origins,
            risk: risk(&name),
            docker: by_docker(&name),
            name,
            answers,
        }
    };
    let calls = recording.map(Recording::syscalls).unwrap_or_default();
    let refused = calls.into_keys().filter(|call| {
        let name = call.name();
        let works = |name: &str| profile.may_execute(name) || profile.replaces(name);
        !arches.contains(&call.arch) || !name.is_some_and(|name| works(&name))
    });
    Explained {
        refused: refused.collect(),
        names: answers.into_iter().map(explain).collect(),
    }
}

/// Explains one name, whether the profile has it or not.
#[must_use]
pub fn explain_one(
    profile: &Profile,
    recording: Option<&Recording>,
    native: Arch,
    name: &str,
) -> Explanation {
    let explained = explain(&profile.only(name), recording, native);
    let found = explained.names.into_iter().find(|one| one.name == name);
    found.unwrap_or_else(|| {
        let asked = crate::profile::Rule::new(
            vec![name.to_owned()],
            crate::profile::Action::Allow,
            Vec::new(),
        );
        let with = (profile.clone())
            .with_default_action(crate::profile::Action::KillProcess)
            .with_rules(asked);
        let mut names = explain(&with, recording, native).names;
        let origins = names.pop().map(|one| one.origins).unwrap_or_default();
        Explanation {
            name: name.to_owned(),
            answers: CallActions::new(),
            origins,
            risk: risk(name),
            docker: by_docker(name),
        }
    })
}

/// The profile of a recording under each policy, the narrowest first.
struct ByPolicy<'a> {
    policies: Vec<(Extent, Generated<'a>)>,
}

impl<'a> ByPolicy<'a> {
    fn of(recording: &'a Recording) -> ByPolicy<'a> {
        let extents = [Extent::Exact, Extent::Safe, Extent::Portable];
        let policies = extents.into_iter().filter_map(|extent| {
            let policy = Policy {
                extent,
                enosys_probes: true,
                ..Policy::default()
            };
            // A recording without calls explains nothing.
            Some((extent, generate(recording, policy).ok()?))
        });
        ByPolicy {
            policies: policies.collect(),
        }
    }

    fn origins(&self, name: &str, arches: &BTreeSet<Arch>) -> BTreeMap<Arch, NameOrigin> {
        let exists: Vec<Arch> = (arches.iter().copied())
            .filter(|&arch| Syscall::from_name(arch, name).is_some())
            .collect();
        // A call that no ABI of the profile has is explained too.
        let on = if exists.is_empty() {
            arches.iter().copied().collect()
        } else {
            exists
        };
        let mut origins: BTreeMap<Arch, NameOrigin> = (on.into_iter())
            .map(|arch| (arch, self.origin(name, arch)))
            .collect();
        let explained = origins
            .values()
            .any(|origin| *origin != NameOrigin::Unexplained);
        if explained {
            for origin in origins.values_mut() {
                if *origin == NameOrigin::Unexplained {
                    *origin = NameOrigin::OtherArch;
                }
            }
        }
        origins
    }

    fn origin(&self, name: &str, arch: Arch) -> NameOrigin {
        for (policy, generated) in &self.policies {
            let reasons = generated.names.get(name);
            match reasons.and_then(|reasons| reasons.get(&arch)) {
                Some(Reason::Recorded(seen)) => {
                    return NameOrigin::Recorded {
                        count: seen.count,
                        exact: seen.count_is_exact(),
                        runs: seen.number_of_runs(),
                        first_ms: seen.first_ms,
                        executables: seen.executables.iter().map(PathBuf::from).collect(),
                    };
                }
                Some(Reason::Added { why, for_recorded }) => {
                    return NameOrigin::Added {
                        policy: *policy,
                        why,
                        for_recorded: for_recorded.clone(),
                    };
                }
                Some(Reason::Container { why }) => return NameOrigin::Container { why },
                // No policy here adds such.
                Some(Reason::Reachable) | None => {}
            }
        }
        let probe = self.policies.first();
        if let Some(why) = probe.and_then(|(_, generated)| generated.probes.get(name)) {
            return NameOrigin::Probe { why };
        }
        // As `generate --runtime` adds it.
        let mut baselines = baseline::KNOWN.iter();
        let of_runtime = baselines
            .find(|baseline| arch == Arch::NATIVE && baseline.calls().any(|call| call == name));
        of_runtime.map_or(NameOrigin::Unexplained, |baseline| NameOrigin::Container {
            why: baseline.runtime.why(),
        })
    }
}

/// Whether a call is allowed with all arguments.
#[must_use]
pub fn unconditional(alternatives: &BTreeSet<All>) -> bool {
    alternatives.iter().any(BTreeSet::is_empty)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::{Action, Rule};
    use crate::recording::strategies;

    proptest! {
        #[test]
        fn whatever_a_policy_writes_is_explained(recording in strategies::recording(), probes: bool) {
            for extent in [Extent::Exact, Extent::Safe, Extent::Portable] {
                let policy = Policy { extent, enosys_probes: probes, ..Policy::default() };
                let Ok(generated) = generate(&recording, policy) else { continue };
                let explained = explain(&generated.profile, Some(&recording), Arch::NATIVE);
                prop_assert_eq!(explained.names.len(), generated.names.len() + generated.probes.len());
                for one in &explained.names {
                    for (arch, origin) in &one.origins {
                        let expected = generated.names.get(&one.name).and_then(|reasons| reasons.get(arch));
                        let fits = match (origin, expected) {
                            (NameOrigin::Recorded { count, .. }, Some(Reason::Recorded(seen))) => *count == seen.count,
                            (NameOrigin::Added { policy, .. }, Some(Reason::Added { .. })) => *policy <= extent,
                            // The reason of the narrowest policy counts, and a wider one may add the call.
                            (NameOrigin::Container { .. }, Some(Reason::Container { .. } | Reason::Added { .. }) | None)
                            | (NameOrigin::Probe { .. } | NameOrigin::OtherArch, None) => true,
                            (NameOrigin::Added { policy, .. }, None) => *policy > extent,
                            _ => false,
                        };
                        prop_assert!(fits, "{} {arch}: {origin:?}, not {expected:?}", one.name);
                    }
                }
                // A call without a name can't be in the profile, and is reported.
                let unnamed: BTreeSet<Syscall> = generated.unnamed.iter().map(|call| call.syscall).collect();
                prop_assert_eq!(&explained.refused, &unnamed);
            }
        }
    }

    #[test]
    fn a_name_by_hand_is_told_so() {
        let rule = Rule::new(vec!["mount".to_owned()], Action::Allow, vec![]).unwrap();
        let profile = Profile::new(Action::KillProcess)
            .with_architectures(Some(vec![Arch::X86_64]))
            .with_rules([rule]);
        let mut run =
            crate::recording::RunBuilder::start("/bin/app".into(), "test").finish(None, false);
        let read = Syscall::from_name(Arch::X86_64, "read").unwrap();
        let tally = crate::recording::Tally {
            count: 1,
            first_ms: Some(5),
            executables: BTreeSet::new(),
            args: std::collections::BTreeMap::new(),
        };
        run.syscalls.insert(read, tally);
        let recording = Recording::of("app".parse().unwrap(), run);
        let explained = explain(&profile, Some(&recording), Arch::NATIVE);
        assert_eq!(
            explained.names[0].origins[&Arch::X86_64],
            NameOrigin::Unexplained
        );
        assert_eq!(explained.refused, BTreeSet::from([read]));
        let without = explain(&profile, None, Arch::NATIVE);
        assert!(without.names[0].origins.is_empty() && without.refused.is_empty());
        let one = explain_one(&profile, Some(&recording), Arch::NATIVE, "read");
        assert!(one.answers.is_empty());
        assert!(matches!(
            one.origins[&Arch::X86_64],
            NameOrigin::Recorded {
                first_ms: Some(5),
                ..
            }
        ));
    }
}
