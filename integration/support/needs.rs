//! The needs of tests. Each is checked by trying it, not by the user who runs the tests.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{AccessFlags, access, geteuid};

use super::kernel::Tracing;
use super::process::Room;
use super::programs;

/// An unmet need, with what is missing, such as `no nginx`.
pub(crate) enum Unmet {
    /// It can be met: by installing a package, or by a privilege.
    Missing(String),
    /// It can't be met on this machine, because of its processor or kernel.
    Impossible(String),
}

/// Whether a need is met.
pub(crate) type Met = Result<(), Unmet>;

fn missing(what: impl Into<String>) -> Met {
    Err(Unmet::Missing(what.into()))
}

fn impossible(what: impl Into<String>) -> Met {
    Err(Unmet::Impossible(what.into()))
}

/// A capability, by its number in linux/capability.h and its name.
pub(crate) type Capability = (u32, &'static str);

pub(crate) const CHOWN: Capability = (0, "CAP_CHOWN");
pub(crate) const SETUID: Capability = (7, "CAP_SETUID");
pub(crate) const SETPCAP: Capability = (8, "CAP_SETPCAP");
pub(crate) const SYS_ADMIN: Capability = (21, "CAP_SYS_ADMIN");
pub(crate) const AUDIT_CONTROL: Capability = (30, "CAP_AUDIT_CONTROL");
pub(crate) const SYSLOG: Capability = (34, "CAP_SYSLOG");
pub(crate) const AUDIT_READ: Capability = (37, "CAP_AUDIT_READ");

/// A capability in the initial user namespace: in another one, it covers only resources of that namespace.
pub(crate) fn capability((number, name): Capability) -> Met {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(line.unwrap().trim(), 16).unwrap();
    if effective >> number & 1 == 0 {
        return missing(format!("no {name}"));
    }
    let users = fs::read_to_string("/proc/self/uid_map").unwrap();
    if !users
        .split_whitespace()
        .eq(["0", "0", &u32::MAX.to_string()])
    {
        return missing(format!("no {name} outside of a user namespace"));
    }
    Ok(())
}

/// A user without privileges: this one, or nobody if this one can become nobody.
pub(crate) fn no_privileges() -> Met {
    if geteuid().is_root() {
        return capability(SETUID);
    }
    Ok(())
}

/// The kernel's audit records, and the settings that select them.
pub(crate) fn audit() -> Met {
    for needed in [SYS_ADMIN, AUDIT_CONTROL, AUDIT_READ, SYSLOG] {
        capability(needed)?;
    }
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkAudit,
    );
    if netlink.is_err() {
        return impossible("no audit in this kernel");
    }
    let setting = "/proc/sys/kernel/seccomp/actions_logged";
    match access(setting, AccessFlags::W_OK) {
        Ok(()) => Ok(()),
        Err(errno) => missing(format!("no way to write {setting} ({errno})")),
    }
}

/// File systems in images.
pub(crate) fn loop_devices() -> Met {
    match access("/dev/loop-control", AccessFlags::W_OK) {
        Ok(()) => Ok(()),
        Err(errno) => missing(format!("no loop devices ({errno})")),
    }
}

/// A program in the PATH of the tests' commands.
pub(crate) fn program(name: &str) -> Met {
    let path = super::process::path();
    let is_there = |folder| access(&Path::new(folder).join(name), AccessFlags::X_OK).is_ok();
    if path.split(':').any(is_there) {
        Ok(())
    } else {
        missing(format!("no {name}"))
    }
}

/// A workload for this machine, built or with a compiler for it.
pub(crate) fn workload(name: &str) -> Met {
    // A program of the machine.
    if name.starts_with('/') {
        return Ok(());
    }
    if let Some(machine) = programs::machine_of(name) {
        architecture(&machine)?;
    }
    if programs::is_built(name) {
        return Ok(());
    }
    program(&programs::compiler_of(name))
}

/// The Go program of `real/`, built or with a compiler for it.
pub(crate) fn go() -> Met {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("real/bin/go");
    if program.exists() {
        return Ok(());
    }
    self::program("go")
}

/// The server of `postgres`, which Debian keeps out of the PATH.
pub(crate) fn postgres() -> Met {
    if Path::new("/usr/lib/postgresql").is_dir() {
        Ok(())
    } else {
        missing("no /usr/lib/postgresql".to_owned())
    }
}

/// A directory for temporary files that isn't mounted nosuid.
pub(crate) fn set_user_id() -> Met {
    let directory = std::env::temp_dir();
    let flags = statvfs(&directory).unwrap().flags();
    if flags.contains(FsFlags::ST_NOSUID) {
        missing(format!("a nosuid mount at {}", directory.display()))
    } else {
        Ok(())
    }
}

/// The tracepoint at the entry of every call.
pub(crate) fn tracepoints() -> Met {
    capability(SYS_ADMIN)?;
    match Tracing::new(&Room::new()) {
        Ok(_) => Ok(()),
        Err(what) => impossible(what),
    }
}

