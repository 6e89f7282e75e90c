//! The formats. What each is, is in its row (`table.rs`).

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// `linux.seccomp` of the OCI runtime specification: read by runc, crun, containerd and CRI-O, and by Docker, Podman and
    /// Kubernetes.
    Oci,
    /// Docker's dialect (moby): rules with conditions, `archMap`, comments.
    Docker,
    /// Podman's dialect: Docker's, with errnos by name and without `minKernel`.
    Podman,
    /// OCI, for a `Localhost` profile of the kubelet, with the snippet of the pod that uses it.
    Kubernetes,
    /// `SeccompProfile` of the Security Profiles Operator.
    Spo,
    /// A drop-in for a unit of systemd (`systemd.exec(5)`).
    Systemd,
    /// The JSON of seccompiler (Firecracker).
    Seccompiler,
    /// A policy of minijail, for `compile_seccomp_policy.py`.
    Minijail,
    /// A C source that loads the profile with libseccomp.
    Libseccomp,
    /// A rule of Falco that reports calls outside the profile.
    Falco,
    /// The compiled filter: an array of `struct sock_filter` in this machine's byte order, as bubblewrap takes it.
    Bpf,
}
