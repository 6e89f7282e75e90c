//! Writes the dialects of Docker and Podman.

use super::model::{
    ArchMapEntry, Arches, DockerProfile, DockerRule, RawCondition, RuleCondition, Seccomp,
    SyscallEntry, errno_name,
};
use crate::format::error::RenderError;
use crate::format::json::Object;
use crate::format::name::Format;
use crate::format::oci::{write_action, write_arch, write_arches, write_args, write_flags};
use crate::format::reading::Extras;
use crate::format::writing::Output;
use crate::profile::Action;

impl Extras for DockerProfile {
    fn render(&self, out: &mut Output<'_>) -> Option<Result<String, RenderError>> {
        matches!(out.format, Format::Docker | Format::Podman).then(|| render(self, out))
    }
}

pub(super) fn render(profile: &DockerProfile, out: &mut Output<'_>) -> Result<String, RenderError> {
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
) -> Result<Option<SyscallEntry>, RenderError> {
    let format = out.format;
    let conditions = [&rule.includes, &rule.excludes];
    if format == Format::Podman && conditions.iter().any(|c| c.min_kernel.is_some()) {
        let names = rule.rule.names().join(", ");
        out.lose(format!("syscalls[{index}] ({names}): minKernel"))?;
        return Ok(None);
    }
    let (action, errno_ret) = write_action(rule.rule.action());
    Ok(Some(SyscallEntry {
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

fn write_condition(condition: &RuleCondition) -> Option<Object<RawCondition>> {
    let list = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let raw = RawCondition {
        caps: list(&condition.caps),
        arches: list(&condition.arches),
        min_kernel: condition.min_kernel.map(|version| version.to_string()),
    };
    (*condition != RuleCondition::default()).then_some(Object(raw))
}
