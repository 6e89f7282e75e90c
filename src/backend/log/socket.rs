//! The kernel's audit socket: its records, its status, and the role of the audit daemon (netlink(7), `linux/audit.h`).
//!
//! The framing is done here: the kernel deliberately writes a wrong length into the headers of records (for auditd, see
//! `kauditd_send_multicast_skb`), which netlink libraries reject. One datagram is one message.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto,
    setsockopt, socket, sockopt,
};

/// Room for one message: records have at most 8970 bytes (`MAX_AUDIT_MESSAGE_LENGTH`), rules 2 KB plus their strings.
pub(super) const LONGEST_MESSAGE: usize = 16 << 10;

/// The length of a header (`struct nlmsghdr`).
const HEADER: usize = 16;

/// Types of messages.
const AUDIT_GET: u16 = 1000;
const AUDIT_SET: u16 = 1001;
const AUDIT_LIST_RULES: u16 = 1013;
/// The kernel checks whether this daemon is alive. It is no record.
const AUDIT_REPLACE: u16 = 1329;
/// The first type of records (`AUDIT_FIRST_USER_MSG`). Lower types are requests and their answers.
const FIRST_RECORD: u16 = 1100;
/// A seccomp record.
pub(super) const AUDIT_SECCOMP: u16 = 1326;
/// The audit or seccomp configuration of the kernel was changed.
pub(super) const AUDIT_CONFIG_CHANGE: u16 = 1305;

/// The multicast group `AUDIT_NLGRP_READLOG`, as a mask.
const READLOG: u32 = 1;

/// How long the kernel may take to answer. It answers at once, or from a kernel thread that it starts.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// An audit socket.
pub(super) struct AuditSocket {
    fd: OwnedFd,
}

/// Audit's status (`struct audit_status`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct AuditStatus {
    /// The audit daemon; 0: none.
    pub(super) daemon: u32,
    /// How many records the kernel lost since boot. They have no serial number and reached no reader.
    pub(super) lost: u32,
}

/// A message, without its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AuditMessage<'a> {
    pub(super) kind: u16,
    sequence: u32,
    pub(super) body: &'a [u8],
}

impl<'a> AuditMessage<'a> {
    /// The message of a datagram; `None` if it is too short to be one.
    pub(super) fn of(datagram: &'a [u8]) -> Option<AuditMessage<'a>> {
        let word = |at: usize| {
            Some(u32::from_ne_bytes(
                datagram.get(at..at + 4)?.try_into().ok()?,
            ))
        };
        let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
        Some(AuditMessage {
            kind,
            sequence: word(8)?,
            body: datagram.get(HEADER..)?,
        })
    }

    /// Whether this is a record, of whatever type.
    pub(super) fn is_record(&self) -> bool {
        self.kind >= FIRST_RECORD && self.kind != AUDIT_REPLACE
    }

    /// The text of a record.
    pub(super) fn text(&self) -> &'a [u8] {
        let end = self.body.iter().rposition(|&byte| byte != 0);
        &self.body[..end.map_or(0, |end| end + 1)]
    }
}

