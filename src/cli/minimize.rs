//! `sc-record minimize`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::groups::{CodeArgs, EnforceArgs, Quiet};
use super::values::{ComparedArg, PolicyArg, duration};

#[derive(Debug, Args)]
pub(crate) struct MinimizeArgs {
    #[command(flatten)]
    pub(crate) enforce: EnforceArgs,

    /// What to compare besides how CMD ends; `exit` compares nothing else
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "stdout"
    )]
    pub(crate) compare: Vec<ComparedArg>,

    /// A shell command whose exit status says whether the outcome is right. $1 and $2 are files with
    /// CMD's stdout and stderr, $3 is its exit status
    #[arg(long, value_name = "SHELL COMMAND")]
    pub(crate) test: Option<String>,

    /// Time limit of a run (500ms, 10s) [default: 2 s plus ten times the duration with all calls allowed]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// Number of concurrent runs, if instances of CMD don't disturb one another
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: u16,

    /// Test only these calls and keep the others
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// How often to confirm that calls are dispensable
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) confirm: u32,

    /// Keep calls that this policy adds, even if they are unused
    #[arg(long, value_enum, default_value_t = PolicyArg::Safe)]
    pub(crate) policy: PolicyArg,

    #[command(flatten)]
    pub(crate) code: CodeArgs,

    #[command(flatten)]
    pub(crate) write: WriteArgs,

    /// File that keeps the results until the search ends, so that an interrupted search continues
    /// [default: .NAME.minimize beside PROFILE]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,

    /// Discard the results of an interrupted search
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,

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

/// Where the smaller profile goes.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// Write the profile without unused and tolerated calls
    #[arg(long = "write", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) to: Option<PathBuf>,

    /// Write it to PROFILE itself
    #[arg(long, conflicts_with = "to")]
    pub(crate) update: bool,
}