/// A tracepoint by its group and name, which another version of the kernel may lack.
pub(crate) fn tracepoint(name: &str) -> Met {
    capability(SYS_ADMIN)?;
    match Tracing::new(&Room::new()) {
        Ok(tracing) if tracing.has(name) => Ok(()),
        Ok(_) => impossible(format!("no tracepoint {name} in this kernel")),
        Err(what) => impossible(what),
    }
}

pub(crate) fn io_uring() -> Met {
    let program = programs::workload("io_workers");
    match Room::new().run(&mut Command::new(program)).stdout.as_str() {
        "no io_uring\n" => impossible("no io_uring in this kernel"),
        _ => Ok(()),
    }
}

/// Faults of the kernel itself, too, can be handled.
pub(crate) fn userfaultfd() -> Met {
    let program = programs::workload("left_newborn");
    match Room::new().run(&mut Command::new(program)).stdout.as_str() {
        "no userfaultfd\n" => {
            missing("userfaultfd(2) for faults of the kernel (CAP_SYS_PTRACE)".to_owned())
        }
        _ => Ok(()),
    }
}

/// Breakpoints of the processor (`perf_event_open(2)`).
pub(crate) fn breakpoints() -> Met {
    workload("known_steps")?;
    let program = programs::workload("known_steps");
    match Room::new().run(&mut Command::new(program)).stdout.as_str() {
        "no breakpoints\n" => {
            impossible("no breakpoints of the processor for perf_event_open(2)".to_owned())
        }
        _ => Ok(()),
    }
}

/// Core dumps become files in the directory of the program.
pub(crate) fn core_files() -> Met {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    if pattern.starts_with("core") {
        Ok(())
    } else {
        impossible(format!("core dumps as {}", pattern.trim()))
    }
}

/// There are programs of 32 bits, or a compiler for them, and the kernel runs them.
pub(crate) fn compat() -> Met {
    let room = Room::new();
    if std::env::consts::ARCH == "aarch64" {
        if !programs::is_built("m32") {
            return missing("no programs of 32 bits");
        }
        return match room
            .run(&mut Command::new(programs::workload("m32")))
            .code()
        {
            5 => Ok(()),
            _ => impossible("no programs of 32 bits in this kernel"),
        };
    }
    architecture("x86_64")?;
    let program = room.path().join("empty");
    let mut compile = Command::new("sh");
    let script = "echo 'int main(void) { return 0; }' | cc -m32 -x c -o \"$0\" -";
    if room.run(compile.args(["-c", script]).arg(&program)).code() != 0 {
        return missing("no compiler and library for 32 bits (gcc-multilib)");
    }
    match room.run(Command::new("env").arg(&program)).code() {
        0 => Ok(()),
        _ => impossible("no programs of 32 bits in this kernel"),
    }
}

/// The processor architecture, by Rust's name.
pub(crate) fn architecture(name: &str) -> Met {
    if std::env::consts::ARCH == name {
        Ok(())
    } else {
        impossible(format!("not {name}"))
    }
}

/// eBPF programs that trace, and a recorder that has them.
pub(crate) fn ebpf() -> Met {
    capability(SYS_ADMIN)?;
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return impossible("no BTF in this kernel");
    }
    if !cfg!(has_ebpf) {
        return missing("a recorder that was built with clang".to_owned());
    }
    Ok(())
}

/// The cgroup hierarchy of version 2, in which directories can be made.
pub(crate) fn cgroups_of_version_2() -> Met {
    writable_hierarchy("cgroup2")
}

/// A cgroup hierarchy in which directories can be made.
pub(crate) fn cgroups() -> Met {
    writable_hierarchy("cgroup")
}

/// One with a type that begins like this.
fn writable_hierarchy(kind: &str) -> Met {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    let is_writable = mounts.any(|mut fields| {
        let at = fields.nth(1).unwrap_or_default();
        let is_of_kind = fields.next().is_some_and(|its| its.starts_with(kind));
        is_of_kind && access(at, AccessFlags::W_OK).is_ok()
    });
    if is_writable {
        Ok(())
    } else {
        missing(format!("a writable {kind} hierarchy"))
    }
}

/// Where `.ci/deps` puts Python packages of tests.
pub(crate) const PYTHON_PACKAGES: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/python");

/// Chromium, and what `integration/report/browser.py` needs.
pub(crate) fn browser() -> Met {
    program("chromium-headless-shell").or_else(|_| program("chromium"))?;
    python_package("playwright.sync_api, axe_playwright_python")
}

/// The test runner, as `.ci/deps` installs it.
pub(crate) fn nextest() -> Met {
    let program = Path::new(PYTHON_PACKAGES).join("bin/cargo-nextest");
    match access(&program, AccessFlags::X_OK) {
        Ok(()) => Ok(()),
        Err(_) => missing("no cargo-nextest (.ci/deps test)"),
    }
}

/// Packages that `.ci/deps` installs.
pub(crate) fn python_package(name: &str) -> Met {
    program("python3")?;
    let mut import = Command::new("python3");
    import.args(["-c", &format!("import {name}")]);
    match import.env("PYTHONPATH", PYTHON_PACKAGES).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => missing(format!("no {name} for python3 (.ci/deps test)")),
    }
}
