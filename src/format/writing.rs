//! Options and result of writing a profile.

use std::collections::BTreeSet;
use std::path::Path;

use itertools::Itertools;
use serde::Serialize;

use super::error::{Lost, RenderError};
use super::name::Format;
use crate::bpf::Program;
use crate::profile::Profile;
use crate::syscall::Arch;

/// Compiles a profile to a filter. The names are those that the filter leaves out, each with its reason.
pub type Compile = fn(&Profile) -> Result<(Program, Vec<String>), String>;

/// How a profile is written.
#[derive(Clone, Copy, Debug)]
pub struct Writing<'a> {
    /// Name of the workload, for formats that hold one.
    pub name: &'a str,
    /// The executables that made the calls, if they are known, for formats that select processes.
    pub executables: Option<&'a BTreeSet<&'a Path>>,
    /// Whether to omit what the format can't express, instead of failing.
    pub lossy: bool,
    /// The compiler, for [`Format::Bpf`].
    pub compile: Option<Compile>,
    /// Whether Docker's dialect gets the ABIs of several machines by machine (`archMap`). It is read for one machine then.
    pub arch_map: bool,
}

impl Default for Writing<'_> {
    fn default() -> Self {
        Writing {
            name: "workload",
            executables: None,
            lossy: false,
            compile: None,
            arch_map: false,
        }
    }
}

/// A profile as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The content of the file.
    pub bytes: Vec<u8>,
    /// What the format can't express and was omitted ([`Writing::lossy`]).
    pub lost: Vec<Lost>,
    /// A file that goes with it.
    pub companion: Option<Companion>,
}

/// A file that goes with a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// The end of its name, in place of the profile's own extension.
    pub extension: &'static str,
    /// Its content.
    pub text: String,
}

/// The state of a writer: the options, and the omitted parts.
#[derive(Debug)]
pub(super) struct Output<'a> {
    pub(super) format: Format,
    pub(super) writing: Writing<'a>,
    lost: Vec<Lost>,
}

impl<'a> Output<'a> {
    pub(super) fn new(format: Format, writing: &Writing<'a>) -> Output<'a> {
        Output {
            format,
            writing: *writing,
            lost: Vec::new(),
        }
    }

    /// Omits something if that is allowed.
    pub(super) fn lose(&mut self, what: impl Into<String>) -> Result<(), RenderError> {
        if !self.writing.lossy {
            return Err(self.unsaid(what));
        }
        let (position, what) = (None, what.into());
        self.lost.push(Lost { position, what });
        Ok(())
    }

    /// The error for something that can't be omitted.
    pub(super) fn unsaid(&self, what: impl Into<String>) -> RenderError {
        let (format, position, what) = (self.format, None, what.into());
        let lost = Lost { position, what };
        RenderError::Unsaid { format, lost }
    }

    /// A value as JSON on several lines.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<String, RenderError> {
        let text = serde_json::to_string_pretty(value).map_err(|error| RenderError::Text {
            format: self.format,
            why: error.to_string(),
        })?;
        Ok(text + "\n")
    }

    /// The ABI of a profile, for formats of a single one; the others are lost.
    pub(super) fn single_arch(&mut self, profile: &Profile) -> Result<Option<Arch>, RenderError> {
        let mut arches = profile.listed();
        let first = arches.next();
        let others = arches.join(", ");
        if let (Some(arch), false) = (first, others.is_empty()) {
            self.lose(format!("architectures: {others} besides {arch}"))?;
        }
        Ok(first)
    }

    /// The head of a text with comments: what it is, and what it omits. Each line begins with `mark`.
    pub(super) fn head(&self, mark: &str, what: &[&str]) -> String {
        let mut text = String::new();
        for line in what {
            text += &format!("{mark} {line}\n");
        }
        for lost in &self.lost {
            // Paths of a profile can be any text.
            let lost = lost.to_string().replace(|c: char| c.is_control(), " ");
            text += &format!("{mark} Left out: {lost}\n");
        }
        text
    }

    pub(super) fn into_lost(self) -> Vec<Lost> {
        self.lost
    }
}
