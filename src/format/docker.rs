//! The dialects of Docker (moby, `profiles/seccomp`) and Podman (containers/common, `pkg/seccomp`): OCI's JSON, and rules
//! that hold under conditions (`includes`, `excludes`), ABIs by machine (`archMap`), comments, a legacy field for a single
//! name. Podman also says errnos by name, and has no `minKernel` and no listener.
//!
//! A [`DockerProfile`] holds all of it. What holds of it for a container is its resolution for a [`Machine`]
//! ([`DockerProfile::resolve`]), which is what the engines hand to the runtime.
//!
//! What says nothing is not kept: empty comments, conditions and lists of arguments.

use std::collections::BTreeSet;
use std::fmt;

use nix::errno::Errno;
use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccompAction as OciAction, LinuxSeccompArg,
    LinuxSeccompFilterFlag as OciFlag,
};
use serde::{Deserialize, Serialize};

use super::json::{Object, Path};
use super::loss::Out;
use super::oci::{
    Arg, InvalidAt, form, invalid, read_action, read_arch, read_arches, read_flag, read_listener,
    read_rule, write_action, write_arch, write_arg, write_flag,
};
use super::source::{Json, Places, Source, Whole};
use super::{Format, Invalid, ParseError, ParseErrorKind, RenderError};
use crate::profile::{Action, Flag, Listener, Profile, Rule};
use crate::syscall::Arch;

/// A profile in the dialect of Docker and Podman, with its conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerProfile {
    /// The answer to every call that no rule holds for.
    pub default_action: Action,
    /// The ABIs that rules hold for.
    pub arches: Arches,
    /// How the filter is loaded.
    pub flags: Option<Vec<Flag>>,
    /// Who answers notifications. Podman has none.
    pub listener: Option<Listener>,
    /// The rules, and when they hold.
    pub rules: Vec<DockerRule>,
}

/// The ABIs of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arches {
    /// The same on every machine, as in OCI.
    Listed(Option<Vec<Arch>>),
    /// Those of the entry for the machine; the native one where there is none.
    Map(Vec<SubArches>),
}

/// The ABIs of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubArches {
    /// The machine's own.
    pub arch: Arch,
    /// The others.
    pub others: Vec<Arch>,
}

/// A rule, and when it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerRule {
    /// The rule.
    pub rule: Rule,
    /// What somebody had to say about it.
    pub comment: Option<String>,
    /// It holds only if all of this is so.
    pub includes: Condition,
    /// It does not hold if any of this is so.
    pub excludes: Condition,
}

/// What a rule depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Capabilities of the container: `CAP_SYS_ADMIN`, ….
    pub caps: Vec<String>,
    /// Machines, in the words of Docker (`amd64`) or of others (`x86_64`).
    pub arches: Vec<String>,
    /// The running kernel is at least this. Podman has none.
    pub min_kernel: Option<KernelVersion>,
}

impl Condition {
    fn is_empty(&self) -> bool {
        self.caps.is_empty() && self.arches.is_empty() && self.min_kernel.is_none()
    }
}

/// A version of Linux as `minKernel` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The 5 of 5.10.
    pub kernel: u32,
    /// The 10 of 5.10.
    pub major: u32,
}

impl KernelVersion {
    /// Reads `5.10`, and what uname(2) has: `5.10.0-8-amd64`.
    #[must_use]
    pub fn of_release(release: &str) -> Option<KernelVersion> {
        let (kernel, rest) = release.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let major = &rest[..digits.unwrap_or(rest.len())];
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        Some(KernelVersion {
            kernel: number(kernel)?,
            major: number(major)?,
        })
    }

    /// Reads `5.10`, and nothing more.
    fn exactly(text: &str) -> Option<KernelVersion> {
        KernelVersion::of_release(text).filter(|version| version.to_string() == text)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kernel, self.major)
    }
}

/// What the conditions of a profile are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its architecture.
    pub arch: Arch,
    /// The capabilities of the container; `None`: those that the engine gives by default.
    pub caps: Option<BTreeSet<String>>,
    /// Its kernel; `None`: newer than any condition asks for.
    pub kernel: Option<KernelVersion>,
}

