use super::*;

fn shown(name: &str, args: &[u64]) -> String {
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    call_with_arguments(Syscall::from_name(Arch::X86_64, name).unwrap(), &all)
}

#[test]
fn values_that_decide_what_a_call_does_have_their_names() {
    assert_eq!(
        shown("socket", &[38, 0x80005]),
        "socket(AF_ALG, SOCK_SEQPACKET|SOCK_CLOEXEC, 0x0)"
    );
    assert_eq!(
        shown("socket", &[0xdead_0000_0001, 2]),
        "socket(AF_UNIX, SOCK_DGRAM, 0x0)"
    );
    assert_eq!(shown("socket", &[99, 7]), "socket(0x63, 0x7, 0x0)");
    assert_eq!(
        shown("unshare", &[0x1002_0000]),
        "unshare(CLONE_NEWNS|CLONE_NEWUSER)"
    );
    assert_eq!(shown("unshare", &[0]), "unshare(0x0)");
    assert_eq!(
        shown("mprotect", &[0x1000, 4096, 5]),
        "mprotect(0x1000, 0x1000, PROT_READ|PROT_EXEC)"
    );
    assert_eq!(
        shown("mprotect", &[0x1000, 4096, 0]),
        "mprotect(0x1000, 0x1000, PROT_NONE)"
    );
    assert_eq!(
        shown("prctl", &[38, 1]),
        "prctl(PR_SET_NO_NEW_PRIVS, 0x1, 0x0, 0x0, 0x0)"
    );
    assert_eq!(
        shown("personality", &[0x4_0000]),
        "personality(ADDR_NO_RANDOMIZE)"
    );
    assert_eq!(shown("personality", &[8]), "personality(PER_LINUX32)");
    assert_eq!(
        shown("clone", &[0x120_0011]),
        "clone(SIGCHLD|CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID, 0x0, 0x0, 0x0, 0x0)"
    );
    assert_eq!(shown("read", &[3]), "read(0x3, 0x0, 0x0, 0x0, 0x0, 0x0)");
}

fn argument(call: &str, name: &str) -> &'static Argument {
    let mut arguments = CallArguments::named(call).unwrap().arguments.iter();
    arguments.find(|argument| argument.name == name).unwrap()
}

fn registers(call: &str, arch: Arch) -> Vec<(u8, &'static str)> {
    let registers = CallArguments::named(call).unwrap().registers(call, arch);
    registers
        .map(|(register, argument)| (register, argument.name))
        .collect()
}

#[test]
fn the_registers_are_those_of_the_abi() {
    for arch in [Arch::X86_64, Arch::X86, Arch::Arm, Arch::Riscv64] {
        assert_eq!(registers("clone", arch), [(0, "flags")]);
    }
    for arch in [Arch::S390x, Arch::S390] {
        assert_eq!(registers("clone", arch), [(1, "flags")]);
    }
    // One pointer to all arguments.
    for arch in [Arch::X86, Arch::S390, Arch::S390x] {
        assert_eq!(registers("mmap", arch), []);
    }
    assert_eq!(registers("mmap2", Arch::S390), []);
    for arch in [Arch::X86, Arch::Arm] {
        assert_eq!(registers("mmap2", arch), [(2, "prot")]);
    }
    for name in ["futex", "futex_time64"] {
        assert_eq!(registers(name, Arch::Arm), [(1, "futex_op")]);
    }
    for name in [
        "clock_adjtime64",
        "clock_getres_time64",
        "clock_gettime64",
        "clock_nanosleep_time64",
        "clock_settime64",
    ] {
        assert_eq!(registers(name, Arch::X86), [(0, "clockid")], "{name}");
    }
    assert_eq!(registers("fcntl64", Arch::Arm), [(1, "op")]);
    for name in ["socketcall", "ipc"] {
        assert_eq!(registers(name, Arch::X86), [(0, "call")]);
    }
    let on_s390x = Syscall::from_name(Arch::S390x, "clone").unwrap();
    assert_eq!(
        call_with_arguments(on_s390x, &[0, 17, 0, 0, 0, 0]),
        "clone(0x0, SIGCHLD, 0x0, 0x0, 0x0)"
    );
    let on_mips = Syscall::from_name(Arch::Mips, "socket").unwrap();
    assert_eq!(
        call_with_arguments(on_mips, &[2, 2, 0, 0, 0, 0]),
        "socket(0x2, 0x2, 0x0)"
    );
}

