//! `sc-record [OPTIONS] [--] CMD [ARG]...`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::groups::{KeepArgs, LOG_MODE, ObserveArgs, ReadyArgs};
use super::values::{ContainersArg, Per, duration};

/// What to record, how, and where to write the result.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// Attach to a running process, with its threads and children, instead of starting CMD. If it is a container's first
    /// process, everything in the container is recorded
    #[arg(allow_negative_numbers = true, short, long, value_name = "PID", conflicts_with_all = ["container", "cgroup", "all"], value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    #[command(flatten)]
    pub(crate) observe: ObserveArgs,

    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Store CMD's arguments with the run; don't commit such a recording if they carry secrets
    #[arg(long)]
    pub(crate) keep_argv: bool,

    /// With --args: also record the flags of open and openat and the clocks of `clock_gettime`
    #[arg(long, requires = "args")]
    pub(crate) all_args: bool,

    /// Print the summary as JSON on stderr
    #[arg(long)]
    pub(crate) json: bool,

    /// Don't log calls that this profile allows: the run then shows only what it lacks, and the
    /// written profile has both. Without CMD, that is up to the profile that the programs run under (generate --audit)
    #[arg(
        long,
        value_name = "PROFILE",
        help_heading = LOG_MODE,
        value_hint = clap::ValueHint::FilePath
    )]
    pub(crate) assume: Option<PathBuf>,

    /// Program to run, and its arguments
    #[arg(
        value_name = "CMD",
        required_unless_present_any = ["pid", "log_mode", "container", "cgroup", "all", "each"],
        conflicts_with_all = ["pid", "comms", "exes", "cgroup", "all", "each", "duration", "idle"],
        trailing_var_arg = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,

    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}

/// Which processes log mode follows without CMD, and how long.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log mode without CMD: follow what the kernel logs until Ctrl-C")]
pub(crate) struct FollowArgs {
    /// Follow only threads with this name (repeatable)
    #[arg(long = "comm", value_name = "NAME", requires = "log_mode")]
    pub(crate) comms: Vec<OsString>,

    /// Follow only processes that execute this file: its path as recorded, or its file name (repeatable)
    #[arg(
        long = "exe",
        value_name = "FILE",
        requires = "log_mode",
        value_hint = clap::ValueHint::FilePath
    )]
    pub(crate) exes: Vec<OsString>,

    /// Record the processes in the container with this id (or any other part of its cgroups' names), or in those with this
    /// name, image, label or pod, also if they start later: name=NAME, image=IMAGE, label=KEY[=VALUE] (Docker, Podman's
    /// service, containerd), pod=[NAMESPACE/]NAME (containerd); if CMD is given, it starts the container, which is recorded
    /// from its beginning
    #[arg(long, value_name = "ID|KEY=VALUE")]
    pub(crate) container: Option<ContainersArg>,

    /// Record the processes in this cgroup and those below it: its directory, or its path from the root of the hierarchy
    #[arg(long, value_name = "PATH", conflicts_with = "container", value_hint = clap::ValueHint::DirPath)]
    pub(crate) cgroup: Option<PathBuf>,

    /// Record every process of the machine but this one, with eBPF: one recording per executable or --per cgroup
    #[arg(long, conflicts_with_all = ["container", "cgroup", "log_mode", "name", "recording", "output"])]
    pub(crate) all: bool,

    /// With --all: what gets a recording of its own
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Per::Executable, requires = "all")]
    pub(crate) per: Per,

    /// Until Ctrl-C, make one recording per container of Docker, Podman, CRI-O and containerd's CRI, named by its id; with
    /// --container KEY=VALUE, only of those containers, by their names
    #[arg(long, conflicts_with_all = ["name", "recording", "output", "assume", "pid", "cgroup", "all"])]
    pub(crate) each: bool,

    /// Without CMD, end the recording after this time (90s, 10min)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    /// End the recording when no record has arrived for this time
    #[arg(
        long,
        value_name = "TIME",
        value_parser = duration,
        requires = "log_mode"
    )]
    pub(crate) idle: Option<Duration>,

    #[command(flatten)]
    pub(crate) ready: ReadyArgs,
}
