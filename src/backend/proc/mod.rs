//! Reads proc(5) for backends.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, io};

use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::event::Task;

mod mappings;

pub(super) use mappings::*;

/// The recorder's own privileges and filters, from `/proc/self/status`.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Status {
    /// A seccomp filter is already loaded.
    pub(super) has_filter: bool,
    /// `no_new_privs` is already set.
    pub(super) no_new_privs: bool,
    /// `CAP_SYS_ADMIN`: a filter can be loaded without `no_new_privs`.
    pub(super) can_load_filters: bool,
    /// `CAP_BPF`, which `CAP_SYS_ADMIN` includes.
    can_load_ebpf: bool,
    /// `CAP_PERFMON`, which `CAP_SYS_ADMIN` includes: eBPF programs may trace.
    can_trace_kernel: bool,
    /// `CAP_SYS_PTRACE`: setuid programs get their privileges even when traced (ptrace(2), execve(2)).
    pub(super) can_trace_privileged: bool,
}

/// Bits of `CapEff` (`linux/capability.h`).
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

impl Status {
    /// Reads that of this process. Whatever can't be read counts as absent: the safe choice, which costs slower stops
    /// and one warning more.
    pub(super) fn of_recorder() -> Status {
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
    pub(super) fn missing_for_ebpf(self) -> Option<&'static str> {
        match (self.can_load_ebpf, self.can_trace_kernel) {
            (true, true) => None,
            (false, true) => Some("CAP_BPF (or CAP_SYS_ADMIN)"),
            (true, false) => Some("CAP_PERFMON (or CAP_SYS_ADMIN)"),
            (false, false) => Some("CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)"),
        }
    }
}

/// proc(5), opened when the recorder started: the workload may mount something over it. An error if it shows another
/// pid namespace than that of this process (unshare(1) `--pid` without `--mount-proc`, some containers): its ids then
/// belong to other tasks.
fn held() -> io::Result<&'static OwnedFd> {
    static HELD: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let held = HELD.get_or_init(|| {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let held = nix::fcntl::open("/proc", flags, Mode::empty()).ok()?;
        let shown = nix::fcntl::readlinkat(&held, "self").ok()?;
        (shown == *std::process::id().to_string()).then_some(held)
    });
    held.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Whether proc(5) shows the pid namespace of this process.
pub(super) fn is_of_this_namespace() -> bool {
    held().is_ok()
}

/// Opens a task's file. It may lead to a FIFO, hence `O_NONBLOCK`.
fn open(task: Task, file: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let path = format!("{task}/{file}");
    let opened = nix::fcntl::openat(held()?, path.as_str(), flags, Mode::empty())?;
    Ok(File::from(opened))
}

fn read_bytes(task: Task, file: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(task, file)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read(task: Task, file: &str) -> io::Result<String> {
    let mut text = String::new();
    open(task, file)?.read_to_string(&mut text)?;
    Ok(text)
}

fn read_link(task: Task, file: &str) -> io::Result<PathBuf> {
    let path = format!("{task}/{file}");
    let target = nix::fcntl::readlinkat(held()?, path.as_str())?;
    Ok(PathBuf::from(target))
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .map(str::trim)
}

fn number_in_status(task: Task, key: &str) -> Option<i32> {
    let status = read(task, "status").ok()?;
    field(&status, key)?.parse().ok()
}

/// The disposition of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disposition {
    Default,
    Ignored,
    Handled,
}

/// Whether a signal (1 to 64) is in one of the sets of signals of a task's status; `None` if the task is gone.
fn in_signal_set(task: Task, set: &str, signal: i32) -> Option<bool> {
    let status = read(task, "status").ok()?;
    let set = u64::from_str_radix(field(&status, set)?, 16).ok()?;
    Some(set >> (signal - 1) & 1 == 1)
}

/// A task's disposition of a signal (1 to 64); `None` if the task is gone.
pub(super) fn disposition(task: Task, signal: i32) -> Option<Disposition> {
    Some(if in_signal_set(task, "SigIgn:", signal)? {
        Disposition::Ignored
    } else if in_signal_set(task, "SigCgt:", signal)? {
        Disposition::Handled
    } else {
        Disposition::Default
    })
}

/// Whether a task has a handler for a signal (1 to 64).
pub(super) fn handles(task: Task, signal: i32) -> bool {
    in_signal_set(task, "SigCgt:", signal) == Some(true)
}

