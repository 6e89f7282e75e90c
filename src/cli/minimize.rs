//! `sc-record minimize`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{EnforceArgs, Policy};

#[derive(Debug, Args)]
pub(crate) struct MinimizeArgs {
    /// What of the result is compared, beside how CMD ends; `exit` is nothing else
    #[arg(
        long,
        value_enum,
        value_name = "WHAT",
        value_delimiter = ',',
        default_value = "stdout"
    )]
    pub(crate) compare: Vec<Compared>,

    /// A shell command that tells by its exit status whether the result is right: it gets the files of
    /// CMD's stdout and stderr as $1 and $2, and its exit status as $3
    #[arg(long, value_name = "SHELL COMMAND")]
    pub(crate) test: Option<String>,

    /// How long a run may take (500ms, 10s) [default: 2 s and ten times what CMD takes with all calls]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<humantime::Duration>,

    /// How many runs there are at once: for a CMD that can run beside itself
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: u16,

    /// Ask about these calls only; the others stay
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// How often calls that seem dispensable are denied once more before that is believed
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) confirm: u32,

    /// Policy whose additions are left alone where they are unused
    #[arg(long, value_enum, default_value_t = Policy::Safe)]
    pub(crate) policy: Policy,

    #[command(flatten)]
    pub(crate) write: WriteArgs,

    /// Where results are kept until the end, so that a run that was broken off goes on [default: beside
    /// PROFILE, .NAME.minimize]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) state: Option<PathBuf>,

    /// Forget the results of a run that was broken off
    #[arg(long)]
    pub(crate) fresh: bool,

    #[command(flatten)]
    pub(crate) enforce: EnforceArgs,

    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Show no progress
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

/// Where the smaller profile goes.
#[derive(Debug, Args)]
pub(crate) struct WriteArgs {
    /// Write the profile without what is unused or tolerated
    #[arg(long = "write", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) to: Option<PathBuf>,

    /// The same, in place of PROFILE
    #[arg(long, conflicts_with = "to")]
    pub(crate) update: bool,
}

/// What of a workload's result is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compared {
    /// How it ended, which is always compared
    Exit,
    /// What it wrote to stdout
    Stdout,
    /// What it wrote to stderr
    Stderr,
}

impl Compared {
    /// What a list of these comes to.
    pub(crate) fn all(list: &[Compared]) -> sc_record::trial::Compare {
        sc_record::trial::Compare {
            stdout: list.contains(&Compared::Stdout),
            stderr: list.contains(&Compared::Stderr),
        }
    }
}
