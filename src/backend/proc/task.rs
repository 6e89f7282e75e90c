//! The state of a task, and what it executes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

#[cfg(target_arch = "x86_64")]
use super::files::read_large;
use super::files::{field, number_in_status, open, read, read_bytes, read_link, stat_after_name};
use super::recorder::CAP_SYS_ADMIN;
use crate::event::Task;

/// The tracer of a task; `None` if it has none, or is gone.
pub(in crate::backend) fn tracer_of(task: Task) -> Option<i32> {
    number_in_status(task, "TracerPid:").filter(|tracer| *tracer != 0)
}

/// Whether a task runs under a seccomp filter.
pub(in crate::backend) fn has_filter(task: Task) -> bool {
    number_in_status(task, "Seccomp:") == Some(2)
}

/// Whether `no_new_privs` is set; `None` if the task is gone.
pub(in crate::backend) fn has_no_new_privs(task: Task) -> Option<bool> {
    number_in_status(task, "NoNewPrivs:").map(|set| set == 1)
}

/// The file that a task executes, by device and inode; `None` if it can't be read.
pub(in crate::backend) fn image_of(task: Task) -> Option<(u64, u64)> {
    let image = open(task, "exe").ok()?.metadata().ok()?;
    Some((image.dev(), image.ino()))
}

/// What is known of the file that a task executes; `None` if it can't be found out.
#[cfg(target_arch = "x86_64")]
pub(in crate::backend) fn executable_file(task: Task) -> Option<fs::Metadata> {
    open(task, "exe").ok()?.metadata().ok()
}

/// Whether a process is a kernel thread (`PF_KTHREAD`, `linux/sched.h`).
pub(in crate::backend) fn is_kernel_thread(process: Task) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let flags = stat_after_name(process).and_then(|fields| fields.get(5).copied());
    flags.is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// Whether a task sleeps in the kernel, so that it runs no user-space instruction until the kernel returns.
pub(in crate::backend) fn is_in_kernel(task: Task) -> bool {
    read(task, "syscall").is_ok_and(|text| !text.starts_with("running"))
}

/// Whether a task sleeps, in a call that the kernel executes or before it.
pub(in crate::backend) fn sleeps(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    field(&status, "State:").is_some_and(|state| state.starts_with(['S', 'D']))
}

/// Whether a task runs, or is about to.
pub(in crate::backend) fn runs(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    field(&status, "State:").is_some_and(|state| state.starts_with('R'))
}

/// Whether a task is in a group-stop, or its tracer stopped it. Without `/proc`, it may be.
pub(in crate::backend) fn may_be_stopped(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    field(&status, "State:").is_none_or(|state| state.starts_with(['T', 't']))
}

/// Which of its sleeps a task is in; `None` if it is awake. Without `/proc`, all are the same.
pub(in crate::backend) fn current_sleep(task: Task) -> Option<u64> {
    let status = read(task, "status").unwrap_or_else(|_| "State:\tS".to_owned());
    let sleeps = field(&status, "State:")?.starts_with('S');
    let switches = field(&status, "voluntary_ctxt_switches:");
    sleeps.then(|| switches.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// Whether a task is a zombie or no longer exists.
pub(in crate::backend) fn is_gone(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    field(&status, "State:").is_none_or(|state| state.starts_with(['Z', 'X']))
}

/// Whether a task has `CAP_SYS_ADMIN` in its user namespace.
pub(in crate::backend) fn is_admin(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    let capabilities = field(&status, "CapEff:");
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    capabilities.is_some_and(|set| set >> CAP_SYS_ADMIN & 1 == 1)
}

/// How many seccomp filters a task has (Linux 5.9).
pub(in crate::backend) fn filters_of(task: Task) -> Option<i32> {
    number_in_status(task, "Seccomp_filters:")
}

/// The executable of a task, as a path in its mount namespace where possible. For a process that isn't dumpable, an
/// unprivileged recorder sees only the name (`/proc/PID/comm`); without proc(5) it is `unknown`.
pub(in crate::backend) fn executable_of(task: Task) -> PathBuf {
    if let Ok(path) = read_link(task, "exe") {
        let kept = path.as_os_str().as_bytes().strip_suffix(b" (deleted)");
        return kept.map_or_else(
            || path.clone(),
            |kept| Path::new(OsStr::from_bytes(kept)).to_owned(),
        );
    }
    match read_bytes(task, "comm") {
        Ok(name) => PathBuf::from(OsStr::from_bytes(name.trim_ascii_end())),
        Err(_) => PathBuf::from("unknown"),
    }
}

/// What a process was called as: its zeroth argument. Runtimes execute copies of themselves that have no path.
pub(in crate::backend) fn name_as_called(process: Task) -> Option<PathBuf> {
    let arguments = read_bytes(process, "cmdline").ok()?;
    let name = arguments.split(|&byte| byte == 0).next()?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// The name of a thread (at most 15 bytes); `None` if it is gone.
pub(in crate::backend) fn name_of(task: Task) -> Option<Vec<u8>> {
    let mut name = read_bytes(task, "comm").ok()?;
    // The kernel adds one newline; the name itself may end with others.
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Some(name)
}

/// Limits of a task (getrlimit(2)), by their names in `/proc/PID/limits`; `None` if there is none or it is unknown.
#[cfg(target_arch = "x86_64")]
pub(in crate::backend) fn limits<const N: usize>(task: Task, names: [&str; N]) -> [Option<u64>; N] {
    let limits = read_large(task, "limits").unwrap_or_default();
    let limits = str::from_utf8(&limits).unwrap_or_default();
    names.map(|name| {
        let soft = field(limits, name)?.split_ascii_whitespace().next()?;
        soft.parse().ok()
    })
}

/// The login session of a process (`ses=` of audit records); `None` if it is gone.
pub(in crate::backend) fn session_of(process: Task) -> Option<u32> {
    let text = read(process, "sessionid").ok()?;
    text.trim().parse().ok()
}

/// Whether a task's executable grants privileges: set-user-ID, set-group-ID or file capabilities.
pub(in crate::backend) fn runs_privileged_file(task: Task) -> bool {
    is_privileged_file(Path::new(&format!("/proc/{task}/exe")))
}

/// Whether executing a file grants privileges to this user.
pub(in crate::backend) fn is_privileged_file(path: &Path) -> bool {
    let Ok(file) = fs::metadata(path) else {
        return false;
    };
    // Set-group-ID without the group's execute bit once meant mandatory locking (inode(7)).
    let set_user = file.mode() & libc::S_ISUID != 0 && file.uid() != nix::unistd::getuid().as_raw();
    let both = libc::S_ISGID | libc::S_IXGRP;
    let set_group = file.mode() & both == both && file.gid() != nix::unistd::getgid().as_raw();
    let nosuid = nix::sys::statvfs::statvfs(path).is_ok_and(|mount| {
        mount
            .flags()
            .contains(nix::sys::statvfs::FsFlags::ST_NOSUID)
    });
    !nosuid && (set_user || set_group || crate::sys::file::has_capabilities(path))
}
