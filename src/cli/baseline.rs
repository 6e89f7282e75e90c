//! `sc-record baseline`.

use std::path::PathBuf;

use clap::Args;
use sc_record::profile::Runtime;

use super::groups::Quiet;

#[derive(Debug, Args)]
pub(crate) struct BaselineArgs {
    /// Runtime to measure: runc or crun, as it is in PATH
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Runtime,

    /// Start containers with `no_new_privs`
    #[arg(long)]
    pub(crate) no_new_privs: bool,

    /// Measure how processes are executed in a container that runs already, as `docker exec` does
    #[arg(long)]
    pub(crate) exec: bool,

    /// Stop after this many starts in a row without a new call
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) saturation: u32,

    /// Directory to write RUNTIME-VERSION-{nnp,no-nnp}.json to
    #[arg(short, long, value_name = "DIR", default_value = "profiles/baselines", value_hint = clap::ValueHint::DirPath)]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) verbosity: Quiet,
}
