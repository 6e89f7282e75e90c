//! `sc-record push PROFILE REF` and `sc-record pull REF`.

use std::io::{self, Write};

use anyhow::Context;
use sc_record::format::Written;
use sc_record::registry::Registry;

use super::{exit_status, load, profile};
use crate::cli::{PullArgs, PushArgs, RegistryArgs};

pub(super) fn push(args: &PushArgs) -> anyhow::Result<u8> {
    let loaded = load::load(&args.profile, &args.read, None, false)?;
    let artifact = registry(&args.at)?.push(&loaded.parsed.profile);
    let artifact = artifact.with_context(|| args.profile.display().to_string())?;
    writeln!(io::stdout(), "{}", artifact.pinned)?;
    Ok(exit_status::CLEAN)
}

pub(super) fn pull(args: &PullArgs) -> anyhow::Result<u8> {
    let artifact = registry(&args.at)?.pull()?;
    let written = Written {
        bytes: artifact.bytes,
        lost: Vec::new(),
        companion: None,
    };
    profile::write(&written, &args.output)?;
    if !args.verbosity.quiet {
        say!("sc-record: pulled {}", artifact.pinned);
    }
    Ok(exit_status::CLEAN)
}

fn registry(args: &RegistryArgs) -> anyhow::Result<Registry> {
    Ok(Registry::new(&args.reference, args.plain_http)?)
}
