//! Fences: calls of the recorder's own that are logged as those of the workload are.
//!
//! The kernel queues records in order, and one thread of its own (kauditd) delivers them. When the record of a fence
//! comes, all earlier ones have come, or never will.

use std::ffi::CString;

use libc::{BPF_JEQ, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG};
use nix::errno::Errno;

use crate::audit::Record;
use crate::bpf::assemble::{NR, answer, jump, load};
use crate::sys::seccomp::getppid_under_filter;

/// The name of the thread that makes a fence: nobody else's thread is called so.
pub(super) struct Fence {
    name: String,
}

impl Fence {
    /// What the name begins with.
    pub(super) const PREFIX: &[u8] = b"fence-";

    /// Makes the call.
    pub(super) fn make() -> nix::Result<Fence> {
        let random = uuid::Uuid::now_v7().simple().to_string();
        // The last digits of such an id are random; a thread's name has 15 bytes.
        let name = format!("fence-{}", &random[random.len() - 9..]);
        let comm = CString::new(name.as_str()).map_err(|_| Errno::EINVAL)?;
        let getppid = u32::try_from(libc::SYS_getppid).map_err(|_| Errno::EINVAL)?;
        // The thread makes native calls only, so the filter doesn't compare the ABI.
        let filter = [
            load(NR),
            jump(BPF_JEQ, getppid, 0, 1),
            answer(SECCOMP_RET_LOG),
            answer(SECCOMP_RET_ALLOW),
        ];
        // A thread of its own, since the filter stays until the thread ends.
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

    /// Whether this is its record.
    pub(super) fn is(&self, record: &Record<'_>) -> bool {
        *record.comm == *self.name.as_bytes()
    }
}
