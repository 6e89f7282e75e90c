//! How profiles of any format are read.

use clap::Args;
use sc_record::format::{Format, KernelVersion};
use sc_record::syscall::Arch;

use super::format::formats;

/// How a profile is read.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct SourceArgs {
    /// Format of PROFILE [default: what its content tells]
    #[arg(short = 'F', long, value_parser = formats(), value_name = "FORMAT")]
    pub(crate) from: Option<Format>,

    /// Which of several profiles in PROFILE: a thread of seccompiler, a resource, a rule of Falco
    #[arg(long, value_name = "NAME")]
    pub(crate) select: Option<String>,

    /// Resolve the conditions of Docker's and Podman's dialects for this architecture [default: this machine's]
    #[arg(long, value_name = "ARCH", value_parser = super::arch)]
    pub(crate) for_arch: Option<Arch>,

    /// Resolve them for a container with these capabilities: `CAP_CHOWN,CAP_KILL`, or `none` [default: the engine's own]
    #[arg(long, value_name = "CAPS", value_parser = caps)]
    pub(crate) for_caps: Option<Caps>,

    /// Resolve them for this kernel: 5.10 [default: this machine's]
    #[arg(long, value_name = "VERSION", value_parser = kernel)]
    pub(crate) for_kernel: Option<KernelVersion>,
}

/// How a profile is read and enforced.
#[derive(Debug, Args)]
pub(crate) struct EnforceArgs {
    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Leave out names that can't be put into the filter; their calls get the default action
    #[arg(long)]
    pub(crate) ignore_unknown: bool,

    /// Let set-user-ID programs and file capabilities have their effect (no `no_new_privs`); needs `CAP_SYS_ADMIN`
    #[arg(long)]
    pub(crate) allow_new_privs: bool,
}

/// Capabilities by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caps(pub(crate) Vec<String>);

fn caps(text: &str) -> Result<Caps, String> {
    if text == "none" {
        return Ok(Caps(Vec::new()));
    }
    let name = |cap: &str| {
        let upper = cap.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        is_name
            .then(|| format!("CAP_{name}"))
            .ok_or_else(|| format!("{cap:?} is not a capability"))
    };
    text.split(',')
        .map(name)
        .collect::<Result<_, _>>()
        .map(Caps)
}

fn kernel(text: &str) -> Result<KernelVersion, String> {
    KernelVersion::of_release(text).ok_or_else(|| "a version is 5.10 or the like".to_owned())
}
