//! Calls with which the workload could write to a window, though it is mapped without that right: to make there a call that is allowed
//! to others only.
//!
//! The kernel lets /proc/PID/mem change private memory whatever its protection is, and userfaultfd(2) fill pages that nobody used
//! yet. `io_uring` opens and writes files where no filter looks.

use crate::event::Task;
use crate::syscall::{Arch, Syscall};

/// `linux/userfaultfd.h`: on /dev/userfaultfd, as good as userfaultfd(2).
pub(super) const USERFAULTFD_IOC_NEW: u32 = 0xaa00;

/// How a call helps to write to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// It opens a file, with flags in this argument.
    Open(usize),
    /// It opens a file, perhaps to write to it.
    OpenSomehow,
    /// It is a request for this driver or that.
    Ioctl,
    /// Nothing that is done with the result can be seen.
    Always,
}

const WRITERS: [(&str, Writer); 7] = [
    ("open", Writer::Open(1)),
    ("openat", Writer::Open(2)),
    ("openat2", Writer::OpenSomehow),
    ("creat", Writer::OpenSomehow),
    ("ioctl", Writer::Ioctl),
    ("userfaultfd", Writer::Always),
    ("io_uring_setup", Writer::Always),
];

/// What can be said of a call at its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CanWrite {
    No,
    /// If the file that it opens is a process's memory.
    IfMemory,
    Yes,
}

/// The calls, on all ABIs.
#[derive(Debug)]
pub(super) struct Writers(Vec<(Syscall, Writer)>);

impl Writers {
    pub(super) fn new() -> Writers {
        let mut all = Vec::new();
        for (name, writer) in WRITERS {
            for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
                all.extend(Syscall::from_name(arch, name).map(|syscall| (syscall, writer)));
            }
        }
        Writers(all)
    }

    /// Whether a call can help to write, by its arguments, which are read only if they matter.
    pub(super) fn look<E>(
        &self,
        syscall: Syscall,
        arguments: impl Fn() -> Result<[u64; 6], E>,
    ) -> Result<CanWrite, E> {
        let Some(&(_, writer)) = self.0.iter().find(|(of, _)| *of == syscall) else {
            return Ok(CanWrite::No);
        };
        Ok(match writer {
            Writer::Open(index)
                if arguments()?[index] & u64::from(libc::O_ACCMODE.cast_unsigned()) == 0 =>
            {
                CanWrite::No
            }
            Writer::Ioctl if arguments()?[1] & 0xffff_ffff != u64::from(USERFAULTFD_IOC_NEW) => {
                CanWrite::No
            }
            Writer::Open(_) | Writer::OpenSomehow => CanWrite::IfMemory,
            Writer::Ioctl | Writer::Always => CanWrite::Yes,
        })
    }

    /// Whether a call always stops, because its arguments can't tell that it is harmless.
    pub(super) fn always_stops(&self, syscall: Syscall) -> bool {
        let stops = |writer| matches!(writer, Writer::OpenSomehow | Writer::Always);
        self.0
            .iter()
            .any(|&(of, writer)| of == syscall && stops(writer))
    }
}

/// Whether a descriptor of a task is a process's memory. One that is gone can have been.
pub(super) fn is_memory(task: Task, descriptor: i64) -> bool {
    /// The mode of /proc/PID/mem, wherever that is mounted. Few other files of proc(5) have it.
    const MODE: u32 = libc::S_IFREG | 0o600;
    let path = format!("/proc/{}/fd/{descriptor}", task.0);
    let Ok(metadata) = std::fs::metadata(&path) else {
        return true;
    };
    std::os::unix::fs::MetadataExt::mode(&metadata) == MODE
        && nix::sys::statfs::statfs(path.as_str())
            .is_ok_and(|of| of.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC)
}
