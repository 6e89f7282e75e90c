//! The libseccomp releases that introduced calls, actions, ABIs and flags.
//!
//! The source is libseccomp's own history: its CHANGELOG says up to which Linux the table of calls of each release goes
//! (2.2.0: 3.19, 2.3.0: 4.5, 2.3.2: 4.10, 2.3.3: 4.15, 2.4.0: 5.0, 2.4.2: 5.4, 2.5.0: 5.8, 2.5.2: 5.14, 2.5.3: 5.15, 2.5.4:
//! 5.17, 2.5.5: 6.7, 2.6.0: 6.13), syscalls(2) which Linux brought a call; the last two steps are checked against the
//! tables (`src/syscalls.csv`) of 2.5.4 and 2.6.0. What is missing from it is in every release since 2.2.0.
//!
//! Distributions add calls to older releases (Debian's 2.5.4-1+deb12u1 has those of Linux 6.7): the table here is the
//! minimum.

use std::fmt;
use std::str::FromStr;

use crate::profile::{Action, Flag};
use crate::syscall::{Arch, Syscall};

/// A release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The 2 of 2.5.4.
    pub major: u32,
    /// The 5.
    pub minor: u32,
    /// The 4.
    pub micro: u32,
}

impl Version {
    /// A release by its three numbers.
    #[must_use]
    pub const fn new(major: u32, minor: u32, micro: u32) -> Version {
        Version {
            major,
            minor,
            micro,
        }
    }

    /// The release that this program is linked with.
    #[must_use]
    pub fn current() -> Option<Version> {
        let version = libseccomp::ScmpVersion::current().ok()?;
        Some(Version::new(version.major, version.minor, version.micro))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// A text is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version of libseccomp looks like 2.5.4")]
pub struct NoVersion;

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Version, NoVersion> {
        let mut parts = text.split('.').map(str::parse);
        let mut part = || parts.next().transpose().map_err(|_| NoVersion);
        let version = match (part()?, part()?, part()?) {
            (Some(major), Some(minor), micro) => Version::new(major, minor, micro.unwrap_or(0)),
            _ => return Err(NoVersion),
        };
        if parts.next().is_some() {
            return Err(NoVersion);
        }
        Ok(version)
    }
}

/// Since when libseccomp knows a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Since before anything that is still in use.
    Always,
    /// Since this release.
    Release(Version),
    /// No release up to 2.6.0 does.
    NoRelease,
    /// No architecture has a call of this name.
    NoCall,
}

impl Since {
    /// Whether a release knows it. Releases after 2.6.0 are unknown.
    #[must_use]
    pub fn known_to(self, version: Version) -> bool {
        match self {
            Since::Always => true,
            Since::Release(since) => since <= version,
            Since::NoRelease => version > Version::new(2, 6, 0),
            Since::NoCall => false,
        }
    }
}

/// Since when libseccomp knows a call of this name.
#[must_use]
pub fn since(name: &str) -> Since {
    if let Some((version, _)) = CALLS.iter().find(|(_, names)| names.contains(&name)) {
        return Since::Release(*version);
    }
    if NO_RELEASE.contains(&name) {
        return Since::NoRelease;
    }
    let mut arches = Arch::ALL.iter();
    if OTHER_NAMES.contains(&name) || arches.any(|&arch| Syscall::from_name(arch, name).is_some()) {
        Since::Always
    } else {
        Since::NoCall
    }
}

/// Since when libseccomp has an ABI.
#[must_use]
pub fn since_arch(arch: Arch) -> Since {
    match arch {
        Arch::Riscv64 => Since::Release(Version::new(2, 5, 0)),
        Arch::Loongarch64 | Arch::M68k | Arch::Sh | Arch::Sheb => {
            Since::Release(Version::new(2, 6, 0))
        }
        Arch::Parisc | Arch::Parisc64 => Since::Release(Version::new(2, 4, 0)),
        _ if arch.scmp().is_none() => Since::NoRelease,
        _ => Since::Always,
    }
}

/// Since when libseccomp has an action.
#[must_use]
pub fn since_action(action: Action) -> Since {
    match action {
        Action::Notify => Since::Release(Version::new(2, 5, 0)),
        Action::Log | Action::KillProcess => Since::Release(Version::new(2, 4, 0)),
        _ => Since::Always,
    }
}

/// Since when libseccomp has a flag.
#[must_use]
pub fn since_flag(flag: Flag) -> Since {
    match flag {
        Flag::WaitKillableRecv => Since::Release(Version::new(2, 6, 0)),
        Flag::SpecAllow => Since::Release(Version::new(2, 5, 0)),
        Flag::Log => Since::Release(Version::new(2, 4, 0)),
        Flag::Tsync => Since::Always,
    }
}

