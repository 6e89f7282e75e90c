//! `sc-record manpages`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ManpagesArgs {
    /// Folder to write the pages into
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}
