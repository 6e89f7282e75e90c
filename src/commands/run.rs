//! `sc-record run PROFILE -- CMD [ARG]...`: enforcement without a container engine.

use std::convert::Infallible;
use std::path::Path;

use anyhow::Context;
use sc_record::command::find_executable;
use sc_record::enforce::{self, CompileError, Filter, OnUnknown, Privileges};
use sc_record::format::Format;
use sc_record::profile::{Place, Profile};

use super::source::{self, Loaded};
use crate::cli::{EnforceArgs, RunArgs};
use crate::ui::failure::UnknownNames;

/// A profile that is to be enforced.
pub(super) struct Load<'a> {
    pub(super) path: &'a Path,
    pub(super) enforce: &'a EnforceArgs,
    /// Don't warn.
    pub(super) quiet: bool,
}

/// A profile, and the filter that it is compiled to.
pub(super) struct Given {
    /// The file.
    pub(super) bytes: Vec<u8>,
    pub(super) format: Format,
    pub(super) profile: Profile,
    pub(super) filter: Filter,
}

impl Load<'_> {
    /// Reads and compiles the profile, and warns of what the filter does otherwise.
    pub(super) fn load(&self) -> anyhow::Result<Given> {
        let file = self.path.display();
        let Loaded { source, bytes } = source::load(self.path, &self.enforce.read, None, false)?;

        // `line 3, column 9: …` for what has a place in the file.
        let at = |place: Option<Place>| {
            let position = place.and_then(|place| source.locate(&bytes, place));
            position.map_or_else(String::new, |position| format!("{position}: "))
        };
        let on_unknown = if self.enforce.ignore_unknown {
            OnUnknown::Ignore
        } else {
            OnUnknown::Fail
        };
        let filter = enforce::compile(&source.profile, on_unknown).map_err(|error| {
            if let CompileError::UnknownNames(names) = &error {
                let names = (names.iter()).map(|name| format!("{}{name}", at(Some(name.place))));
                return anyhow::Error::new(UnknownNames(names.collect()))
                    .context(format!("{file}"));
            }
            let context = format!("{file}: {}cannot compile the profile", at(error.place()));
            anyhow::Error::new(error).context(context)
        })?;
        if !self.quiet {
            for ignored in filter.ignored() {
                let position = at(Some(ignored.place));
                say!("sc-record: warning: {file}: {position}ignored: {ignored}");
            }
            for note in filter.notes() {
                say!("sc-record: warning: {file}: {}{note}", at(note.place()));
            }
        }
        Ok(Given {
            bytes,
            format: source.format,
            profile: source.profile,
            filter,
        })
    }
}

/// Becomes the command. Returns only if that fails before the filter is loaded.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    match become_command(args)? {}
}

fn become_command(args: &RunArgs) -> anyhow::Result<Infallible> {
    let Given {
        profile, filter, ..
    } = Load {
        path: &args.enforce.profile,
        enforce: &args.enforce,
        quiet: args.verbosity.quiet,
    }
    .load()?;

    // clap sees to it that there is one.
    let name = args.command.first().context("there is no command")?;
    let path = find_executable(name)?;
    let privileges = if args.enforce.allow_new_privs {
        Privileges::Keep
    } else {
        Privileges::NoNew
    };
    let listener = profile.listener.as_ref();
    let error = enforce::exec(&filter, listener, &path, &args.command, privileges);
    Err(anyhow::Error::new(error).context(format!("cannot run {}", path.display())))
}
