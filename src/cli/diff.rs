//! `sc-record diff`.

use std::path::PathBuf;

use clap::Args;

use super::groups::ReadArgs;
use super::values::Policy;

#[derive(Debug, Args)]
#[command(
    after_help = "A recording beside a profile counts as the profile that `generate` makes from it. Two recordings \
                  differ if their calls differ; other runs with the same calls are reported, but don't count.\n\
                  Exit status: 0 if the meaning is the same, 1 if it differs, 2 for trouble."
)]
pub(crate) struct DiffArgs {
    /// Old profile or recording; `-` is stdin
    #[arg(value_name = "A", value_hint = clap::ValueHint::FilePath)]
    pub(crate) old: PathBuf,

    /// New profile or recording
    #[arg(value_name = "B", value_hint = clap::ValueHint::FilePath)]
    pub(crate) new: PathBuf,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    /// Policy for a recording that is compared with a profile
    #[arg(long, value_enum, default_value_t = Policy::Safe)]
    pub(crate) policy: Policy,

    /// Print the differences as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing; only set the exit status
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
