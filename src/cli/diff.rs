//! `sc-record diff`.

use std::path::PathBuf;

use clap::Args;

use super::{Policy, SourceArgs};

#[derive(Debug, Args)]
#[command(
    after_help = "A recording beside a profile counts as the profile that `generate` makes of it. Two recordings \
                        differ if their calls do; that the same calls were seen in other runs is told, and no difference.\n\
                        Exit status: 0 no difference in meaning, 1 differences, 2 trouble."
)]
pub(crate) struct DiffArgs {
    /// Profile or recording: the old one; `-` is stdin
    #[arg(value_name = "A", value_hint = clap::ValueHint::FilePath)]
    pub(crate) old: PathBuf,

    /// Profile or recording: the new one
    #[arg(value_name = "B", value_hint = clap::ValueHint::FilePath)]
    pub(crate) new: PathBuf,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// What the profile of a recording allows, where it is compared with a profile
    #[arg(long, value_enum, default_value_t = Policy::Safe)]
    pub(crate) policy: Policy,

    /// Print the differences as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing: the exit status tells
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
