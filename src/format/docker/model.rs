//! A profile with its conditions, and the JSON that holds one.

use nix::errno::Errno;
use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccompAction as OciAction, LinuxSeccompFilterFlag as OciFlag,
};
use serde::{Deserialize, Serialize};

use crate::format::json::Object;
use crate::format::machine::{KernelVersion, Machine};
use crate::format::name::Format;
use crate::format::oci::Arg;
use crate::profile::{Action, Flag, Listener, Profile, Rule};
use crate::syscall::Arch;

/// A profile with its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DockerProfile {
    pub(super) default_action: Action,
    pub(super) arches: Arches,
    pub(super) flags: Option<Vec<Flag>>,
    /// Podman has none.
    pub(super) listener: Option<Listener>,
    pub(super) rules: Vec<DockerRule>,
}

/// The ABIs of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Arches {
    /// The same on every machine, as in OCI.
    Listed(Option<Vec<Arch>>),
    /// Those of the entry for the machine, its own first; the native one if there is no entry.
    Map(Vec<SubArches>),
}

impl Arches {
    /// The ABIs of several machines, by machine: a container then gets only those of its own. A list that has an ABI without
    /// that of its machine stays a list, since an entry allows its machine's.
    pub(super) fn by_machine(self) -> Arches {
        let Arches::Listed(Some(listed)) = &self else {
            return self;
        };
        let (machines, others): (Vec<Arch>, Vec<Arch>) =
            listed.iter().partition(|arch| arch.is_64_bit());
        let entries = machines.iter().map(|&arch| SubArches {
            arch,
            others: (others.iter().copied())
                .filter(|other| arch.companions().contains(other))
                .collect(),
        });
        let of_machines: usize = entries.clone().map(|entry| entry.others.len()).sum();
        if machines.len() > 1 && of_machines == others.len() {
            Arches::Map(entries.collect())
        } else {
            self
        }
    }
}

/// The ABIs of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubArches {
    /// The machine's own.
    pub(super) arch: Arch,
    pub(super) others: Vec<Arch>,
}

/// A rule, and its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DockerRule {
    pub(super) rule: Rule,
    pub(super) comment: Option<String>,
    /// It applies only if all of this is true.
    pub(super) includes: RuleCondition,
    /// It doesn't apply if any of this is true.
    pub(super) excludes: RuleCondition,
}

/// A condition of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RuleCondition {
    /// Capabilities of the container.
    pub(super) caps: Vec<String>,
    /// Machines, by Docker's names (`amd64`) or others (`x86_64`).
    pub(super) arches: Vec<String>,
    /// The running kernel is at least this. Podman has no such condition.
    pub(super) min_kernel: Option<KernelVersion>,
}

impl DockerRule {
    /// Whether the rule applies: moby's `setupSeccomp`.
    pub(super) fn holds(&self, machine: &Machine, format: Format) -> bool {
        let default_caps = match format {
            Format::Podman => Machine::PODMAN_CAPS,
            _ => Machine::DOCKER_CAPS,
        };
        let is_arch = |name: &String| condition_arch(name) == Some(machine.arch);
        let has_cap = |cap: &String| machine.has_cap(cap, default_caps);
        let DockerRule {
            includes, excludes, ..
        } = self;
        !excludes.arches.iter().any(is_arch)
            && !excludes.caps.iter().any(has_cap)
            && !(excludes.min_kernel).is_some_and(|min| machine.has_kernel(min))
            && (includes.arches.is_empty() || includes.arches.iter().any(is_arch))
            && includes.caps.iter().all(has_cap)
            && (includes.min_kernel).is_none_or(|min| machine.has_kernel(min))
    }
}

/// The machine that a condition names. Docker has its own names for some.
pub(super) fn condition_arch(name: &str) -> Option<Arch> {
    match name {
        "mips3l64n32" => Some(Arch::Mipsel64n32),
        "mipsle" => Some(Arch::Mipsel),
        "mips64le" => Some(Arch::Mipsel64),
        _ => Arch::from_any_name(name),
    }
}

impl DockerProfile {
    /// The profile for a container on a machine. Without given capabilities, those that the format's engine gives by
    /// default count.
    pub(super) fn resolve(&self, machine: &Machine, format: Format) -> Profile {
        let rules = self.rules.iter().filter(|rule| rule.holds(machine, format));
        Profile::new(self.default_action)
            .with_architectures(match &self.arches {
                Arches::Listed(arches) => arches.clone(),
                Arches::Map(entries) => (entries.iter())
                    .find(|entry| entry.arch == machine.arch)
                    .map(|entry| [&[entry.arch], &entry.others[..]].concat()),
            })
            .with_flags(self.flags.clone())
            .with_listener(self.listener.clone())
            .with_rules(rules.map(|rule| rule.rule.clone()))
    }
}

impl From<&Profile> for DockerProfile {
    /// The profile without conditions.
    fn from(profile: &Profile) -> DockerProfile {
        let rule = |rule: &Rule| DockerRule {
            rule: rule.clone(),
            comment: None,
            includes: RuleCondition::default(),
            excludes: RuleCondition::default(),
        };
        DockerProfile {
            default_action: profile.default_action(),
            arches: Arches::Listed(profile.architectures().map(<[Arch]>::to_vec)),
            flags: profile.flags().map(<[Flag]>::to_vec),
            listener: profile.listener().cloned(),
            rules: profile.rules().iter().map(rule).collect(),
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Seccomp {
    pub(super) default_action: OciAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) default_errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) architectures: Option<Vec<OciArch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arch_map: Option<Vec<Object<ArchMapEntry>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flags: Option<Vec<OciFlag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener_metadata: Option<String>,
    pub(super) syscalls: Option<Vec<Object<SyscallEntry>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ArchMapEntry {
    pub(super) architecture: OciArch,
    pub(super) sub_architectures: Option<Vec<OciArch>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SyscallEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) names: Option<Vec<String>>,
    pub(super) action: OciAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) args: Option<Vec<Object<Arg>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) includes: Option<Object<RawCondition>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) excludes: Option<Object<RawCondition>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawCondition {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) caps: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) arches: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min_kernel: Option<String>,
}

/// The number of a name of errno(3).
pub(in crate::format) fn errno_of_name(name: &str) -> Option<u32> {
    let found = (1..=133).find(|&number| errno_name(number).as_deref() == Some(name));
    let same = match name {
        "EWOULDBLOCK" => Some("EAGAIN"),
        "EDEADLOCK" => Some("EDEADLK"),
        "ENOTSUP" => Some("EOPNOTSUPP"),
        _ => None,
    };
    found.or_else(|| same.and_then(errno_of_name))
}

/// The name of an errno, where it has one.
pub(super) fn errno_name(number: u32) -> Option<String> {
    match Errno::from_raw(i32::try_from(number).ok()?) {
        Errno::UnknownErrno => None,
        errno => Some(format!("{errno:?}")),
    }
}
