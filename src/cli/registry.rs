//! `sc-record push` and `sc-record pull`.

use std::path::PathBuf;

use clap::Args;

use super::groups::{Quiet, ReadArgs};
use super::values::Destination;

#[derive(Debug, Args)]
#[command(
    after_help = "The artifact is that of KEP-6061: one layer with the profile as OCI JSON.\n\
                  The reference by digest is printed on stdout, for the pod's seccompProfile.\n\
                  Credentials are those of docker login; a registry's own CA is read from the file in SSL_CERT_FILE."
)]
pub(crate) struct PushArgs {
    /// Profile to push, in any format; `-` is stdin
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    #[command(flatten)]
    pub(crate) at: RegistryArgs,

    #[command(flatten)]
    pub(crate) read: ReadArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) at: RegistryArgs,

    /// File to write; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Destination,

    #[command(flatten)]
    pub(crate) verbosity: Quiet,
}

/// An artifact in a registry.
#[derive(Debug, Args)]
pub(crate) struct RegistryArgs {
    /// Artifact: registry.example/profiles/app:v1, or with @sha256:… instead of the tag
    #[arg(value_name = "REF")]
    pub(crate) reference: String,

    /// Connect without TLS
    #[arg(long)]
    pub(crate) plain_http: bool,
}
