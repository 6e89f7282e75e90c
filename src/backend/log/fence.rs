//! Fences: calls of the recorder that are logged like the workload's.
//!
//! The kernel queues records in order, and one kernel thread (kauditd) delivers them. When the record of a fence
//! arrives, every earlier record has arrived or is lost.

use std::ffi::CString;

use libc::{BPF_JEQ, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG};
use nix::errno::Errno;

use crate::audit::Record;
use crate::bpf::assemble::{NR, answer, jump, load};
use crate::sys::seccomp::getppid_under_filter;

/// A fence that was made. The name of its thread is unique.
pub(super) struct Fence {
    name: String,
}

impl Fence {
    /// The start of the thread's name.
    pub(super) const PREFIX: &[u8] = b"fence-";

    /// Makes the call, on a thread with that name.
    pub(super) fn make() -> nix::Result<Fence> {
        let random = uuid::Uuid::now_v7().simple().to_string();
        // The last digits of a version 7 UUID are random; a thread's name has at most 15 bytes.
        let name = format!("fence-{}", &random[random.len() - 9..]);
        let comm = CString::new(name.as_str()).map_err(|_| Errno::EINVAL)?;
        let getppid = u32::try_from(libc::SYS_getppid).map_err(|_| Errno::EINVAL)?;
        // The thread makes only native calls, so the filter doesn't compare the ABI.
        let filter = [
            load(NR),
            jump(BPF_JEQ, getppid, 0, 1),
            answer(SECCOMP_RET_LOG),
            answer(SECCOMP_RET_ALLOW),
        ];
        // On its own thread, since a filter stays until its thread ends.
        let thread = std::thread::Builder::new().name(name.clone());
        let made = thread
            .spawn(move || getppid_under_filter(&comm, &filter))
            .map_err(|error| error.raw_os_error().map_or(Errno::EAGAIN, Errno::from_raw))?
            .join();
        match made {
            Ok(made) => made.map(|()| Fence { name }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Whether a record is that of this fence.
    pub(super) fn is(&self, record: &Record<'_>) -> bool {
        *record.comm == *self.name.as_bytes()
    }
}
