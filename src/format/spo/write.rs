//! Writes resources.

use std::collections::HashSet;

use super::model::{KIND, SpoProfile, VERSION};
use crate::format::error::RenderError;
use crate::format::name::Format;
use crate::format::oci::{write_action, write_flag, write_op};
use crate::format::reading::Extras;
use crate::format::writing::Output;
use crate::format::yaml::scalar;
use crate::profile::{Action, ErrnoRet, Listener, ProfilePart, Rule};
use crate::syscall::Arch;

/// The directory that the schema allows for listeners.
const LISTENERS: &str = "/var/run/security-profiles-operator/";

impl Extras for SpoProfile {
    fn render(&self, out: &mut Output<'_>) -> Option<Result<String, RenderError>> {
        (out.format == Format::Spo).then(|| render(self, out))
    }
}

pub(super) fn render(resource: &SpoProfile, out: &mut Output<'_>) -> Result<String, RenderError> {
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
    let place = ProfilePart::Rule(index);
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
