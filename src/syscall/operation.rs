//! Operations of `io_uring` (`io_uring_enter(2)`), which are no system calls.

use std::fmt;
use std::str::FromStr;

/// An operation that a workload submitted to `io_uring`, by its opcode. seccomp doesn't see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation(pub u8);

/// What the kernel puts before each name.
const PREFIX: &str = "IORING_OP_";

/// The names by their opcodes (`enum io_uring_op` in `linux/io_uring.h`, Linux 6.18).
#[rustfmt::skip]
const NAMES: [&str; 63] = [
    "NOP", "READV", "WRITEV", "FSYNC", "READ_FIXED", "WRITE_FIXED", "POLL_ADD", "POLL_REMOVE", "SYNC_FILE_RANGE", "SENDMSG",
    "RECVMSG", "TIMEOUT", "TIMEOUT_REMOVE", "ACCEPT", "ASYNC_CANCEL", "LINK_TIMEOUT", "CONNECT", "FALLOCATE", "OPENAT", "CLOSE",
    "FILES_UPDATE", "STATX", "READ", "WRITE", "FADVISE", "MADVISE", "SEND", "RECV", "OPENAT2", "EPOLL_CTL", "SPLICE",
    "PROVIDE_BUFFERS", "REMOVE_BUFFERS", "TEE", "SHUTDOWN", "RENAMEAT", "UNLINKAT", "MKDIRAT", "SYMLINKAT", "LINKAT", "MSG_RING",
    "FSETXATTR", "SETXATTR", "FGETXATTR", "GETXATTR", "SOCKET", "URING_CMD", "SEND_ZC", "SENDMSG_ZC", "READ_MULTISHOT", "WAITID",
    "FUTEX_WAIT", "FUTEX_WAKE", "FUTEX_WAITV", "FIXED_FD_INSTALL", "FTRUNCATE", "BIND", "LISTEN", "RECV_ZC", "EPOLL_WAIT",
    "READV_FIXED", "WRITEV_FIXED", "PIPE",
];

impl fmt::Display for Operation {
    /// The kernel's name, or `#` and the opcode.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(usize::from(self.0)) {
            Some(name) => write!(f, "{PREFIX}{name}"),
            None => write!(f, "#{}", self.0),
        }
    }
}

/// A text that is no operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("io_uring has no operation {0:?}")]
pub struct UnknownOperation(String);

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(text: &str) -> Result<Operation, UnknownOperation> {
        let opcode = match (text.strip_prefix(PREFIX), text.strip_prefix('#')) {
            (Some(name), _) => (0..).zip(NAMES).find(|(_, known)| *known == name),
            // In the form that is written only.
            (None, Some(number)) => (number.parse().ok()).map(|opcode| (opcode, "")),
            (None, None) => None,
        };
        let operation = opcode.map(|(opcode, _)| Operation(opcode));
        let is_canonical = |operation: &Operation| operation.to_string() == text;
        (operation.filter(is_canonical)).ok_or_else(|| UnknownOperation(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_read_as_it_is_written() {
        for opcode in 0..=u8::MAX {
            let text = Operation(opcode).to_string();
            assert_eq!(text.parse(), Ok(Operation(opcode)));
        }
        assert_eq!(Operation(22).to_string(), "IORING_OP_READ");
        for text in ["#22", "READ", "IORING_OP_", "#+200", "#256", "", "#0200"] {
            assert!(text.parse::<Operation>().is_err(), "{text}");
        }
    }
}
