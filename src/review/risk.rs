//! The risk of a system call: what an attacker gains if a profile allows it.
//!
//! The table has the calls that are worth a thought; all others are [`RiskClass::Ordinary`]. Sources: capabilities(7) and the
//! manual page of each call; "Significant syscalls blocked by the default profile" in Docker's documentation of seccomp;
//! the kernel's own list of what unprivileged users should be kept from (`Documentation/admin-guide/sysctl/kernel.rst`:
//! `unprivileged_bpf_disabled`, `perf_event_paranoid`, `io_uring_disabled`; `vm.rst`: `unprivileged_userfaultfd`), and the
//! reports that led there, which are named with the call. A class is about the call, not about a program: a web server that
//! calls setuid(2) is no worse for it.

use std::fmt;

/// What a system call puts at risk. The order is that of reports: the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RiskClass {
    /// It changes the whole machine: no namespace holds it.
    KernelWide,
    /// It is a way out of a container, or into other namespaces.
    Escape,
    /// It opens a part of the kernel in which exploitable bugs were found again and again.
    AttackSurface,
    /// It reads or changes other processes.
    Debugging,
    /// It weakens what protects memory, or makes kernel bugs easier to exploit.
    Memory,
    /// It changes what the process may do.
    Privileges,
    /// It takes from others: processor time, memory that can't be swapped, quotas.
    Resources,
    /// Nothing in particular.
    Ordinary,
}

impl RiskClass {
    /// Every class, the gravest first.
    pub const ALL: &[RiskClass] = &[
        RiskClass::KernelWide,
        RiskClass::Escape,
        RiskClass::AttackSurface,
        RiskClass::Debugging,
        RiskClass::Memory,
        RiskClass::Privileges,
        RiskClass::Resources,
        RiskClass::Ordinary,
    ];

    /// The name in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RiskClass::KernelWide => "kernel-wide",
            RiskClass::Escape => "escape",
            RiskClass::AttackSurface => "attack-surface",
            RiskClass::Debugging => "debugging",
            RiskClass::Memory => "memory",
            RiskClass::Privileges => "privileges",
            RiskClass::Resources => "resources",
            RiskClass::Ordinary => "ordinary",
        }
    }
}

impl fmt::Display for RiskClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The class of a call, and why it is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Risk {
    /// The class.
    pub class: RiskClass,
    /// One line; empty for [`RiskClass::Ordinary`].
    pub why: &'static str,
}

/// The risk of a call, by its name.
#[must_use]
pub fn risk(name: &str) -> Risk {
    let entry = TABLE.iter().find(|(_, names, _)| names.contains(&name));
    match entry {
        Some(&(class, _, why)) => Risk { class, why },
        None => Risk {
            class: RiskClass::Ordinary,
            why: "",
        },
    }
}

use RiskClass::{AttackSurface, Debugging, Escape, KernelWide, Memory, Privileges, Resources};

type ClassRow = (RiskClass, &'static [&'static str], &'static str);

