//! `sc-record run`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::EnforceArgs;

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) enforce: EnforceArgs,

    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// The profile
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Program to run, and its arguments
    #[arg(
        value_name = "CMD",
        required = true,
        trailing_var_arg = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
}
