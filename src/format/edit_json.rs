//! Edits OCI's JSON.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use serde::Serialize;
use serde_json::value::RawValue;

use super::json::PathStep;
use crate::profile::{ArgCmp, Edit, Profile};
use crate::syscall::Arch;

const ARCHITECTURES: &[PathStep] = &[PathStep::Field("architectures")];
const SYSCALLS: &[PathStep] = &[PathStep::Field("syscalls")];

/// Changes one list after another. `None` if a list isn't at its place.
pub(super) fn edit_json(text: &str, profile: &Profile, edit: &Edit) -> Option<String> {
    let mut text = text.to_owned();
    let listed = profile.architectures().unwrap_or_default();
    let arches = edit.new_arches(listed);
    if !arches.is_empty() {
        let names: Option<Vec<&str>> = arches.into_iter().map(Arch::oci_name).collect();
        text = match list(&text, ARCHITECTURES) {
            Some(_) => (names?.into_iter()).try_fold(text, |text, name| {
                let end = list(&text, ARCHITECTURES)?.items.len();
                insert(&text, &list(&text, ARCHITECTURES)?, end, &name)
            })?,
            None => set_field(&text, "architectures", &names?)?,
        };
    }
    match Edit::target(profile) {
        Some(rule) => {
            let mut names = profile.rules().get(rule)?.names().to_vec();
            let mut new = Vec::new();
            let is_sorted = names.is_sorted();
            for name in edit.new_in(profile.rules().get(rule)?) {
                let at = Edit::place(&names, is_sorted, name);
                names.insert(at, name.clone());
                new.push((at, name));
            }
            if !new.is_empty() {
                text = insert_all(&text, &names_of(&text, rule)?, &new)?;
            }
        }
        None if edit.allow.is_empty() => {}
        None => {
            text = add_rule(&text, edit.allow.iter().collect(), &[])?;
        }
    }
    for (name, args) in &edit.allow_with {
        text = add_rule(&text, vec![name], args)?;
    }
    // From the end, so that earlier indices stay valid.
    for (&rule, gone) in edit.remove.iter().rev() {
        let names = strings(&text, &names_of(&text, rule)?)?;
        if names.iter().all(|name| gone.contains(name)) {
            text = remove(&text, &list(&text, SYSCALLS)?, rule)?;
            continue;
        }
        let gone: Vec<bool> = names.iter().map(|name| gone.contains(name)).collect();
        text = remove_all(&text, &names_of(&text, rule)?, &gone)?;
    }
    Some(text)
}

/// A rule as it is written.
#[derive(Serialize)]
struct NewRule<'a> {
    names: Vec<&'a String>,
    action: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<NewArg>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewArg {
    index: usize,
    value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_two: Option<u64>,
    op: String,
}

/// Adds a rule that allows calls, after the others.
fn add_rule(text: &str, names: Vec<&String>, args: &[ArgCmp]) -> Option<String> {
    let args = args.iter().map(|arg| NewArg {
        index: arg.index(),
        value: arg.value(),
        value_two: arg.value_two(),
        op: arg.op().to_string(),
    });
    let rule = NewRule {
        names,
        action: "SCMP_ACT_ALLOW",
        args: args.collect(),
    };
    match list(text, SYSCALLS) {
        Some(rules) => insert(text, &rules, rules.items.len(), &rule),
        None => set_field(text, "syscalls", &[rule]),
    }
}

/// Where a list is in a text, and its items.
struct List {
    inside: Range<usize>,
    items: Vec<Range<usize>>,
}

/// Finds a list. `None` if there is none.
fn list(text: &str, path: &[PathStep]) -> Option<List> {
    let part = part(text, path)?;
    let items: Vec<&RawValue> = serde_json::from_str(part).ok()?;
    let whole = range_of(text, part)?;
    let items = items.iter().map(|item| range_of(text, item.get()));
    Some(List {
        inside: whole.start + 1..whole.end.checked_sub(1)?,
        items: items.collect::<Option<_>>()?,
    })
}

fn names_of(text: &str, rule: usize) -> Option<List> {
    let path = [
        PathStep::Field("syscalls"),
        PathStep::Index(rule),
        PathStep::Field("names"),
    ];
    list(text, &path)
}

fn strings(text: &str, list: &List) -> Option<Vec<String>> {
    let items = list.items.iter();
    items
        .map(|item| serde_json::from_str(text.get(item.clone())?).ok())
        .collect()
}

type Fields<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// A part of a JSON text, as a slice of it.
fn part<'a>(text: &'a str, path: &[PathStep]) -> Option<&'a str> {
    let mut part: &str = serde_json::from_str::<&RawValue>(text).ok()?.get();
    for step in path {
        part = match step {
            PathStep::Index(index) => {
                let items: Vec<&RawValue> = serde_json::from_str(part).ok()?;
                items.get(*index)?.get()
            }
            step => {
                let fields: Fields = serde_json::from_str(part).ok()?;
                fields.get(step.name()?)?.get()
            }
        };
    }
    Some(part)
}

/// The range of a slice in a text.
fn range_of(text: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let range = start..start + part.len();
    (text.get(range.clone())? == part).then_some(range)
}

