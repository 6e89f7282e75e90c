//! The compiled filter: an array of `struct sock_filter` in this machine's byte order. It is written as `sc-record run`
//! loads it, for this machine's ABIs.
//!
//! To read it, the program is followed for every call of every ABI that it distinguishes ([`explain`]): its answers are
//! the profile. Conditions on arguments become comparisons. The profile is compiled again and must answer as the program
//! does: each call that differs is a loss. Calls of other ABIs are up to the runtime and not part of a profile.

use std::collections::{BTreeMap, BTreeSet};

use super::by_call::without_loading;
use super::error::{ParseError, ParseErrorKind, Position, RenderError};
use super::name::Format;
use super::reading::{Parsed, PartPositions, ReadState};
use super::row::{FormatReader, FormatRow, Writer};
use super::writing::{Compile, Output};
use crate::bpf::{
    ArchAnswers, Condition, DataField, FilterAnswer, InvalidProgram, Program, explain,
    explain_arch, explain_other_arches,
};
use crate::profile::{Action, ArgCmp, Op, Profile, Rule};
use crate::syscall::{Arch, Syscall};

pub(super) const ROW: FormatRow = FormatRow {
    name: "bpf",
    extension: "bpf",
    about: "Compiled filter, as bubblewrap takes it",
    is_oci: false,
    json: |_| false,
    line: |_| false,
    read: FormatReader::Bytes(parse),
    write: Writer::Bytes(render),
    companion: None,
    edit: None,
};

fn render(profile: &Profile, out: &mut Output<'_>) -> Result<Vec<u8>, RenderError> {
    without_loading(profile, out)?;
    let (program, unknown) =
        compiled(profile, out.writing.compile).map_err(|why| RenderError::Compile { why })?;
    for name in unknown {
        out.lose(name)?;
    }
    Ok(program.to_bytes())
}

fn compiled(profile: &Profile, compile: Option<Compile>) -> Result<(Program, Vec<String>), String> {
    compile.ok_or("there is no compiler")?(profile)
}

/// Offsets are columns of the one line that bytes are.
fn at(offset: usize) -> Position {
    Position {
        line: 1,
        column: offset + 1,
    }
}

fn parse(bytes: &[u8], input: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
    let program = Program::from_bytes(bytes).map_err(|error| {
        let offset = match error {
            InvalidProgram::Length(length) => length,
            error => error.at().unwrap_or(0) * 8,
        };
        ParseError::new(Some(at(offset)), ParseErrorKind::Form(error.to_string()))
    })?;
    let profile = profile(&program, input)?;
    let places = PartPositions::Noted(BTreeMap::new());
    Ok(Parsed::new(Format::Bpf, profile, places))
}

/// The answers of one ABI, by name.
type NamedAnswers = BTreeMap<String, FilterAnswer>;

fn profile(program: &Program, input: &mut ReadState<'_>) -> Result<Profile, ParseError> {
    let other = explain_other_arches(program);
    let tables: Vec<ArchAnswers> = (explain(program).into_iter())
        .filter(|table| table.rest != other || !table.calls.is_empty())
        .collect();
    // A filter that answers the same to everything has no ABIs.
    let rest = tables.first().map_or(&other, |table| &table.rest);
    let Some(default_action) = rest.always() else {
        let what = "the answer to calls that the program doesn't name depends on arguments";
        return Err(ParseError::new(
            Some(at(0)),
            ParseErrorKind::Unsaid(what.to_owned()),
        ));
    };
    let mut answers: BTreeMap<Arch, NamedAnswers> = BTreeMap::new();
    for table in &tables {
        if table.rest.always() != Some(default_action) {
            let what = format!(
                "{}: calls that aren't named get a different answer",
                table.arch
            );
            input.lose(None, what)?;
        }
        answers.insert(table.arch, named(table, input)?);
    }
    let mut rules = Rules::default();
    let names: BTreeSet<&String> = answers.values().flat_map(NamedAnswers::keys).collect();
    for name in names {
        // These rules come from the names of the calls that can be made through them.
        if matches!(name.as_str(), "socketcall" | "ipc") && multiplexes(&answers, name) {
            continue;
        }
        // The ABIs that have the call must agree on it.
        let having = (answers.iter())
            .filter(|(arch, _)| Syscall::from_name(**arch, name).is_some())
            .map(|(_, answers)| answers.get(name));
        let outcomes: Vec<Option<&FilterAnswer>> = having.collect();
        let Some(Some(first)) = outcomes.first() else {
            input.lose(None, format!("{name}: the answer differs between ABIs"))?;
            continue;
        };
        if outcomes.iter().any(|outcome| *outcome != Some(first)) && !same_narrow(&outcomes) {
            input.lose(None, format!("{name}: the answer differs between ABIs"))?;
            continue;
        }
        if !rules.add(name, first, default_action) {
            input.lose(
                None,
                format!("{name}: conditions that a profile can't compare"),
            )?;
        }
    }
    let arches = tables.iter().map(|table| table.arch).collect();
    let mut profile = Profile::new(default_action)
        .with_architectures((!tables.is_empty()).then_some(arches))
        .with_rules(rules.into_rules());
    verify(&mut profile, &tables, input)?;
    Ok(profile)
}

fn multiplexes(answers: &BTreeMap<Arch, NamedAnswers>, name: &str) -> bool {
    let mut outcomes = answers.values().filter_map(|answers| answers.get(name));
    outcomes.any(|outcome| outcome.always().is_none())
}

/// One rule makes different comparisons on 32-bit and 64-bit ABIs, since the former have no upper halves. Compiling the
/// profile again shows whether one rule did.
fn same_narrow(outcomes: &[Option<&FilterAnswer>]) -> bool {
    outcomes
        .iter()
        .all(|outcome| matches!(outcome, Some(FilterAnswer::Depends { .. })))
}

