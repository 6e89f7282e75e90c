//! `sc-record run`.

use std::ffi::OsString;

use clap::Args;

use super::groups::{EnforceArgs, Quiet};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) enforce: EnforceArgs,

    #[command(flatten)]
    pub(crate) verbosity: Quiet,

    /// Program to run, and its arguments
    #[arg(
        value_name = "CMD",
        required = true,
        trailing_var_arg = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
}
