//! `sc-record hook`.

use clap::Args;
use sc_record::profile::Runtime;

use super::groups::ProfileArgs;
use super::values::Destination;

#[derive(Debug, Args)]
pub(crate) struct HookArgs {
    /// Write the configuration of the hook for the engine's `hooks.d`, and exit
    #[arg(long)]
    pub(crate) print_config: bool,

    /// Configuration to write with --print-config [default: stdout]
    #[arg(
        short,
        long,
        value_name = "FILE",
        requires = "print_config",
        value_hint = clap::ValueHint::FilePath
    )]
    pub(crate) output: Option<Destination>,

    /// Write a configuration for Podman that also records where there is no eBPF, as for users other than root: by seccomp
    /// notifications, like the agent. CRI-O refuses it
    #[arg(long, requires = "print_config")]
    pub(crate) podman: bool,

    /// Runtime that loads the profile for these notifications, runc or crun
    #[arg(long, value_name = "RUNTIME", default_value_t = Runtime::Runc)]
    pub(crate) runtime: Runtime,

    #[command(flatten)]
    pub(crate) profile: ProfileArgs,

    /// Record the container of this process, for this annotation
    #[arg(long, hide = true, num_args = 2, value_names = ["PID", "ANNOTATION"])]
    pub(crate) record: Option<Vec<String>>,

    /// Record the container that a runtime hands over at this socket, for this annotation
    #[arg(long, hide = true, num_args = 2, value_names = ["SOCKET", "ANNOTATION"])]
    pub(crate) serve: Option<Vec<String>>,
}
