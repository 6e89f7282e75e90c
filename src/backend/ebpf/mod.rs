//! Counts system calls in the kernel, with eBPF: the workload is never stopped, and nothing about it changes.
//!
//! `record.bpf.c` holds the programs, in terms of `record/`; [`kernel`] loads them, and [`counts`] reads what they counted.

#[cfg(has_ebpf)]
mod cgroups;
#[cfg(has_ebpf)]
mod counts;
#[cfg(has_ebpf)]
mod kernel;
#[cfg(has_ebpf)]
mod kernel_types;
#[cfg(has_ebpf)]
mod loading;
#[cfg(not(has_ebpf))]
mod missing;
#[cfg(has_ebpf)]
mod recording;
mod watched;

#[cfg(has_ebpf)]
pub use cgroups::remove_cgroups;
#[cfg(not(has_ebpf))]
pub use missing::remove_cgroups;

/// Records by counting in the kernel. A scope ends with its last task, or by the [`Stop`](super::Stop).
/// [`Scope::Everything`](super::Scope) has many runs, and the recorder itself is left out.
#[derive(Clone, Debug, Default)]
pub struct Ebpf {
    /// When the recording of a scope ends at the latest.
    pub duration: Option<std::time::Duration>,
    /// What has a run of its own in [`Scope::Everything`](super::Scope).
    pub each: Each,
    /// The calls whose arguments are wanted. Call sites are not found.
    pub interest: super::Interest,
}

/// What has a run of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Each {
    /// An executable.
    #[default]
    Executable,
    /// A cgroup of version 2, without those below it. The run has its path as the label `cgroup`.
    Cgroup,
}

/// What recordings and the command line call it.
const NAME: &str = "ebpf";
