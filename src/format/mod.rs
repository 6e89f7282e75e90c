//! The file formats of profiles. Each is one file and one row of the table here.
//!
//! Reading is strict: an unknown part is an error with its position, never ignored. A part that another format can't express
//! is an error too, or, on request, omitted and listed ([`Lost`]), also in a comment where the format has comments. Written
//! profiles read back unchanged.

mod bpf;
mod by_call;
mod conditional;
mod detect;
mod docker;
mod document;
mod edit;
mod error;
mod falco;
mod json;
mod kubernetes;
mod libseccomp;
mod machine;
mod minijail;
mod oci;
mod reading;
mod seccompiler;
mod spo;
mod systemd;
mod writing;
mod yaml;

pub use conditional::{Conditional, conditionals};
pub use detect::detect;
pub use document::{Document, DocumentError, OnUnnamed, document};
pub use edit::{EditError, edit};
pub use error::{Invalid, Lost, ParseError, ParseErrorKind, Position, RenderError};
pub use machine::{KernelVersion, Machine};
pub use reading::{Groups, MAX_BYTES, Parsed, Positions, Reading};
pub use systemd::groups_of_systemd;
pub use writing::{Companion, Compile, Writing, Written};

use std::fmt;
use std::str::FromStr;

use crate::profile::{Edit, Profile};
use detect::Outline;
use error::Lines;
use reading::Input;
use writing::Output;

