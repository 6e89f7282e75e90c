//! Tells other programs that a recording has begun.

use std::fs::File;
use std::io::Write;
use std::os::fd::RawFd;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use sc_record::sys::inherited::take_descriptor;
use sd_notify::NotifyState;

/// Where to tell it: the service manager (`NOTIFY_SOCKET`), and a descriptor.
#[derive(Default)]
pub(crate) struct Ready(Mutex<Option<File>>);

impl Ready {
    /// With the descriptor that the user named. Must be called before this process opens files.
    pub(crate) fn new(fd: Option<RawFd>) -> anyhow::Result<Ready> {
        let take = |fd| take_descriptor(fd).with_context(|| format!("--ready-fd {fd}"));
        let file = fd.map(take).transpose()?.map(File::from);
        Ok(Ready(Mutex::new(file)))
    }

    /// Tells it. The descriptor gets a newline and is closed, as s6 and others expect it.
    pub(crate) fn announce(&self) {
        let file = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut file) = file
            && let Err(error) = file.write_all(b"\n")
        {
            say!("sc-record: warning: --ready-fd: {error}");
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
            say!("sc-record: warning: the service manager can't be notified: {error}");
        }
    }
}
