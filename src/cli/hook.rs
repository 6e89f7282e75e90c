//! `sc-record hook`.

use clap::Args;

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

    #[command(flatten)]
    pub(crate) profile: ProfileArgs,

    /// Record the container of this process, for this annotation
    #[arg(long, hide = true, num_args = 2, value_names = ["PID", "ANNOTATION"])]
    pub(crate) record: Option<Vec<String>>,
}
