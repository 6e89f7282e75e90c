//! Calls that replace one another, and calls that are needed although no recording has them.
//!
//! The facts are from the manual pages (section 2, "C library/kernel differences" and "HISTORY"), from glibc's
//! `sysdeps/unix/sysv/linux` and NEWS, and from musl's sources. A version is that which brought the behaviour. Not every
//! ABI has every name: the reader of these tables drops what an ABI lacks.

/// Calls of which one may be made in place of another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// If any of these names (separated by spaces) was recorded …
    pub(crate) when: &'static str,
    /// … these are added.
    pub(crate) add: &'static str,
    /// What exchanges them. The end of the sentence "NAME is allowed because …".
    pub(crate) why: &'static str,
}

impl Family {
    /// Whether each member can stand for each.
    pub(crate) fn is_symmetrical(&self) -> bool {
        self.when == self.add
    }
}

/// A family in which each member can stand for each.
const fn family(members: &'static str, why: &'static str) -> Family {
    Family {
        when: members,
        add: members,
        why,
    }
}

/// Names (separated by spaces) that need no recording, and the end of the sentence "NAME is allowed because …".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Always {
    pub(crate) names: &'static str,
    pub(crate) why: &'static str,
}

/// What the kernel or the loader needs without the workload asking, and what the vDSO hides.
#[rustfmt::skip]
pub(crate) const SAFE: &[Always] = &[
    Always { names: "rt_sigreturn sigreturn",
        why: "the return from a signal handler is a call that the kernel arranges (sigreturn(2)), and whether a signal \
         arrives is chance" },
    Always { names: "restart_syscall",
        why: "the kernel makes it after a stop signal interrupted a sleeping call (restart_syscall(2))" },
    Always { names: "exit exit_group",
        why: "a program that may not exit spins instead of ending (_exit(2))" },
    Always { names: "execve",
        why: "the runtime starts the workload with it" },
    Always { names: "clock_gettime clock_gettime64 clock_getres clock_getres_time64 gettimeofday time getcpu",
        why: "the vDSO answers it without a call here, but not with every clock source, hypervisor and kernel (vdso(7))" },
    Always { names: "riscv_hwprobe",
        why: "the vDSO answers it without a call, but not for every question and kernel (Documentation/arch/riscv/hwprobe.rst)" },
];

