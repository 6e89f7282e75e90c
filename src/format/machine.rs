//! The machine that conditions of Docker's dialect are resolved for.

use std::collections::BTreeSet;
use std::fmt;

use crate::syscall::Arch;

/// The machine and the container that conditions of Docker's dialect are resolved for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its architecture.
    pub arch: Arch,
    /// The capabilities of the container; `None` for the engine's defaults.
    pub caps: Option<BTreeSet<String>>,
    /// Its kernel; `None` for one newer than in any condition.
    pub kernel: Option<KernelVersion>,
}

impl Default for Machine {
    /// A new kernel on this machine's architecture, and a container without further options.
    fn default() -> Machine {
        Machine {
            arch: Arch::NATIVE,
            caps: None,
            kernel: None,
        }
    }
}

impl Machine {
    /// The capabilities that Docker gives a container (moby, `oci/caps/defaults.go`).
    #[rustfmt::skip]
    pub const DOCKER_CAPS: &[&str] = &[
        "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
        "CAP_SYS_CHROOT",
    ];
    /// The capabilities that Podman gives a container (`containers.conf(5)`, `default_capabilities`).
    #[rustfmt::skip]
    pub const PODMAN_CAPS: &[&str] = &[
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
    ];

    /// Whether the container has a capability, where `default` is what the engine gives.
    pub(super) fn has_cap(&self, cap: &str, default: &[&str]) -> bool {
        match &self.caps {
            Some(caps) => caps.contains(cap),
            None => default.contains(&cap),
        }
    }

    pub(super) fn has_kernel(&self, min: KernelVersion) -> bool {
        self.kernel.is_none_or(|kernel| kernel >= min)
    }
}

/// A version of Linux, as in `minKernel`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// The 5 of 5.10.
    pub kernel: u32,
    /// The 10 of 5.10.
    pub major: u32,
}

impl KernelVersion {
    /// Reads `5.10`, and what uname(2) has: `5.10.0-8-amd64`.
    #[must_use]
    pub fn of_release(release: &str) -> Option<KernelVersion> {
        let (kernel, rest) = release.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit());
        let major = &rest[..digits.unwrap_or(rest.len())];
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        Some(KernelVersion {
            kernel: number(kernel)?,
            major: number(major)?,
        })
    }

    /// Reads `5.10`, and nothing more. 0.0 is no version, as for moby (`profiles/seccomp/seccomp.go`).
    pub(super) fn exactly(text: &str) -> Option<KernelVersion> {
        let version = KernelVersion::of_release(text)?;
        let is_zero = version.kernel == 0 && version.major == 0;
        (!is_zero && version.to_string() == text).then_some(version)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.kernel, self.major)
    }
}
