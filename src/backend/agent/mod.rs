//! The agent: a seccomp listener for containers, as the OCI runtime specification defines it (`listenerPath`).
//!
//! A runtime loads a profile with `SCMP_ACT_NOTIFY`, and sends the listener's descriptor to the agent's socket. From
//! then on, every call waits until the agent has counted it and lets the kernel execute it. No task is traced, and the
//! image needs no changes.
//!
//! Each container has a [thread](serve) that answers. Files of proc(5) are read for a new task, and after an execve(2)
//! or at an exit.
//!
//! If its listener is closed, each call of a container fails with ENOSYS. So a second process, the
//! [keeper](crate::backend::listener::keeper), has a copy of every listener: when the agent ends, in any way, it answers
//! until the containers end or another agent takes over.

mod container;
mod hand_over;
mod serve;

use std::collections::{HashMap, VecDeque};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::{self, Scope};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustc_hash::FxBuildHasher;

pub use self::container::NAME_LABEL;
use self::container::RecordedContainer;
use self::hand_over::{Connection, HandOverProgress};
use self::serve::{Served, Shared, lock};
pub use super::listener::keeper::{Keeper, keep};
use super::{
    Backend, Collector, Detail, Error, Interest, Notice, Promise, Scope as Recorded, Stop, Target,
    Unavailable, WorkloadId,
};
use crate::sys::notify::{self, Slots};

/// The name of this backend in recordings.
const NAME: &str = "agent";

/// Records the containers whose runtimes connect to a socket, until the [`Stop`].
#[derive(Debug)]
pub struct Agent {
    /// The socket to which runtimes connect: the `listenerPath` of profiles. Only this user's processes can connect.
    pub socket: PathBuf,
    /// Answers after the agent has ended.
    pub keeper: Option<Keeper>,
    /// The calls of the workloads, not of the runtimes, whose arguments are wanted. Call sites are not found.
    pub interest: Interest,
}

const OTHERS: Unavailable = Unavailable::Target(
    "a command or a process: it records containers whose runtimes connect to it",
);

impl Backend for Agent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self, target: &Target) -> Result<Promise, Unavailable> {
        match target {
            Target::Scope(Recorded::Everything) => Ok(Promise {
                detail: Detail::PerCall,
                call_sites: false,
                how: format!("seccomp notifications at {}", self.socket.display()),
            }),
            Target::Scope(_) | Target::Command(_) | Target::Process(_) => Err(OTHERS),
        }
    }

    fn record(
        &self,
        target: &Target,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error> {
        (self.probe(target)).map_err(Error::unavailable(NAME))?;
        let socket = Socket::bind(&self.socket)?;
        let shared: Shared<'_> = Mutex::new(collector);
        let mut agent = Listening {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
                .map_err(Error::system("epoll_create1"))?,
            connections: HashMap::default(),
            next: FIRST_CONNECTION,
            keeper: self.keeper.as_ref(),
            interest: &self.interest,
            keeper_failed: false,
            shared: &shared,
            stop,
        };
        agent.watch(&socket.listener, SOCKET)?;
        agent.watch(stop, STOP)?;
        agent.notice(Notice::Ready(format!(
            "listening at {} until it is interrupted",
            self.socket.display()
        )));
        thread::scope(|scope| {
            let served = agent.serve(scope, &socket.listener);
            if served.is_err() {
                stop.request("the agent failed");
            }
            served
        })
    }
}

/// A socket file of this process, which it removes at the end.
struct Socket<'a> {
    listener: UnixListener,
    path: &'a Path,
}

impl<'a> Socket<'a> {
    fn bind(path: &'a Path) -> Result<Socket<'a>, Error> {
        let failed = |source: io::Error| Error::Socket {
            path: path.to_owned(),
            source,
        };
        // A killed agent leaves its file, at which no process listens.
        match UnixStream::connect(path) {
            Ok(_) => return Err(failed(io::ErrorKind::AddrInUse.into())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)?;
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Socket { listener, path };
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        socket.listener.set_nonblocking(true).map_err(failed)?;
        Ok(socket)
    }
}

impl Drop for Socket<'_> {
    fn drop(&mut self) {
        // If it is already removed, there is nothing to do.
        let _ = fs::remove_file(self.path);
    }
}

/// The data of epoll(7) events: the socket, the stop, or a connection.
const SOCKET: u64 = 0;
const STOP: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

/// The maximum number of events per `epoll_wait(2)`.
const BATCH: usize = 64;

/// The maximum number of runtimes that hand over at the same time.
const MAX_CONNECTIONS: usize = 4096;

struct Listening<'a> {
    epoll: Epoll,
    connections: HashMap<u64, Connection, FxBuildHasher>,
    next: u64,
    keeper: Option<&'a Keeper>,
    interest: &'a Interest,
    keeper_failed: bool,
    shared: &'a Shared<'a>,
    stop: &'a Stop,
}

