//! `sc-record generate`.

use std::path::PathBuf;

use clap::Args;
use sc_record::profile::Runtime;

use super::groups::{ExeArgs, ProfileArgs, Quiet};
use super::values::Destination;

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct GenerateArgs {
    /// Recordings; the profile allows the calls of all their runs
    #[arg(value_name = "RECORDING", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Profile to write; `-` is stdout, `none` writes none [default: profiles/NAME.json]
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Option<Destination>,

    #[command(flatten)]
    pub(crate) profile: ProfileArgs,

    #[command(flatten)]
    pub(crate) exe: ExeArgs,

    /// Allow the calls that this container runtime (runc or docker, containerd, kubernetes; crun or podman, cri-o) makes before
    /// it executes the program, instead of those that the runtimes of recorded containers made
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<Runtime>,

    /// With --runtime: for containers with `no_new_privs` only, which need less
    #[arg(long, requires = "runtime")]
    pub(crate) no_new_privs: bool,

    /// With --runtime: also the calls that it makes to execute further processes, as `docker exec` and health
    /// checks do
    #[arg(long, requires = "runtime")]
    pub(crate) exec: bool,

    /// Also allow calls that no run has made but that the recorded programs can make, by their code (see `reach`): names, groups
    /// of systemd (`@file-system`), or `all`
    #[arg(long, value_name = "CALLS", value_delimiter = ',')]
    pub(crate) add_reachable: Vec<String>,

    /// With --add-reachable: library that the programs may load at run time (repeatable)
    #[arg(long, value_name = "FILE", requires = "add_reachable", value_hint = clap::ValueHint::FilePath)]
    pub(crate) with: Vec<PathBuf>,

    /// With --args: answer ENOSYS to socketcall and ipc even if they were recorded, since 32-bit programs get around rules for
    /// arguments through them
    #[arg(long, requires = "args")]
    pub(crate) refuse_multiplexers: bool,

    /// Log all other calls (`SCMP_ACT_LOG`) instead of denying them, for --log-mode to find what
    /// is missing [default output: profiles/NAME.audit.json]
    #[arg(long)]
    pub(crate) audit: bool,

    /// Print the summary as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) verbosity: Quiet,
}
