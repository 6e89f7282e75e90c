//! The dialects of Docker (moby, `profiles/seccomp`) and Podman (containers/common, `pkg/seccomp`): OCI's JSON, and rules
//! that hold under conditions (`includes`, `excludes`), ABIs by machine (`archMap`), comments, a legacy field for a single
//! name. Podman also gives errnos by name, and has no `minKernel` and no listener.
//!
//! A [`DockerProfile`] holds all of it. Engines resolve it for the container, here a [`Machine`], before they give it to
//! the runtime.
//!
//! Empty comments, conditions and lists of arguments are not kept.

use std::sync::Arc;

use nix::errno::Errno;
use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccompAction as OciAction, LinuxSeccompFilterFlag as OciFlag,
};
use serde::{Deserialize, Serialize};

use super::json::{Object, Path};
use super::machine::{KernelVersion, Machine};
use super::oci::{
    self, Arg, InvalidAt, form, invalid, read_action, read_arch, read_arches, read_flag,
    read_listener, read_rule, write_action, write_arch, write_arches, write_args, write_flags,
};
use super::reading::{Extras, Input, Parsed, Places};
use super::writing::Output;
use super::{Format, Invalid, ParseError, ParseErrorKind, Reader, RenderError, Row, Writer};
use crate::profile::{Action, Flag, Listener, Place, Profile, Rule};
use crate::syscall::Arch;