impl<'a> Listening<'a> {
    fn watch(&self, fd: impl AsFd, id: u64) -> Result<(), Error> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, id);
        (self.epoll.add(fd, event)).map_err(Error::system("epoll_ctl"))
    }

    fn notice(&self, notice: Notice) {
        lock(self.shared).notice(notice);
    }

    fn serve<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        socket: &UnixListener,
    ) -> Result<(), Error> {
        let mut events = [EpollEvent::empty(); BATCH];
        while !self.stop.is_requested() {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                ready => ready.map_err(Error::system("epoll_wait"))?,
            };
            for event in &events[..ready] {
                match event.data() {
                    STOP => {}
                    SOCKET => self.accept(socket),
                    id => self.read(scope, id),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, socket: &UnixListener) {
        while let Ok((stream, _)) = socket.accept() {
            if self.connections.len() >= MAX_CONNECTIONS {
                let why = "too many runtimes connect at the same time: one was refused";
                self.notice(Notice::Progress(why.to_owned()));
                continue;
            }
            let id = self.next;
            self.next += 1;
            let added = Connection::new(stream).and_then(|connection| {
                self.watch(connection.as_fd(), id)
                    .map_err(io::Error::other)?;
                Ok(connection)
            });
            match added {
                Ok(connection) => {
                    self.connections.insert(id, connection);
                }
                Err(error) => {
                    let why = format!("the connection of a runtime failed: {error}");
                    self.notice(Notice::Progress(why));
                }
            }
        }
    }

    fn read<'scope>(&mut self, scope: &'scope Scope<'scope, 'a>, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        match connection.read() {
            Ok(HandOverProgress::More) => {}
            Ok(HandOverProgress::Done(hand_over)) => {
                self.connections.remove(&id);
                let container = hand_over.id().to_owned();
                if let Err(error) = self.begin(scope, id, *hand_over) {
                    let why = format!("container {container} is not recorded: {error}");
                    self.notice(Notice::Progress(why));
                }
            }
            Err(error) => {
                self.connections.remove(&id);
                let why = format!("a hand-over failed, its container is not recorded: {error}");
                self.notice(Notice::Progress(why));
            }
        }
    }

    fn begin<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        id: u64,
        hand_over: hand_over::HandOver,
    ) -> io::Result<()> {
        let mut slots = Slots::new()?;
        let passed = self.keeper.map(|keeper| {
            let listener = hand_over.listener.as_fd();
            keeper.pass(&hand_over.message, listener, &slots)
        });
        if let Some(Err(error)) = passed
            && !std::mem::replace(&mut self.keeper_failed, true)
        {
            let why = format!("warning: containers won't outlive the agent: {error}");
            self.notice(Notice::Progress(why));
        }
        let id_of = hand_over.id();
        self.notice(if hand_over.state.resumed {
            Notice::Progress(format!(
                "container {id_of} is taken over from an agent that ended"
            ))
        } else {
            Notice::Choice(format!("container {id_of} begins"))
        });
        notify::wake_synchronously(hand_over.listener.as_fd());
        let (container, workload) = RecordedContainer::new(&hand_over, self.interest.clone());
        let (shared, stop, id) = (self.shared, self.stop, WorkloadId(id));
        let thread = thread::Builder::new().name("container".to_owned());
        thread.spawn_scoped(scope, move || {
            let _guard = StopOnPanic(stop);
            lock(shared).begin(id, workload);
            container.begun(&mut |event| lock(shared).event(id, event));
            let served = Served {
                id,
                listener: &hand_over.listener,
                container,
                shared,
                stop,
                free: slots.each().into(),
                taken: VecDeque::new(),
            };
            served.serve();
        })?;
        Ok(())
    }
}

/// Ends the agent if its thread panics: the keeper then answers for all containers.
struct StopOnPanic<'a>(&'a Stop);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.request("the agent panicked");
        }
    }
}
