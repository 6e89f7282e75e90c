//! The tokens of a minijail policy.

use std::collections::VecDeque;

use crate::format::error::{ParseError, Position};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `@default` and the like.
    Statement(String),
    /// A name.
    Word(String),
    /// A number; negative ones as the register has them.
    Number(u64),
    /// Anything else.
    Sign(&'static str),
}

/// The longest first.
const SIGNS: &[&str] = &[
    "||", "&&", "==", "!=", "<=", ">=", "|", "&", "<", ">", "=", "~", "(", ")", "{", "}", "[", "]",
    ":", ";", ",",
];

/// The words of a statement.
pub(super) struct Tokens {
    tokens: VecDeque<(Token, Position)>,
    end: Position,
}

/// The statements of a text: its lines, with those that end in a backslash joined to the next.
pub(super) fn lines(text: &str) -> Result<Vec<Tokens>, ParseError> {
    let mut all = Vec::new();
    let mut tokens = VecDeque::new();
    for (number, line) in text.lines().enumerate() {
        let (content, goes_on) = match line.strip_suffix('\\') {
            Some(content) => (content, true),
            None => (line, false),
        };
        read_line(content, number + 1, &mut tokens)?;
        if !goes_on {
            all.push(Tokens {
                tokens: std::mem::take(&mut tokens),
                end: Position {
                    line: number + 1,
                    column: line.len() + 1,
                },
            });
        }
    }
    if !tokens.is_empty() {
        let end = tokens.back().map(|(_, position)| *position);
        let end = end.unwrap_or(Position { line: 1, column: 1 });
        all.push(Tokens { tokens, end });
    }
    Ok(all)
}

fn read_line(
    line: &str,
    number: usize,
    tokens: &mut VecDeque<(Token, Position)>,
) -> Result<(), ParseError> {
    let mut rest = line;
    loop {
        rest = rest.trim_start();
        let position = Position {
            line: number,
            column: 1 + line.len() - rest.len(),
        };
        let Some(first) = rest.bytes().next().filter(|&byte| byte != b'#') else {
            return Ok(());
        };
        let length =
            |allowed: fn(u8) -> bool| rest[1..].bytes().take_while(|&b| allowed(b)).count() + 1;
        let in_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let (token, length) = if first == b'@' {
            let length = length(in_word);
            (Token::Statement(rest[..length].to_owned()), length)
        } else if first.is_ascii_alphabetic() || first == b'_' {
            let length = length(in_word);
            (Token::Word(rest[..length].to_owned()), length)
        } else if first.is_ascii_digit() || (first == b'-' && rest.len() > 1) {
            let length = length(|byte| byte.is_ascii_alphanumeric());
            let number = read_number(&rest[..length]);
            let wrong = || format!("{:?} is not a number of 64 bits", &rest[..length]);
            let number = number.ok_or_else(|| error(position, wrong()))?;
            (Token::Number(number), length)
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            (Token::Sign(sign), sign.len())
        } else if first == b'/' || first == b'.' {
            // A path after @include or @frequency.
            let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
            (Token::Word(rest[..length].to_owned()), length)
        } else {
            let c = rest.chars().next().unwrap_or_default();
            return Err(error(position, format!("{c:?} has no meaning in a policy")));
        };
        tokens.push_back((token, position));
        rest = &rest[length..];
    }
}

/// A number as strtol(3) reads it.
fn read_number(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let number = match lower.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None if lower.len() > 1 && lower.starts_with('0') => u64::from_str_radix(&lower[1..], 8),
        None => lower.parse(),
    };
    let number = number.ok()?;
    if !negative {
        return Some(number);
    }
    (number <= 1 << 63).then(|| number.wrapping_neg())
}

fn error(position: Position, message: impl Into<String>) -> ParseError {
    ParseError::form(Some(position), message)
}

impl Tokens {
    pub(super) fn peek(&self) -> Option<(Token, Position)> {
        self.tokens.front().cloned()
    }

    pub(super) fn next(&mut self) -> Option<(Token, Position)> {
        self.tokens.pop_front()
    }

    /// Where the next word begins, or the line ends.
    pub(super) fn position(&self) -> Position {
        let next = self.tokens.front();
        next.map_or(self.end, |(_, position)| *position)
    }

    /// Takes the next word if it is this one.
    pub(super) fn take(&mut self, token: &Token) -> bool {
        let is_next = self.tokens.front().is_some_and(|(next, _)| next == token);
        if is_next {
            self.tokens.pop_front();
        }
        is_next
    }

    pub(super) fn expect(&mut self, sign: &'static str) -> Result<(), ParseError> {
        if self.take(&Token::Sign(sign)) {
            return Ok(());
        }
        Err(self.error(format!("{sign} is missing")))
    }

    pub(super) fn word(&mut self) -> Result<String, ParseError> {
        match self.next() {
            Some((Token::Word(word), _)) => Ok(word),
            Some((_, position)) => Err(error(position, "a name is missing")),
            None => Err(self.error("a name is missing")),
        }
    }

    /// Numbers with `|` between them, each with `~` in front or not, in parentheses or not.
    pub(super) fn value(&mut self) -> Result<u64, ParseError> {
        let mut value = 0;
        loop {
            let negated = self.take(&Token::Sign("~"));
            let one = if self.take(&Token::Sign("(")) {
                let one = self.flat_value()?;
                self.expect(")")?;
                one
            } else {
                self.number()?
            };
            value |= if negated { !one } else { one };
            if !self.take(&Token::Sign("|")) {
                return Ok(value);
            }
        }
    }

    /// Within parentheses: no further ones, so that nothing nests.
    fn flat_value(&mut self) -> Result<u64, ParseError> {
        let mut value = 0;
        loop {
            let negated = self.take(&Token::Sign("~"));
            let one = self.number()?;
            value |= if negated { !one } else { one };
            if !self.take(&Token::Sign("|")) {
                return Ok(value);
            }
        }
    }

    fn number(&mut self) -> Result<u64, ParseError> {
        match self.next() {
            Some((Token::Number(number), _)) => Ok(number),
            Some((Token::Word(name), position)) => Err(error(
                position,
                format!(
                    "{name} is a constant of the machine that compiles the policy: only numbers are read"
                ),
            )),
            Some((_, position)) => Err(error(position, "a number is missing")),
            None => Err(self.error("a number is missing")),
        }
    }

    pub(super) fn end(&mut self) -> Result<(), ParseError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("more than one statement in a line")),
        }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> ParseError {
        error(self.position(), message)
    }
}