impl Default for Machine {
    /// A new kernel on this machine's architecture, and a container without further options.
    fn default() -> Machine {
        Machine {
            arch: Arch::NATIVE,
            caps: None,
            kernel: None,
        }
    }
}

impl Machine {
    /// The capabilities that Docker gives a container (moby, `oci/caps/defaults.go`).
    pub const DOCKER_CAPS: &[&str] = &[
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_NET_RAW",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ];
    /// The capabilities that Podman gives a container (`containers.conf(5)`, `default_capabilities`).
    pub const PODMAN_CAPS: &[&str] = &[
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ];

    fn has_cap(&self, cap: &str, format: Format) -> bool {
        match (&self.caps, format) {
            (Some(caps), _) => caps.contains(cap),
            (None, Format::Podman) => Machine::PODMAN_CAPS.contains(&cap),
            (None, _) => Machine::DOCKER_CAPS.contains(&cap),
        }
    }

    fn has_kernel(&self, min: KernelVersion) -> bool {
        self.kernel.is_none_or(|kernel| kernel >= min)
    }

    /// Whether a rule holds: moby's `setupSeccomp`.
    fn takes(&self, rule: &DockerRule, format: Format) -> bool {
        let is_arch = |name: &String| condition_arch(name) == Some(self.arch);
        let has_cap = |cap: &String| self.has_cap(cap, format);
        let DockerRule {
            includes, excludes, ..
        } = rule;
        !excludes.arches.iter().any(is_arch)
            && !excludes.caps.iter().any(has_cap)
            && !(excludes.min_kernel).is_some_and(|min| self.has_kernel(min))
            && (includes.arches.is_empty() || includes.arches.iter().any(is_arch))
            && includes.caps.iter().all(has_cap)
            && (includes.min_kernel).is_none_or(|min| self.has_kernel(min))
    }
}

/// The machine that a condition names. Docker has names of its own for some.
fn condition_arch(name: &str) -> Option<Arch> {
    match name {
        "mips3l64n32" => Some(Arch::Mipsel64n32),
        "mipsle" => Some(Arch::Mipsel),
        "mips64le" => Some(Arch::Mipsel64),
        _ => Arch::from_any_name(name),
    }
}

impl DockerProfile {
    /// What holds for a container on a machine. Without capabilities given, the format says which engine's defaults count.
    #[must_use]
    pub fn resolve(&self, machine: &Machine, format: Format) -> Profile {
        let rules = self.rules.iter().filter(|rule| machine.takes(rule, format));
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
    /// The profile that holds under all conditions.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Seccomp {
    default_action: OciAction,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    architectures: Option<Vec<OciArch>>,
    arch_map: Option<Vec<Object<ArchMapEntry>>>,
    flags: Option<Vec<OciFlag>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Object<Syscall>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMapEntry {
    architecture: OciArch,
    sub_architectures: Option<Vec<OciArch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Syscall {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: OciAction,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Object<Arg>>>,
    comment: Option<String>,
    includes: Option<Object<RawCondition>>,
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

pub(super) fn parse(text: &str, format: Format, machine: &Machine) -> Result<Source, ParseError> {
    let Object(seccomp) = serde_json::from_str(text).map_err(|error| form(&error))?;
    let seccomp: Seccomp = seccomp;
    if let Some(path) = foreign(&seccomp, format) {
        let (expected, is) = match format {
            Format::Podman => (Format::Podman, "this is a profile in Docker's dialect"),
            _ => (Format::Docker, "this is a profile in Podman's dialect"),
        };
        let kind = ParseErrorKind::OtherFormat {
            field: path.to_string(),
            expected,
            is,
        };
        return Err(ParseError::new(path.locate(text), kind));
    }
    let legacy: Vec<bool> = (seccomp.syscalls.iter().flatten())
        .map(|Object(syscall)| has_legacy_name(syscall))
        .collect();
    let profile = profile(seccomp).map_err(|invalid| invalid.in_text(text))?;
    let taken = profile.rules.iter().zip(legacy).enumerate();
    let taken = taken.filter(|(_, (rule, _))| machine.takes(rule, format));
    Ok(Source {
        places: Places::Json(Json::Docker(
            taken.map(|(index, (_, legacy))| (index, legacy)).collect(),
        )),
        whole: Whole::Docker(profile.clone()),
        ..Source::plain(
            format,
            profile.resolve(machine, format),
            Places::Json(Json::Oci),
        )
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
        _ => Arches::Listed(read_arches(
            seccomp.architectures,
            &root.field("architectures"),
        )?),
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
    if let Some(index) = arches
        .iter()
        .position(|arch| condition_arch(arch).is_none())
    {
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

/// The number of an errno that is said by its number, its name, or both.
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutSeccomp<'a> {
    default_action: OciAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<OciArch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arch_map: Option<Vec<ArchMapEntry>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<OciFlag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<&'a str>,
    syscalls: Vec<OutSyscall<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutSyscall<'a> {
    names: &'a [String],
    action: OciAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<LinuxSeccompArg>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    includes: Option<RawCondition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    excludes: Option<RawCondition>,
}

pub(super) fn render(profile: &DockerProfile, out: &mut Out<'_>) -> Result<String, RenderError> {
    let format = out.format;
    if format == Format::Podman && profile.listener.is_some() {
        out.lose("listenerPath")?;
    }
    let listener = profile.listener.as_ref();
    let listener = listener.filter(|_| format == Format::Docker);
    let (default_action, default_errno_ret) = write_action(profile.default_action);
    let write_arches = |arches: &[Arch]| {
        let arches = arches.iter().map(|&arch| write_arch(arch, format));
        arches.collect::<Result<Vec<_>, _>>()
    };
    let (architectures, arch_map) = match &profile.arches {
        Arches::Listed(None) => (None, None),
        Arches::Listed(Some(arches)) => (Some(write_arches(arches)?), None),
        Arches::Map(entries) => {
            let entries = entries.iter().map(|entry| {
                Ok(ArchMapEntry {
                    architecture: write_arch(entry.arch, format)?,
                    sub_architectures: Some(write_arches(&entry.others)?),
                })
            });
            (None, Some(entries.collect::<Result<_, RenderError>>()?))
        }
    };
    let mut syscalls = Vec::new();
    for (index, rule) in profile.rules.iter().enumerate() {
        if let Some(syscall) = write_syscall(rule, index, out)? {
            syscalls.push(syscall);
        }
    }
    let seccomp = OutSeccomp {
        default_action,
        default_errno_ret,
        default_errno: podman_errno(profile.default_action, format),
        architectures,
        arch_map,
        flags: (profile.flags.as_ref())
            .map(|flags| flags.iter().copied().map(write_flag).collect()),
        listener_path: listener.map(Listener::path),
        listener_metadata: listener.and_then(|listener| listener.metadata.as_deref()),
        syscalls,
    };
    let text = serde_json::to_string_pretty(&seccomp).map_err(|error| RenderError::Text {
        format,
        why: error.to_string(),
    })?;
    Ok(text + "\n")
}

/// `None`: the rule depends on what the format can't ask for, and is left out.
fn write_syscall<'a>(
    rule: &'a DockerRule,
    index: usize,
    out: &mut Out<'_>,
) -> Result<Option<OutSyscall<'a>>, RenderError> {
    let format = out.format;
    let conditions = [&rule.includes, &rule.excludes];
    if format == Format::Podman && conditions.iter().any(|c| c.min_kernel.is_some()) {
        let names = rule.rule.names().join(", ");
        out.lose(format!("syscalls[{index}] ({names}): minKernel"))?;
        return Ok(None);
    }
    let (action, errno_ret) = write_action(rule.rule.action());
    let args = rule.rule.args().iter().map(write_arg);
    Ok(Some(OutSyscall {
        names: rule.rule.names(),
        action,
        errno_ret,
        errno: podman_errno(rule.rule.action(), format),
        args: args.collect::<Result<_, _>>()?,
        comment: rule.comment.as_deref(),
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

fn write_condition(condition: &Condition) -> Option<RawCondition> {
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    (!condition.is_empty()).then(|| RawCondition {
        caps: list(&condition.caps),
        arches: list(&condition.arches),
        min_kernel: condition.min_kernel.map(|version| version.to_string()),
    })
}
