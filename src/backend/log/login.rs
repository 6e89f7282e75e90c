//! Which records are the workload's.
//!
//! A record tells the process, but a process can be gone, and its number given to another, before its record is read; and
//! other programs of the machine may be logged too. It also tells the login session (`ses=`), an inherited number that
//! nothing but a login changes. So the thread that starts the workload begins a session of its own, by writing to its
//! `/proc/thread-self/loginuid` the uid that is there, or its own where none is: the kernel gives it a number that no task
//! had before (`audit_set_loginuid`), and whatever the workload starts inherits it, however it detaches itself.
//!
//! The same number tells which processes of the workload still live ([`living`]), without making the recorder the parent
//! of orphans (`PR_SET_CHILD_SUBREAPER`), which they would see.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};

use crate::backend::proc;
use crate::event::Task;

/// The number of those without a session, and the uid of those that didn't log in (`AUDIT_SID_UNSET`).
pub(super) const UNSET: u32 = u32::MAX;

/// The session by which the workload's records are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginSession {
    /// The workload's own.
    Own(u32),
    /// Only that which the recorder was started in, together with whatever else runs in it.
    Shared(u32),
}

impl LoginSession {
    /// Begins a session for the calling thread and the processes that it makes from now on. Only `CAP_AUDIT_CONTROL`
    /// allows it to those who are in one.
    pub(super) fn begin() -> LoginSession {
        let own = |path: &str| -> Option<u32> {
            let text = fs::read_to_string(format!("/proc/thread-self/{path}")).ok()?;
            text.trim().parse().ok()
        };
        let before = own("sessionid").unwrap_or(UNSET);
        let user = own("loginuid")
            .filter(|user| *user != UNSET)
            .unwrap_or_else(|| nix::unistd::getuid().as_raw());
        let written = fs::write("/proc/thread-self/loginuid", user.to_string());
        match own("sessionid") {
            Some(session) if written.is_ok() && session != before && session != UNSET => {
                LoginSession::Own(session)
            }
            _ => LoginSession::Shared(before),
        }
    }

    pub(super) fn number(self) -> u32 {
        match self {
            LoginSession::Own(number) | LoginSession::Shared(number) => number,
        }
    }
}

/// Tells other recorders that a session is the workload of this one: an abstract socket, whose name says so as long as it is
/// open.
pub(super) struct Announcement {
    _socket: OwnedFd,
}

const ANNOUNCED: &str = "sc-record-session-";

impl LoginSession {
    /// Announces a session of the workload's own. If this fails, others may take its records for doubtful.
    pub(super) fn announce(self) -> Option<Announcement> {
        let LoginSession::Own(number) = self else {
            return None;
        };
        let name = format!("{ANNOUNCED}{number}-{}", std::process::id());
        let address = UnixAddr::new_abstract(name.as_bytes()).ok()?;
        let socket = socket(
            AddressFamily::Unix,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        );
        let socket = socket.ok()?;
        bind(socket.as_raw_fd(), &address).ok()?;
        Some(Announcement { _socket: socket })
    }
}

/// The recorder that announced this session.
pub(super) fn recorder_of(session: u32) -> Option<i32> {
    let sockets = fs::read_to_string("/proc/net/unix").ok()?;
    let name = format!("@{ANNOUNCED}{session}-");
    let at = sockets.find(&name)? + name.len();
    sockets[at..].split('\n').next()?.parse().ok()
}

/// A scan during which pids began anew is made again, so often at most.
const SCANS: usize = 100;

/// The processes that live in these sessions (in a shared one: of those under a filter). Each descriptor becomes readable
/// when its process has ended.
///
/// A process that ends during a scan, before it is come to, can leave behind a child. The child has a higher pid, so it is
/// come to later in the same scan; unless pids, which ascend, began anew meanwhile.
pub(super) fn living(sessions: &BTreeSet<u32>, session: LoginSession) -> io::Result<Vec<OwnedFd>> {
    for _ in 0..SCANS {
        let before = latest_pid()?;
        let found = scan(sessions, session)?;
        if !found.is_empty() || latest_pid()? >= before {
            return Ok(found);
        }
    }
    Err(io::Error::other(
        "pids begin anew faster than processes can be looked through",
    ))
}

/// Looks at one process after another, by ascending pids: `/proc` is listed as it is read on.
fn scan(sessions: &BTreeSet<u32>, session: LoginSession) -> io::Result<Vec<OwnedFd>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(process) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let is_member =
            proc::session_of(Task(process)).is_some_and(|session| sessions.contains(&session));
        if !is_member || (matches!(session, LoginSession::Shared(_)) && !has_filter(process)) {
            continue;
        }
        match crate::sys::pidfd::open(process) {
            Ok(fd) if !has_ended(&fd) => found.push(fd),
            Ok(_) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Whether a process runs under a filter.
pub(super) fn has_filter(process: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let mode = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"));
    mode.is_some_and(|mode| mode.trim() == "2")
}

/// Whether the process is a zombie, with all its threads.
fn has_ended(process: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(
        std::os::fd::AsFd::as_fd(process),
        PollFlags::POLLIN,
    )];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// The pid that was given away last (`/proc/loadavg`).
fn latest_pid() -> io::Result<u32> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let latest = text.split_ascii_whitespace().nth(4);
    latest
        .and_then(|latest| latest.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/loadavg doesn't tell the latest pid"))
}
