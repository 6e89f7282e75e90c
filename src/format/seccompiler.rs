//! The JSON of seccompiler (rust-vmm, Firecracker): a filter for each thread, `{mismatch_action, match_action, filter}`.
//!
//! A filter has one action for matching calls and one ABI, which the file doesn't name (`seccompiler-bin --target-arch`).
//! Of the rules for a call with and without comparisons, seccompiler ignores the latter: such files are refused. `dword`
//! compares only the lower half of an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use itertools::Itertools;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::by_call::{Said, calls, condition, without_loading};
use super::detect::Fields;
use super::error::{Invalid, ParseError, ParseErrorKind, Position, RenderError};
use super::json::{Index, JsonPath, Object};
use super::name::Format;
use super::oci::form;
use super::reading::{Parsed, PartPositions, ReadState};
use super::row::{FormatReader, FormatRow, Writer};
use super::writing::Output;
use crate::profile::{Action, ArgCmp, ErrnoRet, Op, Profile, ProfilePart, Rule};
use crate::syscall::{Arch, Syscall};

pub(super) const ROW: FormatRow = FormatRow {
    name: "seccompiler",
    extension: "json",
    about: "JSON for seccompiler (Firecracker)",
    is_oci: false,
    json: |outline| {
        let is_filter = |value: &RawValue| {
            serde_json::from_str::<Fields>(value.get()).is_ok_and(|f| f.contains_key("filter"))
        };
        !outline.has("defaultAction") && outline.fields.values().any(|value| is_filter(value))
    },
    line: |_| false,
    read: FormatReader::Text(parse),
    write: Writer::Text(render),
    companion: None,
    edit: None,
};

/// The filters of a file by thread. Duplicate threads are an error.
struct Filters(BTreeMap<String, Object<ThreadFilter>>);

impl<'de> Deserialize<'de> for Filters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Filters, D::Error> {
        struct Threads;

        impl<'de> Visitor<'de> for Threads {
            type Value = Filters;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of filters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filters, A::Error> {
                let mut filters = BTreeMap::new();
                while let Some((thread, filter)) = map.next_entry::<String, _>()? {
                    if filters.contains_key(&thread) {
                        return Err(A::Error::custom(format!("duplicate filter `{thread}`")));
                    }
                    filters.insert(thread, filter);
                }
                Ok(Filters(filters))
            }
        }

