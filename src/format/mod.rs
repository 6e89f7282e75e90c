//! The file formats of profiles: each is read and written by a file of its own.
//!
//! Reading is strict: what a format does not have is an error that says where it is, never ignored. What one format says
//! and another can't is an error too, or, where that is asked for, left out and told of ([`Lost`]): in a comment of what is
//! written, where the format has comments. What is written reads back as what was written.

#![allow(
    clippy::format_push_string,
    reason = "texts are put together from pieces; write! would have errors that can't be"
)]

mod bpf;
mod calls;
mod conditional;
mod detect;
mod docker;
mod document;
mod edit;
mod falco;
mod json;
mod kubernetes;
mod libseccomp;
mod loss;
mod minijail;
mod oci;
mod seccompiler;
mod source;
mod spo;
mod systemd;
mod yaml;

pub use conditional::{Conditional, conditionals};
pub use detect::detect;
pub use docker::{Arches, Condition, DockerProfile, DockerRule, KernelVersion, Machine, SubArches};
pub use document::{Document, DocumentError, OnUnnamed, document};
pub use edit::{EditError, edit};
pub use loss::Lost;
pub use source::{Groups, MAX_BYTES, Reading, Source, read, read_file};
pub use spo::SpoProfile;
pub use systemd::groups_of_systemd;

use std::fmt;
use std::str::FromStr;

use crate::profile::{NoSuchArg, Place, Profile, RuleError};
use crate::syscall::Arch;
use loss::Out;

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// `linux.seccomp` of the OCI runtime specification: what runc, crun, containerd and CRI-O read, and what Docker,
    /// Podman and Kubernetes take too.
    Oci,
    /// Docker's dialect (moby): rules with conditions, `archMap`, comments.
    Docker,
    /// Podman's dialect: Docker's, with errnos by name and without `minKernel`.
    Podman,
    /// OCI, for a `Localhost` profile of the kubelet, with the snippet of the pod that uses it.
    Kubernetes,
    /// `SeccompProfile` of the Security Profiles Operator.
    Spo,
    /// A drop-in for a unit of systemd (`systemd.exec(5)`).
    Systemd,
    /// The JSON of seccompiler (Firecracker).
    Seccompiler,
    /// A policy of minijail, for `compile_seccomp_policy.py`.
    Minijail,
    /// A C source that loads the profile with libseccomp.
    Libseccomp,
    /// A rule of Falco that reports what the profile doesn't allow.
    Falco,
    /// The compiled filter: an array of `struct sock_filter` in this machine's byte order, as bubblewrap takes it.
    Bpf,
}

impl Format {
    /// Every format.
    pub const ALL: &[Format] = &[
        Format::Oci,
        Format::Docker,
        Format::Podman,
        Format::Kubernetes,
        Format::Spo,
        Format::Systemd,
        Format::Seccompiler,
        Format::Minijail,
        Format::Libseccomp,
        Format::Falco,
        Format::Bpf,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::Oci => "oci",
            Format::Docker => "docker",
            Format::Podman => "podman",
            Format::Kubernetes => "kubernetes",
            Format::Spo => "spo",
            Format::Systemd => "systemd",
            Format::Seccompiler => "seccompiler",
            Format::Minijail => "minijail",
            Format::Libseccomp => "libseccomp",
            Format::Falco => "falco",
            Format::Bpf => "bpf",
        }
    }

    /// What the names of such files end with, after the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Format::Oci
            | Format::Docker
            | Format::Podman
            | Format::Kubernetes
            | Format::Seccompiler => "json",
            Format::Spo | Format::Falco => "yaml",
            Format::Systemd => "conf",
            Format::Minijail => "policy",
            Format::Libseccomp => "c",
            Format::Bpf => "bpf",
        }
    }

    /// Whether files are text. The others are bytes.
    #[must_use]
    pub const fn is_text(self) -> bool {
        !matches!(self, Format::Bpf)
    }

    /// The dialects of JSON that are a profile of the OCI specification with more or less around it: they have the same
    /// parts, so that a profile reads back from them rule by rule.
    #[must_use]
    pub const fn is_oci(self) -> bool {
        matches!(
            self,
            Format::Oci | Format::Docker | Format::Podman | Format::Kubernetes
        )
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

/// Reads a profile. Conditions of Docker's dialect are resolved for [`Machine::default`].
pub fn parse(format: Format, bytes: &[u8]) -> Result<Profile, ParseError> {
    read(bytes, Some(format), &Reading::default()).map(|source| source.profile)
}

/// Writes a profile in a format that is text. The text is a function of the profile, and ends with a newline.
pub fn render(format: Format, profile: &Profile) -> Result<String, RenderError> {
    let written = write(format, profile, &Writing::default())?;
    String::from_utf8(written.bytes).map_err(|_| RenderError::Text {
        format,
        why: "it is not text".to_owned(),
    })
}

/// Where a part of a profile is in the text that it was read from; `None` where it isn't there.
#[must_use]
pub fn locate(format: Format, bytes: &[u8], place: Place) -> Option<Position> {
    let source = read(bytes, Some(format), &Reading::default()).ok()?;
    source.locate(bytes, place)
}

/// How a profile is written.
#[derive(Clone, Copy, Debug)]
pub struct Writing<'a> {
    /// What the profile is called, where the format has a place for it: the name of the workload.
    pub name: &'a str,
    /// Whether what the format can't say is left out and told of, not an error.
    pub lossy: bool,
}

