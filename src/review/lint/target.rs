//! The runtimes that load profiles.

use std::fmt;
use std::str::FromStr;

/// What loads a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Docker: its dialect, resolved by the daemon; runc.
    Docker,
    /// Podman: its dialect; crun, or runc.
    Podman,
    /// runc.
    Runc,
    /// crun.
    Crun,
    /// containerd: plain OCI; runc.
    Containerd,
    /// Kubernetes: plain OCI, through containerd or CRI-O; runc or crun.
    Kubernetes,
    /// systemd's units.
    Systemd,
}

impl Target {
    /// Every target.
    pub const ALL: &[Target] = &[
        Target::Docker,
        Target::Podman,
        Target::Runc,
        Target::Crun,
        Target::Containerd,
        Target::Kubernetes,
        Target::Systemd,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Target::Docker => "docker",
            Target::Podman => "podman",
            Target::Runc => "runc",
            Target::Crun => "crun",
            Target::Containerd => "containerd",
            Target::Kubernetes => "kubernetes",
            Target::Systemd => "systemd",
        }
    }

    /// Whether runc may load the profile.
    pub(super) fn may_be_runc(self) -> bool {
        !matches!(self, Target::Crun | Target::Systemd)
    }

    /// Whether crun may load it.
    pub(super) fn may_be_crun(self) -> bool {
        matches!(self, Target::Podman | Target::Crun | Target::Kubernetes)
    }

    /// Whether conditions of Docker's dialect are understood.
    pub(super) fn knows_conditions(self) -> bool {
        matches!(self, Target::Docker | Target::Podman)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no target has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown target {0:?}")]
pub struct UnknownTarget(String);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<Target, UnknownTarget> {
        let found = Self::ALL
            .iter()
            .copied()
            .find(|target| target.name() == name);
        found.ok_or_else(|| UnknownTarget(name.to_owned()))
    }
}
