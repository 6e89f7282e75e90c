//! A rule of Falco that reports calls outside a profile. Falco refuses nothing, so the rule has the list of expected calls,
//! but no action for the others. A file is read as the profile that logs every other call.
//!
//! The list is a Falco list, so that it can be read back and appended to elsewhere. A macro selects the containers; the user
//! has to adapt it to the deployment. Falco must watch all calls (`base_syscalls`, or `-A` in older versions).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::by_call::{Said, calls, is_plain, without_loading};
use super::error::{ParseError, Position, RenderError};
use super::name::Format;
use super::reading::{Parsed, PartPositions, ReadState};
use super::row::{FormatReader, FormatRow, Writer};
use super::writing::Output;
use super::yaml::{self, scalar};
use crate::profile::{Action, Profile, ProfilePart, Rule};

pub(super) const ROW: FormatRow = FormatRow {
    name: "falco",
    extension: "yaml",
    about: "Falco rule that reports calls outside the profile",
    is_oci: false,
    json: |_| false,
    line: |line| {
        let elements = ["- rule:", "- list:", "- macro:"];
        elements.iter().any(|start| line.starts_with(start))
    },
    read: FormatReader::Text(parse),
    write: Writer::Text(render),
    companion: None,
    edit: None,
};

/// The end of the list's name.
const LIST: &str = "_syscalls";

fn render(profile: &Profile, out: &mut Output<'_>) -> Result<String, RenderError> {
    without_loading(profile, out)?;
    if profile.default_action() == Action::Allow {
        out.lose("defaultAction: SCMP_ACT_ALLOW; only what is allowed can be listed")?;
    }
    let mut expected = Vec::new();
    for (name, said) in calls(profile, out)? {
        match said {
            Said::Always(Action::Allow) if is_plain(name) => expected.push(name),
            Said::Always(Action::Allow) => out.lose(format!("the name {name:?}"))?,
            // Falco reports it, like everything else that is not allowed.
            Said::Always(Action::Log | Action::Errno(_)) => {}
            Said::Always(action) if !action.executes() => {}
            Said::Always(action) => out.lose(format!("{name}: {action}"))?,
            Said::When(_) => out.lose(format!("{name}: its rules compare arguments"))?,
        }
    }
    let word: String = (out.writing.name.chars())
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    let word = format!("sc_record_{word}");
    let condition = scalar(&processes(out)?);
    let head = out.head(
        "#",
        &[
            "Reports the calls that the profile does not allow. Falco has to watch all calls:",
            "base_syscalls.all in falco.yaml, or falco -A.",
        ],
    );
    let rule = scalar(&format!(
        "System call outside the profile of {}",
        out.writing.name
    ));
    let items = if expected.is_empty() {
        "  items: []\n".to_owned()
    } else {
        let items: Vec<String> = (expected.iter())
            .map(|name| format!("  - {}\n", scalar(name)))
            .collect();
        let items = items.concat();
        format!("  items:\n{items}")
    };
    Ok(format!(
        "{head}- list: {word}{LIST}\n{items}\n\
         # Selects the workload's processes. In a cluster, k8s.pod.label or container.image.repository fit better.\n\
         - macro: {word}_workload\n  condition: {condition}\n\n\
         - rule: {rule}\n  desc: A workload makes a system call that its seccomp profile does not allow.\n  \
         condition: {word}_workload and syscall.type exists and not syscall.type in ({word}{LIST})\n  \
         output: unexpected system call (syscall=%syscall.type process=%proc.name command=%proc.cmdline \
         container=%container.id)\n  priority: WARNING\n  tags: [syscall, seccomp]\n"
    ))
}

/// The condition that selects the workload's processes: by the recorded executables, or by the name.
fn processes(out: &mut Output<'_>) -> Result<String, RenderError> {
    let quotable =
        |text: &str| !text.contains(['\'', '"', '\\']) && !text.contains(char::is_control);
    let mut paths = Vec::new();
    for path in out.writing.executables.into_iter().flatten() {
        match path.to_str().filter(|path| quotable(path)) {
            Some(path) => paths.push(format!("'{path}'")),
            None => out.lose(format!("the executable {}", path.display()))?,
        }
    }
    if paths.is_empty() {
        let name = out
            .writing
            .name
            .replace(|c: char| !quotable(c.encode_utf8(&mut [0; 4])), "");
        return Ok(format!("proc.name = '{name}'"));
    }
    Ok(format!("proc.exepath in ({})", paths.join(", ")))
}

