//! Login sessions, which identify the workload's records.
//!
//! A record names the process, but before it is read the process can be gone and its pid reused; and other programs on
//! the machine may be logged too. A record also names the login session (`ses=`), an inherited number that only a login
//! changes. So the thread that starts the workload begins a new session: it writes the current login uid, or its own
//! uid if there is none, to `/proc/thread-self/loginuid`. The kernel assigns a number that no task had before
//! (`audit_set_loginuid`), and all descendants of the workload inherit it, however they detach themselves.
//!
//! The same number shows which processes of the workload still live ([`living`]). Making the recorder the parent of
//! orphans (`PR_SET_CHILD_SUBREAPER`) would show too, but the orphans would see it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, socket};

use crate::backend::proc;
use crate::event::Task;

/// The session number and login uid of tasks that didn't log in (`AUDIT_SID_UNSET`).
pub(super) const UNSET: u32 = u32::MAX;

/// The session that identifies the workload's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoginSession {
    /// The workload's own.
    Own(u32),
    /// The session of the recorder, shared with other programs.
    Shared(u32),
}

impl LoginSession {
    /// Begins a session for the calling thread and the processes that it creates from now on. A thread that already has
    /// a session needs `CAP_AUDIT_CONTROL`.
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

/// Announces to other recorders that a session is this recorder's workload, by the name of an abstract socket, as long
/// as it is open.
pub(super) struct Announcement {
    _socket: OwnedFd,
}

const ANNOUNCED: &str = "sc-record-session-";

impl LoginSession {
    /// Announces a session of the workload's own. If this fails, other recorders may report its records as doubtful.
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

/// How often to repeat a scan during which pids wrapped around.
const SCANS: usize = 100;

/// The living processes of these sessions (in a shared session, only those under a filter). Each descriptor becomes
/// readable when its process has ended.
///
/// A process that ends before the scan reaches it can leave a child behind. The child has a higher pid, so the same
/// scan reaches it later, unless pids wrapped around meanwhile.
pub(super) fn living(sessions: &BTreeSet<u32>, session: LoginSession) -> io::Result<Vec<OwnedFd>> {
    for _ in 0..SCANS {
        let before = latest_pid()?;
        let found = scan(sessions, session)?;
        if !found.is_empty() || latest_pid()? >= before {
            return Ok(found);
        }
    }
    Err(io::Error::other(
        "pids wrap around faster than /proc can be scanned",
    ))
}

/// Checks the processes by ascending pid: the kernel lists `/proc` in this order while it is read.
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
        if !is_member
            || (matches!(session, LoginSession::Shared(_)) && !proc::has_filter(Task(process)))
        {
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

/// Whether the process is a zombie, with all its threads.
fn has_ended(process: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(
        std::os::fd::AsFd::as_fd(process),
        PollFlags::POLLIN,
    )];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// The latest pid that was assigned (`/proc/loadavg`).
fn latest_pid() -> io::Result<u32> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let latest = text.split_ascii_whitespace().nth(4);
    latest
        .and_then(|latest| latest.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/loadavg doesn't contain the latest pid"))
}
