//! A profile as it was read: what it says, what of it no profile can hold, and where everything stands in the file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path as FilePath;

use serde::Deserialize;

use super::json::Path;
use super::loss::{Losses, Out};
use super::{
    DockerProfile, Format, Lost, Machine, ParseError, ParseErrorKind, Position, RenderError,
    SpoProfile, Writing, Written, bpf, detect, docker, falco, libseccomp, minijail, oci,
    seccompiler, spo, systemd, write,
};
use crate::profile::{Place, Profile};

/// No profile is longer. What is longer is not read: memory stays bounded whatever is given as a profile.
pub const MAX_BYTES: usize = 16 << 20;

/// Gives the calls of a group of systemd's; `None` where there is no such group.
pub type Groups = fn(&str) -> Option<Vec<String>>;

/// How a profile is read.
#[derive(Clone, Debug, Default)]
pub struct Reading<'a> {
    /// What the conditions of Docker's dialect are resolved for.
    pub machine: Machine,
    /// Which of several profiles in one file: the thread of a seccompiler file, the name of a resource, a Falco rule.
    pub select: Option<&'a str>,
    /// The format that it will be written in: what that can say too is kept, and not lost.
    pub into: Option<Format>,
    /// Whether what no profile can hold is left out and told of, not an error.
    pub lossy: bool,
    /// The calls of a group of systemd's (`@basic-io`); without it groups are an error.
    pub groups: Option<Groups>,
}

/// A profile as it was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The format.
    pub format: Format,
    /// What it says, for the machine that it was read for.
    pub profile: Profile,
    /// What it says besides, and is left out of the profile ([`Reading::lossy`]).
    pub lost: Vec<Lost>,
    pub(super) whole: Whole,
    pub(super) places: Places,
}

/// What a file says that a profile can't hold, and is kept where the format stays the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// Nothing.
    Profile,
    /// Conditions, comments, a map of architectures.
    Docker(DockerProfile),
    /// The metadata of a resource.
    Spo(SpoProfile),
}

/// Where the parts of a profile are in a file.
#[derive(Clone, Debug)]
pub(super) enum Places {
    /// On the way that the format has to each of them.
    Json(Json),
    /// At positions that were noted.
    Noted(BTreeMap<Place, Position>),
}

/// The dialects of JSON differ in the way to a part.
#[derive(Clone, Debug)]
pub(super) enum Json {
    /// As the OCI specification has it.
    Oci,
    /// The rules that hold, by their number in the file; whether each has its name in the legacy field.
    Docker(Vec<(usize, bool)>),
}

impl Source {
    pub(super) fn plain(format: Format, profile: Profile, places: Places) -> Source {
        Source {
            format,
            profile,
            lost: Vec::new(),
            whole: Whole::Profile,
            places,
        }
    }

    /// The profile with its conditions, as the file has it, where it is in Docker's dialect or Podman's.
    #[must_use]
    pub fn docker(&self) -> Option<&DockerProfile> {
        match &self.whole {
            Whole::Docker(profile) => Some(profile),
            _ => None,
        }
    }

    /// The resource, where it is one of the Security Profiles Operator.
    #[must_use]
    pub fn spo(&self) -> Option<&SpoProfile> {
        match &self.whole {
            Whole::Spo(profile) => Some(profile),
            _ => None,
        }
    }

