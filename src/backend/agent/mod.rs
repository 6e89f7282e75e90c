//! The agent: a seccomp listener for containers, as the OCI runtime specification defines it (`listenerPath`).
//!
//! A runtime loads a profile with `SCMP_ACT_NOTIFY`, and sends the listener's descriptor to the agent's socket. From
//! then on, every call waits until the agent has counted it and lets the kernel execute it. No task is traced, and the
//! image needs no changes.
//!
//! One thread answers for all containers. Files of proc(5) are read for a new task and after an execve(2) only.
//!
//! If its listener is closed, each call of a container fails with ENOSYS. So a second process, the
//! [keeper](crate::backend::listener::keeper), has a copy of every listener: when the agent ends, in any way, it answers
//! until the containers end or another agent takes over.

mod container;
mod hand_over;

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustc_hash::FxBuildHasher;

use self::container::Container;
use self::hand_over::{Connection, Progress};
use super::listener::callers::Call;
pub use super::listener::keeper::{Keeper, keep};
use super::{
    Backend, Collector, Detail, Error, Notice, Promise, RunEnd, Scope, Stop, Target, Unavailable,
    WorkloadId,
};
use crate::event::Event;
use crate::sys::notify::{self, Slot, Slots};

/// The name of this backend in recordings.
const NAME: &str = "agent";

/// The label with the name of the recording to which a run belongs.
pub const NAME_LABEL: &str = "name";

