//! The files of tasks in proc(5).

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::event::Task;

/// proc(5), opened when the recorder started: the workload may mount something over it. An error if it shows another
/// pid namespace than that of this process (unshare(1) `--pid` without `--mount-proc`, some containers): its ids then
/// belong to other tasks.
pub(super) fn held() -> io::Result<&'static OwnedFd> {
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
pub(in crate::backend) fn is_of_this_namespace() -> bool {
    held().is_ok()
}

/// Opens a task's file. It may lead to a FIFO, hence `O_NONBLOCK`.
pub(super) fn open(task: Task, file: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let path = format!("{task}/{file}");
    let opened = nix::fcntl::openat(held()?, path.as_str(), flags, Mode::empty())?;
    Ok(File::from(opened))
}

pub(super) fn read_bytes(task: Task, file: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(task, file)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file of which the kernel writes each piece anew, in large pieces.
pub(super) fn read_large(task: Task, file: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4096);
    // Without a question for its size, which the kernel doesn't know.
    open(task, file)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn read(task: Task, file: &str) -> io::Result<String> {
    let mut text = String::new();
    open(task, file)?.read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn read_link(task: Task, file: &str) -> io::Result<PathBuf> {
    let path = format!("{task}/{file}");
    let target = nix::fcntl::readlinkat(held()?, path.as_str())?;
    Ok(PathBuf::from(target))
}

pub(super) fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .map(str::trim)
}

pub(super) fn number_in_status(task: Task, key: &str) -> Option<i32> {
    let status = read(task, "status").ok()?;
    field(&status, key)?.parse().ok()
}

/// Opens the memory of a process for reading.
pub(in crate::backend) fn open_memory(process: Task) -> io::Result<File> {
    open(process, "mem")
}

/// Opens the memory of a task for reading and writing.
#[cfg(target_arch = "x86_64")]
pub(in crate::backend) fn open_memory_for_writing(task: Task) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let path = format!("{task}/mem");
    let opened = nix::fcntl::openat(held()?, path.as_str(), flags, Mode::empty())?;
    Ok(File::from(opened))
}

/// The fields of `/proc/PID/stat` from the fourth (the parent) on; see `proc_pid_stat(5)`. The second, the name, may
/// contain any byte.
pub(super) fn stat_after_name(task: Task) -> Option<Vec<u64>> {
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

/// Opens a path as the task sees it.
#[cfg(target_arch = "x86_64")]
pub(in crate::backend) fn open_as_seen_by(task: Task, path: &std::path::Path) -> io::Result<File> {
    let path = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    open(task, &format!("root{path}"))
}

/// Opens the file of a task's descriptor, and returns its path too.
#[cfg(target_arch = "x86_64")]
pub(in crate::backend) fn open_descriptor(task: Task, fd: i32) -> io::Result<(File, PathBuf)> {
    let file = format!("fd/{fd}");
    Ok((open(task, &file)?, read_link(task, &file)?))
}
