//! `sc-record generate`.

use std::path::PathBuf;

use clap::Args;

use super::groups::{ExeArgs, ProfileArgs, Quiet};
use super::values::Destination;

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Recordings; the profile allows the calls of all their runs
    #[arg(value_name = "RECORDING", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Profile to write; `-` is stdout, `none` writes none [default: profiles/NAME.json]
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Option<Destination>,

    #[command(flatten)]
    pub(crate) profile: ProfileArgs,

    #[command(flatten)]
    pub(crate) exe: ExeArgs,

    /// Log all other calls (`SCMP_ACT_LOG`) instead of denying them, for --log-mode to find what
    /// is missing [default output: profiles/NAME.audit.json]
    #[arg(long)]
    pub(crate) audit: bool,

    /// Print the summary as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) verbosity: Quiet,
}
