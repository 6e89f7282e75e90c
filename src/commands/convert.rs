//! `sc-record convert PROFILE -f FORMAT`.

use std::path::Path;

use anyhow::Context;
use sc_record::format::Writing;

use super::{exit_status, load, profile};
use crate::cli::{ConvertArgs, Destination};

pub(super) fn convert(args: &ConvertArgs) -> anyhow::Result<u8> {
    let format = args.format;
    let parsed = load::load(&args.profile, &args.read, Some(format), args.lossy)?.parsed;
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_of(&args.profile),
    };
    let writing = Writing {
        name: &name,
        lossy: args.lossy,
        ..profile::WRITING
    };
    let written = (parsed.write(format, &writing))
        .with_context(|| format!("can't convert {}", args.profile.display()))?;
    profile::write(&written, &args.output)?;
    if args.verbosity.quiet {
        return Ok(exit_status::CLEAN);
    }
    for lost in parsed.lost.iter().chain(&written.lost) {
        say!("sc-record: warning: left out: {lost}");
    }
    if let Some(companion) = &written.companion {
        match &args.output {
            Destination::File(path) => {
                let beside = path.with_extension(companion.extension);
                say!("sc-record: for the pod: {}", beside.display());
            }
            Destination::Stdout | Destination::Nowhere => {
                say!("sc-record: with -o FILE, the pod's securityContext is written beside it");
            }
        }
    }
    Ok(exit_status::CLEAN)
}

/// The file's name up to its first dot.
fn name_of(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.and_then(|name| name.split('.').next());
    match name {
        None | Some("" | "-") => "workload".to_owned(),
        Some(name) => name.to_owned(),
    }
}
