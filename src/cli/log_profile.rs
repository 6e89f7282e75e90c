//! `sc-record log-profile`.

use std::path::PathBuf;

use clap::Args;
use sc_record::format::Format;
use sc_record::syscall::Arch;

use super::values::{Destination, formats};

#[derive(Debug, Args)]
pub(crate) struct LogProfileArgs {
    /// Don't log calls that this profile allows
    #[arg(long, value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) assume: Option<PathBuf>,

    /// Enforce this profile, and log what it denies, for sc-record watch
    #[arg(long, value_name = "PROFILE", conflicts_with_all = ["assume", "arches"], value_hint = clap::ValueHint::FilePath)]
    pub(crate) enforce: Option<PathBuf>,

    /// Architectures of the machine; the ABIs that belong to each are added (repeatable)
    /// [default: this machine's, or PROFILE's]
    #[arg(long = "arch", value_name = "ARCH")]
    pub(crate) arches: Vec<Arch>,

    /// Format of the profile
    #[arg(short, long, value_parser = formats(), default_value = "oci")]
    pub(crate) format: Format,

    /// Profile to write [default: stdout]
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Option<Destination>,
}
