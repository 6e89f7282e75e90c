//! `SeccompProfile` of the Security Profiles Operator, as YAML (or JSON, which is YAML): OCI's profile in a resource of
//! Kubernetes. It differs in what it can say: no errno for the default action, no values above 2^63-1, at most 6
//! comparisons in a rule, no repetitions in lists, some ABIs less.
//!
//! Fields that the API server adds to a resource (`status`, `uid`, …) are skipped. The other parts of the resource are in
//! [`SpoProfile`]. With a base profile, or if it is disabled, the resource means something else than its profile.

mod read;

use std::collections::{BTreeMap, HashSet};

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccompAction as OciAction, LinuxSeccompFilterFlag as OciFlag,
    LinuxSeccompOperator as OciOp,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::oci::{write_action, write_flag, write_op};
use super::reading::Extras;
use super::writing::Output;
use super::yaml::scalar;
use super::{Format, Reader, RenderError, Row, Writer};
use crate::profile::{Action, ErrnoRet, Listener, Place, Profile, Rule};
use crate::syscall::Arch;

pub(super) const ROW: Row = Row {
    name: "spo",
    extension: "yaml",
    about: "`SeccompProfile` of the Security Profiles Operator",
    is_oci: false,
    json: |outline| outline.has("apiVersion"),
    line: |line| line.starts_with("apiVersion:") || line.starts_with("kind:"),
    read: Reader::Text(read::parse),
    write: Writer::Text(|profile, out| render(&SpoProfile::new(profile, out.writing.name), out)),
    companion: None,
    edit: None,
};

const GROUP: &str = "security-profiles-operator.x-k8s.io/";
const VERSION: &str = "security-profiles-operator.x-k8s.io/v1";
const KIND: &str = "SeccompProfile";

/// The directory that the schema allows for listeners.
const LISTENERS: &str = "/var/run/security-profiles-operator/";

/// A `SeccompProfile`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct SpoProfile {
    name: String,
    /// In versions of the operator in which profiles have one.
    namespace: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    /// The profile whose rules hold too.
    base: Option<String>,
    /// Whether the operator must leave it alone.
    disabled: bool,
    profile: Profile,
}

impl SpoProfile {
    /// A resource for a profile. Characters that a name of Kubernetes can't have become `-`.
    fn new(profile: &Profile, name: &str) -> SpoProfile {
        let name = name.to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.';
        let name = name.replace(|c| !allowed(c), "-");
        let name = name.trim_matches(['-', '.']);
        let name = if name.is_empty() { "profile" } else { name };
        SpoProfile {
            name: name.to_owned(),
            namespace: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            base: None,
            disabled: false,
            profile: profile.clone(),
        }
    }
}