impl AuditSocket {
    pub(super) fn open() -> nix::Result<AuditSocket> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkAudit,
        )?;
        Ok(AuditSocket { fd })
    }

    /// Subscribes to all records. EPERM: `CAP_AUDIT_READ` is missing.
    pub(super) fn join_readers(&self) -> nix::Result<()> {
        bind(self.fd.as_raw_fd(), &NetlinkAddr::new(0, READLOG))
    }

    /// Sets the size of the receive buffer. An unprivileged process gets at most `net.core.rmem_max`.
    pub(super) fn set_receive_buffer(&self, bytes: usize) -> nix::Result<()> {
        setsockopt(&self.fd, sockopt::RcvBufForce, &bytes)
            .or_else(|_| setsockopt(&self.fd, sockopt::RcvBuf, &bytes))
    }

    /// Reads a pending datagram. EAGAIN: there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> nix::Result<usize> {
        recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
    }

    /// How many messages did not fit into this socket's buffer; `None` if the kernel doesn't report it.
    pub(super) fn drops(&self) -> Option<u32> {
        crate::sys::netlink::drops(self.fd.as_fd())
    }

    /// Requests audit's status. EPERM: `CAP_AUDIT_CONTROL` is missing.
    pub(super) fn status(&self) -> nix::Result<AuditStatus> {
        let mut status = AuditStatus::default();
        self.request(AUDIT_GET, &[], |message| {
            let word = |index: usize| {
                let bytes = message.body.get(4 * index..4 * index + 4)?;
                Some(u32::from_ne_bytes(bytes.try_into().ok()?))
            };
            if message.kind == AUDIT_GET {
                // mask, enabled, failure, pid, rate_limit, backlog_limit, lost, …
                status.daemon = word(3).unwrap_or_default();
                status.lost = word(6).unwrap_or_default();
            }
            message.kind == AUDIT_GET
        })?;
        Ok(status)
    }

    /// Makes a process the audit daemon, which receives all records through this socket, or (0) gives up the role.
    /// EEXIST: there is a daemon.
    pub(super) fn set_daemon(&self, process: u32) -> nix::Result<()> {
        const AUDIT_STATUS_PID: u32 = 4;
        let mut status = [0u32; 10];
        status[0] = AUDIT_STATUS_PID;
        status[3] = process;
        let bytes: Vec<u8> = status.iter().flat_map(|word| word.to_ne_bytes()).collect();
        self.request(AUDIT_SET, &bytes, |_| true)
    }

    /// Whether a rule (`auditctl -a exclude,always`) may exclude seccomp records.
    pub(super) fn may_exclude_seccomp(&self) -> nix::Result<bool> {
        let mut excluded = false;
        self.request(AUDIT_LIST_RULES, &[], |message| {
            if message.kind == AUDIT_LIST_RULES {
                excluded |= rule_may_exclude_seccomp(message.body);
            }
            message.kind == NLMSG_DONE
        })?;
        Ok(excluded)
    }

    /// Sends a request, and takes its answers until `is_last` returns true and the kernel has acknowledged the request.
    fn request(
        &self,
        kind: u16,
        body: &[u8],
        mut is_last: impl FnMut(AuditMessage<'_>) -> bool,
    ) -> nix::Result<()> {
        const SEQUENCE: u32 = 0x5c5c;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Both are small.
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::EMSGSIZE)?;
        let mut request = Vec::with_capacity(HEADER + body.len());
        request.extend(length.to_ne_bytes());
        request.extend(kind.to_ne_bytes());
        request.extend(flags.to_ne_bytes());
        request.extend(SEQUENCE.to_ne_bytes());
        request.extend(0u32.to_ne_bytes());
        request.extend(body);
        sendto(
            self.fd.as_raw_fd(),
            &request,
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let (mut acknowledged, mut answered) = (false, kind == AUDIT_SET);
        let mut buffer = vec![0; LONGEST_MESSAGE];
        while !(acknowledged && answered) {
            let length = match self.receive(&mut buffer) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => {
                    wait_readable(self.fd.as_fd(), deadline)?;
                    continue;
                }
                // Dropped records, which are no answers.
                Err(Errno::ENOBUFS | Errno::EINTR) => continue,
                Err(error) => return Err(error),
            };
            let Some(message) = AuditMessage::of(&buffer[..length]) else {
                continue;
            };
            if message.sequence != SEQUENCE || message.is_record() {
                continue;
            }
            if message.kind == NLMSG_ERROR {
                let error = message
                    .body
                    .get(..4)
                    .and_then(|error| error.try_into().ok());
                match i32::from_ne_bytes(error.unwrap_or_default()) {
                    0 => acknowledged = true,
                    error => return Err(Errno::from_raw(-error)),
                }
            } else {
                answered |= is_last(message);
            }
        }
        Ok(())
    }
}

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

