//! `sc-record convert`.

use std::path::PathBuf;

use clap::Args;
use sc_record::format::Format;

use super::Destination;
use super::format::formats;
use super::source::SourceArgs;

#[derive(Debug, Args)]
#[command(
    after_help = "Conditions, comments and metadata are kept within a family (docker and podman; spo), and resolved elsewhere.\n\
                  The C of libseccomp is read only as sc-record writes it.\n\
                  Exit status: 0, or 2 for trouble: PROFILE can't be read, or says what FORMAT can't."
)]
pub(crate) struct ConvertArgs {
    /// The profile; `-` is stdin
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Format to write
    #[arg(short, long, value_parser = formats())]
    pub(crate) format: Format,

    /// File to write; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: Destination,

    /// Leave out what FORMAT can't say, and tell so in a comment, instead of refusing
    #[arg(long)]
    pub(crate) lossy: bool,

    /// Name of the workload, where the format has a place for it [default: PROFILE's file name without its ending]
    #[arg(short, long)]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}