    /// Where a part of the profile is in the file that it was read from; `None` where it isn't there.
    #[must_use]
    pub fn locate(&self, bytes: &[u8], place: Place) -> Option<Position> {
        let json = match &self.places {
            Places::Noted(noted) => return noted.get(&place).copied(),
            Places::Json(json) => json,
        };
        let text = std::str::from_utf8(bytes).ok()?;
        let root = Path::default();
        let syscall = |rule: usize| {
            let index = match json {
                Json::Oci => Some(rule),
                Json::Docker(rules) => rules.get(rule).map(|(index, _)| *index),
            };
            index.map(|index| root.field("syscalls").index(index))
        };
        let legacy = |rule: usize| match json {
            Json::Oci => false,
            Json::Docker(rules) => rules.get(rule).is_some_and(|(_, legacy)| *legacy),
        };
        let path = match place {
            Place::DefaultAction => root.field("defaultAction"),
            Place::Architecture(index) => match json {
                Json::Oci => {
                    let arch = self.profile.architectures()?.get(index)?.oci_name()?;
                    // The file may repeat others before it.
                    let ListedArches { architectures } = serde_json::from_str(text).ok()?;
                    let index = architectures.iter().position(|listed| listed == arch)?;
                    root.field("architectures").index(index)
                }
                // They can come from the map, where the number means something else.
                Json::Docker(_) => root.field("architectures"),
            },
            Place::Rule(rule) => syscall(rule)?,
            Place::Name { rule, .. } if legacy(rule) => syscall(rule)?.field("name"),
            Place::Name { rule, name } => syscall(rule)?.field("names").index(name),
            Place::Arg { rule, arg } => syscall(rule)?.field("args").index(arg),
        };
        path.locate(text)
    }

    /// Writes what was read in another format, or in the same one. What only the dialects of one family can say is kept
    /// within the family: from Docker's to Docker's or Podman's, and from one resource to another.
    pub fn write(&self, format: Format, writing: &Writing<'_>) -> Result<Written, RenderError> {
        let mut out = Out::new(format, writing);
        let text = match (&self.whole, format) {
            (Whole::Docker(profile), Format::Docker | Format::Podman) => {
                docker::render(profile, &mut out)?
            }
            (Whole::Spo(profile), Format::Spo) => spo::render(profile, &mut out)?,
            _ => return write(format, &self.profile, writing),
        };
        Ok(Written {
            bytes: text.into_bytes(),
            lost: out.into_lost(),
            companion: None,
        })
    }
}

#[derive(Deserialize)]
struct ListedArches {
    architectures: Vec<String>,
}

/// Reads a profile, in a given format or in the one that its content tells.
pub fn read(
    bytes: &[u8],
    format: Option<Format>,
    reading: &Reading<'_>,
) -> Result<Source, ParseError> {
    if bytes.len() > MAX_BYTES {
        let position = Position::of_offset(bytes, MAX_BYTES);
        return Err(ParseError::new(position, ParseErrorKind::TooLong));
    }
    let format = format.unwrap_or_else(|| detect(bytes));
    let mut losses = Losses::new(reading.lossy);
    if format == Format::Bpf {
        let mut source = bpf::parse(bytes, &mut losses)?;
        source.lost = losses.into_lost();
        return Ok(source);
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let position = Position::of_offset(bytes, error.valid_up_to());
        ParseError::new(position, ParseErrorKind::NotUtf8)
    })?;
    let mut source = match format {
        Format::Oci | Format::Kubernetes => {
            let profile = oci::parse(text, format)?;
            Source::plain(format, profile, Places::Json(Json::Oci))
        }
        Format::Docker | Format::Podman => docker::parse(text, format, &reading.machine)?,
        Format::Spo => spo::parse(text, reading, &mut losses)?,
        Format::Systemd => systemd::parse(text, reading.groups, &mut losses)?,
        Format::Seccompiler => seccompiler::parse(text, reading.select, &mut losses)?,
        Format::Minijail => minijail::parse(text, &mut losses)?,
        Format::Libseccomp => libseccomp::parse(text)?,
        Format::Falco => falco::parse(text, reading.select, &mut losses)?,
        Format::Bpf => unreachable_bpf()?,
    };
    source.lost = losses.into_lost();
    Ok(source)
}

/// Filters are read before anything is taken for text.
fn unreachable_bpf() -> Result<Source, ParseError> {
    Err(ParseError::new(None, ParseErrorKind::NotUtf8))
}

/// Reads a file, but no more than can be a profile: one that is longer is cut after [`MAX_BYTES`] and a byte, which
/// [`read()`] refuses with the place.
pub fn read_file(path: &FilePath) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_BYTES)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    if path == FilePath::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
