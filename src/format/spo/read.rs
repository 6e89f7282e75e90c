//! Reads resources.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_saphyr::Spanned;

use super::model::{GROUP, KIND, Resource, Spec, SpoProfile, State, SyscallEntry, VERSION};
use crate::format::error::{Invalid, ParseError, ParseErrorKind, Position};
use crate::format::name::Format;
use crate::format::oci::{read_action, read_arch, read_flag, read_op};
use crate::format::reading::{Parsed, PartPositions, ReadState};
use crate::format::yaml;
use crate::profile::{ArgCmp, Listener, Profile, ProfilePart, Rule, RuleError};

/// A reader that notes where the parts are.
struct ResourceReader {
    text: yaml::YamlPositions,
    places: BTreeMap<ProfilePart, Position>,
}

impl ResourceReader {
    fn at<T>(&self, part: &Spanned<T>) -> Option<Position> {
        self.text.at(part)
    }

    fn note<T>(&mut self, place: ProfilePart, part: &Spanned<T>) {
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

pub(super) fn parse(text: &str, input: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
    let reading = input.reading;
    let resources: Vec<Resource> = yaml::documents(text)?;
    let mut reader = ResourceReader {
        text: yaml::YamlPositions::of(text),
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
        ..Parsed::new(Format::Spo, profile, PartPositions::Noted(reader.places))
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
    reader.note(ProfilePart::DefaultAction, &spec.default_action);
    let default_action = read_action(spec.default_action.value, None).or_else(|error| {
        reader.invalid(&spec.default_action, "spec.defaultAction".to_owned(), error)
    })?;
    let mut architectures = spec.architectures.as_ref().map(|_| Vec::new());
    for (index, arch) in spec.architectures.iter().flatten().enumerate() {
        let path = || format!("spec.architectures[{index}]");
        let read = read_arch(arch.value).or_else(|error| reader.invalid(arch, path(), error))?;
        let listed = architectures.get_or_insert_default();
        if !listed.contains(&read) {
            reader.note(ProfilePart::Architecture(listed.len()), arch);
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
        reader.note(ProfilePart::Rule(index), &syscall);
        rules.push(rule(syscall.value, index, reader)?);
    }
    Ok(Profile::new(default_action)
        .with_architectures(architectures)
        .with_flags((spec.flags).map(|flags| flags.into_iter().map(read_flag).collect()))
        .with_listener(listener)
        .with_rules(rules))
}

fn rule(
    syscall: SyscallEntry,
    index: usize,
    reader: &mut ResourceReader,
) -> Result<Rule, ParseError> {
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
            ProfilePart::Arg {
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
            ProfilePart::Name {
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
