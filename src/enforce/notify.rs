//! `SCMP_ACT_NOTIFY`: sends the descriptor that answers notifications to the process behind `listenerPath`, as the OCI runtime
//! specification says (`config-linux.md`, "The Container Process State").
//!
//! The descriptor is created with the filter, and the next call may already need an answer. So a thread without the filter
//! sends it, while the thread under the filter waits without a system call.

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use oci_spec::runtime::{ContainerProcessState, ContainerState, State, VERSION};

use crate::profile::Listener;

/// Why no process would answer notifications.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The profile has no `listenerPath`.
    #[error("the profile has SCMP_ACT_NOTIFY but no listenerPath, so no process would answer")]
    NoPath,
    /// No process listens there.
    #[error("can't connect to the listener {path}")]
    Connect {
        /// `listenerPath`.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The state for the listener can't be determined.
    #[error("can't determine the process state for the listener {path}")]
    State {
        /// `listenerPath`.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// The thread that sends can't be started.
    #[error("can't start the thread that sends the notification descriptor")]
    Thread(#[source] io::Error),
}

/// The interval at which the sending thread looks for the descriptor.
const INTERVAL: Duration = Duration::from_micros(100);

/// What the two threads share: a descriptor, or one of these.
const WAITING: i32 = -1;
const SENT: i32 = -2;
const CANCELLED: i32 = -3;

/// A thread that is connected to the listener and waits for the descriptor.
pub(super) struct FdSender(Arc<AtomicI32>);

impl FdSender {
    /// Connects to the listener, and starts the thread. If the descriptor can't be sent, the thread calls `on_failure`; the
    /// thread under the filter then waits forever.
    pub(super) fn start(
        listener: &Listener,
        on_failure: impl FnOnce(io::Error) + Send + 'static,
    ) -> Result<FdSender, NotifyError> {
        let path = || listener.path().to_owned();
        let state = state(listener).map_err(|source| NotifyError::State {
            path: path(),
            source,
        })?;
        let stream =
            UnixStream::connect(listener.path()).map_err(|source| NotifyError::Connect {
                path: path(),
                source,
            })?;
        let mailbox = Arc::new(AtomicI32::new(WAITING));
        let theirs = Arc::clone(&mailbox);
        std::thread::Builder::new()
            .name("listener".to_owned())
            .spawn(move || {
                let fd = loop {
                    match theirs.load(Ordering::Acquire) {
                        WAITING => std::thread::sleep(INTERVAL),
                        CANCELLED => return,
                        fd => break fd,
                    }
                };
                match send_fd(stream, &state, fd) {
                    Ok(()) => theirs.store(SENT, Ordering::Release),
                    Err(error) => on_failure(error),
                }
            })
            .map_err(NotifyError::Thread)?;
        Ok(FdSender(mailbox))
    }

    /// Passes on the descriptor, and waits until the listener has it. Makes no system call.
    pub(super) fn send(&self, fd: RawFd) {
        self.0.store(fd, Ordering::Release);
        while self.0.load(Ordering::Acquire) != SENT {
            std::hint::spin_loop();
        }
    }

    /// Ends the thread without a descriptor.
    pub(super) fn cancel(&self) {
        self.0.store(CANCELLED, Ordering::Release);
    }
}

/// Sends the descriptor with the state, and closes the connection.
fn send_fd(mut stream: UnixStream, state: &[u8], fd: RawFd) -> io::Result<()> {
    let fds = [fd];
    let sent = sendmsg::<()>(
        stream.as_raw_fd(),
        &[IoSlice::new(state)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    stream.write_all(state.get(sent..).unwrap_or_default())
}

/// The state, as JSON. Without a container, the id is made up and the bundle is the working directory.
fn state(listener: &Listener) -> io::Result<Vec<u8>> {
    // The specification's name for the descriptor.
    const SECCOMP_FD: &str = "seccompFd";
    let pid = nix::unistd::getpid().as_raw();
    let bundle = std::env::current_dir().unwrap_or_else(|_| Path::new("/").to_owned());
    let mut of_container = State::default();
    of_container
        .set_version(VERSION.to_owned())
        .set_id(format!("sc-record-{pid}"))
        .set_status(ContainerState::Creating)
        .set_pid(Some(pid))
        .set_bundle(bundle);
    let mut state = ContainerProcessState::default();
    state
        .set_version(VERSION.to_owned())
        .set_fds(vec![SECCOMP_FD.to_owned()])
        .set_pid(pid)
        .set_metadata(listener.metadata.clone())
        .set_state(of_container);
    Ok(serde_json::to_vec(&state)?)
}
