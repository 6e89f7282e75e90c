//! A policy of minijail, as its compiler reads it (`tools/compile_seccomp_policy.py`, grammar in `tools/parser.py`).
//!
//! A line is `name: filter`. A filter is an answer (`1` and `allow` are the same, `return N` an errno), or a disjunction
//! of conjunctions of `argN OP VALUE`: the call is allowed where it holds, and gets the default action elsewhere. `in` holds
//! if no bit is set that the value hasn't, `&` if any of its bits is: together they make masks.
//!
//! The default action kills, traps, or asks a listener; it is never an errno. ABIs aren't named: a policy is compiled for
//! one. `argN …; return N` is refused: minijail's library and its compiler read it in opposite ways. Symbolic constants
//! are those of the machine that compiles, so they are refused too.

use std::collections::{BTreeMap, BTreeSet};

use super::by_call::{Said, calls, condition, with_plain_names, without_loading};
use super::docker::errno_of_name;
use super::error::{ParseError, Position, RenderError};
use super::name::Format;
use super::reading::{Parsed, PartPositions, ReadState};
use super::row::{FormatReader, FormatRow, Writer};
use super::writing::Output;
use crate::profile::{Action, ArgCmp, ErrnoRet, Op, Profile, ProfilePart, Rule};

mod lex;
use lex::{Token, Tokens};

/// The maximum number of alternatives of an expression, with one for each bit of `&`.
const MAX_ALTERNATIVES: usize = 64;

pub(super) const ROW: FormatRow = FormatRow {
    name: "minijail",
    extension: "policy",
    about: "minijail policy",
    is_oci: false,
    json: |_| false,
    line: is_statement,
    read: FormatReader::Text(parse),
    write: Writer::Text(render),
    companion: None,
    edit: None,
};

/// Whether a line is one of a policy: `read: 1`, `{ read, write }: allow`, `@include …`.
fn is_statement(line: &str) -> bool {
    let statements = ["@include ", "@default ", "@frequency ", "@denylist"];
    let filters = "1 arg return allow kill trap log trace user-notify {";
    let filters: Vec<&str> = filters.split(' ').collect();
    let begins = |text: &str, words: &[&str]| words.iter().any(|word| text.starts_with(word));
    begins(line, &statements)
        || line.split_once(':').is_some_and(|(names, filter)| {
            let in_names = |byte: u8| byte.is_ascii_alphanumeric() || b"_, {}[]=;@".contains(&byte);
            let are_names = !names.is_empty() && names.bytes().all(in_names);
            are_names && begins(filter.trim_start(), &filters)
        })
}

fn render(profile: &Profile, out: &mut Output<'_>) -> Result<String, RenderError> {
    without_loading(profile, out)?;
    out.single_arch(profile)?;
    let default = match profile.default_action() {
        Action::KillProcess => "kill-process",
        Action::KillThread => "kill-thread",
        Action::Trap => "trap",
        Action::Notify => "user-notify",
        other => {
            out.lose(format!("defaultAction: {other}; the process is killed"))?;
            "kill-process"
        }
    };
    let said = calls(profile, out)?;
    let mut text = format!("@default {default}\n");
    for (name, said) in with_plain_names(said, out)? {
        match said {
            Said::Always(action) => match answer(action) {
                Some(answer) => text += &format!("{name}: {answer}\n"),
                None => out.lose(format!("{name}: {action}"))?,
            },
            Said::When(alternatives) => {
                let mut clauses = Vec::new();
                for (all, action) in alternatives {
                    if action == Action::Allow {
                        // In the order in which they are read.
                        let all: BTreeSet<&ArgCmp> = all.iter().collect();
                        let atoms: Vec<String> = all.into_iter().flat_map(atoms).collect();
                        clauses.push(match &atoms[..] {
                            // Under an empty mask, nothing is compared.
                            [] => "1".to_owned(),
                            atoms => atoms.join(" && "),
                        });
                    } else {
                        out.lose(format!("{name} if {}: {action}", condition(all)))?;
                    }
                }
                if clauses.iter().any(|clause| clause == "1") {
                    text += &format!("{name}: 1\n");
                } else if !clauses.is_empty() {
                    text += &format!("{name}: {}\n", clauses.join(" || "));
                }
            }
        }
    }
    let what = "A policy of minijail, for compile_seccomp_policy.py.";
    Ok(out.head("#", &[what]) + &text)
}