/// Records the containers whose runtimes connect to a socket, until the [`Stop`].
#[derive(Debug)]
pub struct Agent {
    /// The socket to which runtimes connect: the `listenerPath` of profiles. Only this user's processes can connect.
    pub socket: PathBuf,
    /// Answers after the agent has ended.
    pub keeper: Option<Keeper>,
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
            Target::Scope(Scope::Everything) => Ok(Promise {
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
        let source = self.probe(target).err();
        if let Some(source) = source {
            let backend = NAME;
            return Err(Error::Unavailable { backend, source });
        }
        let socket = Socket::bind(&self.socket)?;
        let mut slots = Slots::new().map_err(Error::system("memfd_create"))?;
        if let Some(keeper) = &self.keeper {
            let shared = keeper.share(&slots);
            shared.map_err(Error::io("sending memory to the keeper"))?;
        }
        let [slot, ..] = slots.each();
        let mut agent = Listening {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
                .map_err(Error::system("epoll_create1"))?,
            clients: HashMap::default(),
            next: FIRST_CLIENT,
            keeper: self.keeper.as_ref(),
            keeper_failed: AtomicBool::new(false),
            slot,
        };
        agent.watch(&socket.listener, SOCKET)?;
        agent.watch(stop, STOP)?;
        collector.notice(Notice::Ready(format!(
            "listening at {} until it is interrupted",
            self.socket.display()
        )));
        let done = agent.serve(&socket.listener, collector, stop);
        agent.end(collector, stop);
        done
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

/// The data of epoll(7) events: the socket, the stop, or a client.
const SOCKET: u64 = 0;
const STOP: u64 = 1;
const FIRST_CLIENT: u64 = 2;

/// The maximum number of events per `epoll_wait(2)`.
const BATCH: usize = 64;

/// The maximum number of runtimes that hand over at the same time.
const MAX_CONNECTIONS: usize = 4096;

enum Client {
    Connection(Connection),
    Container(OwnedFd, Box<Container>),
}

struct Listening<'a> {
    epoll: Epoll,
    clients: HashMap<u64, Client, FxBuildHasher>,
    next: u64,
    keeper: Option<&'a Keeper>,
    keeper_failed: AtomicBool,
    slot: Slot<'a>,
}

impl Listening<'_> {
    fn watch(&self, fd: impl AsFd, client: u64) -> Result<(), Error> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, client);
        (self.epoll.add(fd, event)).map_err(Error::system("epoll_ctl"))
    }

    fn serve(
        &mut self,
        socket: &UnixListener,
        collector: &mut (dyn Collector + Send),
        stop: &Stop,
    ) -> Result<(), Error> {
        let mut events = [EpollEvent::empty(); BATCH];
        while !stop.is_requested() {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                ready => ready.map_err(Error::system("epoll_wait"))?,
            };
            for event in &events[..ready] {
                match event.data() {
                    STOP => {}
                    SOCKET => self.accept(socket, collector),
                    client => self.client(client, event.events(), collector),
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, socket: &UnixListener, collector: &mut (dyn Collector + Send)) {
        let connections = |client: &&Client| matches!(client, Client::Connection(_));
        while let Ok((stream, _)) = socket.accept() {
            if self.clients.values().filter(connections).count() >= MAX_CONNECTIONS {
                let why = "too many runtimes connect at the same time: one was refused";
                collector.notice(Notice::Progress(why.to_owned()));
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
                    self.clients.insert(id, Client::Connection(connection));
                }
                Err(error) => {
                    let why = format!("the connection of a runtime failed: {error}");
                    collector.notice(Notice::Progress(why));
                }
            }
        }
    }

    fn client(&mut self, id: u64, flags: EpollFlags, collector: &mut (dyn Collector + Send)) {
        match self.clients.get_mut(&id) {
            Some(Client::Container(listener, container)) => {
                if flags.contains(EpollFlags::EPOLLIN) {
                    answer(listener, &mut self.slot, container, &mut |event| {
                        collector.event(WorkloadId(id), event);
                    });
                } else if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
                    // No task is left under the filter.
                    let end = container.end(&mut |event| collector.event(WorkloadId(id), event));
                    // The keeper may still have its copy, so closing this one would not be enough.
                    let _ = self.epoll.delete(&*listener);
                    self.clients.remove(&id);
                    collector.end(WorkloadId(id), end);
                }
            }
            Some(Client::Connection(connection)) => match connection.read() {
                Ok(Progress::More) => {}
                Ok(Progress::Done(hand_over)) => {
                    self.clients.remove(&id);
                    self.begin(id, *hand_over, collector);
                }
                Err(error) => {
                    self.clients.remove(&id);
                    let why = format!("a hand-over failed, its container is not recorded: {error}");
                    collector.notice(Notice::Progress(why));
                }
            },
            None => {}
        }
    }

    fn begin(
        &mut self,
        id: u64,
        hand_over: hand_over::HandOver,
        collector: &mut (dyn Collector + Send),
    ) {
        if let Some(keeper) = self.keeper
            && let Err(error) = keeper.pass(&hand_over.message, hand_over.listener.as_fd())
            && !self.keeper_failed.swap(true, Ordering::Relaxed)
        {
            let why = format!("warning: containers won't outlive the agent: {error}");
            collector.notice(Notice::Progress(why));
        }
        let id_of = hand_over.id();
        collector.notice(if hand_over.state.resumed {
            Notice::Progress(format!(
                "container {id_of} is taken over from an agent that ended"
            ))
        } else {
            Notice::Choice(format!("container {id_of} begins"))
        });
        notify::wake_synchronously(hand_over.listener.as_fd());
        let (container, workload) = Container::new(&hand_over);
        if let Err(error) = self.watch(&hand_over.listener, id) {
            let why = format!("container {} is not recorded: {error}", hand_over.id());
            return collector.notice(Notice::Progress(why));
        }
        collector.begin(WorkloadId(id), workload);
        container.begun(&mut |event| collector.event(WorkloadId(id), event));
        let client = Client::Container(hand_over.listener, Box::new(container));
        self.clients.insert(id, client);
    }

    /// Ends the runs of containers that are still running.
    fn end(self, collector: &mut (dyn Collector + Send), stop: &Stop) {
        let why = stop.reason().unwrap_or("the agent ended").to_owned();
        for (id, client) in self.clients {
            if let Client::Container(_, mut container) = client {
                let why = why.clone();
                collector.event(WorkloadId(id), Event::Lost { count: None, why });
                let end: RunEnd =
                    container.end(&mut |event| collector.event(WorkloadId(id), event));
                collector.end(WorkloadId(id), end);
            }
        }
    }
}

/// Counts the next call of a container, and lets it go on.
fn answer(
    listener: &OwnedFd,
    slot: &mut Slot<'_>,
    container: &mut Container,
    sink: &mut dyn FnMut(Event),
) {
    // ENOENT: the call was interrupted before it was executed. If it restarts, there is a new notification.
    if let Ok(notification) = notify::receive(listener.as_fd(), slot) {
        if let Some(call) = Call::of(listener.as_fd(), notification, sink) {
            container.entered(&call, sink);
        }
        let _ = notify::go_on(listener.as_fd(), notification);
    }
}
