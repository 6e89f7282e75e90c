//! `sc-record explain`.

use std::path::PathBuf;

use clap::Args;

use super::SourceArgs;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0, or 2 for trouble: SYSCALL is no system call, a file can't be read."
)]
pub(crate) struct ExplainArgs {
    /// The profile; `-` is stdin
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Explain this call only, also where the profile doesn't allow it
    #[arg(value_name = "SYSCALL")]
    pub(crate) syscall: Option<String>,

    /// The recording that the profile was made of (can be repeated) [default: recordings/NAME.json beside profiles/NAME.json]
    #[arg(short, long = "recording", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recordings: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