fn answer(action: Action) -> Option<String> {
    Some(match action {
        Action::Allow => "1".to_owned(),
        Action::Errno(errno) => format!("return {}", errno.get()),
        Action::KillProcess => "kill-process".to_owned(),
        Action::KillThread => "kill-thread".to_owned(),
        Action::Trap => "trap".to_owned(),
        Action::Log => "log".to_owned(),
        Action::Notify => "user-notify".to_owned(),
        // The number that the tracer gets can't be given.
        Action::Trace(_) => return None,
    })
}

/// A comparison, as one atom or several that must all hold.
fn atoms(arg: &ArgCmp) -> Vec<String> {
    let (index, value) = (arg.index(), arg.value());
    let sign = match arg.op() {
        Op::Eq => "==",
        Op::Ne => "!=",
        Op::Lt => "<",
        Op::Le => "<=",
        Op::Ge => ">=",
        Op::Gt => ">",
        Op::MaskedEq if value == 0 => return Vec::new(),
        Op::MaskedEq => {
            // The expected bits of the mask are set, the others aren't.
            let set = arg.value_two().unwrap_or(0) & value;
            let unset = value & !set;
            let mut atoms = Vec::new();
            if unset != 0 {
                atoms.push(format!("arg{index} in {:#x}", !unset));
            }
            let bits = (0..64).map(|bit| 1_u64 << bit).filter(|bit| set & bit != 0);
            atoms.extend(bits.map(|bit| format!("arg{index} & {bit:#x}")));
            return atoms;
        }
    };
    vec![format!("arg{index} {sign} {value:#x}")]
}

/// An atom that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Atom {
    Compare(ArgCmp),
    /// No bit but these.
    Within(u64, u64),
    /// Any of these bits.
    AnyOf(u64, u64),
}

/// The filter in a line.
enum LineFilter {
    Always(Action),
    Allowed(Vec<Vec<Atom>>),
}

fn parse(text: &str, input: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
    let mut default_action = Action::KillProcess;
    let mut always: BTreeMap<Action, BTreeMap<String, Position>> = BTreeMap::new();
    let mut compared: Vec<(String, Vec<ArgCmp>, Position)> = Vec::new();
    let mut known: BTreeMap<String, Position> = BTreeMap::new();
    let mut is_empty = true;
    for mut line in lex::lines(text)? {
        let Some((first, position)) = line.peek() else {
            continue;
        };
        is_empty = false;
        if let Token::Statement(word) = first {
            line.next();
            match word.as_str() {
                "@default" => default_action = default(&mut line)?,
                // The frequency of calls doesn't change their answers.
                "@frequency" => continue,
                "@include" => {
                    input.lose(Some(position), "@include: the rules of the other file")?;
                    continue;
                }
                "@denylist" => default_action = Action::Allow,
                other => return Err(line.error(format!("{other} is not a statement of minijail"))),
            }
            line.end()?;
            continue;
        }
        let names = names(&mut line)?;
        let filter = filter(&mut line)?;
        line.end()?;
        for (name, at) in names {
            if known.insert(name.clone(), at).is_some() {
                let message =
                    format!("{name} has an earlier line: minijail's readers differ in which holds");
                return Err(ParseError::form(Some(at), message));
            }
            match &filter {
                LineFilter::Always(action) => {
                    always.entry(*action).or_default().insert(name, at);
                }
                LineFilter::Allowed(clauses) => {
                    for clause in clauses {
                        let Some(all) = alternatives(clause) else {
                            let what = "two comparisons of one argument that must both hold";
                            input.lose(Some(at), format!("{name}: {what}"))?;
                            continue;
                        };
                        let all = all.into_iter();
                        compared.extend(all.map(|args| (name.clone(), args, at)));
                    }
                }
            }
        }
    }
    if is_empty {
        let message = "there is no statement of a policy".to_owned();
        return Err(ParseError::form(None, message));
    }
    profile(default_action, always, compared)
}

