//! Fences: calls of the recorder's own that are logged as those of the workload are.
//!
//! The kernel queues records in order, and one thread of its own (kauditd) delivers them. When the record of a fence
//! comes, all earlier ones have come, or never will.

use std::ffi::CString;

use nix::errno::Errno;

use crate::audit::Record;

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
        // A thread, since the filter stays until its end.
        let thread = std::thread::Builder::new().name(name.clone());
        let made = thread
            .spawn(move || crate::sys::audit::logged_call(&comm))
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
