//! `sc-record run PROFILE -- CMD [ARG]...`: enforcement without a container engine.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;
use sc_record::command::find_executable;
use sc_record::enforce::{
    CompileError, Filter, OnUnknown, Privileges, compile, compile_like, exec,
};
use sc_record::format::Format;
use sc_record::profile::{Profile, ProfilePart};

use super::load::{self, Loaded};
use crate::cli::{EnforceArgs, RunArgs};
use crate::ui::failure::UnknownNames;

/// A profile, and the filter that it is compiled to.
pub(super) struct Compiled {
    /// The file's content.
    pub(super) bytes: Vec<u8>,
    pub(super) format: Format,
    pub(super) profile: Profile,
    pub(super) filter: Filter,
}

impl Compiled {
    /// Reads and compiles a profile, and warns where the filter differs from it unless `quiet`.
    pub(super) fn load(enforce: &EnforceArgs, quiet: bool) -> anyhow::Result<Compiled> {
        let path = &enforce.profile;
        let file = path.display();
        let Loaded { parsed, bytes } = load::load(path, &enforce.read, None, false)?;
        let positions = parsed.positions(&bytes);

        // `line 3, column 9: …`
        let at = |place: Option<ProfilePart>| {
            let position = place.and_then(|place| positions.of(place));
            position.map_or_else(String::new, |position| format!("{position}: "))
        };
        let on_unknown = if enforce.ignore_unknown {
            OnUnknown::Ignore
        } else {
            OnUnknown::Fail
        };
        let compiled = match enforce.like.runtime() {
            None => compile(&parsed.profile, on_unknown),
            Some(runtime) => compile_like(&parsed.profile, runtime),
        };
        let filter = compiled.map_err(|error| {
            if let CompileError::UnknownNames(names) = &error {
                let names = (names.iter()).map(|name| format!("{}{name}", at(Some(name.place))));
                return anyhow::Error::new(UnknownNames(names.collect()))
                    .context(format!("{file}"));
            }
            let context = format!("{file}: {}can't compile the profile", at(error.place()));
            anyhow::Error::new(error).context(context)
        })?;
        if !quiet {
            for unknown in filter.unknown() {
                let position = at(Some(unknown.place));
                say!("sc-record: warning: {file}: {position}ignored: {unknown}");
            }
            for note in filter.notes() {
                say!("sc-record: warning: {file}: {}{note}", at(note.place()));
            }
        }
        drop(positions);
        Ok(Compiled {
            format: parsed.format,
            profile: parsed.profile,
            bytes,
            filter,
        })
    }
}

/// What the command may gain.
pub(super) fn privileges(enforce: &EnforceArgs) -> Privileges {
    if enforce.allow_new_privs {
        Privileges::Keep
    } else {
        Privileges::NoNew
    }
}

/// This program, in any child of this process.
pub(super) const MYSELF: &str = "/proc/self/exe";

/// The command line that runs a command under a profile, which is OCI.
pub(super) fn run_argv(
    enforce: &EnforceArgs,
    profile: &Path,
    command: &[OsString],
) -> Vec<OsString> {
    let mut argv: Vec<OsString> = ["sc-record", "run", "-q"].map(Into::into).to_vec();
    for (wanted, option) in [
        (enforce.ignore_unknown, "--ignore-unknown"),
        (enforce.allow_new_privs, "--allow-new-privs"),
    ] {
        if wanted {
            argv.push(option.into());
        }
    }
    if let Some(runtime) = enforce.like.runtime() {
        argv.extend(["--like".into(), runtime.to_string().into()]);
    }
    argv.extend(["--from".into(), Format::Oci.name().into()]);
    argv.extend([profile.into(), "--".into()]);
    argv.extend_from_slice(command);
    argv
}

/// Executes the command in this process. Returns only if the filter can't be loaded.
pub(super) fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let Compiled {
        profile, filter, ..
    } = Compiled::load(&args.enforce, args.verbosity.quiet)?;

    // clap requires one.
    let name = args.command.first().context("there is no command")?;
    let path = find_executable(name)?;
    let listener = profile.listener();
    let error = exec(
        &filter,
        listener,
        &path,
        &args.command,
        privileges(&args.enforce),
    );
    Err(anyhow::Error::new(error).context(format!("can't run {}", path.display())))
}
