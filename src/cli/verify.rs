//! `sc-record verify`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::groups::{EnforceArgs, Quiet};
use super::values::ComparedArg;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) enforce: EnforceArgs,

    /// What to compare besides how CMD ends; what is compared goes through a pipe
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "exit"
    )]
    pub(crate) compare: Vec<ComparedArg>,

    /// Don't run CMD without the profile first
    #[arg(long)]
    pub(crate) no_baseline: bool,

    /// Make these calls under the profile and check that it stops them, on every ABI of the profile
    /// that has them or on one (x86:mount), with a value of an argument if one is given (`socket:AF_ALG`,
    /// `socket:type=SOCK_RAW`); CMD is optional then
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) inject: Vec<String>,

    /// Print the report as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the report to this file
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) verbosity: Quiet,

    /// Program to run, and its arguments
    #[arg(
        value_name = "CMD",
        required_unless_present = "inject",
        trailing_var_arg = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
}
