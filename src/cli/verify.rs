//! `sc-record verify`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::EnforceArgs;
use super::minimize::Compared;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// What of the result is compared, beside how CMD ends: that is read through a pipe then
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "exit"
    )]
    pub(crate) compare: Vec<Compared>,

    /// Don't run CMD without the profile first
    #[arg(long)]
    pub(crate) no_baseline: bool,

    /// Make these calls under the profile and show that it stops them, on every ABI of the profile that
    /// has them or on one (x86:mount); CMD can be left out then
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) inject: Vec<String>,

    #[command(flatten)]
    pub(crate) enforce: EnforceArgs,

    /// Print the report as JSON, on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Write the report to this file
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,

    /// Say nothing but the report and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// The profile
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Program to run, and its arguments
    #[arg(
        value_name = "CMD",
        required_unless_present = "inject",
        trailing_var_arg = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
}
