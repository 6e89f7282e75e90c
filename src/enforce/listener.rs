//! The listener of `SCMP_ACT_NOTIFY`: hands the descriptor that answers notifications to the process behind
//! `listenerPath`, as the OCI runtime specification says (`config-linux.md`, "The Container Process State").
//!
//! The descriptor comes into being with the filter, and the very next call may need an answer. So it is sent by a thread
//! that the filter does not hold for, while the thread under the filter waits for it without a system call. Then the
//! sending thread ends; execve(2) would end it in any case.

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

/// Why there is nobody to answer notifications.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// The profile names nobody.
    #[error("the profile has SCMP_ACT_NOTIFY but no listenerPath: nobody would answer")]
    NoPath,
    /// Nobody is there.
    #[error("cannot connect to the listener {path}")]
    Connect {
        /// `listenerPath`.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is not known what to tell the listener.
    #[error("cannot tell the listener {path} what runs")]
    State {
        /// `listenerPath`.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is no thread to send from.
    #[error("cannot start the thread that serves the listener")]
    Thread(#[source] io::Error),
}

/// How often the sending thread looks whether the filter is there.
const LOOK: Duration = Duration::from_micros(100);

/// What the two threads tell each other: a descriptor, or one of these.
const WAITING: i32 = -1;
const SENT: i32 = -2;
const NO_FILTER: i32 = -3;

/// A thread that waits for the descriptor, connected to the listener.
pub(super) struct Courier(Arc<AtomicI32>);

impl Courier {
    /// Connects to the listener, and starts the thread. `on_failure` is called, in that thread, if the descriptor can't be
    /// sent: the thread under the filter waits for ever then.
    pub(super) fn start(
        listener: &Listener,
        on_failure: impl FnOnce(io::Error) + Send + 'static,
    ) -> Result<Courier, ListenerError> {
        let path = || listener.path().to_owned();
        let state = state(listener).map_err(|source| ListenerError::State {
            path: path(),
            source,
        })?;
        let stream =
            UnixStream::connect(listener.path()).map_err(|source| ListenerError::Connect {
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
                        WAITING => std::thread::sleep(LOOK),
                        NO_FILTER => return,
                        fd => break fd,
                    }
                };
                match send(stream, &state, fd) {
                    Ok(()) => theirs.store(SENT, Ordering::Release),
                    Err(error) => on_failure(error),
                }
            })
            .map_err(ListenerError::Thread)?;
        Ok(Courier(mailbox))
    }

    /// Hands over the descriptor and waits until the listener has it. Makes no system call.
    pub(super) fn deliver(&self, fd: RawFd) {
        self.0.store(fd, Ordering::Release);
        while self.0.load(Ordering::Acquire) != SENT {
            std::hint::spin_loop();
        }
    }

    /// Ends the thread: there will be no descriptor.
    pub(super) fn dismiss(&self) {
        self.0.store(NO_FILTER, Ordering::Release);
    }
}

/// Sends the descriptor with the state. One connection is for one state: it is closed then.
fn send(mut stream: UnixStream, state: &[u8], fd: RawFd) -> io::Result<()> {
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

/// What the listener is told, as JSON. There is no container: its id is made up, its bundle is the working directory.
fn state(listener: &Listener) -> io::Result<Vec<u8>> {
    // The specification's name of the descriptor.
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
