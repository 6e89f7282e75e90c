//! Calls with which the workload could write to a window, though it is mapped without that right: to make there a call that is allowed
//! to others only.
//!
//! The kernel lets /proc/PID/mem change private memory whatever its protection is, and userfaultfd(2) fill pages that nobody used
//! yet. `io_uring` opens and writes files where no filter looks.

use super::registers::arguments;
use super::{AtExit, Entered, FastPath};
use crate::backend::ptrace::stop::{Died, Stopped};
use crate::event::Task;
use crate::syscall::{Arch, Syscall};

const WRITTEN: &str = "a process with threads opened the memory of a process for writing, and can have changed in the meantime which calls \
     are seen (--no-patch prevents that)";

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
enum CanWrite {
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
    fn look<E>(
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

impl FastPath {
    /// What to do with a call by which the workload may write to windows. `None`: nothing.
    pub(super) fn may_write(
        &mut self,
        stopped: &Stopped,
        syscall: Syscall,
    ) -> Result<Option<Entered>, Died> {
        if self.is_writable {
            return Ok(None);
        }
        Ok(match self.writers.look(syscall, || arguments(stopped))? {
            CanWrite::No => None,
            CanWrite::IfMemory => Some(Entered::Then(AtExit::Opened)),
            CanWrite::Yes => self.may_be_written().then_some(Entered::SeeAll),
        })
    }

    /// A call that may have opened a process's memory returned. Returns whether the tasks with windows must stop at all their calls.
    pub(super) fn opened(&mut self, task: Task, value: i64) -> bool {
        let is_opened = value >= 0 && !self.is_writable && is_memory(task, value);
        if !is_opened {
            return false;
        }
        // Another thread can have written through the descriptor.
        let is_changed = self.is_changed(task);
        self.is_lost = is_changed && !self.sharers(task).is_empty();
        self.may_be_written()
    }

    /// What the recording may have missed, once.
    pub(in crate::backend::ptrace) fn loss(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.is_lost).then_some(WRITTEN)
    }

    /// The workload can write to windows from now on, those of any process. Returns whether there are any.
    fn may_be_written(&mut self) -> bool {
        self.is_writable = true;
        self.end();
        for space in self.spaces.values() {
            let mut space = space.borrow_mut();
            space.sees_all |= space.is_changed();
        }
        !self.all_seen().is_empty()
    }
}

/// Whether a descriptor of a task is a process's memory. One that is gone can have been.
fn is_memory(task: Task, descriptor: i64) -> bool {
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