/// The calls through which a profile of names allows what it shouldn't, each with what decides.
#[test]
fn the_table_has_the_calls_with_a_choice() {
    for (calls, arguments) in [
        ("socket socketpair", &["domain", "type", "protocol"][..]),
        ("getsockopt setsockopt", &["level", "optname"]),
        (
            "clone clone3 unshare userfaultfd memfd_create open openat umount2 io_uring_enter",
            &["flags"],
        ),
        ("mmap mmap2 mprotect pkey_mprotect", &["prot"]),
        (
            "arch_prctl ioctl fcntl fcntl64 prctl ptrace epoll_ctl shmctl semctl msgctl quotactl reboot",
            &["op"],
        ),
        (
            "kill tkill tgkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_send_signal",
            &["sig"],
        ),
        (
            "clock_settime clock_gettime clock_getres clock_nanosleep clock_adjtime timer_create timerfd_create",
            &["clockid"],
        ),
        ("prlimit64 setrlimit", &["resource"]),
        ("keyctl seccomp", &["operation"]),
        ("futex futex_time64", &["futex_op"]),
        ("io_uring_register", &["opcode"]),
        ("socketcall ipc", &["call"]),
        ("bpf", &["cmd"]),
        ("madvise", &["advice"]),
        ("mount", &["mountflags"]),
        ("personality", &["persona"]),
        ("setns", &["nstype"]),
        ("shmat", &["shmflg"]),
        ("syslog", &["type"]),
    ] {
        for call in calls.split(' ') {
            let of_call = CallArguments::named(call).unwrap_or_else(|| panic!("{call} is missing"));
            let names = of_call.arguments.iter().map(|argument| argument.name);
            assert!(names.eq(arguments.iter().copied()), "{call}");
        }
    }
    // Those of files are off by default.
    let on_request = |call| CallArguments::named(call).unwrap().on_request;
    assert!(on_request("openat") && !on_request("socket"));
}

#[test]
fn every_call_of_the_table_exists_and_no_value_has_two_names() {
    let mut all = std::collections::BTreeSet::new();
    for call in CallArguments::all() {
        for name in call.names {
            let known = |&&arch: &&Arch| Syscall::from_name(arch, name).is_some();
            assert!(Arch::ALL.iter().any(|arch| known(&arch)), "{name}");
            assert!(all.insert(name), "{name} is there twice");
        }
        assert!(call.source.contains('('), "{call:?}");
        for argument in call.arguments {
            let (mask, kinds, flags) = argument.names();
            for names in [kinds, flags] {
                let values: std::collections::BTreeSet<u64> =
                    names.iter().map(|(_, value)| *value).collect();
                assert_eq!(values.len(), names.len(), "{call:?}");
            }
            assert!(
                kinds.iter().all(|(_, value)| value & !mask == 0),
                "{call:?}"
            );
            for (name, value) in kinds.iter().chain(flags) {
                assert_eq!(argument.parse(name), Some(*value));
                assert_eq!(argument.parse(&argument.show_generic(*value)), Some(*value));
            }
            assert!(argument.index < call.arity && call.arity <= 6, "{call:?}");
        }
    }
}

#[test]
fn values_are_read_as_names_and_as_numbers() {
    let domain = argument("socket", "domain");
    for text in ["AF_ALG", "38", "0x26", "046"] {
        assert_eq!(domain.parse(text), Some(38), "{text}");
    }
    assert_eq!(domain.parse("AF_NONE"), None);
    assert_eq!(domain.parse(""), None);
    let kind = argument("socket", "type");
    assert_eq!(kind.parse("SOCK_STREAM|SOCK_CLOEXEC"), Some(0x8_0001));
    assert_eq!(argument("ptrace", "op").parse("-1"), Some(u64::MAX));
}