fn problem<T>(position: Option<Position>, message: String) -> Result<T, ParseError> {
    Err(ParseError::form(position, message))
}

/// An element of a file of rules. Other fields are ignored.
#[derive(Deserialize)]
struct Element {
    list: Option<Spanned<String>>,
    items: Option<Vec<Spanned<String>>>,
    rule: Option<Spanned<String>>,
    condition: Option<Spanned<String>>,
}

fn parse(text: &str, input: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
    let select = input.reading.select;
    let places = yaml::YamlPositions::of(text);
    let documents: Vec<Vec<Element>> = yaml::documents(text)?;
    let elements: Vec<Element> = documents.into_iter().flatten().collect();
    let mut lists: BTreeMap<&str, Vec<&Spanned<String>>> = BTreeMap::new();
    for element in &elements {
        if let (Some(list), Some(items)) = (&element.list, &element.items) {
            lists.entry(&list.value).or_default().extend(items);
        }
    }
    let rules: Vec<(&Spanned<String>, &Spanned<String>, &str)> = (elements.iter())
        .filter_map(|element| {
            let (rule, condition) = (element.rule.as_ref()?, element.condition.as_ref()?);
            Some((rule, condition, expected(&condition.value)?))
        })
        .collect();
    let meant: Vec<_> = (rules.iter())
        .filter(|(rule, ..)| select.is_none_or(|name| rule.value == name))
        .collect();
    let names = || {
        let names: Vec<_> = rules.iter().map(|(rule, ..)| rule.value.as_str()).collect();
        names.join("; ")
    };
    let (condition, inner) = match (&meant[..], select) {
        ([(_, condition, inner)], _) => (condition, inner),
        ([], Some(name)) => {
            return problem(
                None,
                format!("no rule {name:?} has a list of calls, only: {}", names()),
            );
        }
        ([], None) => {
            return problem(
                None,
                "no rule has `not syscall.type in (…)`: there is no list of calls to read"
                    .to_owned(),
            );
        }
        (_, _) => return problem(None, format!("there is more than one rule: {}", names())),
    };
    let at = places.at(condition);
    let mut found = Vec::new();
    for word in inner
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        match lists.get(word) {
            Some(items) => {
                for item in items {
                    let at = places.at(item);
                    if lists.contains_key(item.value.as_str()) {
                        input.lose(at, format!("{}: a list in a list", item.value))?;
                    } else {
                        found.push((item.value.clone(), at));
                    }
                }
            }
            None => found.push((word.trim_matches(['"', '\'']).to_owned(), at)),
        }
    }
    let mut noted = BTreeMap::new();
    for (name, (_, at)) in found.iter().enumerate() {
        noted.extend(at.map(|at| (ProfilePart::Name { rule: 0, name }, at)));
    }
    noted.extend(at.map(|at| (ProfilePart::Rule(0), at)));
    let names: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
    let mut rule = None;
    if !names.is_empty() {
        let allow = Rule::new(names, Action::Allow, Vec::new());
        rule = Some(allow.or_else(|error| problem(at, error.to_string()))?);
    }
    let profile = Profile::new(Action::Log).with_rules(rule);
    Ok(Parsed::new(
        Format::Falco,
        profile,
        PartPositions::Noted(noted),
    ))
}

/// The list in `not syscall.type in (…)` or `not evt.type in (…)`.
fn expected(condition: &str) -> Option<&str> {
    let words = ["not syscall.type in", "not evt.type in"];
    let rest = words.iter().find_map(|words| {
        let place = condition.find(words)?;
        condition.get(place + words.len()..)
    })?;
    let inner = rest.trim_start().strip_prefix('(')?;
    inner.split_once(')').map(|(inner, _)| inner)
}
