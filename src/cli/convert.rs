//! `sc-record convert`.

use std::path::PathBuf;

use clap::Args;
use sc_record::format::Format;

use super::groups::{Quiet, ReadArgs};
use super::values::{Destination, formats};

#[derive(Debug, Args)]
#[command(
    after_help = "Conditions, comments and metadata are kept within a family (docker and podman; spo) and resolved \
                  elsewhere.\n\
                  C source is read only as sc-record writes it.\n\
                  Exit status: 0, or 2 if PROFILE can't be read or FORMAT can't express it."
)]
pub(crate) struct ConvertArgs {
    /// Profile to convert; `-` is stdin
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Format to write
    #[arg(short, long, value_parser = formats())]
    pub(crate) format: Format,

    /// File to write; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Destination,

    /// Omit what FORMAT can't express, with a comment, instead of failing
    #[arg(long)]
    pub(crate) lossy: bool,

    /// Name of the workload, for formats that hold one [default: PROFILE's file name without its extension]
    #[arg(short, long)]
    pub(crate) name: Option<String>,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    #[command(flatten)]
    pub(crate) verbosity: Quiet,
}
