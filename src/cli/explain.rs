//! `sc-record explain`.

use std::path::PathBuf;

use clap::Args;

use super::groups::{CodeArgs, ExeArgs, ReadArgs};

#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0, or 2 if SYSCALL is not a system call or a file can't be read."
)]
pub(crate) struct ExplainArgs {
    /// Profile to explain; `-` is stdin
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Explain only this call, even if the profile doesn't allow it
    #[arg(value_name = "SYSCALL")]
    pub(crate) syscall: Option<String>,

    /// Recording that the profile was generated from (repeatable) [default: recordings/NAME.json beside profiles/NAME.json]
    #[arg(short, long = "recording", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recordings: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) exe: ExeArgs,

    #[command(flatten)]
    pub(crate) code: CodeArgs,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