/// Families of calls that libc versions exchange for one another.
#[rustfmt::skip]
pub(crate) const FAMILIES: &[Family] = &[
    // Processes and threads.
    family("clone clone3 fork vfork",
        "glibc 2.34 makes threads and posix_spawn(3) with clone3 and falls back to clone; fork(3) is fork in musl and clone \
         in glibc"),
    family("wait4 waitpid waitid",
        "waitpid(3) is wait4 in current libcs, waitpid in older ones for 32 bits, and waitid where wait4 is missing"),
    family("tkill tgkill",
        "raise(3) is tgkill in glibc and tkill in musl"),
    // Files by name.
    family("open openat openat2 creat",
        "open(3) is openat since glibc 2.26 and open in musl"),
    family("stat lstat fstat stat64 lstat64 fstat64 newfstatat fstatat64 statx",
        "stat(3) and fstat(3) are newfstatat since glibc 2.33 (fstat again since 2.39), statx for 64-bit times on 32 bits, \
         and the old calls in musl"),
    family("access faccessat faccessat2",
        "faccessat(3) with flags is faccessat2 since glibc 2.33; access(3) is faccessat where access is missing"),
    family("rename renameat renameat2",
        "rename(3) is renameat or renameat2 where the older calls are missing (rename(2))"),
    family("mkdir mkdirat",
        "either serves mkdir(3) (mkdir(2))"),
    family("mknod mknodat",
        "mknod(3) is mknodat since glibc 2.33 and mknod in musl"),
    family("unlink unlinkat rmdir",
        "unlink(3), rmdir(3) and remove(3) are unlinkat where the older calls are missing (unlink(2))"),
    family("link linkat",
        "either serves link(3) (link(2))"),
    family("symlink symlinkat",
        "either serves symlink(3) (symlink(2))"),
    family("readlink readlinkat",
        "either serves readlink(3) (readlink(2))"),
    family("chmod fchmodat fchmodat2",
        "either serves chmod(3); fchmodat(3) with flags is fchmodat2 since glibc 2.39"),
    family("chown lchown fchownat chown32 lchown32",
        "chown(3) and lchown(3) are fchownat where the older calls are missing; on 32 bits the calls without 32 are for \
         16-bit ids (chown(2))"),
    family("utime utimes futimesat utimensat utimensat_time64",
        "utime(3), utimes(3) and futimens(3) are utimensat in current glibc and in musl"),
    family("getdents getdents64",
        "readdir(3) is getdents64, and getdents in older libcs"),
    family("umount umount2",
        "either serves umount(3) (umount(2))"),
    // Descriptors.
    family("dup2 dup3",
        "dup2(3) is dup3 where dup2 is missing (dup(2))"),
    family("pipe pipe2",
        "pipe(3) is pipe2 in current glibc and pipe in musl"),
    family("eventfd eventfd2",
        "eventfd(3) is eventfd2 since glibc 2.9, and musl falls back to eventfd"),
    family("signalfd signalfd4",
        "signalfd(3) is signalfd4 since glibc 2.9, and musl falls back to signalfd"),
    family("inotify_init inotify_init1",
        "inotify_init(3) is inotify_init1 in musl, which falls back to inotify_init, and where inotify_init is missing"),
    family("epoll_create epoll_create1",
        "epoll_create(3) is epoll_create1 in musl, which falls back to epoll_create, and where epoll_create is missing"),
    Family { when: "preadv2 pwritev2", add: "preadv pwritev",
        why: "preadv2(3) and pwritev2(3) without flags fall back to preadv and pwritev since glibc 2.26" },
    // Waiting.
    family("select _newselect pselect6 pselect6_time64",
        "select(3) is pselect6 in current glibc and where select is missing, and select in musl"),
    family("poll ppoll ppoll_time64",
        "poll(3) is ppoll where poll is missing (poll(2))"),
    family("epoll_wait epoll_pwait epoll_pwait2",
        "epoll_wait(3) is epoll_pwait in musl and where epoll_wait is missing; epoll_pwait2(3) is in glibc 2.35"),
    family("nanosleep clock_nanosleep clock_nanosleep_time64",
        "nanosleep(3) and sleep(3) are clock_nanosleep since glibc 2.31 and nanosleep in musl"),
    // Sockets and System V IPC.
    family("accept accept4",
        "accept(3) is accept4 where accept is missing (accept(2))"),
    family("send sendto",
        "send(3) is sendto where send is missing (send(2))"),
    family("recv recvfrom",
        "recv(3) is recvfrom where recv is missing (recv(2))"),
    Family { when: "socketcall", add: "socket socketpair bind connect listen accept accept4 getsockname getpeername \
     getsockopt setsockopt shutdown send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64",
        why: "current libcs make the calls themselves in place of socketcall, which can make each of them, where the kernel \
         has them (Linux 4.3 on x86; socketcall(2))" },
    Family { when: "ipc", add: "semget semctl semop semtimedop semtimedop_time64 msgget msgctl msgsnd msgrcv shmget shmctl \
     shmat shmdt",
        why: "libcs built for kernels that have the calls themselves (Linux 5.1) make them in place of ipc, which can make \
         each of them (ipc(2))" },
    family("semop semtimedop semtimedop_time64",
        "semop(3) is semtimedop without a timeout in current glibc"),
    // Limits.
    family("getrlimit ugetrlimit prlimit64",
        "getrlimit(3) is prlimit64 since glibc 2.13 and in musl, which falls back to getrlimit"),
    family("setrlimit prlimit64",
        "setrlimit(3) is prlimit64 since glibc 2.13 and in musl, which falls back to setrlimit"),
    // Clocks.
    family("settimeofday stime clock_settime clock_settime64",
        "settimeofday(3) is clock_settime since glibc 2.31 and in musl"),
    family("adjtimex clock_adjtime clock_adjtime64",
        "adjtimex(3) is clock_adjtime in current glibc and in musl"),
    // 64-bit times on 32 bits (Linux 5.1): glibc 2.34 and musl 1.2 call the one and fall back to the other.
    time64("futex futex_time64"),
    time64("recvmmsg recvmmsg_time64"),
    time64("rt_sigtimedwait rt_sigtimedwait_time64"),
    time64("sched_rr_get_interval sched_rr_get_interval_time64"),
    time64("mq_timedsend mq_timedsend_time64"),
    time64("mq_timedreceive mq_timedreceive_time64"),
    time64("timer_gettime timer_gettime64"),
    time64("timer_settime timer_settime64"),
    time64("timerfd_gettime timerfd_gettime64"),
    time64("timerfd_settime timerfd_settime64"),
    time64("io_pgetevents io_pgetevents_time64"),
    // Large files on 32 bits.
    large_files("lseek _llseek"),
    large_files("mmap mmap2"),
    large_files("fcntl fcntl64"),
    large_files("truncate truncate64"),
    large_files("ftruncate ftruncate64"),
    large_files("statfs statfs64"),
    large_files("fstatfs fstatfs64"),
    large_files("sendfile sendfile64"),
    large_files("fadvise64 fadvise64_64 arm_fadvise64_64"),
];

const fn time64(members: &'static str) -> Family {
    family(
        members,
        "libcs with 64-bit times on 32 bits (glibc 2.34, musl 1.2) call the one with time64 and fall back to the other",
    )
}

