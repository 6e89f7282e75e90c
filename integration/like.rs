//! `run --like runc|crun` and `verify --like …`: calls have the same results as in that runtime.

use std::collections::BTreeSet;
use std::process::Command;

use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use crate::support::bundle::Bundle;
use crate::support::process::{Ended, Room};
use crate::support::programs;
use crate::support::recorder::PROGRAM;
use crate::support::recordings::{sc_record, write};

/// The calls that runc, crun, busybox's shell and the program `calls` need with `noNewPrivileges`, with old numbers only.
#[rustfmt::skip]
const NEEDED: &[&str] = &[
    "access", "arch_prctl", "brk", "capget", "capset", "chdir", "clone", "clone3", "close", "dup2", "dup3",
    "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2", "execve", "exit", "exit_group",
    "faccessat", "faccessat2", "fcntl", "fstat", "fstatfs", "futex", "getcwd", "getdents64", "getegid", "geteuid",
    "getgid", "getpid", "getppid", "getrandom", "gettid", "getuid", "ioctl", "lseek", "lstat", "madvise", "mmap",
    "mprotect", "munmap", "nanosleep", "newfstatat", "open", "openat", "pipe2", "poll", "prctl", "pread64",
    "prlimit64", "pselect6", "read", "readlink", "readlinkat", "rseq", "rt_sigaction", "rt_sigprocmask",
    "rt_sigreturn", "sched_getaffinity", "sched_yield", "set_robust_list", "set_tid_address", "setgid", "setgroups",
    "setuid", "sigaltstack", "stat", "statfs", "statx", "tgkill", "umask", "uname", "wait4", "write", "writev",
];

/// A profile with the needed calls, other rules, and the additions of a test.
fn profile(other: &Value) -> Value {
    let mut profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": NEEDED, "action": "SCMP_ACT_ALLOW"}],
    });
    for (key, value) in other.as_object().unwrap() {
        match profile[key].as_array_mut() {
            Some(rules) if key == "syscalls" => rules.extend(value.as_array().unwrap().clone()),
            _ => profile[key] = value.clone(),
        }
    }
    profile
}

/// Numbers of an ABI, as the program `calls` takes them, without those that some rule names.
fn numbers(profile: &Value, arch: Arch) -> Vec<String> {
    let rules = profile["syscalls"].as_array().unwrap().iter();
    let named: BTreeSet<&str> = rules
        .flat_map(|rule| rule["names"].as_array().unwrap())
        .map(|name| name.as_str().unwrap())
        .collect();
    let way = match arch {
        Arch::X86 => "int80:",
        _ => "",
    };
    let high = [1000, 0x3fff_ffff];
    (0..600)
        .chain(high)
        .map(|nr| Syscall { arch, nr })
        // uretprobe and uprobe: no filter sees them, and they end their caller.
        .filter(|call| arch != Arch::X86_64 || !matches!(call.nr, 335 | 336))
        .filter(|call| !call.name().is_some_and(|name| named.contains(&*name)))
        .map(|call| format!("{way}{}", call.audit_nr()))
        .collect()
}

/// The results of the calls in the runtime, and under `sc-record run --like`.
fn both(runtime: &'static str, profile: &Value, calls: &[String]) -> (Ended, Ended) {
    let room = Room::new();
    let file = room.path().join("profile.json");
    write(&file, profile);
    let program = programs::workload("calls");
    let mut container = Bundle::new(&room, runtime);
    container.id = format!(
        "like-{runtime}-{}",
        room.path().file_name().unwrap().display()
    );
    std::fs::copy(&program, container.directory.join("rootfs/bin/calls")).unwrap();
    let line = format!("exec calls {}", calls.join(" "));
    let inside = container.run(&file, &line);

    let mut run = Command::new(PROGRAM);
    run.args(["run", "-q", "--like", runtime]).arg(&file);
    run.arg("--").arg(&program).args(calls);
    (inside, room.run(&mut run))
}

/// Checks that the calls have the same results in both, and returns them.
fn same(runtime: &'static str, profile: &Value, calls: &[String]) -> String {
    let (inside, like) = both(runtime, profile, calls);
    assert_eq!(
        (inside.code(), &inside.stdout),
        (like.code(), &like.stdout),
        "{runtime}: {}{}",
        inside.stderr,
        like.stderr
    );
    like.stdout
}

/// Checks a profile in both runtimes, on every ABI that it lists.
fn same_in_both(other: &Value, arches: &[Arch]) {
    let profile = profile(other);
    for runtime in ["runc", "crun"] {
        for &arch in arches {
            let calls = numbers(&profile, arch);
            assert!(calls.len() > 400);
            let got = same(runtime, &profile, &calls);
            assert_eq!(got.lines().count(), calls.len(), "{got}");
            // The answer to the highest number is neither a rule's nor the default: it is runc's stub's.
            let enosys = got.trim_end().ends_with("errno 38");
            assert_eq!(enosys, runtime == "runc", "{arch}: {got}");
        }
    }
}