/// The calls of a table by name.
fn named(table: &ArchAnswers, input: &mut ReadState<'_>) -> Result<NamedAnswers, ParseError> {
    let mut answers = NamedAnswers::new();
    for (&nr, outcome) in &table.calls {
        let syscall = Syscall {
            arch: table.arch,
            nr,
        };
        if let Some(name) = syscall.name() {
            answers.insert(name.into_owned(), outcome.clone());
        } else {
            let what = format!("{} {syscall}: a call without a name", table.arch);
            input.lose(None, what)?;
        }
    }
    Ok(answers)
}

/// The rules so far.
#[derive(Default)]
struct Rules {
    plain: BTreeMap<Action, Vec<String>>,
    compared: Vec<(String, Action, Vec<ArgCmp>)>,
}

impl Rules {
    /// Adds the answers to a call. Returns whether a profile can express them.
    fn add(&mut self, name: &str, outcome: &FilterAnswer, default_action: Action) -> bool {
        match outcome {
            FilterAnswer::Always(action) => {
                self.plain.entry(*action).or_default().push(name.to_owned());
                true
            }
            FilterAnswer::Depends { cases, otherwise } => {
                if *otherwise != default_action {
                    return false;
                }
                let mut compared = Vec::new();
                for (conditions, action) in cases {
                    let Some(alternatives) = alternatives(conditions) else {
                        return false;
                    };
                    compared.extend(
                        (alternatives.into_iter()).map(|args| (name.to_owned(), *action, args)),
                    );
                }
                self.compared.extend(compared);
                true
            }
            FilterAnswer::Unknown => false,
        }
    }

    fn into_rules(self) -> Vec<Rule> {
        let plain = self.plain.into_iter().rev();
        let plain = plain.filter_map(|(action, names)| Rule::new(names, action, Vec::new()).ok());
        let compared = self.compared.into_iter();
        let compared =
            compared.filter_map(|(name, action, args)| Rule::new(vec![name], action, args).ok());
        plain.chain(compared).collect()
    }
}

/// Conditions as comparisons: a list for each alternative. `None` if no profile has such comparisons.
fn alternatives(conditions: &[Condition]) -> Option<Vec<Vec<ArgCmp>>> {
    let mut alternatives: Vec<Vec<ArgCmp>> = vec![Vec::new()];
    let mut seen = BTreeSet::new();
    for condition in conditions {
        let choices: Vec<ArgCmp> = match condition {
            Condition::Within {
                field: DataField::Arg(index),
                ranges,
            } => {
                seen.insert(*index).then_some(())?;
                comparisons(*index, ranges, u64::MAX)?
            }
            // The ABI has no more than the lower half.
            Condition::Within {
                field: DataField::Word(offset),
                ranges,
            } if *offset >= 16 => {
                let index = u8::try_from((offset - 16) / 8).ok()?;
                seen.insert(index).then_some(())?;
                comparisons(index, ranges, u32::MAX.into())?
            }
            Condition::Masked {
                field: DataField::Arg(index),
                mask,
                value,
                equal: true,
            } => {
                seen.insert(*index).then_some(())?;
                vec![ArgCmp::new((*index).into(), Op::MaskedEq, *mask, Some(*value)).ok()?]
            }
            _ => return None,
        };
        alternatives = (alternatives.iter())
            .flat_map(|args| {
                choices
                    .iter()
                    .map(move |choice| [&args[..], &[*choice]].concat())
            })
            .collect();
    }
    Some(alternatives)
}

/// The alternative comparisons that hold for the numbers in ranges.
fn comparisons(index: u8, ranges: &[(u64, u64)], greatest: u64) -> Option<Vec<ArgCmp>> {
    let compare = |op, value| ArgCmp::new(index.into(), op, value, None).ok();
    if let [(0, below), (above, last)] = ranges[..]
        && last == greatest
        && above.checked_sub(below) == Some(2)
    {
        return Some(vec![compare(Op::Ne, below + 1)?]);
    }
    let mut comparisons = Vec::new();
    for &(first, last) in ranges {
        comparisons.push(match (first, last) {
            (first, last) if first == last => compare(Op::Eq, first)?,
            (0, last) => compare(Op::Le, last)?,
            (first, last) if last == greatest => compare(Op::Ge, first)?,
            // Two comparisons of one argument that must both hold.
            _ => return None,
        });
    }
    Some(comparisons)
}

/// Compiles the profile, and loses the calls for which the result answers otherwise than the program that was read.
fn verify(
    profile: &mut Profile,
    tables: &[ArchAnswers],
    input: &mut ReadState<'_>,
) -> Result<(), ParseError> {
    let failed = |why: String| {
        let what = format!("the profile can't be verified: {why}");
        ParseError::new(Some(at(0)), ParseErrorKind::Unsaid(what))
    };
    // Compared again without them, since a rule for one call can make others (socketcall).
    for _ in 0..2 {
        let (compiled, _) = compiled(profile, input.reading.compile).map_err(failed)?;
        let mut wrong = BTreeSet::new();
        for read in tables {
            let made = explain_arch(&compiled, read.arch);
            let numbers: BTreeSet<i32> = read
                .calls
                .keys()
                .chain(made.calls.keys())
                .copied()
                .collect();
            for nr in numbers {
                if read.answer(nr) != made.answer(nr) {
                    let syscall = Syscall {
                        arch: read.arch,
                        nr,
                    };
                    wrong.insert(syscall.to_string());
                }
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        for name in &wrong {
            input.lose(None, format!("{name}: what the program answers to it"))?;
        }
        *profile = profile.with_names(|_, name| !wrong.contains(name));
    }
    Ok(())
}