/// Inserts a value into a list, in the layout of its neighbours.
fn insert(text: &str, list: &List, at: usize, value: &impl Serialize) -> Option<String> {
    let items = &list.items;
    let Some(first) = items.first() else {
        return splice(text, list.inside.clone(), &compact(value)?);
    };
    // The text between the neighbours, or before the only item.
    let between = |left: usize| {
        let between = items.get(left)?.end..items.get(left + 1)?.start;
        Some(text.get(between)?.to_owned())
    };
    let left = at.saturating_sub(1).min(items.len().saturating_sub(2));
    let separator = match between(left) {
        Some(separator) => separator,
        None => format!(",{}", text.get(list.inside.start..first.start)?),
    };
    let value = laid_out(text, value, &separator)?;
    if let Some(next) = items.get(at) {
        return splice(text, next.start..next.start, &(value + &separator));
    }
    let end = items.last()?.end;
    splice(text, end..end, &(separator + &value))
}

/// Inserts several strings, each as [`insert`] does.
fn insert_all(text: &str, into: &List, new: &[(usize, &String)]) -> Option<String> {
    let Some((first, last)) = into.items.first().zip(into.items.last()) else {
        let names: Vec<String> = new.iter().try_fold(Vec::new(), |mut names, (at, name)| {
            names.insert(*at, compact(name)?);
            Some(names)
        })?;
        return splice(text, into.inside.clone(), &names.join(","));
    };
    let part = |range: Range<usize>| text.get(range).map(Cow::Borrowed);
    let items = into.items.iter().map(|item| part(item.clone()));
    let mut items: Vec<Cow<'_, str>> = items.collect::<Option<_>>()?;
    let between = into
        .items
        .windows(2)
        .map(|two| part(two[0].end..two[1].start));
    let mut separators: Vec<Cow<'_, str>> = between.collect::<Option<_>>()?;
    for &(at, name) in new {
        let left = at.saturating_sub(1).min(items.len().saturating_sub(2));
        let separator = match separators.get(left) {
            Some(separator) => separator.clone(),
            None => format!(",{}", text.get(into.inside.start..first.start)?).into(),
        };
        // A string is on one line.
        items.insert(at, compact(name)?.into());
        separators.insert(at.min(separators.len()), separator);
    }
    let mut all = String::new();
    for (number, item) in items.iter().enumerate() {
        if let Some(before) = number.checked_sub(1) {
            all += separators.get(before)?;
        }
        all += item;
    }
    splice(text, first.start..last.end, &all)
}

/// Removes some items of a list.
fn remove_all(text: &str, list: &List, gone: &[bool]) -> Option<String> {
    let items = &list.items;
    let last_kept = gone.iter().rposition(|gone| !gone)?;
    let mut new = String::new();
    let mut copied = 0;
    for at in (0..items.len()).filter(|at| gone.get(*at) == Some(&true)) {
        let cut = if at < last_kept {
            items[at].start..items[at + 1].start
        } else {
            items[at - 1].end..items[at].end
        };
        new += text.get(copied..cut.start)?;
        copied = cut.end;
    }
    Some(new + text.get(copied..)?)
}

/// Removes an item from a list.
fn remove(text: &str, list: &List, at: usize) -> Option<String> {
    let items = &list.items;
    let item = items.get(at)?;
    let gone = match (
        at.checked_sub(1).and_then(|left| items.get(left)),
        items.get(at + 1),
    ) {
        (_, Some(next)) => item.start..next.start,
        (Some(before), None) => before.end..item.end,
        (None, None) => list.inside.clone(),
    };
    splice(text, gone, "")
}

/// Sets a field of the outermost object that is absent or null.
fn set_field(text: &str, name: &str, value: &impl Serialize) -> Option<String> {
    let whole = part(text, &[])?;
    let fields: Fields = serde_json::from_str(whole).ok()?;
    let mut values: Vec<Range<usize>> = (fields.values())
        .map(|value| range_of(text, value.get()))
        .collect::<Option<_>>()?;
    values.sort_by_key(|range| range.start);
    // From the brace or a value to the key that follows.
    let start = range_of(text, whole)?.start + 1;
    let to_key = |from: usize| {
        let rest = text.get(from..)?;
        Some(rest.get(..rest.find('"')?)?.to_owned())
    };
    let separator = match values.as_slice() {
        [first, _, ..] => to_key(first.end)?,
        _ => format!(",{}", to_key(start)?),
    };
    let value = laid_out(text, value, &separator)?;
    if let Some(null) = fields.get(name) {
        return splice(text, range_of(text, null.get())?, &value);
    }
    let end = values.last()?.end;
    let colon = if separator.contains('\n') { ": " } else { ":" };
    let field = format!("{separator}\"{name}\"{colon}{value}");
    splice(text, end..end, &field)
}

fn splice(text: &str, range: Range<usize>, new: &str) -> Option<String> {
    let (before, after) = (text.get(..range.start)?, text.get(range.end..)?);
    Some([before, new, after].concat())
}

fn compact(value: &impl Serialize) -> Option<String> {
    serde_json::to_string(value).ok()
}

/// A value in the layout of this separator: over several lines if its neighbours begin new ones.
fn laid_out(text: &str, value: &impl Serialize, separator: &str) -> Option<String> {
    let Some((_, indent)) = separator.rsplit_once('\n') else {
        return compact(value);
    };
    let newline = if separator.contains('\r') {
        "\r\n"
    } else {
        "\n"
    };
    let mut bytes = Vec::new();
    let unit = indent_of(text);
    let formatter = serde_json::ser::PrettyFormatter::with_indent(unit.as_bytes());
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).ok()?;
    let pretty = String::from_utf8(bytes).ok()?;
    Some(pretty.replace('\n', &format!("{newline}{indent}")))
}

/// The indentation of a text: that of its first key.
fn indent_of(text: &str) -> &str {
    let lines = text.lines().skip(1);
    let mut indents = lines.map(|line| &line[..line.len() - line.trim_start().len()]);
    indents.find(|indent| !indent.is_empty()).unwrap_or("  ")
}