#[apply(test)]
#[needs(
    capability(SYS_ADMIN),
    architecture("x86_64"),
    program("runc"),
    program("crun"),
    program("busybox")
)]
fn every_number_has_the_result_of_the_runtime() {
    same_in_both(&json!({}), &[Arch::X86_64]);
    // A call in a rule with the default's action counts for the stub too.
    let other =
        json!({"syscalls": [{"names": ["landlock_restrict_self"], "action": "SCMP_ACT_ERRNO"}]});
    same_in_both(&other, &[Arch::X86_64]);
}

#[apply(test)]
#[needs(
    capability(SYS_ADMIN),
    architecture("x86_64"),
    program("runc"),
    program("crun"),
    program("busybox")
)]
fn every_number_of_i386_and_x32_has_the_result_of_the_runtime() {
    let other = json!({"architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]});
    same_in_both(&other, &[Arch::X86_64, Arch::X86, Arch::X32]);
}

#[apply(test)]
#[needs(
    capability(SYS_ADMIN),
    architecture("x86_64"),
    program("runc"),
    program("crun"),
    program("busybox")
)]
fn an_unlisted_abi_an_unknown_name_and_an_errno_of_its_own_are_the_runtime_s() {
    for runtime in ["runc", "crun"] {
        // Killed, by libseccomp's default.
        for call in ["int80:20", "0x40000027", "-1"] {
            let other = profile(&json!({}));
            same(runtime, &other, &["39".to_owned(), call.to_owned()]);
        }
        let other = profile(&json!({
            "defaultErrnoRet": 77,
            "syscalls": [{"names": ["no_such_call", "mseal"], "action": "SCMP_ACT_ALLOW"}],
        }));
        let calls: Vec<String> = ["165", "462", "500"].map(str::to_owned).to_vec();
        let got = same(runtime, &other, &calls);
        assert!(got.starts_with("165 errno 77\n"), "{got}");
    }
}

/// mount, and a number that the kernel doesn't have.
const MOUNT_AND_NEW: &str = "verify profile.json --no-baseline --json --like";

#[apply(test)]
#[needs(architecture("x86_64"))]
fn verify_enforces_like_the_runtime_and_names_the_source_of_each_answer() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("profile.json"), &profile(&json!({})));
    let program = programs::workload("calls");
    let verify = |like: &str| {
        let line = format!("{MOUNT_AND_NEW} {like} -- {} 165 462", program.display());
        let output = sc_record(folder.path(), &line);
        let stdout = String::from_utf8(output.stdout).unwrap();
        // The workload's own output comes first.
        let report: Value = serde_json::from_str(&stdout[stdout.find('{').unwrap()..]).unwrap();
        assert_eq!(report["like"], like, "{stdout}");
        let denials = report["run"]["denials"].as_array().unwrap().clone();
        let said = |denial: &Value| {
            let (nr, by) = (denial["nr"].as_i64().unwrap(), &denial["said_by"]);
            format!(
                "{nr} {} {} {}",
                denial["action"].as_str().unwrap(),
                by.as_str().unwrap(),
                denial["got"]
            )
        };
        denials.iter().map(said).collect::<Vec<_>>()
    };
    let eperm = |nr: u32| format!("{nr} SCMP_ACT_ERRNO(EPERM) default {{\"EPERM\":1}}");
    assert_eq!(verify("kernel"), [eperm(165), eperm(462)]);
    assert_eq!(verify("crun"), [eperm(165), eperm(462)]);
    let stub = "462 SCMP_ACT_ERRNO(ENOSYS) stub {\"ENOSYS\":1}".to_owned();
    assert_eq!(verify("runc"), [eperm(165), stub]);
}

#[apply(test)]
fn profiles_that_the_runtime_refuses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |profile: &Value, why: &str| {
        write(&folder.path().join("profile.json"), profile);
        let output = sc_record(folder.path(), "run --like runc profile.json -- true");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why), "{said}");
        assert_eq!(output.status.code(), Some(125));
    };
    refused(
        &profile(&json!({"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]})),
        "runc refuses SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    );
    let notify = json!({"listenerPath": "/run/x", "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]});
    refused(&notify, "runc refuses SCMP_ACT_NOTIFY for write");
}

#[apply(test)]
fn names_that_the_runtime_skips_are_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let other = json!({"syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_ALLOW"}]});
    write(&folder.path().join("profile.json"), &profile(&other));
    let output = sc_record(folder.path(), "run --like crun profile.json -- /bin/true");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("ignored: no_such_call is not a system call"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(0));
    let strict = sc_record(folder.path(), "run profile.json -- /bin/true");
    assert_eq!(strict.status.code(), Some(125));
}
