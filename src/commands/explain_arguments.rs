//! The part of `sc-record explain` about arguments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sc_record::profile::ArgumentRule;
use sc_record::recording::Recording;
use sc_record::review::{SeenArgument, dangerous_values, safe_rules, seen_arguments};
use sc_record::syscall::Arch;
use serde_json::{Value, json};

use super::input::times;

/// What `generate --args safe` decides about the arguments of each call.
type Rules = BTreeMap<String, Vec<ArgumentRule>>;

/// The values of a call's arguments that were recorded, and what `generate --args` makes of them: `rules`.
pub(super) fn of_call(name: &str, recording: &Recording, rules: &Rules) -> Vec<String> {
    let mut lines = Vec::new();
    for seen in seen_arguments(recording, name) {
        let SeenArgument {
            arch,
            argument,
            values,
        } = seen;
        let shown = values.map_or_else(
            || "too many values, or some were not recorded".to_owned(),
            |values| {
                let values = values.iter().map(|(&value, &number)| {
                    format!("{} {}", argument.show(value, arch), times(number, true))
                });
                values.collect::<Vec<_>>().join(", ")
            },
        );
        lines.push(format!("{arch}: argument {}: {shown}", argument.name));
    }
    if name == "clone3" && replaces_clone3(rules) {
        lines.push(format!("--args safe answers ENOSYS: {REPLACES_CLONE3}"));
    }
    for rule in rules.get(name).into_iter().flatten() {
        let what = match &rule.values {
            Ok(allowed) => {
                let show = |values: &BTreeSet<u64>| {
                    let shown = values
                        .iter()
                        .map(|&value| rule.argument.show(value, Arch::NATIVE));
                    shown.collect::<Vec<_>>().join(", ")
                };
                match show(&allowed.added) {
                    none if none.is_empty() => format!("allows {}", show(&allowed.recorded)),
                    added => format!("allows {}, and with these {added}", show(&allowed.recorded)),
                }
            }
            Err(why) => format!("allows any value: {why}"),
        };
        lines.push(format!(
            "argument {}: --args safe {what}",
            rule.argument.name
        ));
    }
    lines
}

const REPLACES_CLONE3: &str =
    "no filter can read its flags in memory; libraries use clone instead, whose flags are compared";

fn replaces_clone3(rules: &Rules) -> bool {
    let mut rules = rules.get("clone").into_iter().flatten();
    rules.any(|rule| rule.values.is_ok())
}

/// What `generate --args safe` can't restrict, and which dangerous values were recorded.
pub(super) fn all(recording: &Recording) -> String {
    let mut text = String::new();
    let rules = safe_rules(recording);
    let free = rules.iter().flat_map(|(name, rules)| {
        let free = rules
            .iter()
            .filter_map(|rule| Some((rule.argument.name, rule.values.as_ref().err()?)));
        free.map(move |(argument, why)| format!("  {name} {argument}: {why}"))
    });
    let free: Vec<_> = free.collect();
    if !free.is_empty() {
        let _ = writeln!(
            text,
            "\narguments with any value under --args safe:\n{}",
            free.join("\n")
        );
    }
    if replaces_clone3(&rules) {
        let _ = writeln!(
            text,
            "\nclone3 answers ENOSYS under --args safe: {REPLACES_CLONE3}"
        );
    }
    let dangerous: Vec<_> = (dangerous_values(recording).iter())
        .map(|value| format!("  {value}"))
        .collect();
    if !dangerous.is_empty() {
        let _ = writeln!(
            text,
            "\ndangerous values that were recorded:\n{}",
            dangerous.join("\n")
        );
    }
    text
}

pub(super) fn json_of_call(name: &str, recording: &Recording) -> Value {
    let seen = seen_arguments(recording, name).into_iter().map(|seen| {
        let values = seen.values.map(|values| {
            let values = values.iter().map(|(&value, count)| {
                json!({"value": value, "name": seen.argument.show(value, seen.arch), "count": count})
            });
            values.collect::<Vec<_>>()
        });
        json!({"arch": seen.arch.name(), "argument": seen.argument.name, "values": values})
    });
    let rules = safe_rules(recording).remove(name).unwrap_or_default();
    let rules = rules.iter().map(|rule| match &rule.values {
        Ok(allowed) => json!({"argument": rule.argument.name, "compared": allowed.compared, "recorded": allowed.recorded, "added": allowed.added}),
        Err(why) => json!({"argument": rule.argument.name, "any_value_because": why.to_string()}),
    });
    json!({"recorded": seen.collect::<Vec<_>>(), "args_safe": rules.collect::<Vec<_>>()})
}
