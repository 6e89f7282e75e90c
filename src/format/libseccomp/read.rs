//! Reads the part of a C source that has the profile.

use std::collections::BTreeMap;

use super::write::{MARK, render};
use crate::format::error::LineStarts;
use crate::format::error::{ParseError, Position};
use crate::format::name::Format;
use crate::format::oci::read_action;
use crate::format::reading::{Parsed, PartPositions, ReadState};
use crate::format::writing::{Output, Writing};
use crate::profile::{Action, ArgCmp, Flag, Op, Profile, ProfilePart, Rule};
use crate::syscall::Arch;

/// A word of the part with the profile.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Number(u64),
    Sign(char),
}

struct Tokens<'a> {
    text: &'a str,
    offset: usize,
    lines: LineStarts,
}

impl Tokens<'_> {
    fn position(&self) -> Option<Position> {
        self.lines.position(self.offset)
    }

    fn error(&self, expected: &str) -> ParseError {
        let message = format!("{expected} is missing: sc-record writes this differently");
        ParseError::form(self.position(), message)
    }

    fn rest(&self) -> &str {
        self.text.get(self.offset..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.offset += rest.len() - rest.trim_start().len();
    }

    fn token(&mut self) -> Option<Token> {
        self.space();
        let rest = self.rest();
        let first = rest.chars().next()?;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (token, length) = if first == '"' {
            let length = rest[1..].find('"')? + 2;
            (Token::Text(unquoted(&rest[1..length - 1])?), length)
        } else if first.is_ascii_digit() {
            let digits = rest[..length].trim_end_matches('u');
            let number = match digits.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            (Token::Number(number.ok()?), length)
        } else if word(first) {
            (Token::Word(rest[..length].to_owned()), length)
        } else {
            (Token::Sign(first), first.len_utf8())
        };
        self.offset += length;
        Some(token)
    }

    fn word(&mut self) -> Result<String, ParseError> {
        match self.token() {
            Some(Token::Word(word)) => Ok(word),
            _ => Err(self.error("a word")),
        }
    }

    fn number(&mut self) -> Result<u64, ParseError> {
        match self.token() {
            Some(Token::Number(number)) => Ok(number),
            _ => Err(self.error("a number")),
        }
    }

    fn signs(&mut self, signs: &str) -> Result<(), ParseError> {
        for sign in signs.chars() {
            if self.token() != Some(Token::Sign(sign)) {
                return Err(self.error(&format!("{sign:?}")));
            }
        }
        Ok(())
    }

    fn takes(&mut self, sign: char) -> bool {
        let before = self.offset;
        let takes = self.token() == Some(Token::Sign(sign));
        if !takes {
            self.offset = before;
        }
        takes
    }

    /// Skips to the end of a line.
    fn after(&mut self, line: &str) -> Result<(), ParseError> {
        let place = self.rest().find(line);
        let place = place.ok_or_else(|| self.error(&format!("{:?}", line.trim())))?;
        self.offset += place + line.len();
        Ok(())
    }

    fn action(&mut self) -> Result<Action, ParseError> {
        let position = self.position();
        let name = self.word()?;
        let number = if self.takes('(') {
            let number = self.number()?;
            self.signs(")")?;
            Some(u32::try_from(number).unwrap_or(u32::MAX))
        } else {
            None
        };
        let form = |message| ParseError::form(position, message);
        let action = name
            .parse()
            .map_err(|_| form(format!("{name} is not an action")))?;
        read_action(action, number).map_err(|error| form(error.to_string()))
    }
}

