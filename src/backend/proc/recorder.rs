//! What the recorder and the kernel can do.

use std::fs;
use std::path::Path;

use super::files::field;

/// The recorder's own privileges and filters, from `/proc/self/status`.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(in crate::backend) struct Status {
    /// A seccomp filter is already loaded.
    pub(in crate::backend) has_filter: bool,
    /// `no_new_privs` is already set.
    pub(in crate::backend) no_new_privs: bool,
    /// `CAP_SYS_ADMIN`: a filter can be loaded without `no_new_privs`.
    pub(in crate::backend) can_load_filters: bool,
    /// `CAP_BPF`, which `CAP_SYS_ADMIN` includes.
    can_load_ebpf: bool,
    /// `CAP_PERFMON`, which `CAP_SYS_ADMIN` includes: eBPF programs may trace.
    can_trace_kernel: bool,
    /// `CAP_SYS_PTRACE`: setuid programs get their privileges even when traced (ptrace(2), execve(2)).
    pub(in crate::backend) can_trace_privileged: bool,
}

/// Bits of `CapEff` (`linux/capability.h`).
const CAP_SYS_PTRACE: u32 = 19;
pub(super) const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

impl Status {
    /// Reads that of this process. Whatever can't be read counts as absent: the safe choice, which costs slower stops
    /// and one warning more.
    pub(in crate::backend) fn of_recorder() -> Status {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let value = |key| field(&status, key);
        let capabilities = value("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let has = |bit: u32| capabilities.is_some_and(|set| set >> bit & 1 == 1);
        Status {
            has_filter: value("Seccomp:") != Some("0"),
            no_new_privs: value("NoNewPrivs:") == Some("1"),
            can_load_filters: has(CAP_SYS_ADMIN),
            can_load_ebpf: has(CAP_SYS_ADMIN) || has(CAP_BPF),
            can_trace_kernel: has(CAP_SYS_ADMIN) || has(CAP_PERFMON),
            can_trace_privileged: has(CAP_SYS_PTRACE),
        }
    }

    /// The capabilities for tracing with eBPF that are missing.
    pub(in crate::backend) fn missing_for_ebpf(self) -> Option<&'static str> {
        match (self.can_load_ebpf, self.can_trace_kernel) {
            (true, true) => None,
            (false, true) => Some("CAP_BPF (or CAP_SYS_ADMIN)"),
            (true, false) => Some("CAP_PERFMON (or CAP_SYS_ADMIN)"),
            (false, false) => Some("CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)"),
        }
    }
}

/// Yama's limit on tracing (`Documentation/admin-guide/LSM/Yama.rst`); `None` without Yama.
pub(in crate::backend) fn ptrace_scope() -> Option<u8> {
    let text = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    text.trim().parse().ok()
}

/// Whether a list of seccomp actions in `/proc/sys/kernel/seccomp` (seccomp(2)) has an action.
pub(in crate::backend) fn lists_action(list: &str, action: &str) -> bool {
    let actions = fs::read_to_string(Path::new("/proc/sys/kernel/seccomp").join(list));
    actions.is_ok_and(|actions| actions.split_ascii_whitespace().any(|word| word == action))
}

/// The kernel's major and minor version; `None` if its release doesn't begin with them.
pub(in crate::backend) fn kernel_version() -> Option<(u32, u32)> {
    let uname = nix::sys::utsname::uname().ok()?;
    let mut numbers = uname
        .release()
        .to_str()?
        .split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