#[test]
fn every_danger_is_about_a_value_that_has_a_name() {
    for (call, name, value, why) in [
        ("socket", "domain", 38, "CVE-2026-31431"),
        ("clone", "flags", 0x1000_0011, "CVE-2022-0185"),
        ("ioctl", "op", 0x5412, "CVE-2017-5226"),
        ("bpf", "cmd", 5, "CVE-2022-23222"),
    ] {
        let found = danger(
            CallArguments::named(call).unwrap(),
            argument(call, name),
            value,
        )
        .unwrap();
        assert_eq!(found.cve, Some(why));
    }
    for (call, name, value) in [
        ("socket", "domain", 2),
        ("clone", "flags", 17),
        ("mmap", "prot", 5),
    ] {
        assert_eq!(
            danger(
                CallArguments::named(call).unwrap(),
                argument(call, name),
                value
            ),
            None
        );
    }
    danger::check_table();
}

/// Not in the headers of Debian 12: newer than Linux 6.1, hidden by glibc's headers, or internal to the kernel.
const NOT_IN_HEADERS: &[&str] = &[
    "MFD_NOEXEC_SEAL",
    "MFD_EXEC",
    "PR_SET_MDWE",
    "PR_GET_MDWE",
    "F_GETLK64",
    "F_SETLK64",
    "F_SETLKW64",
    "F_GETOWNER_UIDS",
    "SOL_VSOCK",
    "IPC_64",
];

/// The names of the table are those of the kernel's headers, with the same values.
#[test]
fn the_values_are_those_of_the_installed_headers() {
    use std::fmt::Write as _;
    let mut program = String::from(
        "#define _GNU_SOURCE\n#include <sys/socket.h>\n#include <sys/ioctl.h>\n#include <sys/mman.h>\n#include <sys/prctl.h>\n\
         #include <sys/personality.h>\n#include <sys/mount.h>\n#include <sys/epoll.h>\n#include <sys/resource.h>\n\
         #include <sys/shm.h>\n#include <sys/sem.h>\n#include <sys/msg.h>\n#include <sys/quota.h>\n#include <signal.h>\n\
         #include <sched.h>\n#include <time.h>\n#include <fcntl.h>\n#include <netinet/in.h>\n#include <asm/ioctls.h>\n\
         #include <linux/net.h>\n#include <linux/ptrace.h>\n#include <linux/keyctl.h>\n#include <linux/bpf.h>\n\
         #include <linux/seccomp.h>\n#include <linux/futex.h>\n#include <linux/reboot.h>\n#include <linux/io_uring.h>\n\
         #include <linux/userfaultfd.h>\n#include <linux/sockios.h>\n#include <linux/fs.h>\n#include <linux/fiemap.h>\n\
         #include <linux/sched.h>\n#include <asm/termbits.h>\n#include <asm/mman.h>\n",
    );
    let mut seen = std::collections::BTreeSet::new();
    for call in CallArguments::all() {
        for argument in call.arguments {
            let (_, kinds, flags) = argument.names();
            for (name, value) in kinds.iter().chain(flags) {
                let installed = !name.starts_with("SYSLOG_ACTION_")
                    && !name.starts_with("ARCH_")
                    && !NOT_IN_HEADERS.contains(name)
                    && argument.name != "call";
                if installed && seen.insert(*name) {
                    let constant = match name.strip_prefix("Q_") {
                        Some(_) => format!("QCMD({name}, 0)"),
                        None => (*name).to_owned(),
                    };
                    let _ = writeln!(
                        program,
                        "_Static_assert((unsigned)({constant}) == (unsigned){value}ull, \"{name}\");"
                    );
                }
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("values.c");
    std::fs::write(&file, program).unwrap();
    let compiled = std::process::Command::new("gcc")
        .args(["-fsyntax-only", "-fmax-errors=0"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
}
