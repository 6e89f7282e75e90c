//! The kernel's events about processes (the process events connector, `linux/cn_proc.h`).
//!
//! An event precedes the first call of the new process. So a reader that takes all pending events before it handles a record
//! knows the record's process.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, recv, sendto, setsockopt, sockopt};

/// The headers before an event: `struct nlmsghdr` and `struct cn_msg`.
const NLMSG: usize = 16;
const HEADERS: usize = NLMSG + 20;
/// `CN_IDX_PROC`, also the multicast group, and `CN_VAL_PROC`.
const PROC: u32 = 1;
const LISTEN: u32 = libc::PROC_CN_MCAST_LISTEN;
/// Room for the events of some ten thousand processes.
const RECEIVE_BUFFER: usize = 8 << 20;
/// How long the kernel may take to acknowledge.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// An event of the connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessEvent {
    /// A process created another. Threads are left out.
    Fork { parent: i32, child: i32 },
    /// A process executed a program.
    Exec { process: i32 },
    /// A process ended, with its last thread.
    Exit { process: i32 },
    /// Events were dropped.
    Overrun,
}

/// Listens to the events.
pub(super) struct Connector {
    fd: OwnedFd,
}

impl Connector {
    /// Starts to listen. Needs `CAP_NET_ADMIN` and the initial pid and user namespaces.
    pub(super) fn open() -> nix::Result<Connector> {
        let fd = crate::sys::netlink::connector_socket()?;
        setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, PROC))?;
        let connector = Connector { fd };
        connector.listen()?;
        Ok(connector)
    }

    fn listen(&self) -> nix::Result<()> {
        const LENGTH: u32 = 40;
        let mut request = Vec::with_capacity(LENGTH as usize);
        request.extend(LENGTH.to_ne_bytes());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A small number.
        request.extend((libc::NLMSG_DONE as u16).to_ne_bytes());
        request.extend([0; 2 + 4 + 4]);
        // struct cn_msg: id, seq, ack, the length of what follows, flags.
        request.extend(PROC.to_ne_bytes());
        request.extend(PROC.to_ne_bytes());
        request.extend([0; 8]);
        request.extend(4u16.to_ne_bytes());
        request.extend([0; 2]);
        request.extend(LISTEN.to_ne_bytes());
        sendto(
            self.fd.as_raw_fd(),
            &request,
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let mut buffer = [0; 256];
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    if let Some(error) = acknowledged(&buffer[..length]) {
                        return match error {
                            0 => Ok(()),
                            error => Err(Errno::from_raw(error)),
                        };
                    }
                }
                Err(Errno::EAGAIN) => {
                    // In other namespaces the kernel ignores the request.
                    let left = deadline.saturating_duration_since(Instant::now());
                    let left = PollTimeout::try_from(left).map_err(|_| Errno::EINVAL)?;
                    let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut fds, left)? == 0 {
                        return Err(Errno::ETIMEDOUT);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for an event, at most this long.
    pub(super) fn wait(&self, at_most: Duration) {
        let at_most = PollTimeout::try_from(at_most).unwrap_or(PollTimeout::MAX);
        // After an error the caller checks for events anyway.
        let _ = poll(
            &mut [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)],
            at_most,
        );
    }

    /// The next pending event.
    pub(super) fn next(&self) -> Option<ProcessEvent> {
        let mut buffer = [0; 256];
        loop {
            match recv(self.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    if let Some(event) = event(&buffer[..length]) {
                        return Some(event);
                    }
                }
                Err(Errno::ENOBUFS) => return Some(ProcessEvent::Overrun),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }
}

/// A 32-bit word of `struct proc_event`: what, cpu, two words of time, then the data of the event.
fn word(message: &[u8], index: usize) -> Option<u32> {
    let at = HEADERS + 4 * index;
    Some(u32::from_ne_bytes(
        message.get(at..at + 4)?.try_into().ok()?,
    ))
}

/// The result of the request, if this is its acknowledgement.
fn acknowledged(message: &[u8]) -> Option<i32> {
    (word(message, 0)? == libc::PROC_EVENT_NONE)
        .then(|| word(message, 4))?
        .map(u32::cast_signed)
}

fn event(message: &[u8]) -> Option<ProcessEvent> {
    let id = |index| word(message, index).map(u32::cast_signed);
    match word(message, 0)? {
        libc::PROC_EVENT_FORK => {
            let (parent, task, child) = (id(5)?, id(6)?, id(7)?);
            (task == child).then_some(ProcessEvent::Fork { parent, child })
        }
        libc::PROC_EVENT_EXEC => Some(ProcessEvent::Exec { process: id(5)? }),
        libc::PROC_EVENT_EXIT => {
            let (task, process) = (id(4)?, id(5)?);
            (task == process).then_some(ProcessEvent::Exit { process })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(words: &[u32]) -> Vec<u8> {
        let event = words.iter().flat_map(|word| word.to_ne_bytes());
        std::iter::repeat_n(0, HEADERS).chain(event).collect()
    }

    #[test]
    fn events_of_threads_are_left_out() {
        let fork = |task| event(&message(&[1, 0, 0, 0, 11, 10, task, 20]));
        assert_eq!(
            fork(20),
            Some(ProcessEvent::Fork {
                parent: 10,
                child: 20
            })
        );
        assert_eq!(fork(21), None);
        let exit = |task| event(&message(&[0x8000_0000, 0, 0, 0, task, 20, 0, 17]));
        assert_eq!(exit(20), Some(ProcessEvent::Exit { process: 20 }));
        assert_eq!(exit(21), None);
        assert_eq!(
            event(&message(&[2, 0, 0, 0, 21, 20])),
            Some(ProcessEvent::Exec { process: 20 })
        );
        assert_eq!(event(&message(&[4, 0, 0, 0, 20, 20])), None);
        assert_eq!(event(&message(&[1, 0, 0, 0, 11])), None);
        assert_eq!(acknowledged(&message(&[0, 0, 0, 0, 1])), Some(1));
    }
}
