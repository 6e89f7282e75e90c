//! A process that answers when the recorder has ended, so that the calls of its workloads don't fail with ENOSYS, or wait for
//! ever.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use serde_json::Value;

use crate::sys::notify::{self, Slots};

/// The maximum length of a message for the keeper.
const MAX_MESSAGE: usize = 1 << 18;

/// The field that marks a container that another agent recorded before.
const RESUMED: &str = "scRecordResumed";

/// How often the keeper checks for another agent, in milliseconds.
const CHECK_INTERVAL: u16 = 200;

const EVENTS: usize = 64;

/// The recorder's connection to its keeper. When it closes, at the latest with the recorder, the keeper takes over.
#[derive(Debug)]
pub struct Keeper(OwnedFd);

impl Keeper {
    /// Creates both ends: the recorder's, and the one for [`keep`] in another process.
    pub fn pair() -> nix::Result<(Keeper, OwnedFd)> {
        let (agent, keeper) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )?;
        Ok((Keeper(agent), keeper))
    }

    /// Sends the keeper a copy of a listener, the memory in which the kernel leaves its notifications that are being
    /// answered, and the message of the hand-over, if there was one.
    pub(in crate::backend) fn pass(
        &self,
        message: &[u8],
        listener: BorrowedFd<'_>,
        slots: &Slots,
    ) -> io::Result<()> {
        if message.len() > MAX_MESSAGE {
            return Err(io::Error::other("the message is too long for the keeper"));
        }
        let both = [listener, slots.memory()];
        send(self.0.as_fd(), message, &both, MsgFlags::MSG_DONTWAIT)
    }
}

fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: MsgFlags,
) -> io::Result<()> {
    let fds: Vec<_> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(message)],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL | flags,
        None,
    )?;
    Ok(())
}

/// Receives a message by recvmsg(2): its bytes and its descriptors.
pub(in crate::backend) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> nix::Result<(usize, Vec<OwnedFd>)> {
    /// More than the specification defines. The kernel closes the excess.
    const DESCRIPTORS: usize = 16;
    let mut space = nix::cmsg_space!([i32; DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for message in received.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            descriptors.extend(fds.into_iter().map(crate::sys::notify::received));
        }
    }
    Ok((received.bytes, descriptors))
}

/// A kept listener.
struct KeptListener {
    listener: OwnedFd,
    slots: Slots,
    message: Vec<u8>,
}

/// Keeps the listeners that a recorder passes. When it has ended, answers for their workloads until they end, or until
/// another agent listens at the socket, if there is one, and gets them.
pub fn keep(agent: OwnedFd, socket: Option<&Path>) -> nix::Result<()> {
    const AGENT: u64 = 0;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&agent, EpollEvent::new(EpollFlags::EPOLLIN, AGENT))?;
    let mut agent = Some(agent);
    let mut kept: HashMap<u64, KeptListener> = HashMap::new();
    let mut own = Slots::new()?;
    let [mut slot, ..] = own.each();
    let mut next = AGENT + 1;
    let mut buffer = vec![0; MAX_MESSAGE];
    let mut events = [EpollEvent::empty(); EVENTS];
    loop {
        let timeout = match agent {
            Some(_) => EpollTimeout::NONE,
            None if kept.is_empty() => return Ok(()),
            None if socket.is_none() => EpollTimeout::NONE,
            None => CHECK_INTERVAL.into(),
        };
        let ready = match epoll.wait(&mut events, timeout) {
            Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        for event in &events[..ready] {
            if event.data() == AGENT {
                let received = agent
                    .as_ref()
                    .map(|agent| receive(agent.as_fd(), &mut buffer));
                match received {
                    Some(Ok((length, descriptors))) if length > 0 => {
                        let Ok([listener, memory]) = <[OwnedFd; 2]>::try_from(descriptors) else {
                            continue;
                        };
                        // It reports only that no task is left.
                        epoll.add(&listener, EpollEvent::new(EpollFlags::empty(), next))?;
                        let new = KeptListener {
                            listener,
                            slots: Slots::of(memory)?,
                            message: buffer[..length].to_vec(),
                        };
                        kept.insert(next, new);
                        next += 1;
                    }
                    Some(Err(Errno::EINTR)) | None => {}
                    Some(_) => {
                        agent = None;
                        for (&id, kept) in &kept {
                            for left in kept.slots.left() {
                                // Most were answered.
                                let _ = notify::go_on(kept.listener.as_fd(), left);
                            }
                            let mut event = EpollEvent::new(EpollFlags::EPOLLIN, id);
                            epoll.modify(&kept.listener, &mut event)?;
                        }
                    }
                }
                continue;
            }
            let Some(of) = kept.get(&event.data()) else {
                continue;
            };
            if event.events().contains(EpollFlags::EPOLLIN) {
                if let Ok(notification) = notify::receive(of.listener.as_fd(), &mut slot) {
                    let _ = notify::go_on(of.listener.as_fd(), notification);
                }
            } else if let Some(ended) = kept.remove(&event.data()) {
                // The agent may still have its copy, so closing this one would not be enough.
                epoll.delete(&ended.listener)?;
            }
        }
        if let (None, Some(socket)) = (&agent, socket) {
            kept.retain(|_, kept| {
                let handed_on = hand_on(kept, socket).is_ok();
                if handed_on {
                    let _ = epoll.delete(&kept.listener);
                }
                !handed_on
            });
        }
    }
}

/// Hands a container to the new agent, as a runtime does.
fn hand_on(kept: &KeptListener, socket: &Path) -> io::Result<()> {
    let stream = UnixStream::connect(socket)?;
    let mut state: Value = serde_json::from_slice(&kept.message)?;
    state[RESUMED] = Value::Bool(true);
    let message = serde_json::to_vec(&state)?;
    send(
        stream.as_fd(),
        &message,
        &[kept.listener.as_fd()],
        MsgFlags::empty(),
    )
}