/// Whether a signal (1 to 64) is pending for a process or its leader because it is blocked.
pub(super) fn has_pending(process: Task, signal: i32) -> bool {
    ["SigPnd:", "ShdPnd:"]
        .iter()
        .any(|set| in_signal_set(process, set, signal) == Some(true))
}

/// Whether a signal is pending for a task or its process that the task doesn't block and has a handler for.
pub(super) fn is_about_to_handle(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    let set = |name| {
        let hex = field(&status, name).unwrap_or_default();
        u64::from_str_radix(hex, 16).unwrap_or_default()
    };
    (set("SigPnd:") | set("ShdPnd:")) & set("SigCgt:") & !set("SigBlk:") != 0
}

/// The tracer of a task; `None` if it has none, or is gone.
pub(super) fn tracer_of(task: Task) -> Option<i32> {
    number_in_status(task, "TracerPid:").filter(|tracer| *tracer != 0)
}

/// Whether a task runs under a seccomp filter.
pub(super) fn has_filter(task: Task) -> bool {
    number_in_status(task, "Seccomp:") == Some(2)
}

/// Whether `no_new_privs` is set; `None` if the task is gone.
pub(super) fn has_no_new_privs(task: Task) -> Option<bool> {
    number_in_status(task, "NoNewPrivs:").map(|set| set == 1)
}

/// The file that a task executes, by device and inode; `None` if it can't be read.
pub(super) fn image_of(task: Task) -> Option<(u64, u64)> {
    let image = open(task, "exe").ok()?.metadata().ok()?;
    Some((image.dev(), image.ino()))
}

/// The process that a task belongs to.
pub(super) fn process_of(task: Task) -> Option<Task> {
    number_in_status(task, "Tgid:").map(Task)
}

/// This process.
pub(super) fn myself() -> Task {
    Task(nix::unistd::getpid().as_raw())
}

/// Opens the memory of a process for reading.
pub(super) fn open_memory(process: Task) -> io::Result<File> {
    open(process, "mem")
}

/// Opens the memory of a task for reading and writing.
#[cfg(target_arch = "x86_64")]
pub(super) fn open_memory_for_writing(task: Task) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let path = format!("{task}/mem");
    let opened = nix::fcntl::openat(held()?, path.as_str(), flags, Mode::empty())?;
    Ok(File::from(opened))
}

/// Yama's limit on tracing (`Documentation/admin-guide/LSM/Yama.rst`); `None` without Yama.
pub(super) fn ptrace_scope() -> Option<u8> {
    let text = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok()?;
    text.trim().parse().ok()
}

/// The fields of `/proc/PID/stat` from the fourth (the parent) on; see `proc_pid_stat(5)`. The second, the name, may
/// contain any byte.
fn stat_after_name(task: Task) -> Option<Vec<u64>> {
    let stat = read(task, "stat").ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    // The state is a letter.
    let numbers = rest.split_ascii_whitespace().skip(1);
    Some(
        numbers
            .map(|number| number.parse().unwrap_or_default())
            .collect(),
    )
}

/// The parent of a process (0: in another pid namespace); `None` if the process is gone.
pub(super) fn parent_of(process: Task) -> Option<Task> {
    let parent = *stat_after_name(process)?.first()?;
    i32::try_from(parent).ok().map(Task)
}

/// Whether a process is a kernel thread (`PF_KTHREAD`, `linux/sched.h`).
pub(super) fn is_kernel_thread(process: Task) -> bool {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let flags = stat_after_name(process).and_then(|fields| fields.get(5).copied());
    flags.is_some_and(|flags| flags & PF_KTHREAD != 0)
}

/// A process and its ancestors in this pid namespace, the nearest first.
pub(super) fn ancestors(process: Task) -> impl Iterator<Item = Task> {
    std::iter::successors(Some(process), |&process| parent_of(process))
        .take_while(|process| process.0 > 0)
}

/// Whether a task sleeps in the kernel, so that it runs no user-space instruction until the kernel returns.
pub(super) fn is_in_kernel(task: Task) -> bool {
    read(task, "syscall").is_ok_and(|text| !text.starts_with("running"))
}

