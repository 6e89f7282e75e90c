//! The dialects of Docker (moby, `profiles/seccomp`) and Podman (containers/common, `pkg/seccomp`): OCI's JSON, and rules
//! that hold under conditions (`includes`, `excludes`), ABIs by machine (`archMap`), comments, a legacy field for a single
//! name. Podman also gives errnos by name, and has no `minKernel` and no listener.
//!
//! A [`DockerProfile`] holds all of it. Engines resolve it for the container, here a [`Machine`], before they give it to
//! the runtime.
//!
//! Empty comments, conditions and lists of arguments are not kept.

mod read;

use nix::errno::Errno;
use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccompAction as OciAction, LinuxSeccompFilterFlag as OciFlag,
};
use serde::{Deserialize, Serialize};

use super::json::Object;
use super::machine::{KernelVersion, Machine};
use super::oci::{self, Arg, write_action, write_arch, write_arches, write_args, write_flags};
use super::reading::Extras;
use super::writing::Output;
use super::{Format, Reader, RenderError, Row, Writer};
use crate::profile::{Action, Flag, Listener, Profile, Rule};
use crate::syscall::Arch;

pub(super) const DOCKER: Row = Row {
    name: "docker",
    about: "Docker's dialect: rules with conditions",
    json: |outline| {
        let of_rules = ["name", "comment", "includes", "excludes"];
        outline.has("archMap") || of_rules.into_iter().any(|field| outline.a_rule_has(field))
    },
    read: Reader::Text(read::parse),
    write: Writer::Text(|profile, out| render(&DockerProfile::from(profile), out)),
    edit: None,
    ..oci::ROW
};

pub(super) const PODMAN: Row = Row {
    name: "podman",
    about: "Podman's dialect",
    json: |outline| outline.has("defaultErrno") || outline.a_rule_has("errno"),
    ..DOCKER
};

/// A profile with its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DockerProfile {
    default_action: Action,
    arches: Arches,
    flags: Option<Vec<Flag>>,
    /// Podman has none.
    listener: Option<Listener>,
    rules: Vec<DockerRule>,
}

/// The ABIs of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Arches {
    /// The same on every machine, as in OCI.
    Listed(Option<Vec<Arch>>),
    /// Those of the entry for the machine, its own first; the native one if there is no entry.
    Map(Vec<SubArches>),
}

/// The ABIs of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SubArches {
    /// The machine's own.
    arch: Arch,
    others: Vec<Arch>,
}

/// A rule, and its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DockerRule {
    rule: Rule,
    comment: Option<String>,
    /// It applies only if all of this is true.
    includes: Condition,
    /// It doesn't apply if any of this is true.
    excludes: Condition,
}

/// A condition of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Condition {
    /// Capabilities of the container.
    caps: Vec<String>,
    /// Machines, by Docker's names (`amd64`) or others (`x86_64`).
    arches: Vec<String>,
    /// The running kernel is at least this. Podman has no such condition.
    min_kernel: Option<KernelVersion>,
}

impl DockerRule {
    /// Whether the rule applies: moby's `setupSeccomp`.
    fn holds(&self, machine: &Machine, format: Format) -> bool {
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
fn condition_arch(name: &str) -> Option<Arch> {
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
    fn resolve(&self, machine: &Machine, format: Format) -> Profile {
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
            includes: Condition::default(),
            excludes: Condition::default(),
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

impl Extras for DockerProfile {
    fn render(&self, out: &mut Output<'_>) -> Option<Result<String, RenderError>> {
        matches!(out.format, Format::Docker | Format::Podman).then(|| render(self, out))
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Seccomp {
    default_action: OciAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<OciArch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch_map: Option<Vec<Object<ArchMapEntry>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<OciFlag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Object<Syscall>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMapEntry {
    architecture: OciArch,
    sub_architectures: Option<Vec<OciArch>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Syscall {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    names: Option<Vec<String>>,
    action: OciAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<Object<Arg>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    includes: Option<Object<RawCondition>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excludes: Option<Object<RawCondition>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCondition {
    #[serde(skip_serializing_if = "Option::is_none")]
    caps: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arches: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_kernel: Option<String>,
}

/// The number of a name of errno(3).
pub(super) fn errno_of_name(name: &str) -> Option<u32> {
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
fn errno_name(number: u32) -> Option<String> {
    match Errno::from_raw(i32::try_from(number).ok()?) {
        Errno::UnknownErrno => None,
        errno => Some(format!("{errno:?}")),
    }
}

fn render(profile: &DockerProfile, out: &mut Output<'_>) -> Result<String, RenderError> {
    let format = out.format;
    if format == Format::Podman && profile.listener.is_some() {
        out.lose("listenerPath")?;
    }
    let listener = profile.listener.as_ref();
    let listener = listener.filter(|_| format == Format::Docker);
    let (default_action, default_errno_ret) = write_action(profile.default_action);
    let (architectures, arch_map) = match &profile.arches {
        Arches::Listed(None) => (None, None),
        Arches::Listed(Some(arches)) => (Some(write_arches(arches, format)?), None),
        Arches::Map(entries) => {
            let entries = entries.iter().map(|entry| {
                Ok(Object(ArchMapEntry {
                    architecture: write_arch(entry.arch, format)?,
                    sub_architectures: Some(write_arches(&entry.others, format)?),
                }))
            });
            (None, Some(entries.collect::<Result<_, RenderError>>()?))
        }
    };
    let mut syscalls = Vec::new();
    for (index, rule) in profile.rules.iter().enumerate() {
        if let Some(syscall) = write_syscall(rule, index, out)? {
            syscalls.push(Object(syscall));
        }
    }
    out.json(&Seccomp {
        default_action,
        default_errno_ret,
        default_errno: podman_errno(profile.default_action, format),
        architectures,
        arch_map,
        flags: profile.flags.as_deref().map(write_flags),
        listener_path: listener.map(|listener| listener.path().to_owned()),
        listener_metadata: listener.and_then(|listener| listener.metadata.clone()),
        syscalls: Some(syscalls),
    })
}

/// `None` if the rule is left out, since the format lacks its condition.
fn write_syscall(
    rule: &DockerRule,
    index: usize,
    out: &mut Output<'_>,
) -> Result<Option<Syscall>, RenderError> {
    let format = out.format;
    let conditions = [&rule.includes, &rule.excludes];
    if format == Format::Podman && conditions.iter().any(|c| c.min_kernel.is_some()) {
        let names = rule.rule.names().join(", ");
        out.lose(format!("syscalls[{index}] ({names}): minKernel"))?;
        return Ok(None);
    }
    let (action, errno_ret) = write_action(rule.rule.action());
    Ok(Some(Syscall {
        name: None,
        names: Some(rule.rule.names().to_vec()),
        action,
        errno_ret,
        errno: podman_errno(rule.rule.action(), format),
        args: write_args(&rule.rule),
        comment: rule.comment.clone(),
        includes: write_condition(&rule.includes),
        excludes: write_condition(&rule.excludes),
    }))
}

/// The name that Podman writes beside the number.
fn podman_errno(action: Action, format: Format) -> Option<String> {
    match (action, format) {
        (Action::Errno(errno), Format::Podman) => errno_name(errno.get().into()),
        _ => None,
    }
}

fn write_condition(condition: &Condition) -> Option<Object<RawCondition>> {
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let raw = RawCondition {
        caps: list(&condition.caps),
        arches: list(&condition.arches),
        min_kernel: condition.min_kernel.map(|version| version.to_string()),
    };
    (*condition != Condition::default()).then_some(Object(raw))
}
