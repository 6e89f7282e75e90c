//! The file formats of profiles: each is read and written by a file of its own.
//!
//! Reading is strict: what a format does not have is an error that says where it is, never ignored. Writing says no to
//! what a format can't express. What is written reads back as the same [`Profile`].

mod conditional;
mod document;
mod edit;
mod json;
mod oci;

pub use conditional::{Conditional, conditionals};
pub use document::{Document, DocumentError, OnUnnamed, document};
pub use edit::{EditError, edit};

use std::fmt;
use std::str::FromStr;

use crate::profile::{NoSuchArg, Place, Profile, RuleError};
use crate::syscall::Arch;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `linux.seccomp` of the OCI runtime specification: what runc, crun, containerd and CRI-O read, and what Docker,
    /// Podman and Kubernetes take too.
    Oci,
}

impl Format {
    /// Every format.
    pub const ALL: &[Format] = &[Format::Oci];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::Oci => "oci",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no format has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown profile format {0:?}")]
pub struct UnknownFormat(String);

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Format, UnknownFormat> {
        let found = Self::ALL.iter().copied().find(|f| f.name() == name);
        found.ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

/// Reads a profile.
pub fn parse(format: Format, bytes: &[u8]) -> Result<Profile, ParseError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let position = Position::of_offset(bytes, error.valid_up_to());
        ParseError::new(position, ParseErrorKind::NotUtf8)
    })?;
    match format {
        Format::Oci => oci::parse(text),
    }
}

/// Writes a profile. The text is a function of the profile, and ends with a newline.
pub fn render(format: Format, profile: &Profile) -> Result<String, RenderError> {
    match format {
        Format::Oci => oci::render(profile),
    }
}

/// Where a part of a profile is in the text that it was read from; `None` where it isn't there.
#[must_use]
pub fn locate(format: Format, bytes: &[u8], place: Place) -> Option<Position> {
    let text = std::str::from_utf8(bytes).ok()?;
    match format {
        Format::Oci => oci::locate(text, place),
    }
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In bytes, from 1. 0 is before the first byte of the line.
    pub column: usize,
}

impl Position {
    /// The position of the byte at `offset`, from 0; `None` beyond the end of the text.
    fn of_offset(text: &[u8], offset: usize) -> Option<Position> {
        let mut lines = text.get(..offset)?.split(|&byte| byte == b'\n');
        let last = lines.next_back()?;
        Some(Position {
            line: lines.count() + 1,
            column: last.len() + 1,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a text is not a profile, and where it stops being one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {kind}")]
pub struct ParseError {
    /// Where.
    pub position: Position,
    /// Why.
    pub kind: ParseErrorKind,
}

impl ParseError {
    fn new(position: Option<Position>, kind: ParseErrorKind) -> ParseError {
        let start = Position { line: 1, column: 1 };
        ParseError {
            position: position.unwrap_or(start),
            kind,
        }
    }
}

/// Why a text is not a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The text is not text.
    #[error("not UTF-8")]
    NotUtf8,
    /// It is not JSON, or not of the form of the format.
    #[error("{0}")]
    Form(String),
    /// It is in another format.
    #[error("`{field}` is not a field of the {expected} format: {is}")]
    OtherFormat {
        /// What gives it away.
        field: String,
        /// The format that it was read as.
        expected: Format,
        /// What it is.
        is: &'static str,
    },
    /// It says what no profile can say.
    #[error("{path}: {invalid}")]
    Invalid {
        /// The part that says it, in the words of the format.
        path: String,
        /// What is wrong with it.
        invalid: Invalid,
    },
}

/// What no profile can say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// A rule has no names, or an empty one.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A comparison is of an argument that there isn't.
    #[error(transparent)]
    Arg(#[from] NoSuchArg),
    /// An errno goes with an action that answers none. The OCI specification makes it an error; runc and crun differ in
    /// what they do.
    #[error("{action} has no errno: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE have")]
    NoErrno {
        /// The action.
        action: &'static str,
    },
    /// A number doesn't fit into the answer of a filter.
    #[error("{number} is too great: {action} takes 0 to {max}")]
    ErrnoTooGreat {
        /// The action.
        action: &'static str,
        /// The number.
        number: u32,
        /// The greatest one that it takes.
        max: u16,
    },
    /// An architecture that the specification doesn't have.
    #[error("{0} is not an architecture of the OCI specification, and runc refuses it")]
    Architecture(String),
    /// A path is empty.
    #[error("an empty path is no socket")]
    EmptyListenerPath,
    /// There is something to send, but nowhere to send it.
    #[error("there is no listenerPath to send it to")]
    MetadataWithoutListener,
}

/// What a format can't express.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The format has no name for an ABI.
    #[error("the {format} format has no name for {arch}")]
    Architecture {
        /// The format.
        format: Format,
        /// The ABI.
        arch: Arch,
    },
    /// The text could not be made.
    #[error("the {format} format: {why}")]
    Text {
        /// The format.
        format: Format,
        /// Why.
        why: String,
    },
}