impl Default for Writing<'_> {
    fn default() -> Self {
        Writing {
            name: "workload",
            lossy: false,
        }
    }
}

/// A profile as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The content of the file.
    pub bytes: Vec<u8>,
    /// What the format can't say, and is left out ([`Writing::lossy`]).
    pub lost: Vec<Lost>,
    /// What else belongs to it.
    pub companion: Option<Companion>,
}

/// A file that goes with a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// What its name ends with in place of the profile's own ending, after the dot.
    pub extension: &'static str,
    /// Its content.
    pub text: String,
}

/// Writes a profile. The bytes are a function of the profile and of how it is written.
pub fn write(
    format: Format,
    profile: &Profile,
    writing: &Writing<'_>,
) -> Result<Written, RenderError> {
    let mut out = Out::new(format, writing);
    let mut companion = None;
    let bytes = match format {
        Format::Oci => oci::render(profile, format)?.into_bytes(),
        Format::Docker | Format::Podman => {
            docker::render(&DockerProfile::from(profile), &mut out)?.into_bytes()
        }
        Format::Kubernetes => {
            companion = Some(kubernetes::companion(writing.name));
            oci::render(profile, format)?.into_bytes()
        }
        Format::Spo => spo::render(&SpoProfile::new(profile, writing.name), &mut out)?.into_bytes(),
        Format::Systemd => systemd::render(profile, &mut out)?.into_bytes(),
        Format::Seccompiler => seccompiler::render(profile, &mut out)?.into_bytes(),
        Format::Minijail => minijail::render(profile, &mut out)?.into_bytes(),
        Format::Libseccomp => libseccomp::render(profile, &mut out)?.into_bytes(),
        Format::Falco => falco::render(profile, &mut out)?.into_bytes(),
        Format::Bpf => bpf::render(profile, &mut out)?,
    };
    Ok(Written {
        bytes,
        lost: out.into_lost(),
        companion,
    })
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
    /// The file is larger than any profile.
    #[error("there is more than {} MiB: no profile is that long", MAX_BYTES >> 20)]
    TooLong,
    /// It says more than a profile can.
    #[error("{0}")]
    Unsaid(String),
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
    /// There are two lists of ABIs.
    #[error("both `architectures` and `archMap` are there, and Docker takes only one of them")]
    TwoArchLists,
    /// A rule has its names twice.
    #[error("both `name` and `names` are there, and Docker takes only one of them")]
    TwoNames,
    /// No errno has this name.
    #[error("{0:?} is neither the name of an errno nor a number")]
    ErrnoName(String),
    /// The two ways to say an errno differ.
    #[error("the errno is {name} here and {number} there")]
    ErrnoTwice {
        /// By its name.
        name: String,
        /// By its number.
        number: u32,
    },
    /// A condition names what isn't there.
    #[error("{0:?} is not an architecture")]
    ConditionArch(String),
    /// A condition names what isn't there.
    #[error("{0:?} is not a capability: they are CAP_SYS_ADMIN and the like")]
    ConditionCap(String),
    /// A version that can't be compared.
    #[error("{0:?} is not a version of Linux: they are 5.10 and the like")]
    KernelVersion(String),
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
    /// The profile says what the format can't.
    #[error("the {format} format can't say this: {lost}")]
    Unsaid {
        /// The format.
        format: Format,
        /// What it can't say.
        lost: Lost,
    },
    /// The profile can't be compiled.
    #[error("the profile can't be compiled: {why}")]
    Compile {
        /// Why.
        why: String,
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

#[cfg(test)]
mod tests;