/// A row of the table of formats.
struct Row {
    /// The name on the command line.
    name: &'static str,
    /// The end of the names of such files, after the dot.
    extension: &'static str,
    /// What it is, in a few words.
    about: &'static str,
    /// Whether it is the OCI specification's JSON or a dialect: a profile reads back from it rule by rule.
    is_oci: bool,
    /// Whether a JSON text is in this format.
    json: fn(&Outline<'_>) -> bool,
    /// Whether a line shows that a text is in this format.
    line: fn(&str) -> bool,
    read: Reader,
    write: Writer,
    /// Makes the file that goes with the profile of a workload.
    companion: Option<fn(&str) -> Companion>,
    edit: Option<EditText>,
}

/// Changes a text and leaves the rest of it as it is; `None` if the text can't be changed so.
type EditText = fn(&str, &Profile, &Edit) -> Option<String>;

enum Reader {
    Text(fn(&str, &mut Input<'_>) -> Result<Parsed, ParseError>),
    Bytes(fn(&[u8], &mut Input<'_>) -> Result<Parsed, ParseError>),
}

enum Writer {
    Text(fn(&Profile, &mut Output<'_>) -> Result<String, RenderError>),
    Bytes(fn(&Profile, &mut Output<'_>) -> Result<Vec<u8>, RenderError>),
}

/// Declares the formats, each with its row.
macro_rules! formats {
    ($($(#[$doc:meta])* $format:ident = $row:path;)*) => {
        /// A file format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Format {
            $($(#[$doc])* $format,)*
        }

        impl Format {
            /// Every format.
            pub const ALL: &[Format] = &[$(Format::$format),*];

            const fn row(self) -> &'static Row {
                match self {
                    $(Format::$format => {
                        const ROW: &Row = &$row;
                        ROW
                    })*
                }
            }
        }
    };
}

formats! {
    /// `linux.seccomp` of the OCI runtime specification: read by runc, crun, containerd and CRI-O, and by Docker, Podman and
    /// Kubernetes.
    Oci = oci::ROW;
    /// Docker's dialect (moby): rules with conditions, `archMap`, comments.
    Docker = docker::DOCKER;
    /// Podman's dialect: Docker's, with errnos by name and without `minKernel`.
    Podman = docker::PODMAN;
    /// OCI, for a `Localhost` profile of the kubelet, with the snippet of the pod that uses it.
    Kubernetes = kubernetes::ROW;
    /// `SeccompProfile` of the Security Profiles Operator.
    Spo = spo::ROW;
    /// A drop-in for a unit of systemd (`systemd.exec(5)`).
    Systemd = systemd::ROW;
    /// The JSON of seccompiler (Firecracker).
    Seccompiler = seccompiler::ROW;
    /// A policy of minijail, for `compile_seccomp_policy.py`.
    Minijail = minijail::ROW;
    /// A C source that loads the profile with libseccomp.
    Libseccomp = libseccomp::ROW;
    /// A rule of Falco that reports calls outside the profile.
    Falco = falco::ROW;
    /// The compiled filter: an array of `struct sock_filter` in this machine's byte order, as bubblewrap takes it.
    Bpf = bpf::ROW;
}

impl Format {
    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The end of the names of such files, after the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        self.row().extension
    }

    /// What it is, in a few words.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.row().about
    }

    /// Whether files are text.
    #[must_use]
    pub const fn is_text(self) -> bool {
        matches!(self.row().read, Reader::Text(_))
    }

    /// Whether it is the OCI specification's JSON or a dialect of it, from which a profile reads back rule by rule.
    #[must_use]
    pub const fn is_oci(self) -> bool {
        self.row().is_oci
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
    read(bytes, Some(format), &Reading::default()).map(|parsed| parsed.profile)
}

/// Reads a profile, in the given format or in the one that its content shows.
pub fn read(
    bytes: &[u8],
    format: Option<Format>,
    reading: &Reading<'_>,
) -> Result<Parsed, ParseError> {
    let error = |offset, kind| ParseError::new(Lines::of(bytes).position(offset), kind);
    if bytes.len() > MAX_BYTES {
        return Err(error(MAX_BYTES, ParseErrorKind::TooLong(MAX_BYTES)));
    }
    let format = format.unwrap_or_else(|| detect(bytes));
    let mut input = Input::new(format, reading);
    let mut parsed = match format.row().read {
        Reader::Bytes(read) => read(bytes, &mut input)?,
        Reader::Text(read) => {
            let text = std::str::from_utf8(bytes)
                .map_err(|invalid| error(invalid.valid_up_to(), ParseErrorKind::NotUtf8))?;
            read(text, &mut input)?
        }
    };
    parsed.lost = input.into_lost();
    Ok(parsed)
}

/// Writes a profile in a format that is text. The text is a function of the profile, and ends with a newline.
pub fn render(format: Format, profile: &Profile) -> Result<String, RenderError> {
    let written = write(format, profile, &Writing::default())?;
    String::from_utf8(written.bytes).map_err(|_| RenderError::Text {
        format,
        why: "it is not text".to_owned(),
    })
}

/// Writes a profile. The bytes are a function of the profile and the options.
pub fn write(
    format: Format,
    profile: &Profile,
    writing: &Writing<'_>,
) -> Result<Written, RenderError> {
    let mut out = Output::new(format, writing);
    let bytes = match format.row().write {
        Writer::Text(write) => write(profile, &mut out)?.into_bytes(),
        Writer::Bytes(write) => write(profile, &mut out)?,
    };
    Ok(Written {
        bytes,
        lost: out.into_lost(),
        companion: format.row().companion.map(|make| make(writing.name)),
    })
}

impl Parsed {
    /// Writes what was read, in another format or in the same one. What only the dialects of one family can express is kept
    /// within the family: from Docker's to Docker's or Podman's, and from one resource to another.
    pub fn write(&self, format: Format, writing: &Writing<'_>) -> Result<Written, RenderError> {
        let mut out = Output::new(format, writing);
        let text = (self.extras.as_ref()).and_then(|extras| extras.render(&mut out));
        let Some(text) = text else {
            return write(format, &self.profile, writing);
        };
        Ok(Written {
            bytes: text?.into_bytes(),
            lost: out.into_lost(),
            companion: None,
        })
    }
}

#[cfg(test)]
mod tests;