impl Extras for SpoProfile {
    fn render(&self, out: &mut Output<'_>) -> Option<Result<String, RenderError>> {
        (out.format == Format::Spo).then(|| render(self, out))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resource {
    api_version: Spanned<String>,
    kind: Spanned<String>,
    metadata: Metadata,
    spec: Spec,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    name: Spanned<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    #[serde(rename = "creationTimestamp")]
    _created: Option<IgnoredAny>,
    #[serde(rename = "generation")]
    _generation: Option<IgnoredAny>,
    #[serde(rename = "resourceVersion")]
    _version: Option<IgnoredAny>,
    #[serde(rename = "uid")]
    _uid: Option<IgnoredAny>,
    #[serde(rename = "managedFields")]
    _managed: Option<IgnoredAny>,
    #[serde(rename = "finalizers")]
    _finalizers: Option<IgnoredAny>,
    #[serde(rename = "ownerReferences")]
    _owners: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    base_profile_name: Option<Spanned<String>>,
    state: Option<Spanned<State>>,
    /// Before `state` (v1beta1).
    disabled: Option<Spanned<bool>>,
    /// The workload's name in the first versions (v1alpha1), which only decided on the profile's path.
    #[serde(rename = "targetWorkload")]
    _target: Option<IgnoredAny>,
    default_action: Spanned<OciAction>,
    architectures: Option<Vec<Spanned<OciArch>>>,
    flags: Option<Vec<OciFlag>>,
    listener_path: Option<Spanned<String>>,
    listener_metadata: Option<Spanned<String>>,
    syscalls: Option<Vec<Spanned<Syscall>>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum State {
    Enabled,
    Disabled,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Syscall {
    names: Spanned<Vec<Spanned<String>>>,
    action: OciAction,
    errno_ret: Option<Spanned<Number>>,
    args: Option<Vec<Spanned<Arg>>>,
}

/// An errno. The types of the operator's older versions had a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(u32),
    Text(String),
}

impl Number {
    fn get(&self) -> Option<u32> {
        match self {
            Number::Number(number) => Some(*number),
            Number::Text(text) => text.parse().ok(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arg {
    index: Spanned<u64>,
    value: Option<i64>,
    value_two: Option<i64>,
    op: OciOp,
}

fn render(resource: &SpoProfile, out: &mut Output<'_>) -> Result<String, RenderError> {
    let profile = &resource.profile;
    match profile.default_action() {
        Action::Errno(errno) if errno != ErrnoRet::EPERM => out.lose(format!(
            "defaultErrnoRet: {errno}; calls without a rule get EPERM"
        ))?,
        Action::Trace(message) if message != ErrnoRet::EPERM.get() => {
            out.lose(format!("defaultErrnoRet: {message}"))?;
        }
        _ => {}
    }
    let mut text = String::from("spec:\n");
    if let Some(base) = &resource.base {
        text += &format!("  baseProfileName: {}\n", scalar(base));
    }
    if resource.disabled {
        text += "  state: Disabled\n";
    }
    text += &format!(
        "  defaultAction: {}\n",
        write_action(profile.default_action()).0
    );
    if let Some(arches) = profile.architectures() {
        let arches = arches.iter().map(|&arch| arch_name(arch));
        text += &list("architectures", &arches.collect::<Result<Vec<_>, _>>()?, 2);
    }
    if let Some(flags) = profile.flags() {
        let flags = flags.iter().map(|&flag| write_flag(flag).to_string());
        text += &list("flags", &flags.collect::<Vec<_>>(), 2);
    }
    if let Some(listener) = profile.listener() {
        text += &write_listener(listener, out)?;
    }
    if profile.rules().is_empty() {
        text += "  syscalls: []\n";
    } else {
        text += "  syscalls:\n";
        for (index, rule) in profile.rules().iter().enumerate() {
            text += &write_rule(rule, index, out)?;
        }
    }
    let head = out.head("#", &[]);
    Ok(format!(
        "{head}apiVersion: {VERSION}\nkind: {KIND}\n{}{text}",
        metadata(resource)
    ))
}

fn metadata(resource: &SpoProfile) -> String {
    let mut text = format!("metadata:\n  name: {}\n", scalar(&resource.name));
    if let Some(namespace) = &resource.namespace {
        text += &format!("  namespace: {}\n", scalar(namespace));
    }
    let maps = [
        ("labels", &resource.labels),
        ("annotations", &resource.annotations),
    ];
    for (name, map) in maps.into_iter().filter(|(_, map)| !map.is_empty()) {
        text += &format!("  {name}:\n");
        for (key, value) in map {
            text += &format!("    {}: {}\n", scalar(key), scalar(value));
        }
    }
    text
}

/// A list of the schema's kind `set`: each element once.
fn list(name: &str, elements: &[String], indent: usize) -> String {
    let indent = " ".repeat(indent);
    if elements.is_empty() {
        return format!("{indent}{name}: []\n");
    }
    let mut text = format!("{indent}{name}:\n");
    let mut written = HashSet::new();
    for element in elements.iter().filter(|element| written.insert(*element)) {
        text += &format!("{indent}- {}\n", scalar(element));
    }
    text
}

/// The architectures that the schema has.
fn arch_name(arch: Arch) -> Result<String, RenderError> {
    let missing = [Arch::Loongarch64, Arch::M68k, Arch::Sh, Arch::Sheb];
    let name = arch.oci_name().filter(|_| !missing.contains(&arch));
    let format = Format::Spo;
    name.map(str::to_owned)
        .ok_or(RenderError::Architecture { format, arch })
}

fn write_listener(listener: &Listener, out: &mut Output<'_>) -> Result<String, RenderError> {
    let path = listener.path();
    let is_allowed = path.strip_prefix(LISTENERS).is_some_and(|file| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        !file.is_empty() && file.bytes().all(allowed)
    });
    if !is_allowed {
        out.lose(format!("listenerPath: {path:?} is not in {LISTENERS}"))?;
        return Ok(String::new());
    }
    let mut text = format!("  listenerPath: {}\n", scalar(path));
    if let Some(metadata) = &listener.metadata {
        text += &format!("  listenerMetadata: {}\n", scalar(metadata));
    }
    Ok(text)
}

fn write_rule(rule: &Rule, index: usize, out: &mut Output<'_>) -> Result<String, RenderError> {
    let place = Place::Rule(index);
    let names = rule.names().join(", ");
    if rule.args().len() > 6 {
        out.lose(format!("{place} ({names}): more than 6 comparisons"))?;
        return Ok(String::new());
    }
    let greatest = i64::MAX.unsigned_abs();
    let values = rule
        .args()
        .iter()
        .flat_map(|arg| [Some(arg.value()), arg.value_two()]);
    if let Some(value) = values.flatten().find(|&value| value > greatest) {
        out.lose(format!("{place} ({names}): {value} is above 2^63-1"))?;
        return Ok(String::new());
    }
    let (action, errno) = write_action(rule.action());
    let mut text = format!("  - action: {action}\n");
    text += &list("names", rule.names(), 4);
    if let Some(errno) = errno {
        text += &format!("    errnoRet: {errno}\n");
    }
    if !rule.args().is_empty() {
        text += "    args:\n";
    }
    for arg in rule.args() {
        text += &format!(
            "    - index: {}\n      value: {}\n",
            arg.index(),
            arg.value()
        );
        if let Some(value_two) = arg.value_two() {
            text += &format!("      valueTwo: {value_two}\n");
        }
        text += &format!("      op: {}\n", write_op(arg.op()));
    }
    Ok(text)
}
