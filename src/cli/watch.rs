//! `sc-record watch`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::groups::{AuditArgs, ReadArgs, ReadyArgs, Verbosity};
use super::values::{ContainersArg, duration};

#[derive(Debug, Args)]
#[command(
    mut_args(|arg| match arg.get_help_heading() {
        Some(_) => arg.help_heading(READING),
        None => arg,
    }),
    after_help = "The programs run under `sc-record log-profile --enforce PROFILE`, which denies what PROFILE denies and \
                  logs it, or under `--assume PROFILE`, which only logs it. Ends by Ctrl-C, --duration, or with the process of --pid.\n\
                  Exit status: 0 if no call was seen that PROFILE lacks, 1 if one was, 2 for errors, and if none was seen and \
                  records were lost or no such container has run."
)]
pub(crate) struct WatchArgs {
    /// Profile that the programs run under
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Watch the container with this id (or any other part of its cgroups' names), or those with this name, image,
    /// label or pod, also if they start later: name=NAME, image=IMAGE, label=KEY[=VALUE] (Docker, Podman's service,
    /// containerd), pod=[NAMESPACE/]NAME (containerd)
    #[arg(long, value_name = "ID|KEY=VALUE", required_unless_present_any = ["pid", "cgroup", "comms", "exes"])]
    pub(crate) container: Option<ContainersArg>,

    /// Watch this process and its children
    #[arg(short, long, value_name = "PID", conflicts_with = "container", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    /// Watch this cgroup and those below it: its directory, or its path from the root of the hierarchy
    #[arg(long, value_name = "PATH", conflicts_with_all = ["container", "pid"], value_hint = clap::ValueHint::DirPath)]
    pub(crate) cgroup: Option<PathBuf>,

    /// Watch only threads with this name (repeatable)
    #[arg(long = "comm", value_name = "NAME")]
    pub(crate) comms: Vec<OsString>,

    /// Watch only processes that execute this file: its path as recorded, or its file name (repeatable)
    #[arg(long = "exe", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) exes: Vec<OsString>,

    /// Stop after this time (90s, 10min)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// Print one line of JSON per new call, and one at the end
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    #[command(flatten)]
    pub(crate) audit: AuditArgs,

    #[command(flatten)]
    pub(crate) ready: ReadyArgs,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

const READING: &str = "How records are read";
