//! `sc-record container`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::groups::KeepArgs;

#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    #[command(subcommand)]
    pub(crate) what: ContainerWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerWhat {
    /// Run a container, record it, and run it again under its profile
    Run(Box<ContainerRunArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct ContainerRunArgs {
    /// Container engine: docker, podman, nerdctl, ctr, or the path of one [default: the first of these in PATH]
    #[arg(long, value_name = "ENGINE", value_hint = clap::ValueHint::CommandName)]
    pub(crate) engine: Option<PathBuf>,

    /// Run the container under its profile at most N times, until the profile lacks nothing
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) passes: u32,

    /// Also allow the calls that the runtime makes to execute further processes, as `docker exec` and health
    /// checks do
    #[arg(long)]
    pub(crate) exec: bool,

    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Arguments of the engine's `run`: options, the image, and its command
    #[arg(
        value_name = "IMAGE",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) arguments: Vec<OsString>,
}
