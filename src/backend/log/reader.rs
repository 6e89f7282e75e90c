//! The reading threads. They only read, since the kernel queues little for a slow reader.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::IntakeMessage;
use super::batch::{Batch, MessageKind};
use super::socket::{AuditSocket, LONGEST_MESSAGE};
use super::tail::Tail;
use crate::audit::{Classifier, LogItem, LogLine, read_log};

/// The longest message of `/dev/kmsg`, with its properties (`PRINTKRB_RECORD_MAX` and a prefix).
const LONGEST_LINE: usize = 8 << 10;

/// An opened source of records.
pub(super) enum RecordReader {
    /// The kernel's audit socket.
    Socket(AuditSocket),
    /// `/dev/kmsg`.
    Kmsg(Kmsg),
    /// Lines that a daemon writes or wrote. The reading thread takes them.
    Lines(Mutex<Option<LineSource>>),
}

/// A source of lines.
pub(super) enum LineSource {
    /// A file that may grow.
    Tail(Tail),
    /// A pipe, a terminal, or a file that is read to its end.
    Stream(File),
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

impl RecordReader {
    /// Reads until `stop` becomes readable or the receiver is gone.
    pub(super) fn read(
        &self,
        stop: BorrowedFd<'_>,
        out: &SyncSender<IntakeMessage>,
        trust_syslog: bool,
    ) {
        match self {
            RecordReader::Socket(socket) => {
                let receive = |buffer: &mut [u8]| socket.receive(buffer);
                read(
                    socket.as_fd(),
                    receive,
                    LONGEST_MESSAGE,
                    &MessageKind::Datagram,
                    stop,
                    out,
                );
            }
            RecordReader::Kmsg(kmsg) => {
                let receive = |buffer: &mut [u8]| kmsg.receive(buffer);
                read(
                    kmsg.0.as_fd(),
                    receive,
                    LONGEST_LINE,
                    &MessageKind::Kmsg,
                    stop,
                    out,
                );
            }
            RecordReader::Lines(lines) => {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(lines) = lines.take() {
                    read_lines(lines, stop, out, &Classifier::new(trust_syslog));
                }
            }
        }
    }
}

fn read(
    fd: BorrowedFd<'_>,
    receive: impl Fn(&mut [u8]) -> nix::Result<usize>,
    longest: usize,
    kind: &MessageKind,
    stop: BorrowedFd<'_>,
    out: &SyncSender<IntakeMessage>,
) {
    let mut batch = Batch::new();
    loop {
        let Some(room) = batch.room(longest) else {
            let full = std::mem::replace(&mut batch, Batch::new());
            if out.send(IntakeMessage::Batch(full)).is_err() {
                return;
            }
            continue;
        };
        match receive(room) {
            Ok(length) => batch.push(kind.clone(), length),
            // EPIPE: messages of /dev/kmsg were overwritten before they were read.
            Err(Errno::ENOBUFS | Errno::EPIPE) => batch.push(MessageKind::Overrun, 0),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => {
                if !batch.is_empty() {
                    let full = std::mem::replace(&mut batch, Batch::new());
                    if out.send(IntakeMessage::Batch(full)).is_err() {
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
                batch.push(MessageKind::Over(Some(error.desc().to_owned())), 0);
                let _ = out.send(IntakeMessage::Batch(batch));
                return;
            }
        }
    }
}

/// Reads lines and classifies them on this thread: a file doesn't drop what waits to be read.
fn read_lines(
    lines: LineSource,
    stop: BorrowedFd<'_>,
    out: &SyncSender<IntakeMessage>,
    classifier: &Classifier,
) {
    let batch = RefCell::new(Batch::new());
    let mut source = Blocking {
        lines,
        stop,
        batch: &batch,
        out,
        stopped: false,
    };
    let read = read_log(&mut source, classifier, &mut 0, &mut |_, item| {
        push(&mut batch.borrow_mut(), out, item);
    });
    if !source.stopped {
        let why = read.err().map(|error| error.to_string());
        batch.borrow_mut().push(MessageKind::Over(why), 0);
    }
    flush(&mut batch.borrow_mut(), out);
}

fn push(batch: &mut Batch, out: &SyncSender<IntakeMessage>, item: LogItem<'_>) {
    let (kind, bytes): (MessageKind, &[u8]) = match item {
        LogItem::Line(LogLine::Seccomp(text)) => (MessageKind::Record, text),
        LogItem::Line(LogLine::SeccompBody { body, time, serial }) => {
            (MessageKind::Headless { time, serial }, body)
        }
        LogItem::Line(LogLine::OtherRecord(serial)) => (MessageKind::Other(serial), &[]),
        LogItem::Line(LogLine::Loss(note)) => (MessageKind::Note(note), &[]),
        LogItem::Line(LogLine::Untrusted) => (MessageKind::Untrusted, &[]),
        LogItem::Line(LogLine::AusearchSeparator | LogLine::Unrelated)
        | LogItem::KmsgSequence(_) => return,
        LogItem::BadJson(why) => (MessageKind::Broken(why), &[]),
    };
    if batch.room(bytes.len()).is_none() {
        flush(batch, out);
    }
    if let Some(room) = batch.room(bytes.len()) {
        room.copy_from_slice(bytes);
        batch.push(kind, bytes.len());
    }
}

/// Hands a batch on. If the receiver is gone, `stop` is readable, so the error doesn't matter.
fn flush(batch: &mut Batch, out: &SyncSender<IntakeMessage>) {
    if !batch.is_empty() {
        let full = std::mem::replace(batch, Batch::new());
        let _ = out.send(IntakeMessage::Batch(full));
    }
}

/// Hands on what was read before each wait for more.
struct Blocking<'a> {
    lines: LineSource,
    stop: BorrowedFd<'a>,
    batch: &'a RefCell<Batch>,
    out: &'a SyncSender<IntakeMessage>,
    stopped: bool,
}

impl Read for Blocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.stopped {
            match &mut self.lines {
                LineSource::Tail(tail) => {
                    let count = tail.read_now(buffer)?;
                    if count > 0 {
                        return Ok(count);
                    }
                    flush(&mut self.batch.borrow_mut(), self.out);
                    self.stopped = tail.wait(self.stop);
                }
                LineSource::Stream(file) => {
                    flush(&mut self.batch.borrow_mut(), self.out);
                    let mut fds = [
                        PollFd::new(file.as_fd(), PollFlags::POLLIN),
                        PollFd::new(self.stop, PollFlags::POLLIN),
                    ];
                    let ready = poll(&mut fds, PollTimeout::NONE);
                    let any = fds.map(|fd| fd.any() == Some(true));
                    match (ready, any) {
                        (Ok(_), [_, true]) => self.stopped = true,
                        (Ok(_), [true, _]) => return file.read(buffer),
                        _ => {}
                    }
                }
            }
        }
        Ok(0)
    }
}