pub(super) const DOCKER: Row = Row {
    name: "docker",
    about: "Docker's dialect: rules with conditions",
    json: |outline| {
        let of_rules = ["name", "comment", "includes", "excludes"];
        outline.has("archMap") || of_rules.into_iter().any(|field| outline.a_rule_has(field))
    },
    read: Reader::Text(parse),
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

fn parse(text: &str, input: &mut Input<'_>) -> Result<Parsed, ParseError> {
    let format = input.format;
    let machine = &input.reading.machine;
    let Object(seccomp) = serde_json::from_str(text).map_err(|error| form(&error))?;
    let seccomp: Seccomp = seccomp;
    if let Some(path) = foreign(&seccomp, format) {
        let is = match format {
            Format::Podman => "this is a profile in Docker's dialect",
            _ => "this is a profile in Podman's dialect",
        };
        let kind = ParseErrorKind::OtherFormat {
            field: path.to_string(),
            expected: format,
            is,
        };
        return Err(ParseError::new(path.locate(text), kind));
    }
    let legacy: Vec<bool> = (seccomp.syscalls.iter().flatten())
        .map(|Object(syscall)| has_legacy_name(syscall))
        .collect();
    let docker = profile(seccomp).map_err(|invalid| invalid.in_text(text))?;
    // The rules that apply, by their number in the file, and whether each has its name in the legacy field.
    let holding: Vec<(usize, bool)> = (docker.rules.iter().zip(legacy).enumerate())
        .filter(|(_, (rule, _))| rule.holds(machine, format))
        .map(|(index, (_, legacy))| (index, legacy))
        .collect();
    let profile = docker.resolve(machine, format);
    let path = move |place: Place| {
        let mut place = place;
        let legacy = match &mut place {
            // They may come from the map, where indices mean something else.
            Place::Architecture(_) => return Some(Path::default().field("architectures")),
            Place::DefaultAction => false,
            Place::Rule(rule) | Place::Name { rule, .. } | Place::Arg { rule, .. } => {
                let (index, legacy) = *holding.get(*rule)?;
                *rule = index;
                legacy
            }
        };
        match place {
            Place::Name { rule, .. } if legacy => Some(oci::path(Place::Rule(rule)).field("name")),
            place => Some(oci::path(place)),
        }
    };
    Ok(Parsed {
        extras: Some(Arc::new(docker)),
        ..Parsed::new(format, profile, Places::Json(Arc::new(path)))
    })
}

/// A field of the other dialect.
fn foreign(seccomp: &Seccomp, format: Format) -> Option<Path> {
    let root = Path::default();
    let syscalls = seccomp.syscalls.iter().flatten().enumerate();
    let mut of_rules = syscalls.map(|(index, Object(syscall))| {
        let path = root.field("syscalls").index(index);
        let min_kernel = |condition: &Option<Object<RawCondition>>| {
            (condition.as_ref()).is_some_and(|Object(condition)| condition.min_kernel.is_some())
        };
        match format {
            Format::Podman if min_kernel(&syscall.includes) => {
                Some(path.field("includes").field("minKernel"))
            }
            Format::Podman if min_kernel(&syscall.excludes) => {
                Some(path.field("excludes").field("minKernel"))
            }
            Format::Docker if syscall.errno.is_some() => Some(path.field("errno")),
            _ => None,
        }
    });
    let of_file = match format {
        Format::Docker if seccomp.default_errno.is_some() => Some("defaultErrno"),
        Format::Podman if seccomp.listener_path.is_some() => Some("listenerPath"),
        Format::Podman if seccomp.listener_metadata.is_some() => Some("listenerMetadata"),
        _ => None,
    };
    of_file
        .map(|field| root.field(field))
        .or_else(|| of_rules.find_map(|path| path))
}

fn has_legacy_name(syscall: &Syscall) -> bool {
    syscall.name.as_ref().is_some_and(|name| !name.is_empty())
}

fn profile(seccomp: Seccomp) -> Result<DockerProfile, InvalidAt> {
    let root = Path::default();
    let listed = (seccomp.architectures.as_ref()).is_some_and(|arches| !arches.is_empty());
    let mapped = (seccomp.arch_map.as_ref()).is_some_and(|entries| !entries.is_empty());
    if listed && mapped {
        return invalid(root.field("architectures"), Invalid::TwoArchLists);
    }
    let arches = match seccomp.arch_map {
        Some(entries) if mapped => {
            let path = root.field("archMap");
            let entries = entries.into_iter().enumerate();
            let entries =
                entries.map(|(index, Object(entry))| sub_arches(entry, &path.index(index)));
            Arches::Map(entries.collect::<Result<_, _>>()?)
        }
        _ => {
            let path = root.field("architectures");
            Arches::Listed(read_arches(seccomp.architectures, &path)?)
        }
    };
    let number = errno(seccomp.default_errno_ret, seccomp.default_errno.as_deref())
        .or_else(|error| invalid(root.field("defaultErrno"), error))?;
    let syscalls = seccomp.syscalls.unwrap_or_default().into_iter().enumerate();
    let path = |index| root.field("syscalls").index(index);
    Ok(DockerProfile {
        default_action: read_action(seccomp.default_action, number)
            .or_else(|error| invalid(root.field("defaultErrnoRet"), error))?,
        arches,
        flags: (seccomp.flags).map(|flags| flags.into_iter().map(read_flag).collect()),
        listener: read_listener(seccomp.listener_path, seccomp.listener_metadata)?,
        rules: syscalls
            .map(|(index, Object(syscall))| rule(syscall, &path(index)))
            .collect::<Result<_, _>>()?,
    })
}

fn sub_arches(entry: ArchMapEntry, path: &Path) -> Result<SubArches, InvalidAt> {
    let arch = read_arch(entry.architecture)
        .or_else(|error| invalid(path.field("architecture"), error))?;
    let others = read_arches(entry.sub_architectures, &path.field("subArchitectures"))?;
    Ok(SubArches {
        arch,
        others: others.unwrap_or_default(),
    })
}

fn rule(syscall: Syscall, path: &Path) -> Result<DockerRule, InvalidAt> {
    let names = syscall.names.unwrap_or_default();
    let names = match syscall.name.filter(|name| !name.is_empty()) {
        Some(_) if !names.is_empty() => return invalid(path.field("name"), Invalid::TwoNames),
        Some(name) => vec![name],
        None => names,
    };
    let number = errno(syscall.errno_ret, syscall.errno.as_deref())
        .or_else(|error| invalid(path.field("errno"), error))?;
    let action = read_action(syscall.action, number)
        .or_else(|error| invalid(path.field("errnoRet"), error))?;
    Ok(DockerRule {
        rule: read_rule(names, action, syscall.args, path)?,
        comment: syscall.comment.filter(|comment| !comment.is_empty()),
        includes: condition(syscall.includes, &path.field("includes"))?,
        excludes: condition(syscall.excludes, &path.field("excludes"))?,
    })
}

fn condition(raw: Option<Object<RawCondition>>, path: &Path) -> Result<Condition, InvalidAt> {
    let Some(Object(raw)) = raw else {
        return Ok(Condition::default());
    };
    let caps = raw.caps.unwrap_or_default();
    let is_cap = |cap: &String| {
        cap.strip_prefix("CAP_").is_some_and(|rest| {
            !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        })
    };
    if let Some(index) = caps.iter().position(|cap| !is_cap(cap)) {
        let cap = caps[index].clone();
        return invalid(path.field("caps").index(index), Invalid::ConditionCap(cap));
    }
    let arches = raw.arches.unwrap_or_default();
    if let Some(index) = (arches.iter()).position(|arch| condition_arch(arch).is_none()) {
        let arch = arches[index].clone();
        let path = path.field("arches").index(index);
        return invalid(path, Invalid::ConditionArch(arch));
    }
    let min_kernel = match raw.min_kernel.filter(|version| !version.is_empty()) {
        None => None,
        Some(text) => match KernelVersion::exactly(&text) {
            None => return invalid(path.field("minKernel"), Invalid::KernelVersion(text)),
            version => version,
        },
    };
    Ok(Condition {
        caps,
        arches,
        min_kernel,
    })
}

/// An errno that is given by its number, its name, or both.
fn errno(number: Option<u32>, name: Option<&str>) -> Result<Option<u32>, Invalid> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(number);
    };
    let named = name.parse().ok().or_else(|| errno_of_name(name));
    match (named, number) {
        (None, _) => Err(Invalid::ErrnoName(name.to_owned())),
        (Some(named), Some(number)) if named != number => Err(Invalid::ErrnoTwice {
            name: name.to_owned(),
            number,
        }),
        (named, _) => Ok(named),
    }
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
