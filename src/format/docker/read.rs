//! Reads the dialects of Docker and Podman.

use std::sync::Arc;

use super::model::{
    ArchMapEntry, Arches, DockerProfile, DockerRule, RawCondition, RuleCondition, Seccomp,
    SubArches, SyscallEntry, condition_arch, errno_of_name,
};
use crate::format::error::{Invalid, ParseError, ParseErrorKind};
use crate::format::json::{JsonPath, Object};
use crate::format::machine::KernelVersion;
use crate::format::name::Format;
use crate::format::oci;
use crate::format::oci::{
    InvalidAt, form, invalid, read_action, read_arch, read_arches, read_flag, read_listener,
    read_rule,
};
use crate::format::reading::{Parsed, PartPositions, ReadState};
use crate::profile::ProfilePart;

pub(super) fn parse(text: &str, input: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
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
    let path = move |place: ProfilePart| {
        let mut place = place;
        let legacy = match &mut place {
            // They may come from the map, where indices mean something else.
            ProfilePart::Architecture(_) => {
                return Some(JsonPath::default().field("architectures"));
            }
            ProfilePart::DefaultAction => false,
            ProfilePart::Rule(rule)
            | ProfilePart::Name { rule, .. }
            | ProfilePart::Arg { rule, .. } => {
                let (index, legacy) = *holding.get(*rule)?;
                *rule = index;
                legacy
            }
        };
        match place {
            ProfilePart::Name { rule, .. } if legacy => {
                Some(oci::path(ProfilePart::Rule(rule)).field("name"))
            }
            place => Some(oci::path(place)),
        }
    };
    Ok(Parsed {
        extras: Some(Arc::new(docker)),
        ..Parsed::new(format, profile, PartPositions::Json(Arc::new(path)))
    })
}

/// A field of the other dialect.
fn foreign(seccomp: &Seccomp, format: Format) -> Option<JsonPath> {
    let root = JsonPath::default();
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

fn has_legacy_name(syscall: &SyscallEntry) -> bool {
    syscall.name.as_ref().is_some_and(|name| !name.is_empty())
}

fn profile(seccomp: Seccomp) -> Result<DockerProfile, InvalidAt> {
    let root = JsonPath::default();
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

fn sub_arches(entry: ArchMapEntry, path: &JsonPath) -> Result<SubArches, InvalidAt> {
    let arch = read_arch(entry.architecture)
        .or_else(|error| invalid(path.field("architecture"), error))?;
    let others = read_arches(entry.sub_architectures, &path.field("subArchitectures"))?;
    Ok(SubArches {
        arch,
        others: others.unwrap_or_default(),
    })
}

fn rule(syscall: SyscallEntry, path: &JsonPath) -> Result<DockerRule, InvalidAt> {
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

fn condition(
    raw: Option<Object<RawCondition>>,
    path: &JsonPath,
) -> Result<RuleCondition, InvalidAt> {
    let Some(Object(raw)) = raw else {
        return Ok(RuleCondition::default());
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
    Ok(RuleCondition {
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