/// Whether a task sleeps, in a call that the kernel executes or before it.
pub(super) fn sleeps(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    field(&status, "State:").is_some_and(|state| state.starts_with(['S', 'D']))
}

/// Whether a task runs, or is about to.
pub(super) fn runs(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    field(&status, "State:").is_some_and(|state| state.starts_with('R'))
}

/// Which of its sleeps a task is in; `None` if it is awake. Without `/proc`, all are the same.
pub(super) fn current_sleep(task: Task) -> Option<u64> {
    let status = read(task, "status").unwrap_or_else(|_| "State:\tS".to_owned());
    let sleeps = field(&status, "State:")?.starts_with('S');
    let switches = field(&status, "voluntary_ctxt_switches:");
    sleeps.then(|| switches.and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// Whether a task is a zombie or no longer exists.
pub(super) fn is_gone(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    field(&status, "State:").is_none_or(|state| state.starts_with(['Z', 'X']))
}

/// Whether a task belongs to the init of its pid namespace.
pub(super) fn is_init(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    // One id per namespace, its own last.
    field(&status, "NStgid:").is_some_and(|ids| ids.split_ascii_whitespace().last() == Some("1"))
}

/// Whether a task has `CAP_SYS_ADMIN` in its user namespace.
pub(super) fn is_admin(task: Task) -> bool {
    let status = read(task, "status").unwrap_or_default();
    let capabilities = field(&status, "CapEff:");
    let capabilities = capabilities.and_then(|hex| u64::from_str_radix(hex, 16).ok());
    capabilities.is_some_and(|set| set >> CAP_SYS_ADMIN & 1 == 1)
}

/// How many seccomp filters a task has (Linux 5.9).
pub(super) fn filters_of(task: Task) -> Option<i32> {
    number_in_status(task, "Seccomp_filters:")
}

/// The threads of a process.
pub(super) fn threads_of(process: Task) -> Vec<Task> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = format!("{process}/task");
    let open = |held| Dir::openat(held, path.as_str(), flags, Mode::empty()).ok();
    let entries = held().ok().and_then(open);
    let entries = entries.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str().ok()?.parse().ok().map(Task))
        .collect()
}

/// Whether this kernel lists the children of threads (`CONFIG_PROC_CHILDREN`).
pub(super) fn lists_children() -> bool {
    Path::new("/proc/thread-self/children").exists()
}

/// The children of a thread (`CONFIG_PROC_CHILDREN`): the processes that it created and has not lost to a reaper.
pub(super) fn children_of(process: Task, thread: Task) -> Vec<Task> {
    let children = read(process, &format!("task/{thread}/children")).unwrap_or_default();
    children
        .split_ascii_whitespace()
        .filter_map(|pid| pid.parse().ok().map(Task))
        .collect()
}

/// The first value that `find` makes of the path of one of the process's cgroups. The error: the process is gone, or
/// ends, when the hierarchies of version 1 show the root for it.
pub(super) fn find_in_cgroups<T>(
    process: Task,
    find: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, Gone> {
    let cgroups = read(process, "cgroup").map_err(|_| Gone)?;
    // HIERARCHY:CONTROLLERS:PATH
    let mut paths = cgroups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2));
    let found = paths.find_map(find);
    let only_version_2 = cgroups.lines().all(|line| line.starts_with("0:"));
    if found.is_some() || only_version_2 || !ends(process) {
        Ok(found)
    } else {
        Err(Gone)
    }
}

/// A process that is gone, or has lost what was asked for because it ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// Whether a process is gone or ends.
fn ends(process: Task) -> bool {
    const PF_EXITING: u64 = 0x4;
    let flags = stat_after_name(process).and_then(|fields| fields.get(5).copied());
    flags.is_none_or(|flags| flags & PF_EXITING != 0)
}

/// The container of a process: by the name of its cgroup.
pub(super) fn container_of(process: Task) -> Result<Option<String>, Gone> {
    find_in_cgroups(process, container_in)
}

/// The containers that have processes.
pub(super) fn containers() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes
        .filter_map(|process| container_of(Task(process)).ok()?)
        .collect()
}

/// The container to which a cgroup with this path belongs: the first twelve digits of its id.
pub(super) fn container_in(path: &str) -> Option<String> {
    let mut numbers = path.split(|c: char| !c.is_ascii_hexdigit());
    let id = numbers.find(|number| number.len() == 64)?;
    Some(id[..12].to_owned())
}