const fn large_files(members: &'static str) -> Family {
    family(
        members,
        "32-bit programs built for large files call the 64-bit form, others the old one (feature_test_macros(7))",
    )
}

/// A newer call that libc or a language's runtime tries and can do without, if the answer is ENOSYS. The caller falls back
/// to the older call, which is the recorded one on machines without the newer one. Any other errno counts as the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub(crate) name: &'static str,
    /// The end of the sentence "NAME answers ENOSYS because …".
    pub(crate) why: &'static str,
}

const fn probe(name: &'static str, why: &'static str) -> Probe {
    Probe { name, why }
}

const TIME64_PROBE: &str =
    "on 32 bits glibc 2.34 and musl 1.2 fall back to the call without time64 on ENOSYS";

/// Calls newer than Linux 3.14 that are tried before an older one.
///
/// Left out are calls for which ENOSYS is an error like any other: their callers can't do without them.
#[rustfmt::skip]
pub(crate) const PROBES: &[Probe] = &[
    probe("clone3", "pthread_create(3) and posix_spawn(3) of glibc 2.34 fall back to clone on ENOSYS"),
    probe("close_range", "closefrom(3) of glibc 2.34 and Python's subprocess fall back to closing one by one on ENOSYS"),
    probe("copy_file_range", "cp(1), Go and Rust fall back to read and write on ENOSYS"),
    probe("epoll_pwait2", "the event loops of systemd and libevent fall back to epoll_wait on ENOSYS"),
    probe("faccessat2", "faccessat(3) of glibc 2.33 and musl falls back to faccessat on ENOSYS"),
    probe("fchmodat2", "fchmodat(3) with flags of glibc 2.39 and musl falls back to /proc/self/fd on ENOSYS"),
    probe("openat2", "systemd, Samba and Rust's cap-std fall back to openat on ENOSYS"),
    probe("preadv2", "preadv2(3) of glibc 2.26 falls back to preadv on ENOSYS"),
    probe("pwritev2", "pwritev2(3) of glibc 2.26 falls back to pwritev on ENOSYS"),
    probe("renameat2", "mv(1) and others with gnulib fall back to renameat on ENOSYS"),
    probe("rseq", "glibc 2.35 tries to register every thread, and does without on ENOSYS"),
    probe("statx", "statx(3) of glibc 2.28, stat(3) on 32 bits and Rust fall back to fstatat on ENOSYS"),
    probe("clock_gettime64", TIME64_PROBE),
    probe("clock_getres_time64", TIME64_PROBE),
    probe("clock_settime64", TIME64_PROBE),
    probe("clock_adjtime64", TIME64_PROBE),
    probe("clock_nanosleep_time64", TIME64_PROBE),
    probe("futex_time64", TIME64_PROBE),
    probe("io_pgetevents_time64", TIME64_PROBE),
    probe("mq_timedreceive_time64", TIME64_PROBE),
    probe("mq_timedsend_time64", TIME64_PROBE),
    probe("ppoll_time64", TIME64_PROBE),
    probe("pselect6_time64", TIME64_PROBE),
    probe("recvmmsg_time64", TIME64_PROBE),
    probe("rt_sigtimedwait_time64", TIME64_PROBE),
    probe("sched_rr_get_interval_time64", TIME64_PROBE),
    probe("semtimedop_time64", TIME64_PROBE),
    probe("timer_gettime64", TIME64_PROBE),
    probe("timer_settime64", TIME64_PROBE),
    probe("timerfd_gettime64", TIME64_PROBE),
    probe("timerfd_settime64", TIME64_PROBE),
    probe("utimensat_time64", TIME64_PROBE),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use itertools::Itertools;

    use super::*;
    use crate::syscall::{Arch, Syscall};

    #[test]
    fn every_name_is_a_call_of_some_abi() {
        let names = (SAFE.iter().flat_map(|always| always.names.split(' ')))
            .chain((FAMILIES.iter()).flat_map(|f| f.when.split(' ').chain(f.add.split(' '))))
            .chain(PROBES.iter().map(|probe| probe.name));
        for name in names {
            let known = |&&arch: &&Arch| Syscall::from_name(arch, name).is_some();
            assert!(Arch::ALL.iter().any(|arch| known(&arch)), "{name}");
        }
    }

    #[test]
    fn no_table_says_anything_twice() {
        let probes: BTreeSet<_> = PROBES.iter().map(|probe| probe.name).collect();
        assert_eq!(probes.len(), PROBES.len());
        let always = SAFE.iter().flat_map(|always| always.names.split(' '));
        let always: Vec<_> = always.collect();
        assert_eq!(always.iter().collect::<BTreeSet<_>>().len(), always.len());
        for family in FAMILIES {
            let mut members = family.add.split(' ');
            assert!(members.all_unique(), "{family:?}");
        }
    }
}