fn profile(
    default_action: Action,
    always: BTreeMap<Action, BTreeMap<String, Position>>,
    compared: Vec<(String, Vec<ArgCmp>, Position)>,
) -> Result<Parsed, ParseError> {
    let mut places = BTreeMap::new();
    let mut rules = Vec::new();
    let made = |at: Option<Position>, rule: Result<Rule, _>| {
        rule.map_err(|error: crate::profile::RuleError| ParseError::form(at, error.to_string()))
    };
    for (action, names) in always.into_iter().rev() {
        let rule = rules.len();
        for (name, at) in names.values().enumerate() {
            places.insert(ProfilePart::Name { rule, name }, *at);
        }
        let first = names.values().next().copied();
        places.extend(first.map(|at| (ProfilePart::Rule(rule), at)));
        let names = names.into_keys().collect();
        rules.push(made(first, Rule::new(names, action, Vec::new()))?);
    }
    for (name, args, at) in compared {
        let rule = rules.len();
        places.insert(ProfilePart::Rule(rule), at);
        places.insert(ProfilePart::Name { rule, name: 0 }, at);
        // Without comparisons if the expression always holds.
        rules.push(made(Some(at), Rule::new(vec![name], Action::Allow, args))?);
    }
    let profile = Profile::new(default_action).with_rules(rules);
    Ok(Parsed::new(
        Format::Minijail,
        profile,
        PartPositions::Noted(places),
    ))
}

fn default(line: &mut Tokens) -> Result<Action, ParseError> {
    match line.word()?.as_str() {
        "kill-process" | "kill" => Ok(Action::KillProcess),
        "kill-thread" => Ok(Action::KillThread),
        "trap" => Ok(Action::Trap),
        "user-notify" => Ok(Action::Notify),
        other => Err(line.error(format!("{other} is not a default action of minijail"))),
    }
}

/// `name` or `{ name, name }`.
fn names(line: &mut Tokens) -> Result<Vec<(String, Position)>, ParseError> {
    let mut names = Vec::new();
    let braced = line.take(&Token::Sign("{"));
    loop {
        let position = line.position();
        let name = line.word()?;
        if line.take(&Token::Sign("[")) {
            return Err(line.error("metadata of calls aren't read"));
        }
        names.push((name, position));
        if !(braced && line.take(&Token::Sign(","))) {
            break;
        }
    }
    if braced {
        line.expect("}")?;
    }
    line.expect(":")?;
    Ok(names)
}

fn filter(line: &mut Tokens) -> Result<LineFilter, ParseError> {
    match line.peek() {
        Some((Token::Number(1), _)) => {
            line.next();
            Ok(LineFilter::Always(Action::Allow))
        }
        Some((Token::Word(word), _)) if !word.starts_with("arg") => {
            line.next();
            Ok(LineFilter::Always(action(&word, line)?))
        }
        Some((Token::Word(_), _)) => {
            let mut clauses = Vec::new();
            loop {
                clauses.push(clause(line)?);
                if !line.take(&Token::Sign("||")) {
                    break;
                }
            }
            if line.take(&Token::Sign(";")) {
                return Err(line.error("an answer after an expression: minijail's library and its compiler read it in opposite ways"));
            }
            Ok(LineFilter::Allowed(clauses))
        }
        Some((Token::Sign("{"), _)) => {
            Err(line.error("a list of filters: only the first that holds counts"))
        }
        _ => Err(line.error("a filter is missing: 1, return ERRNO, argN OP VALUE")),
    }
}

fn action(word: &str, line: &mut Tokens) -> Result<Action, ParseError> {
    Ok(match word {
        "allow" => Action::Allow,
        "kill" | "kill-process" => Action::KillProcess,
        "kill-thread" => Action::KillThread,
        "trap" => Action::Trap,
        "log" => Action::Log,
        "user-notify" => Action::Notify,
        // The compiler gives it no number.
        "trace" => Action::Trace(0),
        "return" => {
            let number = match line.next() {
                Some((Token::Number(number), _)) => u32::try_from(number).ok(),
                Some((Token::Word(name), _)) => errno_of_name(&name),
                _ => None,
            };
            let errno = number.and_then(ErrnoRet::new);
            Action::Errno(errno.ok_or_else(|| {
                line.error("return takes the name of an errno or a number of 0 to 4095")
            })?)
        }
        other => return Err(line.error(format!("{other:?} is neither an answer nor an argument"))),
    })
}

