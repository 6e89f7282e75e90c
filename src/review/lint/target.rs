//! The runtimes that load profiles.

use std::fmt;
use std::str::FromStr;

/// What loads a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LintTarget {
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

impl LintTarget {
    /// Every target.
    pub const ALL: &[LintTarget] = &[
        LintTarget::Docker,
        LintTarget::Podman,
        LintTarget::Runc,
        LintTarget::Crun,
        LintTarget::Containerd,
        LintTarget::Kubernetes,
        LintTarget::Systemd,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LintTarget::Docker => "docker",
            LintTarget::Podman => "podman",
            LintTarget::Runc => "runc",
            LintTarget::Crun => "crun",
            LintTarget::Containerd => "containerd",
            LintTarget::Kubernetes => "kubernetes",
            LintTarget::Systemd => "systemd",
        }
    }

    /// Whether runc may load the profile.
    pub(super) fn may_be_runc(self) -> bool {
        !matches!(self, LintTarget::Crun | LintTarget::Systemd)
    }

    /// Whether crun may load it.
    pub(super) fn may_be_crun(self) -> bool {
        matches!(
            self,
            LintTarget::Podman | LintTarget::Crun | LintTarget::Kubernetes
        )
    }

    /// Whether conditions of Docker's dialect are understood.
    pub(super) fn knows_conditions(self) -> bool {
        matches!(self, LintTarget::Docker | LintTarget::Podman)
    }
}

impl fmt::Display for LintTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that no target has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown target {0:?}")]
pub struct UnknownTarget(String);

impl FromStr for LintTarget {
    type Err = UnknownTarget;

    fn from_str(name: &str) -> Result<LintTarget, UnknownTarget> {
        let found = Self::ALL
            .iter()
            .copied()
            .find(|target| target.name() == name);
        found.ok_or_else(|| UnknownTarget(name.to_owned()))
    }
}
