//! The log backend: a seccomp filter has the kernel log every call (`SCMP_ACT_LOG`), and the records are read back.
//!
//! The workload isn't stopped at its calls, isn't traced, and can be traced by others. What the kernel gives in return is
//! a stream that anything may drop from. So the run is complete only with a proof:
//!
//! - A [`fence`] at the start and one at the end came, and so did every serial number between them.
//! - The kernel's count of lost records, which get no number, did not grow; no rule of audit's keeps records back.
//! - `log` is in `actions_logged`, at the start and at the end.
//! - No filter but the recording one can refuse calls: a refused call isn't logged.
//!
//! Which records are the workload's its login session tells: see [`session`]. A record names the process, not the thread,
//! so the tasks of such a run are processes. What a run counts are records: calls that an earlier pass or a profile made
//! known aren't logged again.
//!
//! The threads: one reads the source, one starts the command and waits for it and its descendants, and the caller's takes
//! the messages of both.

mod batch;
mod connector;
mod fence;
mod filter;
mod follow;
mod ledger;
mod listener;
mod members;
mod reader;
mod session;
mod socket;
mod source;
mod tail;
mod teller;
mod tracker;

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

pub use follow::{Follow, Scope};
pub use source::{Source, SourceError, UnknownSource};

use self::batch::Batch;
use self::listener::Listener;
use self::members::{Members, Owner};
use self::session::{Announcement, Session};
use self::teller::{Fate, Teller};
use super::launch::launch;
use super::proc::Status;
use super::{Backend, Command, Control, Error, Outcome, Target, Until};
use crate::audit::Record;
use crate::event::{Event, Sink, Task};
use crate::recording::Exit;
use crate::sys::launch::Filter;
use crate::sys::signal;
use crate::sys::wait::{self, Child};
use crate::syscall::Syscall;

/// Records with a filter that logs, and the kernel's audit records.
#[derive(Clone, Debug)]
pub struct Log {
    /// Where the records are read.
    pub source: Source,
    /// Whether [`Source::Auto`] may become the audit daemon.
    pub become_auditd: bool,
    /// The size of the socket's receive buffer, in bytes.
    pub receive_buffer: usize,
    /// Calls that needn't be logged any more.
    pub known: BTreeSet<Syscall>,
    /// Files that the workload is known to execute, though no record may show it any more.
    pub executed: BTreeSet<PathBuf>,
    /// Whether to tell the [`CallSite`](crate::event::CallSite) of what is logged, as far as records have it.
    pub sites: bool,
    /// When to end.
    pub until: Until,
}

/// The size of the receive buffer where nothing else is asked for. The kernel charges up to 1 KB for a record.
pub const RECEIVE_BUFFER: usize = 64 << 20;

impl Default for Log {
    fn default() -> Log {
        Log {
            source: Source::Auto,
            become_auditd: false,
            receive_buffer: RECEIVE_BUFFER,
            known: BTreeSet::new(),
            executed: BTreeSet::new(),
            sites: false,
            until: Until::All,
        }
    }
}

/// What comes to the thread that takes records.
enum Message {
    /// From the reader.
    Batch(Batch),
    /// The command is about to start, in this session.
    Session(Session),
    /// The command and, where they are waited for, its descendants have ended.
    Over(Result<Option<Exit>, Error>),
}

impl Backend for Log {
    fn name(&self) -> &'static str {
        "log"
    }

    fn record(
        &self,
        target: &Target,
        sink: &mut (dyn Sink + Send),
        control: &Control,
    ) -> Result<Outcome, Error> {
        let Target::Command(command) = target else {
            return Err(Error::System {
                operation: "recording a running process with the log backend",
                source: Errno::ENOTSUP,
            });
        };
        if !is_logged() {
            return Err(SourceError::NotLogged.into());
        }
        signal::catch_kicks().map_err(system("sigaction"))?;
        signal::keep_children().map_err(system("sigaction"))?;
        let listener = Listener::open(
            &self.source.candidates(self.become_auditd),
            self.receive_buffer,
            control,
        )?;
        let myself = Status::of_recorder();
        if myself.has_filter {
            lost(
                sink,
                "the recorder runs under a seccomp filter: calls that it refuses are not logged"
                    .to_owned(),
            );
        }
        Recording {
            log: self,
            myself,
            control,
            sessions: Mutex::new(BTreeSet::new()),
            announcement: Mutex::new(None),
        }
        .run(command, listener, sink)
    }
}

