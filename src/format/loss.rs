//! What is lost on the way from one format to another: an error, unless it is allowed; then it is told.

use std::fmt;

use super::{Format, ParseError, ParseErrorKind, Position, RenderError, Writing};

/// Something that one format says and another can't.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Where it was read, if it was.
    pub position: Option<Position>,
    /// What it is, with the part of the profile that says it.
    pub what: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(position) = self.position {
            write!(f, "{position}: ")?;
        }
        f.write_str(&self.what)
    }
}

/// What a reader leaves out because no profile can hold it.
#[derive(Debug)]
pub(super) struct Losses {
    allowed: bool,
    lost: Vec<Lost>,
}

impl Losses {
    pub(super) fn new(allowed: bool) -> Losses {
        let lost = Vec::new();
        Losses { allowed, lost }
    }

    /// Goes on without it, if that is allowed.
    pub(super) fn lose(
        &mut self,
        position: Option<Position>,
        what: impl Into<String>,
    ) -> Result<(), ParseError> {
        let what = what.into();
        if !self.allowed {
            return Err(ParseError::new(position, ParseErrorKind::Unsaid(what)));
        }
        self.lost.push(Lost { position, what });
        Ok(())
    }

    pub(super) fn into_lost(self) -> Vec<Lost> {
        self.lost
    }
}

/// What a writer writes to: how, and what it leaves out because the format can't say it.
#[derive(Debug)]
pub(super) struct Out<'a> {
    pub(super) format: Format,
    pub(super) name: &'a str,
    allowed: bool,
    lost: Vec<Lost>,
}

impl<'a> Out<'a> {
    pub(super) fn new(format: Format, writing: &Writing<'a>) -> Out<'a> {
        Out {
            format,
            name: writing.name,
            allowed: writing.lossy,
            lost: Vec::new(),
        }
    }

    /// Goes on without it, if that is allowed.
    pub(super) fn lose(&mut self, what: impl Into<String>) -> Result<(), RenderError> {
        let lost = Lost {
            position: None,
            what: what.into(),
        };
        if !self.allowed {
            let format = self.format;
            return Err(RenderError::Unsaid { format, lost });
        }
        self.lost.push(lost);
        Ok(())
    }

    /// The head of a text with comments: what it is, and what it doesn't say. Each line begins with `mark`.
    pub(super) fn head(&self, mark: &str, what: &[&str]) -> String {
        let mut text = String::new();
        for line in what {
            text += &format!("{mark} {line}\n");
        }
        for lost in &self.lost {
            // Names of a profile can be any text.
            let lost = lost.to_string().replace(|c: char| c.is_control(), " ");
            text += &format!("{mark} Left out: {lost}\n");
        }
        text
    }

    pub(super) fn into_lost(self) -> Vec<Lost> {
        self.lost
    }
}
