//! The names that libaudit uses in `ausearch -i` and enriched logs.

use crate::input::text::nr_of;
use crate::syscall::{Arch, Syscall};

const POWERPC: &[Arch] = &[Arch::Ppc, Arch::Ppc64, Arch::Ppc64le];

#[rustfmt::skip]
const WITHOUT_64: &[Arch] = &[
    Arch::X86_64, Arch::Aarch64, Arch::Ppc, Arch::Ppc64, Arch::Ppc64le, Arch::S390, Arch::S390x,
];

/// Names of libaudit 3.0 and 4.0 (`lib/*_table.h`) that differ from the kernel's (`asm/unistd.h`).
#[rustfmt::skip]
const SYSCALLS: &[(&[Arch], &str, &str)] = &[
    (WITHOUT_64, "pread", "pread64"),
    (WITHOUT_64, "pwrite", "pwrite64"),
    (&[Arch::Aarch64], "getdents", "getdents64"),
    (&[Arch::Aarch64], "newfstat", "fstat"),
    (&[Arch::Arm], "llseek", "_llseek"),
    (&[Arch::Arm], "newselect", "_newselect"),
    (&[Arch::Arm], "sysctl", "_sysctl"),
    (&[Arch::Arm], "fadvise64_64", "arm_fadvise64_64"),
    (&[Arch::Arm], "sync_file_range", "arm_sync_file_range"),
    (&[Arch::Arm, Arch::X86], "sched_rr_get_interval64", "sched_rr_get_interval_time64"),
    (&[Arch::X86], "sys_kexec_load", "kexec_load"),
    (POWERPC, "timerfd", "timerfd_create"),
    (POWERPC, "perf_counter_open", "perf_event_open"),
    (&[Arch::Ppc64, Arch::Ppc64le], "fstatat64", "newfstatat"),
];

/// The ABI with this name in libaudit (`lib/machinetab.h`).
pub(crate) fn arch(name: &[u8]) -> Option<Arch> {
    let name = std::str::from_utf8(name).ok()?;
    Some(match name {
        "i386" | "i486" | "i586" | "i686" => Arch::X86,
        "armeb" | "armv5tejl" | "armv5tel" | "armv6l" | "armv7l" => Arch::Arm,
        "armv8l" => Arch::Aarch64,
        _ => name.parse().ok()?,
    })
}

/// The system call with this name in libaudit, or with the number of `unknown-syscall(NR)`.
pub(crate) fn syscall(arch: Arch, name: &[u8]) -> Option<Syscall> {
    let name = std::str::from_utf8(name).ok()?;
    let unknown = name.strip_prefix("unknown-syscall(");
    if let Some(number) = unknown.and_then(|name| name.strip_suffix(')')) {
        let nr = nr_of(number.parse().ok()?)?;
        return Syscall::from_audit(arch.audit(), nr);
    }
    Syscall::from_name(arch, name).or_else(|| {
        let (_, _, kernel) = SYSCALLS
            .iter()
            .find(|(arches, libaudit, _)| *libaudit == name && arches.contains(&arch))?;
        Syscall::from_name(arch, kernel)
    })
}

/// The `SECCOMP_RET_*` value with this name in libaudit (`auparse/seccomptab.h`).
pub(crate) fn action(name: &[u8]) -> Option<u32> {
    Some(match name {
        b"kill-process" => libc::SECCOMP_RET_KILL_PROCESS,
        b"kill" => libc::SECCOMP_RET_KILL_THREAD,
        b"trap" => libc::SECCOMP_RET_TRAP,
        b"errno" => libc::SECCOMP_RET_ERRNO,
        b"user-notify" => libc::SECCOMP_RET_USER_NOTIF,
        b"trace" => libc::SECCOMP_RET_TRACE,
        b"log" => libc::SECCOMP_RET_LOG,
        b"allow" => libc::SECCOMP_RET_ALLOW,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_libaudit_is_a_system_call() {
        for (arches, libaudit, _) in SYSCALLS {
            for &arch in *arches {
                assert!(
                    syscall(arch, libaudit.as_bytes()).is_some(),
                    "{arch} {libaudit}"
                );
            }
        }
    }

    #[test]
    fn numbers_without_a_name_are_kept() {
        let of = |name: &str| syscall(Arch::X86_64, name.as_bytes()).map(|s| (s.arch, s.nr));
        assert_eq!(of("unknown-syscall(100000)"), Some((Arch::X86_64, 100_000)));
        assert_eq!(of("unknown-syscall(-5)"), Some((Arch::X86_64, -5)));
        assert_eq!(of("unknown-syscall(1073741863)"), Some((Arch::X32, 39)));
        assert_eq!(of("unknown-syscall(99999999999)"), None);
        assert_eq!(of("frobnicate"), None);
    }
}