fn unquoted(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'\\' {
            let octal = std::str::from_utf8(after.get(..3)?).ok()?;
            bytes.push(u8::from_str_radix(octal, 8).ok()?);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

pub(super) fn parse(text: &str, _: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
    let mut tokens = Tokens {
        text,
        offset: 0,
        lines: LineStarts::of(text.as_bytes()),
    };
    tokens.after(MARK)?;
    tokens.after("#define DEFAULT_ACTION ")?;
    let mut places = BTreeMap::new();
    places.extend(tokens.position().map(|at| (ProfilePart::DefaultAction, at)));
    let default_action = tokens.action()?;
    let mut arches = Vec::new();
    tokens.after("static const uint32_t architectures[] = {")?;
    loop {
        tokens.space();
        let at = tokens.position();
        match tokens.token() {
            Some(Token::Number(0)) => break,
            Some(Token::Word(name)) => {
                let arch = Arch::from_oci_name(&name);
                let arch = arch.ok_or_else(|| tokens.error("an architecture"))?;
                if !arches.contains(&arch) {
                    places.extend(at.map(|at| (ProfilePart::Architecture(arches.len()), at)));
                    arches.push(arch);
                }
                tokens.signs(",")?;
            }
            _ => return Err(tokens.error("an architecture")),
        }
    }
    tokens.after("static const struct rule rules[] = {")?;
    let mut rules = Vec::new();
    while let Some(rule) = rule(&mut tokens, rules.len(), &mut places)? {
        rules.push(rule);
    }
    tokens.after("attributes[] = {")?;
    let profile = Profile::new(default_action)
        .with_architectures((!arches.is_empty()).then_some(arches))
        .with_flags(flags(&mut tokens)?)
        .with_rules(rules);
    unchanged(text, &profile)?;
    Ok(Parsed::new(
        Format::Libseccomp,
        profile,
        PartPositions::Noted(places),
    ))
}

/// The next rule; `None` at the end of the table.
fn rule(
    tokens: &mut Tokens<'_>,
    index: usize,
    places: &mut BTreeMap<ProfilePart, Position>,
) -> Result<Option<Rule>, ParseError> {
    tokens.signs("{")?;
    tokens.space();
    let at = tokens.position();
    if tokens.rest().starts_with('0') {
        return Ok(None);
    }
    places.extend(at.map(|at| (ProfilePart::Rule(index), at)));
    let action = tokens.action()?;
    tokens.signs(",")?;
    let count = tokens.number()?;
    tokens.signs(",{{")?;
    let mut args = Vec::new();
    for number in 0..count {
        if number > 0 {
            tokens.signs(",{")?;
        }
        tokens.space();
        let at = tokens.position();
        let arg = args.len();
        places.extend(at.map(|at| (ProfilePart::Arg { rule: index, arg }, at)));
        let argument = tokens.number()?;
        tokens.signs(",")?;
        let op = tokens.word()?;
        let op = op.parse().map(crate::format::oci::read_op);
        let op = op.map_err(|_| tokens.error("an operator"))?;
        tokens.signs(",")?;
        let value = tokens.number()?;
        tokens.signs(",")?;
        let two = tokens.number()?;
        tokens.signs("}")?;
        let two = (op == Op::MaskedEq).then_some(two);
        let compared = ArgCmp::new(argument, op, value, two);
        args.push(compared.map_err(|_| tokens.error("an argument of 0 to 5"))?);
    }
    if count == 0 {
        tokens.number()?;
        tokens.signs("}")?;
    }
    tokens.signs("},")?;
    tokens.word()?;
    tokens.signs("(")?;
    let mut names = Vec::new();
    loop {
        tokens.space();
        let at = tokens.position();
        let name = names.len();
        places.extend(at.map(|at| (ProfilePart::Name { rule: index, name }, at)));
        match tokens.token() {
            Some(Token::Text(name)) => names.push(name),
            _ => return Err(tokens.error("a name")),
        }
        if !tokens.takes(',') {
            break;
        }
    }
    tokens.signs(")},")?;
    let rule = Rule::new(names, action, args);
    rule.map(Some).map_err(|_| tokens.error("a name"))
}

/// `None` if they are those of an absent list.
fn flags(tokens: &mut Tokens<'_>) -> Result<Option<Vec<Flag>>, ParseError> {
    let mut flags = Vec::new();
    loop {
        tokens.signs("{")?;
        match tokens.token() {
            Some(Token::Number(0)) => break,
            Some(Token::Word(name)) => flags.push(match name.as_str() {
                "SCMP_FLTATR_CTL_TSYNC" => Flag::Tsync,
                "SCMP_FLTATR_CTL_LOG" => Flag::Log,
                "SCMP_FLTATR_CTL_SSB" => Flag::SpecAllow,
                "SCMP_FLTATR_CTL_WAITKILL" => Flag::WaitKillableRecv,
                _ => return Err(tokens.error("an attribute")),
            }),
            _ => return Err(tokens.error("an attribute")),
        }
        tokens.signs(",")?;
        tokens.number()?;
        tokens.signs("},")?;
    }
    Ok((flags != [Flag::SpecAllow]).then_some(flags))
}

/// Fails if the text differs from what is written for the profile, since changed code could do anything. Comments on
/// omitted parts may differ, and so may the numbers, which depend on the version of libseccomp.
fn unchanged(text: &str, profile: &Profile) -> Result<(), ParseError> {
    let mut out = Output::new(Format::Libseccomp, &Writing::default());
    let written =
        render(profile, &mut out).map_err(|error| ParseError::form(None, error.to_string()))?;
    let mut lines = fixed_lines(text);
    let mut expected = fixed_lines(&written);
    let last = text.lines().count().max(1);
    loop {
        let (found, expected) = (lines.next(), expected.next());
        let position = match (found, expected) {
            (None, None) => return Ok(()),
            (Some((_, line)), Some((_, expected))) if line == expected => continue,
            (Some((number, _)), _) => number,
            (None, Some(_)) => last,
        };
        let position = Position {
            line: position,
            column: 1,
        };
        let message = "the code is not what sc-record writes for this profile";
        return Err(ParseError::form(Some(position), message));
    }
}

/// The lines that every machine writes the same, with their numbers from 1.
fn fixed_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_numbers = false;
    (text.lines().enumerate())
        .filter(move |(_, line)| {
            let is_number = in_numbers && line.starts_with("\t{ SCMP_ARCH_");
            in_numbers = is_number || line.ends_with("} numbers[] = {");
            !is_number && !line.starts_with("/* Left out: ")
        })
        .map(|(index, line)| (index + 1, line))
}
