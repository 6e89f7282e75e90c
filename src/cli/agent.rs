//! `sc-record agent`.

use std::path::PathBuf;

use clap::Args;
use sc_record::profile::Runtime;
use sc_record::syscall::Arch;

use super::groups::{ProfileArgs, ReadyArgs, Verbosity};
use super::values::Destination;

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct AgentArgs {
    /// Socket that container runtimes connect to: an absolute path
    #[arg(long, value_name = "PATH", default_value = "/run/sc-record.sock", value_hint = clap::ValueHint::FilePath)]
    pub(crate) socket: PathBuf,

    /// Write the profile for containers that are to be recorded, and exit
    #[arg(long)]
    pub(crate) print_profile: bool,

    /// Runtime that loads the profile, runc or crun. With runc, some calls can't be recorded, and the recording
    /// says which
    #[arg(long, value_name = "RUNTIME", requires = "print_profile", default_value_t = Runtime::Runc)]
    pub(crate) runtime: Runtime,

    /// Write a profile under which signals don't interrupt calls that are being recorded: needs runc 1.5 and libseccomp 2.6;
    /// always on for crun (Linux 5.19)
    #[arg(long, requires = "print_profile")]
    pub(crate) wait_killable: bool,

    /// Name of the recordings of containers under the profile, as its `listenerMetadata`
    /// [default: the container's annotation `sc-record.name`, its image, or its id]
    #[arg(short, long, requires = "print_profile")]
    pub(crate) name: Option<sc_record::recording::Name>,

    /// Architectures of the machine; the ABIs that belong to each are added (repeatable)
    /// [default: this machine's]
    #[arg(long = "arch", value_name = "ARCH", requires = "print_profile")]
    pub(crate) arches: Vec<Arch>,

    /// Profile to write with --print-profile [default: stdout]
    #[arg(
        short,
        long,
        value_name = "FILE",
        requires = "print_profile",
        value_hint = clap::ValueHint::FilePath
    )]
    pub(crate) output: Option<Destination>,

    /// Directory of the recordings, one file per name
    #[arg(long, value_name = "DIR", default_value = "recordings", value_hint = clap::ValueHint::DirPath)]
    pub(crate) recordings: PathBuf,

    /// Directory of the profiles, one file per name
    #[arg(long, value_name = "DIR", default_value = "profiles", value_hint = clap::ValueHint::DirPath)]
    pub(crate) profiles: PathBuf,

    #[command(flatten)]
    pub(crate) profile: ProfileArgs,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,

    #[command(flatten)]
    pub(crate) ready: ReadyArgs,

    /// Answer for the containers of the agent at the other end of stdin when it has ended
    #[arg(long, hide = true)]
    pub(crate) keeper: bool,

    /// No agent will listen: the keeper answers to the end
    #[arg(long, hide = true, requires = "keeper", conflicts_with = "socket")]
    pub(crate) without_socket: bool,
}
