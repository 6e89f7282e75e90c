//! Selects the workload's records by their login session.

use std::collections::{BTreeSet, HashSet};

use super::login::{LoginSession, UNSET, recorder_of};
use crate::audit::Record;
use crate::backend::proc;
use crate::event::Task;

/// The sessions and processes of the workload, as far as its records show them.
pub(super) struct Members {
    session: LoginSession,
    /// Whether every call is logged, because none is known.
    all_logged: bool,
    /// The workload's session, and those that it began (a login).
    sessions: BTreeSet<u32>,
    processes: HashSet<i32>,
    /// Later sessions that are not the workload's.
    others: HashSet<u32>,
    /// Sessions that may be the workload's, and were left out.
    doubtful: BTreeSet<u32>,
}

/// The owner of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The workload's.
    Workload,
    /// Another program's.
    Other,
    /// Unknown, and this is the first record of its session.
    Doubtful,
}

impl Members {
    pub(super) fn new(session: LoginSession, all_logged: bool) -> Members {
        Members {
            session,
            all_logged,
            sessions: BTreeSet::from([session.number()]),
            processes: HashSet::new(),
            others: HashSet::new(),
            doubtful: BTreeSet::new(),
        }
    }

    /// The known sessions of the workload.
    pub(super) fn sessions(&self) -> &BTreeSet<u32> {
        &self.sessions
    }

    /// The owner of a record.
    ///
    /// Session numbers ascend, so the workload can only have begun a later one. If all calls are logged, a process that
    /// begins a session is known by its earlier calls. If not, a later session may be the workload's, unless another
    /// recorder announces it as its own.
    pub(super) fn owner(&mut self, record: &Record<'_>) -> Owner {
        let session = record.ses.unwrap_or(UNSET);
        if self.sessions.contains(&session) {
            self.processes.insert(record.pid);
            return Owner::Workload;
        }
        let LoginSession::Own(own) = self.session else {
            return Owner::Other;
        };
        let known = self.processes.contains(&record.pid);
        let later = session != UNSET && session > own;
        if self.others.contains(&session) {
            return Owner::Other;
        }
        let mine = match later.then(|| recorder_of(session)).flatten() {
            Some(recorder) => {
                proc::session_of(Task(recorder)).map(|session| self.sessions.contains(&session))
            }
            None if later && known => Some(true),
            None if later && self.all_logged => Some(false),
            // A known process without a session has left it, or is another process with a reused pid.
            None => (!later && !known).then_some(false),
        };
        match mine {
            Some(true) => {
                self.sessions.insert(session);
                self.processes.insert(record.pid);
                Owner::Workload
            }
            Some(false) => {
                if later {
                    self.others.insert(session);
                }
                Owner::Other
            }
            None if self.doubtful.insert(session) => Owner::Doubtful,
            None => Owner::Other,
        }
    }

    /// A process has ended: its pid can be reused.
    pub(super) fn ended(&mut self, process: i32) {
        self.processes.remove(&process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(members: &mut Members, pid: i32, session: u32) -> Owner {
        let text = format!(
            "audit(1.000:1): auid=0 uid=0 gid=0 ses={session} pid={pid} comm=\"x\" exe=\"/x\" sig=0 \
             arch=c000003e syscall=1 compat=0 ip=0x1 code=0x7ffc0000"
        );
        members.owner(&Record::parse(text.as_bytes()).unwrap())
    }

    #[test]
    fn records_of_the_session_are_the_workloads_and_others_are_not() {
        let mut members = Members::new(LoginSession::Own(7), true);
        assert_eq!(owner(&mut members, 100, 7), Owner::Workload);
        assert_eq!(owner(&mut members, 101, 7), Owner::Workload);
        assert_eq!(owner(&mut members, 200, 6), Owner::Other);
        assert_eq!(owner(&mut members, 201, UNSET), Owner::Other);
    }

    #[test]
    fn a_process_that_logs_in_takes_its_descendants_along() {
        let mut members = Members::new(LoginSession::Own(7), true);
        assert_eq!(owner(&mut members, 100, 7), Owner::Workload);
        assert_eq!(owner(&mut members, 100, 9), Owner::Workload);
        assert_eq!(owner(&mut members, 300, 9), Owner::Workload);
        assert_eq!(members.sessions(), &BTreeSet::from([7, 9]));
    }

    #[test]
    fn a_session_that_may_be_the_workloads_is_reported_once() {
        let mut members = Members::new(LoginSession::Own(7), false);
        assert_eq!(owner(&mut members, 400, 8), Owner::Doubtful);
        assert_eq!(owner(&mut members, 401, 8), Owner::Other);
        assert_eq!(owner(&mut members, 100, 7), Owner::Workload);
        assert_eq!(owner(&mut members, 100, UNSET), Owner::Doubtful);
    }

    #[test]
    fn if_all_is_logged_a_later_session_of_an_unknown_process_is_not_the_workloads() {
        let mut members = Members::new(LoginSession::Own(7), true);
        assert_eq!(owner(&mut members, 400, 8), Owner::Other);
        assert_eq!(owner(&mut members, 100, 7), Owner::Workload);
        members.ended(100);
        assert_eq!(owner(&mut members, 100, 8), Owner::Other);
    }

    #[test]
    fn in_a_shared_session_every_record_of_it_counts() {
        let mut members = Members::new(LoginSession::Shared(3), true);
        assert_eq!(owner(&mut members, 100, 3), Owner::Workload);
        assert_eq!(owner(&mut members, 100, 9), Owner::Other);
    }
}