        deserializer.deserialize_map(Threads)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThreadFilter {
    #[serde(alias = "default_action")]
    mismatch_action: RawAction,
    #[serde(alias = "filter_action")]
    match_action: RawAction,
    #[serde(rename = "filter")]
    rules: Vec<Object<RawRule>>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum RawAction {
    Allow,
    Errno(u32),
    KillThread,
    KillProcess,
    Log,
    Trace(u32),
    Trap,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    syscall: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<RawCondition>>,
    #[serde(rename = "comment", skip_serializing)]
    _comment: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct RawCondition {
    index: u8,
    #[serde(rename = "type")]
    width: Width,
    op: RawOp,
    val: u64,
    #[serde(rename = "comment", skip_serializing)]
    _comment: Option<String>,
}

#[derive(Clone, Copy, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Width {
    Dword,
    Qword,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum RawOp {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
    MaskedEq(u64),
    Ne,
}

/// Reads one filter.
struct FilterReader<'a, 'b> {
    index: Index<'a>,
    thread: String,
    input: &'a mut ReadState<'b>,
}

fn parse(text: &str, input: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
    let Filters(mut filters) = serde_json::from_str(text).map_err(|error| form(&error))?;
    let threads: Vec<String> = filters.keys().cloned().collect();
    let problem = |message: String| Err(ParseError::form(None, message));
    let thread = match (input.reading.select, &threads[..]) {
        (Some(thread), _) => thread.to_owned(),
        (None, [thread]) => thread.clone(),
        (None, []) => return problem("there is no filter".to_owned()),
        (None, threads) => {
            let message = format!("there is more than one filter: {}", threads.join(", "));
            return problem(message);
        }
    };
    let Some(Object(filter)) = filters.remove(&thread) else {
        let message = format!("there is no filter {thread}, only: {}", threads.join(", "));
        return problem(message);
    };
    let mut reader = FilterReader {
        index: Index::of(text),
        thread,
        input,
    };
    reader.profile(filter)
}

impl FilterReader<'_, '_> {
    fn path(&self) -> JsonPath {
        JsonPath::default().member(&self.thread)
    }

    fn at(&self, path: &JsonPath) -> Option<Position> {
        self.index.locate(path)
    }

    fn invalid<T>(&self, path: &JsonPath, invalid: Invalid) -> Result<T, ParseError> {
        let position = self.at(path);
        let path = path.to_string();
        let kind = ParseErrorKind::Invalid { path, invalid };
        Err(ParseError::new(position, kind))
    }

    fn profile(&mut self, filter: ThreadFilter) -> Result<Parsed, ParseError> {
        let root = self.path();
        let default_action = self.action(filter.mismatch_action, &root.field("mismatch_action"))?;
        let action = self.action(filter.match_action, &root.field("match_action"))?;
        if action == default_action {
            let position = self.at(&root.field("match_action"));
            let message =
                "match_action and mismatch_action are the same, which seccompiler refuses";
            return Err(ParseError::form(position, message));
        }
        let mut places = BTreeMap::new();
        let mut rules = Vec::new();
        let mut always: BTreeSet<String> = BTreeSet::new();
        let mut compared: BTreeMap<String, JsonPath> = BTreeMap::new();
        for (index, Object(raw)) in filter.rules.into_iter().enumerate() {
            let path = root.field("filter").index(index);
            let Some(args) = raw.args else {
                always.insert(raw.syscall);
                continue;
            };
            compared
                .entry(raw.syscall.clone())
                .or_insert_with(|| path.clone());
            if let Some(args) = self.args(args, &path)? {
                let position = self.at(&path);
                places.extend(position.map(|at| (ProfilePart::Rule(rules.len() + 1), at)));
                rules.push(self.rule(vec![raw.syscall], action, args, &path)?);
            }
        }
        if let Some((name, path)) = compared.iter().find(|(name, _)| always.contains(*name)) {
            let message =
                format!("{name} has a rule without args besides, which seccompiler ignores then");
            return Err(ParseError::form(self.at(path), message));
        }
        if always.is_empty() {
            places = (places.into_iter())
                .filter_map(|(place, at)| match place {
                    ProfilePart::Rule(rule) => Some((ProfilePart::Rule(rule - 1), at)),
                    _ => None,
                })
                .collect();
        } else {
            let always = always.into_iter().collect();
            let rule = self.rule(always, action, Vec::new(), &root.field("filter"))?;
            rules.insert(0, rule);
        }
        places.extend(
            self.at(&root.field("mismatch_action"))
                .map(|at| (ProfilePart::DefaultAction, at)),
        );
        let profile = Profile::new(default_action).with_rules(rules);
        Ok(Parsed::new(
            Format::Seccompiler,
            profile,
            PartPositions::Noted(places),
        ))
    }

    fn rule(
        &self,
        names: Vec<String>,
        action: Action,
        args: Vec<ArgCmp>,
        path: &JsonPath,
    ) -> Result<Rule, ParseError> {
        Rule::new(names, action, args)
            .or_else(|error| self.invalid(&path.field("syscall"), error.into()))
    }

    fn action(&self, raw: RawAction, path: &JsonPath) -> Result<Action, ParseError> {
        let too_great = |action, number, max| {
            let invalid = Invalid::ErrnoTooGreat {
                action,
                number,
                max,
            };
            self.invalid(path, invalid)
        };
        Ok(match raw {
            RawAction::Allow => Action::Allow,
            RawAction::KillThread => Action::KillThread,
            RawAction::KillProcess => Action::KillProcess,
            RawAction::Log => Action::Log,
            RawAction::Trap => Action::Trap,
            RawAction::Errno(number) => match ErrnoRet::new(number) {
                Some(errno) => Action::Errno(errno),
                None => return too_great("errno", number, ErrnoRet::MAX.get()),
            },
            RawAction::Trace(number) => match u16::try_from(number) {
                Ok(message) => Action::Trace(message),
                Err(_) => return too_great("trace", number, u16::MAX),
            },
        })
    }

    /// The comparisons of a rule; `None` if the rule is left out, since profiles lack such a comparison.
    fn args(
        &mut self,
        raw: Vec<RawCondition>,
        path: &JsonPath,
    ) -> Result<Option<Vec<ArgCmp>>, ParseError> {
        let path = path.field("args");
        if raw.is_empty() {
            let message = "a rule without comparisons has no args: seccompiler refuses empty ones";
            return Err(ParseError::form(self.at(&path), message));
        }
        let mut args: Vec<ArgCmp> = Vec::new();
        for (index, condition) in raw.into_iter().enumerate() {
            let path = path.index(index);
            let Some((op, value, two)) = compared(&condition) else {
                let what = format!("{path}: an order of the lower half of an argument");
                self.input.lose(self.at(&path), what)?;
                return Ok(None);
            };
            let arg = ArgCmp::new(condition.index.into(), op, value, two)
                .or_else(|error| self.invalid(&path.field("index"), error.into()))?;
            if args.iter().any(|other| other.index() == arg.index()) {
                let what = format!("{path}: two comparisons of one argument that must both hold");
                self.input.lose(self.at(&path), what)?;
                return Ok(None);
            }
            args.push(arg);
        }
        Ok(Some(args))
    }
}

/// A condition as a profile's comparison; `None` if profiles lack such a comparison.
fn compared(condition: &RawCondition) -> Option<(Op, u64, Option<u64>)> {
    const LOWER: u64 = 0xffff_ffff;
    let value = condition.val;
    Some(match (condition.op, condition.width) {
        (RawOp::MaskedEq(mask), Width::Qword) => (Op::MaskedEq, mask, Some(value)),
        (RawOp::MaskedEq(mask), Width::Dword) => (Op::MaskedEq, mask & LOWER, Some(value & LOWER)),
        (RawOp::Eq, Width::Dword) => (Op::MaskedEq, LOWER, Some(value & LOWER)),
        (_, Width::Dword) => return None,
        (RawOp::Eq, _) => (Op::Eq, value, None),
        (RawOp::Ne, _) => (Op::Ne, value, None),
        (RawOp::Lt, _) => (Op::Lt, value, None),
        (RawOp::Le, _) => (Op::Le, value, None),
        (RawOp::Ge, _) => (Op::Ge, value, None),
        (RawOp::Gt, _) => (Op::Gt, value, None),
    })
}

#[derive(Serialize)]
struct OutFilter {
    mismatch_action: RawAction,
    match_action: RawAction,
    filter: Vec<RawRule>,
}

fn render(profile: &Profile, out: &mut Output<'_>) -> Result<String, RenderError> {
    without_loading(profile, out)?;
    let arch = out.single_arch(profile)?.unwrap_or(Arch::NATIVE);
    let default = profile.default_action();
    // No other action resembles one that it lacks.
    let mismatch_action =
        write_action(default).ok_or_else(|| out.unsaid(format!("defaultAction: {default}")))?;
    let calls = calls(profile, out)?;
    // The most frequent action.
    let actions = calls.values().flat_map(|said| match said {
        Said::Always(action) => vec![*action],
        Said::When(all) => all.iter().map(|(_, action)| *action).collect(),
    });
    let counts = actions.counts().into_iter();
    let most = counts.max_by_key(|(action, count)| (*count, *action));
    let matched = match (most, default) {
        (Some((action, _)), _) => action,
        (None, Action::Allow) => Action::KillProcess,
        (None, _) => Action::Allow,
    };
    let match_action = write_action(matched).ok_or_else(|| out.unsaid(matched.to_string()))?;
    let mut filter = Vec::new();
    for (name, said) in calls {
        // seccompiler refuses names of other ABIs, which have no effect on this one.
        if Syscall::from_name(arch, name).is_none() {
            let mut all = Arch::ALL.iter();
            if !all.any(|&other| Syscall::from_name(other, name).is_some()) {
                out.lose(format!("{name} is not a system call of any known ABI"))?;
            }
            continue;
        }
        let rule = |args: Option<Vec<RawCondition>>| RawRule {
            syscall: name.to_owned(),
            args,
            _comment: None,
        };
        match said {
            Said::Always(action) if action == matched => filter.push(rule(None)),
            Said::Always(action) => out.lose(format!("{name}: {action}"))?,
            Said::When(alternatives) => {
                for (all, action) in alternatives {
                    if action == matched {
                        filter.push(rule(Some(all.iter().map(write_condition).collect())));
                    } else {
                        out.lose(format!("{name} if {}: {action}", condition(all)))?;
                    }
                }
            }
        }
    }
    // Rules without comparisons come first, as in a profile that is read.
    filter.sort_by_key(|rule| rule.args.is_some());
    let filter = OutFilter {
        mismatch_action,
        match_action,
        filter,
    };
    out.json(&BTreeMap::from([(out.writing.name, filter)]))
}

fn write_action(action: Action) -> Option<RawAction> {
    Some(match action {
        Action::KillProcess => RawAction::KillProcess,
        Action::KillThread => RawAction::KillThread,
        Action::Trap => RawAction::Trap,
        Action::Errno(errno) => RawAction::Errno(errno.get().into()),
        Action::Trace(message) => RawAction::Trace(message.into()),
        Action::Log => RawAction::Log,
        Action::Allow => RawAction::Allow,
        Action::Notify => return None,
    })
}

fn write_condition(arg: &ArgCmp) -> RawCondition {
    let value = arg.value();
    let (op, val) = match arg.op() {
        Op::Eq => (RawOp::Eq, value),
        Op::Ne => (RawOp::Ne, value),
        Op::Lt => (RawOp::Lt, value),
        Op::Le => (RawOp::Le, value),
        Op::Ge => (RawOp::Ge, value),
        Op::Gt => (RawOp::Gt, value),
        Op::MaskedEq => (RawOp::MaskedEq(value), arg.value_two().unwrap_or(0)),
    };
    RawCondition {
        // There are 6.
        index: u8::try_from(arg.index()).unwrap_or(u8::MAX),
        width: Width::Qword,
        op,
        val,
        _comment: None,
    }
}
