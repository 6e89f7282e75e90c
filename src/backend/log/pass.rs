//! One pass of a command, which is started under the recording filter in its own login session, until its last record.
//!
//! There are three threads: the intake's reads the source, the launcher starts the command and waits for it and its
//! descendants, and the caller's takes the messages of both.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::intake::Intake;
use super::login::{self, Announcement, LoginSession};
use super::members::{Members, Owner};
use super::translate::{Fate, Translator};
use super::{AuditReading, IntakeMessage, filter, lock, lost};
use crate::audit::Record;
use crate::backend::launch::launch;
use crate::backend::proc::{self, Status};
use crate::backend::{Command, Error, RunEnd, Stop, Until};
use crate::event::{Exit, Sink};
use crate::sys::launch::LaunchFilter;
use crate::sys::signal;
use crate::syscall::Syscall;

/// One pass.
pub(super) struct Pass<'a> {
    command: &'a Command,
    known: &'a BTreeSet<Syscall>,
    myself: Status,
    stop: &'a Stop,
    /// The login sessions of the workload, as far as they are known.
    sessions: Mutex<BTreeSet<u32>>,
    /// Kept until the last record is taken.
    announcement: Mutex<Option<Announcement>>,
}

impl<'a> Pass<'a> {
    /// A pass in which these calls are allowed without being logged.
    pub(super) fn new(
        command: &'a Command,
        known: &'a BTreeSet<Syscall>,
        stop: &'a Stop,
    ) -> Pass<'a> {
        Pass {
            command,
            known,
            myself: Status::of_recorder(),
            stop,
            sessions: Mutex::new(BTreeSet::new()),
            announcement: Mutex::new(None),
        }
    }

    /// Records the pass. `executed` are files that earlier passes have shown the workload to execute: this one may not
    /// log that.
    pub(super) fn record(
        &self,
        reading: &AuditReading,
        call_sites: bool,
        executed: &BTreeSet<PathBuf>,
        sink: &mut dyn Sink,
    ) -> Result<RunEnd, Error> {
        signal::keep_children().map_err(Error::system("sigaction"))?;
        let mut intake = Intake::open(reading, None, self.stop)?;
        if let Some(reason) = self.stop.reason() {
            return Err(Error::Stopped(reason.to_owned()));
        }
        if self.myself.has_filter {
            lost(
                sink,
                "the recorder runs under a seccomp filter: calls that it refuses are not logged",
            );
        }
        let filter = LaunchFilter {
            program: filter::program(self.known),
            no_new_privs: !self.myself.can_load_filters,
            listener: false,
        };
        let privileges_lost = filter.no_new_privs && !self.myself.no_new_privs;
        let mut translator =
            Translator::of_command(intake.own_exe(), self.known.clone(), privileges_lost);
        translator.sites = call_sites;
        for file in executed {
            translator.check_privileges(file, sink);
        }
        let mut members = None;
        let exit = std::thread::scope(|scope| {
            let out = intake.sender();
            let filter = &filter;
            let launcher = std::thread::Builder::new().name("launcher".to_owned());
            launcher
                .spawn_scoped(scope, move || {
                    let result = self.launch(filter, &out);
                    // The receiver lives longer than this scope.
                    let _ = out.send(IntakeMessage::Over(result));
                })
                .map_err(Error::io("starting a thread"))?;
            self.take_until_over(&mut intake, &mut members, &mut translator, sink)
        })?;
        // Descendants that logged in are known only by their records.
        while self.command.until == Until::All && !self.stop.is_requested() {
            let before = lock(&self.sessions).clone();
            let fenced = intake.fence(Some(self.stop), &mut |record| {
                self.take(record, &mut members, &mut translator, sink);
            });
            if fenced.is_err() || *lock(&self.sessions) == before {
                break;
            }
            std::thread::scope(|scope| {
                let out = intake.sender();
                scope.spawn(move || {
                    let result = self.wait_for_descendants(LoginSession::Own(0));
                    let _ = out.send(IntakeMessage::Over(result.map(|()| None)));
                });
                self.take_until_over(&mut intake, &mut members, &mut translator, sink)
            })?;
        }
        let has_all = intake.close(Some(self.stop), sink, &mut |sink, record| {
            self.take(record, &mut members, &mut translator, sink);
        });
        if let Some(reason) = self.stop.reason()
            && (!has_all || self.is_any_left())
        {
            lost(sink, reason);
        }
        Ok(RunEnd {
            exit,
            no_new_privs: filter.no_new_privs,
        })
    }

    /// Takes messages until [`IntakeMessage::Over`].
    fn take_until_over(
        &self,
        intake: &mut Intake,
        members: &mut Option<Members>,
        translator: &mut Translator,
        sink: &mut dyn Sink,
    ) -> Result<Option<Exit>, Error> {
        loop {
            match intake.next(None) {
                Some(IntakeMessage::Batch(batch)) => {
                    intake.process(&batch, &mut |record| {
                        self.take(record, members, translator, sink);
                    });
                }
                Some(IntakeMessage::Session(session)) => {
                    if let LoginSession::Shared(_) = session {
                        lost(
                            sink,
                            "records of other programs in this login session count as the workload's: CAP_AUDIT_CONTROL \
                             is missing",
                        );
                    }
                    *members = Some(Members::new(session, self.known.is_empty()));
                }
                Some(IntakeMessage::Over(result)) => return result,
                // There is always a sender.
                None => return Ok(None),
            }
        }
    }

    fn take(
        &self,
        record: &Record<'_>,
        members: &mut Option<Members>,
        translator: &mut Translator,
        sink: &mut dyn Sink,
    ) {
        // Before the workload starts, no record is its own.
        let Some(members) = members else { return };
        let known = members.sessions().len();
        match members.owner(record) {
            Owner::Workload => {
                if translator.translate(record, sink) == Fate::Ended {
                    members.ended(record.pid);
                }
            }
            Owner::Other => return,
            Owner::Doubtful => lost(
                sink,
                format!(
                    "left out records of process {} ({}), in a login session that began meanwhile: they may be the \
                     workload's",
                    record.pid,
                    String::from_utf8_lossy(record.exe.as_deref().unwrap_or_default()),
                ),
            ),
        }
        if members.sessions().len() != known {
            lock(&self.sessions).clone_from(members.sessions());
        }
    }

    /// Starts the command, and waits for it and, with [`Until::All`], for its descendants. Runs on its own thread,
    /// since a login session belongs to a thread.
    fn launch(
        &self,
        filter: &LaunchFilter,
        out: &SyncSender<IntakeMessage>,
    ) -> Result<Option<Exit>, Error> {
        let session = LoginSession::begin();
        lock(&self.sessions).insert(session.number());
        *lock(&self.announcement) = session.announce();
        // It precedes every record of the workload. The receiver lives longer than this thread.
        let _ = out.send(IntakeMessage::Session(session));
        let launched = launch(self.command, Some(filter))?;
        (self.command.job).started(launched.task(), move |sender| match session {
            LoginSession::Own(own) => proc::session_of(sender) == Some(own),
            LoginSession::Shared(_) => false,
        });
        let ended = launched.run(self.stop);
        self.command.job.ended();
        match (&ended, self.command.until) {
            (Ok(Some(_)), Until::All) => self.wait_for_descendants(session).and(ended),
            _ => ended,
        }
    }

    /// Whether a process of the workload's sessions may be left.
    fn is_any_left(&self) -> bool {
        let sessions = lock(&self.sessions).clone();
        login::living(&sessions, LoginSession::Own(0)).map_or(true, |living| !living.is_empty())
    }

    /// Waits until no process of the workload's sessions is left, or the recording must end.
    fn wait_for_descendants(&self, session: LoginSession) -> Result<(), Error> {
        loop {
            let sessions = lock(&self.sessions).clone();
            let living = login::living(&sessions, session)
                .map_err(Error::io("looking for the workload's processes"))?;
            if living.is_empty() {
                return Ok(());
            }
            for process in living {
                let mut fds = [
                    PollFd::new(process.as_fd(), PollFlags::POLLIN),
                    PollFd::new(self.stop.as_fd(), PollFlags::POLLIN),
                ];
                while poll(&mut fds, PollTimeout::NONE).is_err() {}
                if self.stop.is_requested() {
                    return Ok(());
                }
            }
        }
    }
}
