//! Options and result of reading a profile.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::error::{Lost, ParseError, ParseErrorKind, Position, RenderError};
use super::json::{Index, JsonPath};
use super::machine::Machine;
use super::name::Format;
use super::writing::{Compile, Output};
use crate::input::FileKind;
use crate::profile::{Profile, ProfilePart};

/// The maximum length of a profile's file, which bounds memory.
pub const MAX_BYTES: usize = FileKind::Profile.max_bytes();

/// Returns the calls of a group of systemd's; `None` if there is no such group.
pub type Groups = fn(&str) -> Option<Vec<String>>;

/// How a profile is read.
#[derive(Clone, Debug, Default)]
pub struct Reading<'a> {
    /// The machine that conditions of Docker's dialect are resolved for.
    pub machine: Machine,
    /// Which of several profiles in one file: the thread of a seccompiler file, the name of a resource, a Falco rule.
    pub select: Option<&'a str>,
    /// The format to write it in: parts that this format has too are kept.
    pub into: Option<Format>,
    /// Whether to omit what no profile can hold, instead of failing.
    pub lossy: bool,
    /// The calls of a group of systemd's (`@basic-io`). Without it, groups are an error.
    pub groups: Option<Groups>,
    /// The compiler that verifies what was read from [`Format::Bpf`].
    pub compile: Option<Compile>,
}

/// A profile that was read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The format.
    pub format: Format,
    /// The profile, for the machine that it was read for.
    pub profile: Profile,
    /// What no profile can hold and was omitted ([`Reading::lossy`]).
    pub lost: Vec<Lost>,
    pub(super) extras: Option<Arc<dyn Extras>>,
    pub(super) places: PartPositions,
}

/// The parts of a file that a profile can't hold: kept while the format stays the same.
pub(super) trait Extras: fmt::Debug + Send + Sync {
    /// Writes all parts of the file; `None` if the format of the output can't express them.
    fn render(&self, out: &mut Output<'_>) -> Option<Result<String, RenderError>>;
}

/// Where the parts of a profile are in a file.
#[derive(Clone)]
pub(super) enum PartPositions {
    /// The path of each part in a JSON text.
    Json(Arc<dyn Fn(ProfilePart) -> Option<JsonPath> + Send + Sync>),
    /// The positions that the reader noted.
    Noted(BTreeMap<ProfilePart, Position>),
}

impl fmt::Debug for PartPositions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PartPositions::Json(_) => "Json",
            PartPositions::Noted(_) => "Noted",
        })
    }
}

impl Parsed {
    pub(super) fn new(format: Format, profile: Profile, places: PartPositions) -> Parsed {
        Parsed {
            format,
            profile,
            lost: Vec::new(),
            extras: None,
            places,
        }
    }

    /// Finds the parts of the profile in the file that it was read from.
    #[must_use]
    pub fn positions<'a>(&'a self, bytes: &'a [u8]) -> Positions<'a> {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        match &self.places {
            PartPositions::Json(path) => Positions(Find::Json(path, Box::new(Index::of(text)))),
            PartPositions::Noted(noted) => Positions(Find::Noted(noted)),
        }
    }
}

/// The positions of a profile's parts in its file.
pub struct Positions<'a>(Find<'a>);

enum Find<'a> {
    Json(
        &'a Arc<dyn Fn(ProfilePart) -> Option<JsonPath> + Send + Sync>,
        Box<Index<'a>>,
    ),
    Noted(&'a BTreeMap<ProfilePart, Position>),
}

impl Positions<'_> {
    /// The position of a part; `None` if the file doesn't have it.
    #[must_use]
    pub fn of(&self, place: ProfilePart) -> Option<Position> {
        match &self.0 {
            Find::Json(path, index) => index.locate(&path(place)?),
            Find::Noted(noted) => noted.get(&place).copied(),
        }
    }
}

/// The state of a reader: the options, and the omitted parts.
#[derive(Debug)]
pub(super) struct ReadState<'a> {
    pub(super) format: Format,
    pub(super) reading: &'a Reading<'a>,
    lost: Vec<Lost>,
}

impl<'a> ReadState<'a> {
    pub(super) fn new(format: Format, reading: &'a Reading<'a>) -> ReadState<'a> {
        ReadState {
            format,
            reading,
            lost: Vec::new(),
        }
    }

    /// Omits something if that is allowed.
    pub(super) fn lose(
        &mut self,
        position: Option<Position>,
        what: impl Into<String>,
    ) -> Result<(), ParseError> {
        let what = what.into();
        if !self.reading.lossy {
            return Err(ParseError::new(position, ParseErrorKind::Unsaid(what)));
        }
        self.lost.push(Lost { position, what });
        Ok(())
    }

    pub(super) fn into_lost(self) -> Vec<Lost> {
        self.lost
    }
}