fn clause(line: &mut Tokens) -> Result<Vec<Atom>, ParseError> {
    let mut atoms = vec![atom(line)?];
    while line.take(&Token::Sign("&&")) {
        atoms.push(atom(line)?);
    }
    Ok(atoms)
}

fn atom(line: &mut Tokens) -> Result<Atom, ParseError> {
    let word = line.word()?;
    let index = (word.strip_prefix("arg")).and_then(|digits| digits.parse().ok());
    let Some(index) = index.filter(|&index: &u64| index < 6) else {
        return Err(line.error(format!("{word} is not an argument: they are arg0 to arg5")));
    };
    let op = match line.next() {
        Some((Token::Sign(sign), _)) => sign,
        Some((Token::Word(word), _)) if word == "in" => "in",
        _ => return Err(line.error("an operator is missing")),
    };
    let value = line.value()?;
    let op = match op {
        "==" => Op::Eq,
        "!=" => Op::Ne,
        "<" => Op::Lt,
        "<=" => Op::Le,
        ">=" => Op::Ge,
        ">" => Op::Gt,
        "in" => return Ok(Atom::Within(index, value)),
        "&" => return Ok(Atom::AnyOf(index, value)),
        other => return Err(line.error(format!("{other} is not an operator of minijail"))),
    };
    let compared = ArgCmp::new(index, op, value, None).map(Atom::Compare);
    compared.map_err(|error| line.error(error.to_string()))
}

/// A conjunction as alternative rules of a profile, each with at most one comparison per argument. `None` if profiles can't
/// express it.
fn alternatives(clause: &[Atom]) -> Option<Vec<Vec<ArgCmp>>> {
    const ANY: (u64, Vec<u64>) = (u64::MAX, Vec::new());
    let mut compares: BTreeMap<u64, ArgCmp> = BTreeMap::new();
    // For each argument: the bits that it may have, and the sets of bits one of which it must have.
    let mut masks: BTreeMap<u64, (u64, Vec<u64>)> = BTreeMap::new();
    for atom in clause {
        match *atom {
            Atom::Compare(arg) => {
                let index = u64::try_from(arg.index()).ok()?;
                let other = compares.insert(index, arg);
                if other.is_some_and(|other| other != arg) {
                    return None;
                }
            }
            Atom::Within(index, allowed) => masks.entry(index).or_insert(ANY).0 &= allowed,
            Atom::AnyOf(index, any) => masks.entry(index).or_insert(ANY).1.push(any),
        }
    }
    let mut alternatives: Vec<Vec<ArgCmp>> = vec![compares.values().copied().collect()];
    for (index, (within, sets)) in masks {
        if compares.contains_key(&index) {
            return None;
        }
        // One bit of each set must be set: an alternative for each.
        let mut chosen = BTreeSet::from([0_u64]);
        for any in sets {
            let bits = (0..64).map(|bit| 1_u64 << bit);
            let bits: Vec<u64> = bits.filter(|bit| any & within & bit != 0).collect();
            if chosen.len() * bits.len() > MAX_ALTERNATIVES {
                return None;
            }
            chosen = (chosen.iter())
                .flat_map(|set| bits.iter().map(move |bit| set | bit))
                .collect();
        }
        let mut longer = Vec::new();
        for args in &alternatives {
            for &set in &chosen {
                let mut args = args.clone();
                let mask = !within | set;
                // A comparison without a bit always holds.
                if mask != 0 {
                    args.push(ArgCmp::new(index, Op::MaskedEq, mask, Some(set)).ok()?);
                }
                longer.push(args);
            }
        }
        alternatives = longer;
        if alternatives.len() > MAX_ALTERNATIVES {
            return None;
        }
    }
    for args in &mut alternatives {
        args.sort();
    }
    Some(alternatives)
}
