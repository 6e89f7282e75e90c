//! `sc-record manpages`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ManpagesArgs {
    /// Directory to write the pages into
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}
