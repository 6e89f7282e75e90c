//! `sc-record check`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::groups::{CodeArgs, Labels, ObserveArgs, ReadArgs, Verbosity};
use super::values::{Destination, PolicyArg, call};

#[derive(Debug, Args)]
#[command(
    override_usage = "sc-record check [OPTIONS] PROFILE -- CMD [ARG]...\n       sc-record check [OPTIONS] PROFILE RECORDING...",
    after_help = "With CMD, the text report goes to stderr. The output of --json or --github follows the workload's \
                  own output on stdout; --report FILE keeps them apart.\n\
                  In log mode, names that were never called are looked for only with --strict or --remove-unused, \
                  since every call must be logged for that.\n\
                  Exit status: 0 if the profile allows every call; 1 for findings (a denied call, a workload that \
                  failed, an incomplete run); 2 if the check could not be made."
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct CheckArgs {
    /// Profile to check
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Recordings of the workload, instead of running it; `-` is stdin
    #[arg(value_name = "RECORDING", required_unless_present = "command", conflicts_with = "command", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recordings: Vec<PathBuf>,

    /// Program to run, and its arguments. No call is denied
    #[arg(value_name = "CMD", last = true, value_hint = clap::ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,

    /// Apply the patch: allow the missing calls and keep the rest of the file byte for byte
    #[arg(short, long)]
    pub(crate) update: bool,

    /// Let the patch also remove names that were never called and that the policy doesn't add
    #[arg(long)]
    pub(crate) remove_unused: bool,

    /// Also fail for names that were never called, and for calls that can't be decided
    #[arg(long)]
    pub(crate) strict: bool,

    /// Calls that may stay denied, by name or #NUMBER
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = call)]
    pub(crate) tolerate: Vec<String>,

    /// Don't fail for incomplete runs
    #[arg(long)]
    pub(crate) allow_incomplete: bool,

    /// Don't fail if CMD fails
    #[arg(long)]
    pub(crate) any_status: bool,

    /// Names that this policy would add don't count as unused
    #[arg(long, value_enum, default_value_t = PolicyArg::Safe)]
    pub(crate) policy: PolicyArg,

    #[command(flatten)]
    pub(crate) code: CodeArgs,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,

    #[command(flatten)]
    pub(crate) output: CheckOutput,

    #[command(flatten)]
    pub(crate) run: CheckRun,
}

/// How the report is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct CheckOutput {
    /// Print the report as one line of JSON on stdout
    #[arg(long, conflicts_with = "github")]
    pub(crate) json: bool,

    /// Print annotations for GitHub workflows on stdout
    #[arg(long)]
    pub(crate) github: bool,

    /// Also write the report as `JUnit` XML; `-` is stdout
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) junit: Option<Destination>,

    /// Also write the report as an HTML page, like that of `report`, with the callers of calls that the profile lacks
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) html: Option<Destination>,

    /// Write the report (as text, or as --json or --github asks) to a file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) report: Option<Destination>,
}

/// How CMD is observed, and where the run goes.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "With CMD",
    mut_arg("labels", |label| label.requires("recording"))
)]
pub(crate) struct CheckRun {
    /// Also add the run to this recording
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recording: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) labels: Labels,

    #[command(flatten)]
    pub(crate) observe: ObserveArgs,
}

impl CheckArgs {
    /// Whether a workload is run.
    pub(crate) fn runs_workload(&self) -> bool {
        !self.command.is_empty()
    }
}
