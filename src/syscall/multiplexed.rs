//! The calls that older ABIs make through socketcall(2) and ipc(2), whose first argument selects the call.

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

/// The call through which a call can be made.
pub(crate) fn multiplexer_of(name: &str) -> Option<&'static str> {
    if SOCKETCALLS.contains(&name) {
        Some("socketcall")
    } else if IPCS.iter().any(|(_, call)| *call == name) {
        Some("ipc")
    } else {
        None
    }
}
