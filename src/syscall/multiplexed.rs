//! The calls that older ABIs make through socketcall(2) and ipc(2), whose first argument selects the call.

use super::{Arch, Syscall};

/// socketcall(2) makes the nth of these, from 1 on (`linux/net.h`).
pub(crate) const SOCKETCALLS: [&str; 20] = [
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
];

/// ipc(2) makes these (`linux/ipc.h`).
pub(crate) const IPCS: [(u64, &str); 12] = [
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];

/// The call through which a call can be made, and its first argument then.
pub(crate) fn multiplexed(name: &str) -> Option<(&'static str, u64)> {
    let socketcall = (1..).zip(SOCKETCALLS).find(|(_, call)| *call == name);
    let ipc = IPCS.into_iter().find(|(_, call)| *call == name);
    (socketcall.map(|(number, _)| ("socketcall", number)))
        .or(ipc.map(|(number, _)| ("ipc", number)))
}

/// The call of an ABI through which a call can be made.
pub(crate) fn multiplexer_on(arch: Arch, name: &str) -> Option<&'static str> {
    let (multiplexer, _) = multiplexed(name)?;
    Syscall::from_name(arch, multiplexer).map(|_| multiplexer)
}