impl Log {
    /// Finds the source that is read, which [`Source::Auto`] leaves open, and why it isn't a better one.
    pub fn find_source(
        &self,
        control: &Control,
    ) -> Result<(Source, Vec<(Source, SourceError)>), Error> {
        if !is_logged() {
            return Err(SourceError::NotLogged.into());
        }
        let candidates = self.source.candidates(self.become_auditd);
        let listener = Listener::open(&candidates, self.receive_buffer, control)?;
        Ok(listener.into_source())
    }
}

/// One recording of a command.
struct Recording<'a> {
    log: &'a Log,
    myself: Status,
    control: &'a Control,
    /// Those of the workload, as far as they are known.
    sessions: Mutex<BTreeSet<u32>>,
    /// Until the last record was taken.
    announcement: Mutex<Option<Announcement>>,
}

impl Recording<'_> {
    fn run(
        &self,
        command: &Command,
        mut listener: Listener,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Error> {
        let filter = Filter {
            program: filter::program(&self.log.known),
            no_new_privs: !self.myself.can_load_filters,
        };
        let privileges_lost = filter.no_new_privs && !self.myself.no_new_privs;
        let mut teller =
            Teller::of_command(listener.own_exe(), self.log.known.clone(), privileges_lost);
        teller.sites = self.log.sites;
        for file in &self.log.executed {
            teller.check_privileges(file, sink);
        }
        let mut members = None;
        let exit = std::thread::scope(|scope| {
            let out = listener.sender();
            let filter = &filter;
            let launcher = std::thread::Builder::new().name("launcher".to_owned());
            launcher
                .spawn_scoped(scope, move || {
                    let result = self.launch(command, filter, &out);
                    // The other end lives longer than this scope.
                    let _ = out.send(Message::Over(result));
                })
                .map_err(io("starting a thread"))?;
            self.take_until_over(&mut listener, &mut members, &mut teller, sink)
        })?;
        // The descendants that logged in are only known by their records.
        while self.log.until == Until::All && !self.control.is_ended() {
            let before = lock(&self.sessions).clone();
            let fenced = listener.fence(Some(self.control), &mut |record| {
                self.take(record, &mut members, &mut teller, sink);
            });
            if fenced.is_err() || *lock(&self.sessions) == before {
                break;
            }
            std::thread::scope(|scope| {
                let out = listener.sender();
                scope.spawn(move || {
                    self.control.recorder_starts();
                    let result = self.wait_for_descendants(Session::Own(0));
                    self.control.recorder_ends();
                    let _ = out.send(Message::Over(result.map(|()| None)));
                });
                self.take_until_over(&mut listener, &mut members, &mut teller, sink)
            })?;
        }
        listener.close(Some(self.control), sink, &mut |sink, record| {
            self.take(record, &mut members, &mut teller, sink);
        });
        self.control.report_end(sink);
        Ok(Outcome {
            exit,
            no_new_privs: filter.no_new_privs,
        })
    }

    /// Takes messages until the one that says that all have ended.
    fn take_until_over(
        &self,
        listener: &mut Listener,
        members: &mut Option<Members>,
        teller: &mut Teller,
        sink: &mut dyn Sink,
    ) -> Result<Option<Exit>, Error> {
        loop {
            match listener.next(None) {
                Some(Message::Batch(batch)) => {
                    listener.hear(&batch, &mut |record| {
                        self.take(record, members, teller, sink);
                    });
                }
                Some(Message::Session(session)) => {
                    if let Session::Shared(_) = session {
                        lost(
                            sink,
                            "the workload's records can't be told from those of other programs of this login session: \
                             CAP_AUDIT_CONTROL is missing"
                                .to_owned(),
                        );
                    }
                    *members = Some(Members::new(session, self.log.known.is_empty()));
                }
                Some(Message::Over(result)) => return result,
                // There is always a sender.
                None => return Ok(None),
            }
        }
    }

    fn take(
        &self,
        record: &Record<'_>,
        members: &mut Option<Members>,
        teller: &mut Teller,
        sink: &mut dyn Sink,
    ) {
        // Before the workload starts nothing is its own.
        let Some(members) = members else { return };
        let known = members.sessions().len();
        match members.owner(record) {
            Owner::Workload => {
                if teller.tell(record, sink) == Fate::Ended {
                    members.ended(record.pid);
                }
            }
            Owner::Other => return,
            Owner::Doubtful => lost(
                sink,
                format!(
                    "records of process {} ({}), of a login session that began meanwhile, may be the workload's and were \
                     left out",
                    record.pid,
                    String::from_utf8_lossy(record.exe.as_deref().unwrap_or_default()),
                ),
            ),
        }
        if members.sessions().len() != known {
            lock(&self.sessions).clone_from(members.sessions());
        }
    }

    /// Starts the command and waits for it, and for its descendants where that is wanted. On a thread of its own, since
    /// the session is the thread's.
    fn launch(
        &self,
        command: &Command,
        filter: &Filter,
        out: &SyncSender<Message>,
    ) -> Result<Option<Exit>, Error> {
        let session = Session::begin();
        lock(&self.sessions).insert(session.number());
        if let Session::Own(number) = session {
            self.control.workload_has_session(number);
        }
        *lock(&self.announcement) = session.announce();
        // Before any record of the workload's. The receiver lives longer than this thread.
        let _ = out.send(Message::Session(session));
        let mut launched = launch(command, Some(filter))?;
        let task = launched.task();
        self.control.recorder_starts();
        self.control.command_runs(task);
        let ended = launched.release().and_then(|()| match launched.failure() {
            None => self.wait_for(task),
            Some(error) => {
                // It is gone, or about to be.
                let _ = wait::wait_child(task);
                Err(error)
            }
        });
        self.control.command_gone();
        let waited = match (&ended, self.log.until) {
            (Ok(Some(_)), Until::All) => self.wait_for_descendants(session),
            _ => Ok(()),
        };
        self.control.recorder_ends();
        waited.and(ended)
    }

    /// How the command ended; `None` if the recording is to end first.
    fn wait_for(&self, command: Task) -> Result<Option<Exit>, Error> {
        let mut stopped = false;
        while !self.control.is_ended() {
            match wait::wait_child(command) {
                Ok(Child::Exited(code)) => return Ok(Some(Exit::Code(code))),
                Ok(Child::Signaled(signal)) => return Ok(Some(Exit::Signal(signal))),
                Ok(Child::Stopped(signal)) => {
                    // If it went on in between, the kernel tells of its latest state only.
                    if std::mem::replace(&mut stopped, true) {
                        self.control.command_stopped(None);
                    }
                    self.control.command_stopped(Some(signal));
                }
                Ok(Child::Continued) => {
                    stopped = false;
                    self.control.command_stopped(None);
                }
                Err(Errno::EINTR) => {}
                Err(source) => return Err(system("waiting for the command")(source)),
            }
        }
        Ok(None)
    }

    /// Waits until no process of the workload's sessions is left, or the recording is to end.
    fn wait_for_descendants(&self, session: Session) -> Result<(), Error> {
        loop {
            let sessions = lock(&self.sessions).clone();
            let living = session::living(&sessions, session)
                .map_err(io("looking for the workload's processes"))?;
            if living.is_empty() {
                return Ok(());
            }
            for process in living {
                let mut fds = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
                while !self.control.is_ended() && poll(&mut fds, PollTimeout::NONE).is_err() {}
                if self.control.is_ended() {
                    return Ok(());
                }
            }
        }
    }
}

/// Whether the kernel logs calls for which a filter says so.
fn is_logged() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_logged").is_ok_and(|actions| {
        actions
            .split_ascii_whitespace()
            .any(|action| action == "log")
    })
}

fn lost(sink: &mut dyn Sink, why: String) {
    sink.event(Event::Lost { count: None, why });
}

fn system(operation: &'static str) -> impl Fn(Errno) -> Error {
    move |source| Error::System { operation, source }
}

fn io(operation: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::System {
        operation,
        source: error
            .raw_os_error()
            .map_or(Errno::UnknownErrno, Errno::from_raw),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is locked is always whole: a panic elsewhere doesn't spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
