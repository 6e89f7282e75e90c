//! The calls that Docker's default profile blocks in a container with Docker's default capabilities.
//!
//! The profile is an allow list (moby, `profiles/seccomp/default.json`). The table here has the calls that are not on it;
//! all other calls up to Linux 6.13 are. It is the moby profile that denies `socket` for both `AF_ALG` and `AF_VSOCK`;
//! earlier ones differ in few calls. Docker's default capabilities are `AUDIT_WRITE`, CHOWN, `DAC_OVERRIDE`, FOWNER,
//! FSETID, KILL, MKNOD,
//! `NET_BIND_SERVICE`, `NET_RAW`, SETFCAP, SETGID, SETPCAP, SETUID and `SYS_CHROOT`: so chroot(2) is allowed. A test
//! compares the table with moby's own file, if it is present.

/// What Docker's default profile does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByDocker {
    /// It allows the call.
    Allowed,
    /// It denies the call unless the container has this capability (`--cap-add`).
    Unless(&'static str),
    /// It allows the call with some arguments only.
    Partly(&'static str),
    /// It denies the call to every container.
    Blocked,
}

/// What Docker's default profile does with a call of this name.
#[must_use]
pub fn by_docker(name: &str) -> ByDocker {
    if let Some((_, what)) = PARTLY.iter().find(|(of, _)| *of == name) {
        return ByDocker::Partly(what);
    }
    if let Some((capability, _)) = UNLESS.iter().find(|(_, names)| names.contains(&name)) {
        return ByDocker::Unless(capability);
    }
    if BLOCKED.contains(&name) || TOO_NEW.contains(&name) {
        return ByDocker::Blocked;
    }
    ByDocker::Allowed
}

const PARTLY: &[(&str, &str)] = &[
    (
        "clone",
        "without CLONE_NEW* flags, unless with CAP_SYS_ADMIN",
    ),
    ("personality", "0, 8, 0x20000, 0x20008 and 0xffffffff only"),
    ("socket", "not AF_ALG and AF_VSOCK"),
];

#[rustfmt::skip]
const UNLESS: &[(&str, &[&str])] = &[
    ("CAP_DAC_READ_SEARCH", &["open_by_handle_at"]),
    ("CAP_SYS_ADMIN", &[
        // ENOSYS, so that libc falls back to clone, whose flags a filter can compare.
        "clone3",
        "fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "lsm_get_self_attr",
        "lsm_list_modules", "lsm_set_self_attr", "mount", "mount_setattr", "move_mount", "open_tree", "quotactl",
        "quotactl_fd", "setdomainname", "sethostname", "setns", "umount", "umount2", "unshare",
    ]),
    ("CAP_BPF", &["bpf"]),
    ("CAP_PERFMON", &["perf_event_open"]),
    ("CAP_SYSLOG", &["syslog"]),
    ("CAP_SYS_BOOT", &["reboot"]),
    ("CAP_SYS_MODULE", &["delete_module", "init_module", "finit_module"]),
    ("CAP_SYS_PACCT", &["acct"]),
    ("CAP_SYS_PTRACE", &["kcmp", "pidfd_getfd", "process_madvise"]),
    ("CAP_SYS_RAWIO", &["iopl", "ioperm"]),
    ("CAP_SYS_TIME", &["settimeofday", "stime", "clock_settime", "clock_settime64"]),
    ("CAP_SYS_TTY_CONFIG", &["vhangup"]),
    ("CAP_SYS_NICE", &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"]),
];

#[rustfmt::skip]
const BLOCKED: &[&str] = &[
    // Of note.
    "add_key", "keyctl", "request_key", "io_uring_enter", "io_uring_register", "io_uring_setup", "kexec_file_load",
    "kexec_load", "migrate_pages", "move_pages", "pivot_root", "swapoff", "swapon", "userfaultfd",
    // Old, or never implemented.
    "_sysctl", "afs_syscall", "bdflush", "break", "create_module", "ftime", "get_kernel_syms", "getpmsg", "gtty", "idle",
    "lock", "mpx", "nfsservctl", "nice", "oldfstat", "oldlstat", "oldolduname", "oldstat", "olduname", "prof", "profil",
    "putpmsg", "query_module", "readdir", "security", "sgetmask", "sigaction", "signal", "sigpending", "sigsuspend",
    "ssetmask", "stty", "sysfs", "tuxcall", "ulimit", "uselib", "ustat", "vm86", "vm86old", "vserver",
    // Of one architecture.
    "atomic_barrier", "atomic_cmpxchg_32", "cachectl", "get_tls", "getpagesize", "multiplexer", "pciconfig_iobase",
    "pciconfig_read", "pciconfig_write", "rtas", "s390_guarded_storage", "s390_sthyi", "spu_create", "spu_run",
    "subpage_prot", "switch_endian", "sys_debug_setcontext", "syscall", "sysmips", "timerfd", "usr26", "usr32",
];

/// Newer than the list.
const TOO_NEW: &[&str] = &[
    "file_getattr",
    "file_setattr",
    "open_tree_attr",
    "listns",
    "rseq_slice_yield",
    "uprobe",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::format::Machine;
    use crate::review::tightness::names_on;
    use crate::syscall::Arch;

    #[test]
    fn no_call_is_told_of_twice() {
        let partly = PARTLY.iter().map(|(name, _)| *name);
        let unless = UNLESS.iter().flat_map(|(_, names)| names.iter().copied());
        let blocked = BLOCKED.iter().chain(TOO_NEW).copied();
        let mut seen = BTreeSet::new();
        for name in partly.chain(unless).chain(blocked) {
            assert!(seen.insert(name), "{name}");
        }
    }

    #[test]
    fn it_is_what_mobys_file_says() {
        let file = "integration/fixtures/published/docker/default.json";
        let text =
            std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let moby: Value = serde_json::from_slice(&text).unwrap();
        let names = |rule: &Value| -> Vec<String> {
            let names = rule["names"].as_array().unwrap().iter();
            names
                .map(|name| name.as_str().unwrap().to_owned())
                .collect()
        };
        let caps = |part: &Value| -> Vec<String> {
            let caps = part["caps"].as_array().into_iter().flatten();
            caps.map(|cap| cap.as_str().unwrap().to_owned()).collect()
        };
        let has = |cap: &String| Machine::DOCKER_CAPS.contains(&cap.as_str());
        let mut always = BTreeSet::new();
        let mut partly = BTreeSet::new();
        let mut unless = std::collections::BTreeMap::<String, BTreeSet<String>>::new();
        for rule in moby["syscalls"].as_array().unwrap() {
            if rule["action"] != "SCMP_ACT_ALLOW" {
                continue;
            }
            let included = caps(&rule["includes"]);
            for name in names(rule) {
                if !included.iter().all(has) {
                    unless.entry(name).or_default().extend(included.clone());
                } else if caps(&rule["excludes"]).iter().any(has) {
                } else if rule["args"].is_array() {
                    partly.insert(name);
                } else {
                    always.insert(name);
                }
            }
        }
        let mut wrong = BTreeSet::new();
        // Docker doesn't support the architectures that libseccomp lacks (SPARC).
        for &arch in Arch::ALL.iter().filter(|arch| arch.scmp().is_some()) {
            for name in names_on(arch) {
                let said = by_docker(&name);
                let expected = if always.contains(&name) {
                    said == ByDocker::Allowed
                } else if partly.contains(&name) {
                    matches!(said, ByDocker::Partly(_))
                } else if let Some(caps) = unless.get(&name) {
                    matches!(said, ByDocker::Unless(cap) if caps.contains(cap))
                } else {
                    said == ByDocker::Blocked
                };
                if !expected {
                    wrong.insert(format!("{name}: {said:?}"));
                }
            }
        }
        assert_eq!(wrong, BTreeSet::new());
    }
}
