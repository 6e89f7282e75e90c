//! `sc-record report`.

use std::path::PathBuf;

use clap::Args;
use sc_record::review::lint::{LintTarget, Version};

use super::groups::{CodeArgs, ReadArgs};
use super::values::{Destination, PolicyArg, targets};

#[derive(Debug, Args)]
#[command(
    after_help = "The page loads nothing and needs no server. Against the last commit:\n  \
                  git show HEAD:profiles/app.json | sc-record report recordings/app.json --against - -o report.html\n\
                  Exit status: 0, or 2 for trouble. It is `check`, `diff`, `lint` and `stats` that fail."
)]
pub(crate) struct ReportArgs {
    /// Recording to report on; `-` is stdin
    #[arg(value_name = "RECORDING", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recording: PathBuf,

    /// Profile to review [default: profiles/NAME.json beside recordings/NAME.json, or what `generate` writes]
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: Option<PathBuf>,

    /// File to write; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Destination,

    /// Write Markdown for a comment on a pull request, shorter than the 65,536 characters that GitHub allows
    #[arg(long)]
    pub(crate) markdown: bool,

    /// Show what changes from this profile; of a recording, from what `generate` writes for it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) against: Option<PathBuf>,

    /// Names that this policy would add don't count as unused
    #[arg(long, value_enum, default_value_t = PolicyArg::Safe)]
    pub(crate) policy: PolicyArg,

    /// What will load the profile, for lint
    #[arg(short, long, value_name = "TARGET", default_value_t = LintTarget::Runc, value_parser = targets())]
    pub(crate) target: LintTarget,

    /// Version of the target's libseccomp [default: this machine's]
    #[arg(long, value_name = "VERSION")]
    pub(crate) libseccomp: Option<Version>,

    #[command(flatten)]
    pub(crate) code: CodeArgs,

    #[command(flatten)]
    pub(crate) read: ReadArgs,
}
