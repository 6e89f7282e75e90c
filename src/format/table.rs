//! The table of formats.

use std::fmt;
use std::str::FromStr;

use super::name::Format;
use super::row::{FormatReader, FormatRow};
use super::{bpf, docker, falco, kubernetes, libseccomp, minijail, oci, seccompiler, spo, systemd};

/// Declares the rows of the formats.
macro_rules! rows {
    ($($format:ident = $row:path;)*) => {
        impl Format {
            /// Every format.
            pub const ALL: &[Format] = &[$(Format::$format),*];

            pub(super) const fn row(self) -> &'static FormatRow {
                match self {
                    $(Format::$format => {
                        const ROW: &FormatRow = &$row;
                        ROW
                    })*
                }
            }
        }
    };
}

rows! {
    Oci = oci::ROW;
    Docker = docker::DOCKER;
    Podman = docker::PODMAN;
    Kubernetes = kubernetes::ROW;
    Spo = spo::ROW;
    Systemd = systemd::ROW;
    Seccompiler = seccompiler::ROW;
    Minijail = minijail::ROW;
    Libseccomp = libseccomp::ROW;
    Falco = falco::ROW;
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
        matches!(self.row().read, FormatReader::Text(_))
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