#[rustfmt::skip]
const CALLS: &[(Version, &[&str])] = &[
    (Version::new(2, 3, 0), &["copy_file_range", "membarrier", "mlock2", "userfaultfd"]),
    (Version::new(2, 3, 2), &["pkey_alloc", "pkey_free", "pkey_mprotect", "preadv2", "pwritev2"]),
    (Version::new(2, 3, 3), &["s390_guarded_storage", "s390_sthyi", "statx"]),
    (Version::new(2, 4, 0), &["io_pgetevents", "rseq"]),
    (Version::new(2, 4, 2), &[
        "clock_adjtime64", "clock_getres_time64", "clock_gettime64", "clock_nanosleep_time64", "clock_settime64",
        "clone3", "fsconfig", "fsmount", "fsopen", "fspick", "futex_time64", "io_pgetevents_time64",
        "io_uring_enter", "io_uring_register", "io_uring_setup", "move_mount", "mq_timedreceive_time64",
        "mq_timedsend_time64", "open_tree", "pidfd_open", "pidfd_send_signal", "ppoll_time64", "pselect6_time64",
        "recvmmsg_time64", "rt_sigtimedwait_time64", "sched_rr_get_interval_time64", "semtimedop_time64",
        "timer_gettime64", "timer_settime64", "timerfd_gettime64", "timerfd_settime64", "utimensat_time64",
    ]),
    (Version::new(2, 5, 0), &["faccessat2", "openat2", "pidfd_getfd"]),
    (Version::new(2, 5, 2), &[
        "close_range", "epoll_pwait2", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
        "memfd_secret", "mount_setattr", "process_madvise", "quotactl_fd",
    ]),
    (Version::new(2, 5, 3), &["process_mrelease"]),
    (Version::new(2, 5, 4), &["futex_waitv", "set_mempolicy_home_node"]),
    (Version::new(2, 5, 5), &[
        "cachestat", "fchmodat2", "futex_requeue", "futex_wait", "futex_wake", "map_shadow_stack", "riscv_hwprobe",
    ]),
    (Version::new(2, 6, 0), &[
        "atomic_barrier", "atomic_cmpxchg_32", "getpagesize", "getxattrat", "listmount", "listxattrat",
        "lsm_get_self_attr", "lsm_list_modules", "lsm_set_self_attr", "mseal", "removexattrat", "setxattrat",
        "statmount", "uretprobe",
    ]),
];

/// Newer than the table of 2.6.0 (Linux 6.13), or of an ABI that libseccomp doesn't support.
const NO_RELEASE: &[&str] = &[
    "file_getattr",
    "file_setattr",
    "listns",
    "open_tree_attr",
    "rseq_slice_yield",
    "uprobe",
];

/// Names that libseccomp has for calls that are known by others here.
const OTHER_NAMES: &[&str] = &["umount", "fstatat"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use libseccomp::ScmpSyscall;

    use super::*;

    #[test]
    fn the_table_is_that_of_the_libseccomp_that_is_linked() {
        let version = Version::current().unwrap();
        let mut names: BTreeSet<String> = BTreeSet::new();
        for &arch in Arch::ALL.iter().filter(|arch| arch.scmp().is_some()) {
            names.extend(
                (0..7_000)
                    .filter_map(|nr| Syscall { arch, nr }.name())
                    .map(String::from),
            );
        }
        let told: Vec<&str> = CALLS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        names.extend(told.iter().chain(NO_RELEASE).map(|name| (*name).to_owned()));
        let differing: Vec<_> = (names.iter())
            .filter(|name| {
                let known = ScmpSyscall::from_name(name).is_ok();
                // A distribution may have added calls of the next releases.
                let added = known && matches!(since(name), Since::Release(_));
                since(name).known_to(version) != known && !added
            })
            .collect();
        assert_eq!(differing, Vec::<&String>::new(), "libseccomp {version}");
    }

    #[test]
    fn versions_are_read_and_ordered() {
        let read = |text: &str| text.parse::<Version>().ok();
        assert_eq!(read("2.5.4"), Some(Version::new(2, 5, 4)));
        assert_eq!(read("2.6"), Some(Version::new(2, 6, 0)));
        for bad in ["", "2", "2.5.4.1", "2.x", "v2.5", "2.5.4-1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert!(Version::new(2, 5, 10) > Version::new(2, 5, 4));
        assert_eq!(Version::new(2, 5, 4).to_string(), "2.5.4");
        assert_eq!(since("mouunt"), Since::NoCall);
        assert_eq!(since("read"), Since::Always);
        assert!(!since("cachestat").known_to(Version::new(2, 5, 4)));
        assert!(since("cachestat").known_to(Version::new(2, 5, 5)));
    }
}
