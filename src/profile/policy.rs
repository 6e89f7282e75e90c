//! Policies: what a profile may allow beyond the recorded calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::baseline::RuntimeCalls;
use super::families::{FAMILIES, PROBES, SAFE};
use crate::syscall::{Arch, Syscall};

/// What [`generate`](super::generate()) may add to what was recorded, and how it denies the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// The calls that are allowed.
    pub extent: Extent,
    /// Whether newer calls that libc tries before older ones answer ENOSYS where they are not allowed. The answer to all
    /// other calls is EPERM, which libc takes as the result.
    pub enosys_probes: bool,
    /// What a container runtime calls under the profile. It takes the place of what the recorded containers' runtimes called.
    /// With it, newer calls answer ENOSYS, too: runc answers so itself, but not below the highest number that a profile names,
    /// and that is often one of its own calls.
    pub runtime: Option<&'static RuntimeCalls>,
    /// Calls that no run has made and that the recorded programs can make, by their code.
    pub reachable: Option<&'static BTreeSet<Syscall>>,
    /// Which rules arguments get.
    pub arguments: ArgumentRules,
    /// Whether socketcall(2) and ipc(2), which get around rules for arguments, answer ENOSYS even if they were recorded.
    pub refuse_multiplexers: bool,
}

/// Which rules the arguments of allowed calls get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ArgumentRules {
    /// None: any arguments are allowed.
    #[default]
    Off,
    /// Where the recorded values are saturated, what they have in common for the kernel.
    Safe,
    /// The recorded values.
    Exact,
}

/// How far a profile goes beyond what was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Extent {
    /// What was recorded, nothing else.
    Exact,
    /// And what the kernel or the loader needs without the workload asking, and what the vDSO hides.
    #[default]
    Safe,
    /// And the rest of each family of calls that libc versions exchange for one another, where a member was recorded.
    Portable,
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Extent::Exact => "exact",
            Extent::Safe => "safe",
            Extent::Portable => "portable",
        })
    }
}

/// A call that a policy adds, and why.
pub(crate) struct Addition {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    /// The recorded calls that it can stand for; empty where it needs none.
    pub(crate) for_recorded: BTreeSet<String>,
}

impl Policy {
    /// Why the policy allows a call whether or not anything was recorded, as the end of the sentence "NAME is allowed
    /// because …"; `None` if it doesn't.
    #[must_use]
    pub fn always(self, name: &str) -> Option<&'static str> {
        let mut all = SAFE.iter().filter(|_| self.extent >= Extent::Safe);
        all.find(|always| always.names.split(' ').any(|of| of == name))
            .map(|always| always.why)
    }

    /// The calls that are allowed on an ABI beyond those that were recorded on it. The same name may come twice.
    pub(crate) fn additions(self, arch: Arch, recorded: &BTreeSet<String>) -> Vec<Addition> {
        let mut additions = Vec::new();
        if self.extent >= Extent::Safe {
            for always in SAFE {
                for name in always.names.split(' ') {
                    additions.push(Addition {
                        name,
                        why: always.why,
                        for_recorded: BTreeSet::new(),
                    });
                }
            }
        }
        if self.extent >= Extent::Portable {
            for family in FAMILIES {
                let members = family.when.split(' ');
                let for_recorded: BTreeSet<String> = members
                    .filter(|&name| recorded.contains(name))
                    .map(str::to_owned)
                    .collect();
                if for_recorded.is_empty() {
                    continue;
                }
                for name in family.add.split(' ') {
                    additions.push(Addition {
                        name,
                        why: family.why,
                        for_recorded: for_recorded.clone(),
                    });
                }
            }
        }
        additions.retain(|addition| {
            Syscall::from_name(arch, addition.name).is_some() && !recorded.contains(addition.name)
        });
        additions
    }

    /// The calls that answer ENOSYS on these ABIs, and why: those that are not allowed on any of them, for a name holds
    /// for all ABIs of a profile.
    pub(crate) fn probes(
        self,
        arches: &BTreeSet<Arch>,
        allowed: impl Fn(&str) -> bool,
    ) -> BTreeMap<String, &'static str> {
        if !self.enosys_probes && self.runtime.is_none() {
            return BTreeMap::new();
        }
        let exists = |name| {
            let mut arches = arches.iter();
            arches.any(|&arch| Syscall::from_name(arch, name).is_some())
        };
        (PROBES.iter())
            .filter(|probe| exists(probe.name) && !allowed(probe.name))
            .map(|probe| (probe.name.to_owned(), probe.why))
            .collect()
    }
}
