//! Which records to take.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use super::Record;

/// Which records to take: those that fulfil every condition. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Processes. Children are not included, since a record doesn't name the parent.
    pub pids: Vec<i32>,
    /// Names of threads. The kernel keeps 15 bytes of a name, so only these are compared.
    pub comms: Vec<OsString>,
    /// Files that the process executes: paths, or names of files in any directory.
    pub exes: Vec<OsString>,
    /// Not before this time. A record without a time is not selected then.
    pub since: Option<SystemTime>,
    /// Not after this time.
    pub until: Option<SystemTime>,
    /// Only calls that the filter allowed.
    pub allowed_only: bool,
}

impl Selection {
    /// Whether a record is selected.
    pub(crate) fn includes(&self, record: &Record<'_>) -> bool {
        /// `TASK_COMM_LEN` without the NUL (linux/sched.h).
        const COMM: usize = 15;
        let is_comm = |comm: &OsString| {
            let comm = comm.as_bytes();
            comm[..comm.len().min(COMM)] == *record.comm
        };
        let is_exe = |exe: &OsString| {
            let exe = exe.as_bytes();
            record.exe.as_deref().is_some_and(|path| {
                let is_name = !exe.contains(&b'/');
                path == exe || is_name && path.rsplit(|&byte| byte == b'/').next() == Some(exe)
            })
        };
        let since = |since| record.time.is_some_and(|time| time >= since);
        let until = |until| record.time.is_some_and(|time| time <= until);
        self.since.is_none_or(since)
            && self.until.is_none_or(until)
            && (!self.allowed_only || record.was_allowed())
            && (self.pids.is_empty() || self.pids.contains(&record.pid))
            && (self.comms.is_empty() || self.comms.iter().any(is_comm))
            && (self.exes.is_empty() || self.exes.iter().any(is_exe))
    }
}