/// The ids of a task per pid namespace, from that of proc(5) inward.
pub(super) fn ids_of(task: Task) -> Option<Vec<i32>> {
    let status = read(task, "status").ok()?;
    let ids = field(&status, "NSpid:")?.split_ascii_whitespace();
    ids.map(|id| id.parse().ok()).collect()
}

/// The task that `parent` created, given the id that it has in the parent's pid namespace.
pub(super) fn created_by(parent: Task, id: i32) -> Option<Task> {
    let depth = ids_of(parent)?.len();
    if depth == 1 {
        return Some(Task(id));
    }
    let process = process_of(parent)?;
    // With CLONE_PARENT, it is a child of its creator's parent.
    let mut candidates = threads_of(process);
    for relative in [Some(process), number_in_status(process, "PPid:").map(Task)] {
        for thread in relative.map(threads_of).unwrap_or_default() {
            candidates.extend(children_of(relative?, thread));
        }
    }
    let is_it = |task: &Task| ids_of(*task).is_some_and(|ids| ids.get(depth - 1) == Some(&id));
    candidates.into_iter().find(is_it)
}

/// The executable of a task, as a path in its mount namespace where possible. For a process that isn't dumpable, an
/// unprivileged recorder sees only the name (`/proc/PID/comm`); without proc(5) it is `unknown`.
pub(super) fn executable_of(task: Task) -> PathBuf {
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
pub(super) fn name_as_called(process: Task) -> Option<PathBuf> {
    let arguments = read_bytes(process, "cmdline").ok()?;
    let name = arguments.split(|&byte| byte == 0).next()?;
    Some(PathBuf::from(OsStr::from_bytes(name)))
}

/// Opens a path as the task sees it.
#[cfg(target_arch = "x86_64")]
pub(super) fn open_as_seen_by(task: Task, path: &Path) -> io::Result<File> {
    let path = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    open(task, &format!("root{path}"))
}

/// Opens the file of a task's descriptor, and returns its path too.
#[cfg(target_arch = "x86_64")]
pub(super) fn open_descriptor(task: Task, fd: i32) -> io::Result<(File, PathBuf)> {
    let file = format!("fd/{fd}");
    Ok((open(task, &file)?, read_link(task, &file)?))
}

/// The name of a thread (at most 15 bytes); `None` if it is gone.
pub(super) fn name_of(task: Task) -> Option<Vec<u8>> {
    let mut name = read_bytes(task, "comm").ok()?;
    // The kernel adds one newline; the name itself may end with others.
    if name.last() == Some(&b'\n') {
        name.pop();
    }
    Some(name)
}

/// A limit of a task (getrlimit(2)), by its name in `/proc/PID/limits`; `None` if there is none or it is unknown.
#[cfg(target_arch = "x86_64")]
pub(super) fn limit(task: Task, name: &str) -> Option<u64> {
    let limits = read(task, "limits").ok()?;
    let soft = field(&limits, name)?.split_ascii_whitespace().next()?;
    soft.parse().ok()
}

/// The login session of a process (`ses=` of audit records); `None` if it is gone.
pub(super) fn session_of(process: Task) -> Option<u32> {
    let text = read(process, "sessionid").ok()?;
    text.trim().parse().ok()
}

/// Whether a task's executable grants privileges: set-user-ID, set-group-ID or file capabilities.
pub(super) fn runs_privileged_file(task: Task) -> bool {
    is_privileged_file(Path::new(&format!("/proc/{task}/exe")))
}

/// Whether executing a file grants privileges to this user.
pub(super) fn is_privileged_file(path: &Path) -> bool {
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

/// Whether a list of seccomp actions in `/proc/sys/kernel/seccomp` (seccomp(2)) has an action.
pub(super) fn lists_action(list: &str, action: &str) -> bool {
    let actions = fs::read_to_string(Path::new("/proc/sys/kernel/seccomp").join(list));
    actions.is_ok_and(|actions| actions.split_ascii_whitespace().any(|word| word == action))
}

/// The kernel's major and minor version; `None` if its release doesn't begin with them.
pub(super) fn kernel_version() -> Option<(u32, u32)> {
    let uname = nix::sys::utsname::uname().ok()?;
    let mut numbers = uname
        .release()
        .to_str()?
        .split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
