//! `sc-record merge`.

use std::path::PathBuf;

use clap::Args;
use sc_record::recording::Name;

use super::groups::Quiet;
use super::values::Destination;

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Recordings to merge, in any order; `-` is stdin
    #[arg(value_name = "RECORDING", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Recording to write, which may be one of the inputs; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Destination,

    /// Name of the result; required if the inputs have different names
    #[arg(short, long)]
    pub(crate) name: Option<Name>,

    /// Fold runs that bring nothing new into one entry. It keeps their ids, the keys of their labels and
    /// what `stats` needs; their counts are lost
    #[arg(long)]
    pub(crate) compact: bool,

    /// Print the summary as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) verbosity: Quiet,
}
