//! The listener's side of `SECCOMP_RET_USER_NOTIF` (`seccomp_unotify(2)`).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use nix::errno::Errno;

/// A call that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    /// What the answer names it by. The kernel counts the notifications of a filter with it, from a random number on.
    pub(crate) id: u64,
    /// The thread, by its id in the pid namespace of the listener's reader; 0 if it has none there.
    pub(crate) thread: i32,
    /// `AUDIT_ARCH_*`.
    pub(crate) arch: u32,
    pub(crate) nr: i32,
    pub(crate) args: [u64; 6],
}

/// How many notifications can be taken at once.
pub(crate) const SLOTS: usize = 16;

/// Memory for the notifications of a listener that are being answered. The kernel writes a notification to it before the thread that takes
/// it can be killed, so a process that shares the memory can answer the calls that a killed one left waiting: such a call
/// would wait for ever (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`).
#[derive(Debug)]
pub(crate) struct Slots {
    memory: OwnedFd,
    at: NonNull<libc::seccomp_notif>,
}

// SAFETY: the memory is accessed by the kernel, and with volatile reads and writes of integers.
unsafe impl Send for Slots {}
// SAFETY: as above. Each [`Slot`] is written by one thread.
unsafe impl Sync for Slots {}

const SIZE: usize = SLOTS * size_of::<libc::seccomp_notif>();

impl Slots {
    pub(crate) fn new() -> nix::Result<Slots> {
        const NAME: &CStr = c"sc-record";
        // SAFETY: the name ends with NUL.
        let fd = unsafe { libc::memfd_create(NAME.as_ptr(), libc::MFD_CLOEXEC) };
        // SAFETY: the kernel has just created this descriptor, and nothing else owns it.
        let memory = unsafe { OwnedFd::from_raw_fd(Errno::result(fd)?) };
        let size = i64::try_from(SIZE).unwrap_or(i64::MAX);
        nix::unistd::ftruncate(&memory, size)?;
        Slots::of(memory)
    }

    /// The slots in memory that [`Slots::memory`] gave.
    pub(crate) fn of(memory: OwnedFd) -> nix::Result<Slots> {
        // SAFETY: a new mapping of a descriptor that stays open, where the kernel likes.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                memory.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let at = NonNull::new(at.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Slots { memory, at })
    }

    /// The memory, for another process.
    pub(crate) fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// The slots. A thread receives into its own.
    pub(crate) fn each(&mut self) -> [Slot<'_>; SLOTS] {
        std::array::from_fn(|index| Slot {
            // SAFETY: the index is below SLOTS, so the place is in the mapping.
            at: unsafe { self.at.add(index) },
            _slots: std::marker::PhantomData,
        })
    }

    /// The notifications that were being answered. Most have been answered since.
    pub(crate) fn left(&self) -> impl Iterator<Item = Notification> {
        (0..SLOTS).map(|index| {
            // SAFETY: as above; the mapping is zero or a notification, and its writer is gone.
            let got = unsafe { self.at.add(index).read_volatile() };
            Notification::of(&got)
        })
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and slots borrow it.
        unsafe { libc::munmap(self.at.as_ptr().cast(), SIZE) };
    }
}

/// Where one thread receives.
pub(crate) struct Slot<'a> {
    at: NonNull<libc::seccomp_notif>,
    _slots: std::marker::PhantomData<&'a Slots>,
}

// SAFETY: a slot is used by the thread that has it, and the slots outlive it.
unsafe impl Send for Slot<'_> {}

impl Notification {
    fn of(got: &libc::seccomp_notif) -> Notification {
        Notification {
            id: got.id,
            thread: i32::try_from(got.pid).unwrap_or_default(),
            arch: got.data.arch,
            nr: got.data.nr,
            args: got.data.args,
        }
    }
}

/// Takes the next notification, and waits for one if there is none. `ENOENT`: the call was interrupted meanwhile, or no task
/// is left.
pub(crate) fn receive(listener: BorrowedFd<'_>, slot: &mut Slot<'_>) -> nix::Result<Notification> {
    // SAFETY: the slot is a place in a mapping, of which this thread has the only use. All zero is a value of the
    // structure, and the kernel demands it; it writes the structure, whose size newer kernels have not changed.
    unsafe {
        slot.at.write_volatile(std::mem::zeroed());
        Errno::result(libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_RECV,
            slot.at.as_ptr(),
        ))?;
        Ok(Notification::of(&slot.at.read_volatile()))
    }
}

/// Whether the caller still waits for its answer. If so, whatever proc(5) showed of its id before is about the caller.
pub(crate) fn is_valid(listener: BorrowedFd<'_>, notification: Notification) -> bool {
    // SAFETY: the kernel only reads the id.
    let valid = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_ID_VALID,
            &raw const notification.id,
        )
    };
    valid == 0
}

/// Has the kernel execute the call. `ENOENT`: the caller is gone, or a signal interrupted the call.
pub(crate) fn go_on(listener: BorrowedFd<'_>, notification: Notification) -> nix::Result<()> {
    let answer = libc::seccomp_notif_resp {
        id: notification.id,
        val: 0,
        error: 0,
        flags: u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE).unwrap_or_default(),
    };
    // SAFETY: the kernel only reads the structure.
    Errno::result(unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            &raw const answer,
        )
    })
    .map(drop)
}

/// Wakes callers and reader on the same CPU, which is about three times as fast (Linux 6.6). Older kernels refuse it.
pub(crate) fn wake_synchronously(listener: BorrowedFd<'_>) {
    /// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (`linux/seccomp.h`).
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the argument is a value.
    let _ = unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            SYNC_WAKE_UP,
        )
    };
}

/// A descriptor that a message of `SCM_RIGHTS` (unix(7)) brought.
pub(crate) fn received(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: recvmsg(2) has just made it for this process, and each is taken once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
