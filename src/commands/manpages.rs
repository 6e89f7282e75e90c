//! `sc-record manpages FOLDER`, for `make install`.

use anyhow::Context;
use clap::CommandFactory;

use super::exit_status;
use crate::cli::{Cli, ManpagesArgs};

/// Writes a page for the program and for each verb: `sc-record-check.1`.
pub(super) fn manpages(args: &ManpagesArgs) -> anyhow::Result<u8> {
    let folder = args.folder.display();
    std::fs::create_dir_all(&args.folder).with_context(|| format!("can't create {folder}"))?;
    clap_mangen::generate_to(Cli::command(), &args.folder)
        .with_context(|| format!("can't write the manual pages into {folder}"))?;
    Ok(exit_status::CLEAN)
}