impl AsFd for AuditSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> nix::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = PollTimeout::try_from(left).map_err(|_| Errno::EINVAL)?;
    match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
        Ok(0) => Err(Errno::ETIMEDOUT),
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a rule (`struct audit_rule_data`) may exclude seccomp records. Its other conditions (uid, executable, …) may
/// hold for the workload.
fn rule_may_exclude_seccomp(rule: &[u8]) -> bool {
    const FIELDS: usize = 64;
    const AUDIT_FILTER_EXCLUDE: u32 = 5;
    const AUDIT_FILTER_PREPEND: u32 = 0x10;
    const AUDIT_MSGTYPE: u32 = 12;
    let word = |index: usize| {
        let bytes = rule.get(4 * index..4 * index + 4)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    let read = || {
        // On this list every action excludes, even "never" (audit_filter).
        let excludes = word(0)? & !AUDIT_FILTER_PREPEND == AUDIT_FILTER_EXCLUDE;
        if !excludes {
            return Some(false);
        }
        // After flags, action, field_count and the mask: fields, values, operators.
        let first = 3 + FIELDS;
        let fields = (word(2)? as usize).min(FIELDS);
        for field in 0..fields {
            let value = word(first + FIELDS + field)?;
            let seccomp = u32::from(AUDIT_SECCOMP);
            if word(first + field)? == AUDIT_MSGTYPE {
                let holds = match word(first + 2 * FIELDS + field)? {
                    0x4000_0000 => seccomp == value,
                    0x3000_0000 => seccomp != value,
                    0x1000_0000 => seccomp < value,
                    0x5000_0000 => seccomp <= value,
                    0x2000_0000 => seccomp > value,
                    0x6000_0000 => seccomp >= value,
                    _ => true,
                };
                if !holds {
                    return Some(false);
                }
            }
        }
        Some(true)
    };
    // A rule that can't be parsed may exclude anything.
    read().unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(flags: u32, action: u32, fields: &[(u32, u32, u32)]) -> Vec<u8> {
        let mut words = vec![0u32; 3 + 4 * 64 + 1];
        words[0] = flags;
        words[1] = action;
        words[2] = u32::try_from(fields.len()).unwrap();
        for (i, &(field, operator, value)) in fields.iter().enumerate() {
            words[3 + 64 + i] = field;
            words[3 + 128 + i] = value;
            words[3 + 192 + i] = operator;
        }
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn rules_that_may_exclude_seccomp_records_are_found() {
        const EQ: u32 = 0x4000_0000;
        let check = |flags, action, fields: &[_], expected| {
            let rule = rule(flags, action, fields);
            assert_eq!(rule_may_exclude_seccomp(&rule), expected, "{fields:?}");
        };
        check(5, 2, &[(12, EQ, 1326)], true);
        check(0x15, 2, &[(12, EQ, 1326)], true);
        check(5, 2, &[(12, EQ, 1300)], false);
        check(5, 2, &[(12, 0x6000_0000, 1300)], true);
        // exclude,always -F exe=…
        check(5, 2, &[(112, EQ, 8)], true);
        check(5, 2, &[(112, EQ, 8), (12, EQ, 1300)], false);
        check(5, 0, &[(12, EQ, 1326)], true);
        check(4, 2, &[], false);
        assert!(rule_may_exclude_seccomp(
            &rule(5, 2, &[(12, EQ, 1326)])[..16]
        ));
    }

    #[test]
    fn a_message_is_a_header_and_a_text_that_may_be_padded() {
        let mut datagram = vec![0; HEADER];
        datagram[4..6].copy_from_slice(&AUDIT_SECCOMP.to_ne_bytes());
        datagram.extend(b"audit(1.000:1): x\0\0\0");
        let message = AuditMessage::of(&datagram).unwrap();
        assert_eq!(message.kind, AUDIT_SECCOMP);
        assert!(message.is_record());
        assert_eq!(message.text(), b"audit(1.000:1): x");
        assert_eq!(AuditMessage::of(&datagram[..15]), None);
    }
}
