//! `SeccompProfile` of the Security Profiles Operator, as YAML (or JSON, which is YAML): OCI's profile in a resource of
//! Kubernetes. It differs in what it can say: no errno for the default action, no values above 2^63-1, at most 6
//! comparisons in a rule, no repetitions in lists, some ABIs less.
//!
//! Fields that the API server adds to a resource (`status`, `uid`, …) are skipped. The other parts of the resource are in
//! [`SpoProfile`]. With a base profile, or if it is disabled, the resource means something else than its profile.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccompAction as OciAction, LinuxSeccompFilterFlag as OciFlag,
    LinuxSeccompOperator as OciOp,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_saphyr::Spanned;

use super::oci::{read_action, read_arch, read_flag, read_op, write_action, write_flag, write_op};
use super::reading::{Extras, Input, Parsed, Places};
use super::writing::Output;
use super::yaml::{self, scalar};
use super::{
    Format, Invalid, ParseError, ParseErrorKind, Position, Reader, RenderError, Row, Writer,
};
use crate::profile::{Action, ArgCmp, ErrnoRet, Listener, Place, Profile, Rule, RuleError};
use crate::syscall::Arch;

pub(super) const ROW: Row = Row {
    name: "spo",
    extension: "yaml",
    about: "`SeccompProfile` of the Security Profiles Operator",
    is_oci: false,
    json: |outline| outline.has("apiVersion"),
    line: |line| line.starts_with("apiVersion:") || line.starts_with("kind:"),
    read: Reader::Text(parse),
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

/// A reader that notes where the parts are.
struct ResourceReader {
    text: yaml::Places,
    places: BTreeMap<Place, Position>,
}

impl ResourceReader {
    fn at<T>(&self, part: &Spanned<T>) -> Option<Position> {
        self.text.at(part)
    }

    fn note<T>(&mut self, place: Place, part: &Spanned<T>) {
        let position = self.at(part);
        self.places
            .extend(position.map(|position| (place, position)));
    }

    fn invalid<T, P>(
        &self,
        part: &Spanned<P>,
        path: String,
        invalid: impl Into<Invalid>,
    ) -> Result<T, ParseError> {
        let invalid = invalid.into();
        let kind = ParseErrorKind::Invalid { path, invalid };
        Err(ParseError::new(self.at(part), kind))
    }
}

fn parse(text: &str, input: &mut Input<'_>) -> Result<Parsed, ParseError> {
    let reading = input.reading;
    let resources: Vec<Resource> = yaml::documents(text)?;
    let mut reader = ResourceReader {
        text: yaml::Places::of(text),
        places: BTreeMap::new(),
    };
    let resource = select(resources, reading.select, &reader)?;
    let spec = resource.spec;
    // A resource keeps them.
    if reading.into != Some(Format::Spo) {
        if let Some(base) = &spec.base_profile_name {
            let what = format!(
                "spec.baseProfileName: the rules of {} hold too, and are not in this file",
                base.value
            );
            input.lose(reader.at(base), what)?;
        }
        if let Some(state) = spec.state.as_ref().filter(|s| s.value == State::Disabled) {
            input.lose(reader.at(state), "spec.state: the profile is disabled")?;
        }
        if let Some(disabled) = spec.disabled.as_ref().filter(|disabled| disabled.value) {
            let what = "spec.disabled: the profile is disabled";
            input.lose(reader.at(disabled), what)?;
        }
    }
    let base = spec
        .base_profile_name
        .as_ref()
        .map(|base| base.value.clone());
    let disabled = (spec.state.as_ref()).is_some_and(|state| state.value == State::Disabled)
        || (spec.disabled.as_ref()).is_some_and(|disabled| disabled.value);
    let profile = profile(spec, &mut reader)?;
    let whole = SpoProfile {
        name: resource.metadata.name.value,
        namespace: resource.metadata.namespace,
        labels: resource.metadata.labels.unwrap_or_default(),
        annotations: resource.metadata.annotations.unwrap_or_default(),
        base,
        disabled,
        profile: profile.clone(),
    };
    Ok(Parsed {
        extras: Some(Arc::new(whole)),
        ..Parsed::new(Format::Spo, profile, Places::Noted(reader.places))
    })
}

/// The selected resource, or the only one.
fn select(
    resources: Vec<Resource>,
    name: Option<&str>,
    reader: &ResourceReader,
) -> Result<Resource, ParseError> {
    let form = |position, message: String| Err(ParseError::form(position, message));
    for resource in &resources {
        if resource.kind.value != KIND {
            let message = format!("a {} is not a {KIND}", resource.kind.value);
            return form(reader.at(&resource.kind), message);
        }
        if !resource.api_version.value.starts_with(GROUP) {
            let message = format!(
                "apiVersion is {}, not {VERSION}",
                resource.api_version.value
            );
            return form(reader.at(&resource.api_version), message);
        }
    }
    let names: Vec<String> = (resources.iter())
        .map(|resource| resource.metadata.name.value.clone())
        .collect();
    let second = resources.get(1);
    let second = second.and_then(|resource| reader.at(&resource.metadata.name));
    let mut meant: Vec<Resource> = (resources.into_iter())
        .filter(|resource| name.is_none_or(|name| resource.metadata.name.value == name))
        .collect();
    match (meant.pop(), meant.is_empty()) {
        (Some(resource), true) => Ok(resource),
        (Some(_), false) => form(
            second,
            format!("there is more than one profile: {}", names.join(", ")),
        ),
        (None, _) => form(
            None,
            match name {
                Some(name) => format!("there is no profile {name}, only: {}", names.join(", ")),
                None => format!("there is no {KIND}"),
            },
        ),
    }
}

fn profile(spec: Spec, reader: &mut ResourceReader) -> Result<Profile, ParseError> {
    reader.note(Place::DefaultAction, &spec.default_action);
    let default_action = read_action(spec.default_action.value, None).or_else(|error| {
        reader.invalid(&spec.default_action, "spec.defaultAction".to_owned(), error)
    })?;
    let mut architectures = spec.architectures.as_ref().map(|_| Vec::new());
    for (index, arch) in spec.architectures.iter().flatten().enumerate() {
        let path = || format!("spec.architectures[{index}]");
        let read = read_arch(arch.value).or_else(|error| reader.invalid(arch, path(), error))?;
        let listed = architectures.get_or_insert_default();
        if !listed.contains(&read) {
            reader.note(Place::Architecture(listed.len()), arch);
            listed.push(read);
        }
    }
    let metadata = spec.listener_metadata;
    let listener = match spec.listener_path {
        Some(path) => {
            let metadata = metadata.map(|metadata| metadata.value);
            match Listener::new(path.value.clone(), metadata) {
                None => {
                    let name = "spec.listenerPath".to_owned();
                    return reader.invalid(&path, name, Invalid::EmptyListenerPath);
                }
                listener => listener,
            }
        }
        None => match metadata {
            Some(metadata) => {
                let name = "spec.listenerMetadata".to_owned();
                return reader.invalid(&metadata, name, Invalid::MetadataWithoutListener);
            }
            None => None,
        },
    };
    let mut rules = Vec::new();
    for (index, syscall) in spec.syscalls.into_iter().flatten().enumerate() {
        reader.note(Place::Rule(index), &syscall);
        rules.push(rule(syscall.value, index, reader)?);
    }
    Ok(Profile::new(default_action)
        .with_architectures(architectures)
        .with_flags((spec.flags).map(|flags| flags.into_iter().map(read_flag).collect()))
        .with_listener(listener)
        .with_rules(rules))
}

fn rule(syscall: Syscall, index: usize, reader: &mut ResourceReader) -> Result<Rule, ParseError> {
    let path = |part: &str| format!("spec.syscalls[{index}].{part}");
    let number = match &syscall.errno_ret {
        None => None,
        Some(errno) => match errno.value.get() {
            None => {
                let message = format!("{}: not a number", path("errnoRet"));
                return Err(ParseError::form(reader.at(errno), message));
            }
            number => number,
        },
    };
    let action = match (read_action(syscall.action, number), &syscall.errno_ret) {
        (Ok(action), _) => action,
        (Err(error), Some(errno)) => return reader.invalid(errno, path("errnoRet"), error),
        (Err(error), None) => return reader.invalid(&syscall.names, path("action"), error),
    };
    let mut args = Vec::new();
    for (number, arg) in syscall.args.into_iter().flatten().enumerate() {
        reader.note(
            Place::Arg {
                rule: index,
                arg: number,
            },
            &arg,
        );
        let arg = arg.value;
        let not_negative = |value: i64| {
            u64::try_from(value).map_err(|_| {
                let message = format!("{}: {value} is negative", path(&format!("args[{number}]")));
                ParseError::form(reader.at(&arg.index), message)
            })
        };
        let value = not_negative(arg.value.unwrap_or(0))?;
        let value_two = arg.value_two.map(not_negative).transpose()?;
        let compared = ArgCmp::new(arg.index.value, read_op(arg.op), value, value_two);
        args.push(compared.or_else(|error| {
            reader.invalid(&arg.index, path(&format!("args[{number}].index")), error)
        })?);
    }
    for (number, name) in syscall.names.value.iter().enumerate() {
        reader.note(
            Place::Name {
                rule: index,
                name: number,
            },
            name,
        );
    }
    let names = syscall.names.value.iter().map(|name| name.value.clone());
    Rule::new(names.collect(), action, args).or_else(|error| match error {
        RuleError::NoNames => reader.invalid(&syscall.names, path("names"), error),
        RuleError::EmptyName { index } | RuleError::UnprintableName { index } => {
            let name = &syscall.names.value[index];
            reader.invalid(name, path(&format!("names[{index}]")), error)
        }
    })
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