#[rustfmt::skip]
const TABLE: &[ClassRow] = &[
    // The machine.
    (KernelWide, &["init_module", "finit_module", "create_module", "delete_module"],
        "loads or unloads kernel code (CAP_SYS_MODULE)"),
    (KernelWide, &["query_module", "get_kernel_syms"],
        "reveals kernel addresses; removed in Linux 2.6"),
    (KernelWide, &["kexec_load", "kexec_file_load"],
        "replaces the running kernel (CAP_SYS_BOOT)"),
    (KernelWide, &["reboot"],
        "reboots the machine, or the namespace's init (CAP_SYS_BOOT)"),
    (KernelWide, &["swapon", "swapoff"],
        "changes the machine's swap (CAP_SYS_ADMIN)"),
    (KernelWide, &["settimeofday", "clock_settime", "clock_settime64", "stime"],
        "sets the machine's clock: not namespaced (CAP_SYS_TIME)"),
    (KernelWide, &["adjtimex", "clock_adjtime", "clock_adjtime64"],
        "tunes the machine's clock (CAP_SYS_TIME, reading needs none)"),
    (KernelWide, &["iopl", "ioperm", "pciconfig_read", "pciconfig_write", "pciconfig_iobase", "s390_pci_mmio_read", "s390_pci_mmio_write"],
        "reaches the hardware past the kernel (CAP_SYS_RAWIO)"),
    (KernelWide, &["syslog"],
        "reads the kernel's log, and with it kernel addresses (CAP_SYSLOG)"),
    (KernelWide, &["acct"],
        "turns on process accounting: the kernel writes a record for every process (CAP_SYS_PACCT)"),
    (KernelWide, &["quotactl", "quotactl_fd"],
        "changes the disk quotas of file systems (CAP_SYS_ADMIN)"),
    (KernelWide, &["nfsservctl", "uselib", "ustat", "sysfs", "_sysctl", "bdflush", "vm86", "vm86old"],
        "obsolete kernel interface that no current program needs"),
    (KernelWide, &["sethostname", "setdomainname"],
        "renames the machine, or its UTS namespace (CAP_SYS_ADMIN)"),
    (KernelWide, &["vhangup"],
        "hangs up the terminal of others (CAP_SYS_TTY_CONFIG)"),
    (KernelWide, &["lookup_dcookie"],
        "reveals paths of files that other processes use (CAP_SYS_ADMIN)"),
    // Ways out.
    (Escape, &["mount", "umount", "umount2", "move_mount", "open_tree", "open_tree_attr", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr"],
        "changes what is mounted, over read-only and masked paths too (CAP_SYS_ADMIN; CVE-2022-0185 in fsconfig)"),
    (Escape, &["pivot_root"],
        "changes the root of the mount namespace (CAP_SYS_ADMIN)"),
    (Escape, &["chroot"],
        "a privileged process leaves a chroot with another chroot (CAP_SYS_CHROOT; chroot(2))"),
    (Escape, &["setns"],
        "enters namespaces of others (CAP_SYS_ADMIN)"),
    (Escape, &["unshare"],
        "makes user namespaces, in which an unprivileged user reaches privileged kernel code (user_namespaces(7))"),
    (Escape, &["clone", "clone3"],
        "makes namespaces with CLONE_NEW* as unshare does; clone3 has its flags in memory, where no filter sees them"),
    (Escape, &["open_by_handle_at"],
        "opens files by handle, past mount namespaces: the \"shocker\" way out of containers (CAP_DAC_READ_SEARCH)"),
    (Escape, &["name_to_handle_at"],
        "gives the handles that open_by_handle_at takes"),
    (Escape, &["mknod", "mknodat"],
        "makes device files, through which the disk can be reached (CAP_MKNOD)"),
    (Escape, &["fanotify_init"],
        "watches and can block file access of the whole mount or file system (CAP_SYS_ADMIN)"),
    // Parts of the kernel with a history.
    (AttackSurface, &["bpf"],
        "loads programs into the kernel; its verifier had many holes (CAP_BPF; CVE-2021-3490, CVE-2022-23222)"),
    (AttackSurface, &["io_uring_setup", "io_uring_enter", "io_uring_register"],
        "does I/O that no seccomp filter sees, in young kernel code (CVE-2022-29582, CVE-2023-2598)"),
    (AttackSurface, &["userfaultfd"],
        "stops the kernel at a page fault as long as one likes: turns races into exploits (vm.unprivileged_userfaultfd)"),
    (AttackSurface, &["perf_event_open"],
        "profiles the kernel and other processes (CAP_PERFMON; CVE-2013-2094)"),
    (AttackSurface, &["add_key", "keyctl", "request_key"],
        "kernel keyrings are not namespaced, and had exploitable bugs (CVE-2016-0728)"),
    (AttackSurface, &["modify_ldt"],
        "changes segment tables; exploited before (CVE-2015-5157); only 16-bit programs need it"),
    (AttackSurface, &["vmsplice"],
        "puts pages of the process into a pipe (CVE-2008-0600; with splice CVE-2022-0847)"),
    (AttackSurface, &["splice", "tee"],
        "moves pages of the page cache by reference (CVE-2022-0847, \"Dirty Pipe\")"),
    (AttackSurface, &["map_shadow_stack", "uretprobe"],
        "young kernel interface for runtimes and tracers"),
    // Others' processes.
    (Debugging, &["ptrace"],
        "controls other processes: reads and writes their memory and registers (CAP_SYS_PTRACE beyond one's own)"),
    (Debugging, &["process_vm_readv", "process_vm_writev"],
        "reads or writes the memory of other processes (as ptrace)"),
    (Debugging, &["pidfd_getfd"],
        "takes open files from other processes (as ptrace)"),
    (Debugging, &["kcmp"],
        "compares kernel objects of processes, which reveals kernel addresses (as ptrace)"),
    (Debugging, &["process_madvise", "process_mrelease"],
        "changes the memory of other processes (as ptrace)"),
    // Memory.
    (Memory, &["personality"],
        "turns off the randomisation of addresses (ADDR_NO_RANDOMIZE), or makes mappings executable (READ_IMPLIES_EXEC)"),
    (Memory, &["remap_file_pages"],
        "obsolete way to map files; a source of kernel bugs"),
    (Memory, &["mbind", "set_mempolicy", "set_mempolicy_home_node", "migrate_pages", "move_pages"],
        "moves memory between nodes: helps to place pages, also those of others (CAP_SYS_NICE)"),
    (Memory, &["get_mempolicy"],
        "reveals on which nodes pages are"),
    (Memory, &["memfd_create"],
        "makes files in memory that can be executed without being on any disk"),
    (Memory, &["memfd_secret"],
        "memory that even the kernel doesn't map: it can't be inspected, and can block hibernation"),
    (Memory, &["pkey_mprotect"],
        "makes memory executable, as mprotect(2)"),
    // Rights.
    (Privileges, &["setuid", "setuid32", "setreuid", "setreuid32", "setresuid", "setresuid32", "setfsuid", "setfsuid32"],
        "changes the user (CAP_SETUID)"),
    (Privileges, &["setgid", "setgid32", "setregid", "setregid32", "setresgid", "setresgid32", "setfsgid", "setfsgid32", "setgroups", "setgroups32"],
        "changes the groups (CAP_SETGID)"),
    (Privileges, &["capset"],
        "changes the capabilities within what is permitted"),
    // Shared resources.
    (Resources, &["sched_setscheduler", "sched_setattr", "sched_setparam"],
        "takes real-time priority (CAP_SYS_NICE)"),
    (Resources, &["setpriority", "nice", "ioprio_set"],
        "raises priority over others (CAP_SYS_NICE)"),
    (Resources, &["mlock", "mlock2", "mlockall"],
        "keeps memory from being swapped, up to RLIMIT_MEMLOCK (CAP_IPC_LOCK beyond)"),
    (Resources, &["setrlimit"],
        "raises limits of resources (CAP_SYS_RESOURCE beyond the hard limit)"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::syscall::{Arch, Syscall};

    #[test]
    fn each_call_has_one_class_and_a_reason_and_exists_somewhere() {
        // Removed in Linux 2.6 and in no table of this build, but profiles still name them.
        let gone = ["umount"];
        let mut seen = BTreeSet::new();
        for (class, names, why) in TABLE {
            assert!(!why.is_empty() && *class != RiskClass::Ordinary);
            for name in *names {
                assert!(seen.insert(*name), "{name} twice");
                let mut arches = Arch::ALL.iter();
                let exists = arches.any(|&arch| Syscall::from_name(arch, name).is_some());
                assert!(exists || gone.contains(name), "{name}");
            }
        }
    }

    #[test]
    fn what_dockers_documentation_calls_significant_is_not_ordinary() {
        for name in [
            "acct",
            "add_key",
            "bpf",
            "clock_adjtime",
            "clock_settime",
            "clone",
            "create_module",
            "delete_module",
            "finit_module",
            "get_kernel_syms",
            "get_mempolicy",
            "init_module",
            "ioperm",
            "iopl",
            "kcmp",
            "kexec_file_load",
            "kexec_load",
            "keyctl",
            "lookup_dcookie",
            "mbind",
            "mount",
            "move_pages",
            "nfsservctl",
            "open_by_handle_at",
            "perf_event_open",
            "personality",
            "pivot_root",
            "process_vm_readv",
            "process_vm_writev",
            "ptrace",
            "query_module",
            "quotactl",
            "reboot",
            "request_key",
            "set_mempolicy",
            "setns",
            "settimeofday",
            "stime",
            "swapon",
            "swapoff",
            "sysfs",
            "_sysctl",
            "umount",
            "umount2",
            "unshare",
            "uselib",
            "userfaultfd",
            "ustat",
            "vm86",
            "vm86old",
        ] {
            assert_ne!(risk(name).class, RiskClass::Ordinary, "{name}");
        }
        assert_eq!(risk("read").class, RiskClass::Ordinary);
    }
}
