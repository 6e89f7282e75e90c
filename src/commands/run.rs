//! `sc-record run PROFILE -- CMD [ARG]...`: enforcement without a container engine.

use std::convert::Infallible;
use std::fs;

use anyhow::Context;
use sc_record::command::find_executable;
use sc_record::enforce::{self, CompileError, OnUnknown, Privileges};
use sc_record::format::{self, Format};
use sc_record::profile::Place;

use crate::cli::RunArgs;

/// Names that can't be put into the filter, each with its place in the file.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(super) struct UnknownNames(Vec<String>);

/// Becomes the command. Returns only if that fails before the filter is loaded.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    match become_command(args)? {}
}

fn become_command(args: &RunArgs) -> anyhow::Result<Infallible> {
    let file = args.profile.display();
    let format = Format::from(args.format);
    let bytes = fs::read(&args.profile).with_context(|| format!("cannot read {file}"))?;
    let profile = format::parse(format, &bytes).with_context(|| format!("{file}"))?;

    // `line 3, column 9: …` for what has a place in the file.
    let at = |place: Option<Place>| {
        let position = place.and_then(|place| format::locate(format, &bytes, place));
        position.map_or_else(String::new, |position| format!("{position}: "))
    };
    let on_unknown = if args.ignore_unknown {
        OnUnknown::Ignore
    } else {
        OnUnknown::Fail
    };
    let filter = enforce::compile(&profile, on_unknown).map_err(|error| {
        if let CompileError::UnknownNames(names) = &error {
            let names = (names.iter()).map(|name| format!("{}{name}", at(Some(name.place))));
            return anyhow::Error::new(UnknownNames(names.collect())).context(format!("{file}"));
        }
        let context = format!("{file}: {}cannot compile the profile", at(error.place()));
        anyhow::Error::new(error).context(context)
    })?;
    if !args.quiet {
        for ignored in filter.ignored() {
            let position = at(Some(ignored.place));
            say!("sc-record: warning: {file}: {position}ignored: {ignored}");
        }
        for note in filter.notes() {
            say!("sc-record: warning: {file}: {}{note}", at(note.place()));
        }
    }

    // clap sees to it that there is one.
    let name = args.command.first().context("there is no command")?;
    let path = find_executable(name)?;
    let privileges = if args.allow_new_privs {
        Privileges::Keep
    } else {
        Privileges::NoNew
    };
    let listener = profile.listener.as_ref();
    let error = enforce::exec(&filter, listener, &path, &args.command, privileges);
    Err(anyhow::Error::new(error).context(format!("cannot run {}", path.display())))
}
