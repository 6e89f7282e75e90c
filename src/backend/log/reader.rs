//! The threads that read, and do nothing else: the kernel keeps little for a slow reader.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::Sender;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Message;
use super::batch::{Batch, Kind};
use super::socket::{AuditSocket, LONGEST_MESSAGE};

/// The longest message of `/dev/kmsg`, with its properties (`PRINTKRB_RECORD_MAX` and a prefix).
const LONGEST_LINE: usize = 8 << 10;

/// What is read from.
pub(super) enum Reader {
    /// The kernel's audit socket.
    Socket(AuditSocket),
    /// `/dev/kmsg`.
    Kmsg(Kmsg),
}

/// Messages of the kernel's log from now on.
pub(super) struct Kmsg(File);

impl Kmsg {
    pub(super) fn open() -> io::Result<Kmsg> {
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Kmsg(file))
    }

    fn receive(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        let mut file = &self.0;
        file.read(buffer)
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

impl Reader {
    /// Reads until there is something to read from `stop`, or nobody wants to know more.
    pub(super) fn read(&self, stop: BorrowedFd<'_>, out: &Sender<Message>) {
        match self {
            Reader::Socket(socket) => {
                let receive = |buffer: &mut [u8]| socket.receive(buffer);
                read(
                    socket.as_fd(),
                    receive,
                    LONGEST_MESSAGE,
                    &Kind::Datagram,
                    stop,
                    out,
                );
            }
            Reader::Kmsg(kmsg) => {
                let receive = |buffer: &mut [u8]| kmsg.receive(buffer);
                read(
                    kmsg.0.as_fd(),
                    receive,
                    LONGEST_LINE,
                    &Kind::Kmsg,
                    stop,
                    out,
                );
            }
        }
    }
}

fn read(
    fd: BorrowedFd<'_>,
    receive: impl Fn(&mut [u8]) -> nix::Result<usize>,
    longest: usize,
    kind: &Kind,
    stop: BorrowedFd<'_>,
    out: &Sender<Message>,
) {
    let mut batch = Batch::new();
    loop {
        let Some(room) = batch.room(longest) else {
            let full = std::mem::replace(&mut batch, Batch::new());
            if out.send(Message::Batch(full)).is_err() {
                return;
            }
            continue;
        };
        match receive(room) {
            Ok(length) => batch.push(kind.clone(), length),
            // EPIPE: messages of /dev/kmsg were overwritten before they were read.
            Err(Errno::ENOBUFS | Errno::EPIPE) => batch.push(Kind::Overrun, 0),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                if !batch.is_empty() {
                    let full = std::mem::replace(&mut batch, Batch::new());
                    if out.send(Message::Batch(full)).is_err() {
                        return;
                    }
                }
                let mut fds = [
                    PollFd::new(fd, PollFlags::POLLIN),
                    PollFd::new(stop, PollFlags::POLLIN),
                ];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) if fds[1].any() == Some(true) => return,
                    Ok(_) | Err(_) => {}
                }
            }
            Err(error) => {
                batch.push(Kind::Over(Some(error.desc().to_owned())), 0);
                let _ = out.send(Message::Batch(batch));
                return;
            }
        }
    }
}
