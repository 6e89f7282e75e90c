//! `sc-record diff`.

use std::path::PathBuf;

use clap::Args;

use super::groups::{CodeArgs, ExeArgs, ReadArgs};
use super::values::{Destination, FailOn, PolicyArg, fail_on};

#[derive(Debug, Args)]
#[command(
    after_help = "A recording beside a profile counts as the profile that `generate` makes from it. Two recordings \
                  differ if their calls differ; other runs with the same calls are reported, but don't count.\n\
                  Risk classes, the gravest first: kernel-wide, escape, attack-surface, debugging, memory, privileges, resources, \
                  ordinary. A default action that allows more is kernel-wide, an added architecture attack-surface.\n\
                  Exit status: 0 if the meaning is the same, or differs only in what --fail-on doesn't name; 1 if it \
                  differs; 2 for trouble."
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
    #[arg(long, value_enum, default_value_t = PolicyArg::Safe)]
    pub(crate) policy: PolicyArg,

    #[command(flatten)]
    pub(crate) exe: ExeArgs,

    #[command(flatten)]
    pub(crate) code: CodeArgs,

    /// Which differences make the exit status 1: any, wider, narrower, or risk=CLASS, where a wider difference is a call
    /// of this risk class or a graver one (comma-separated)
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "any", value_parser = fail_on)]
    pub(crate) fail_on: Vec<FailOn>,

    /// Also write an HTML page, like that of `report`: what B, a recording, changes in the profile
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) html: Option<Destination>,

    /// Print the differences as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Print nothing; only set the exit status
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
