//! Audit records in saved logs: those of auditd, ausearch(8), dmesg(1), /dev/kmsg, syslog and journals.
//!
//! A saved log can't prove that it is whole. The kernel drops records where nobody reads fast enough, printk's rate limit
//! drops most of a flood, and whoever saved the log may have left lines out. What of that can be seen is an
//! [`Event::Lost`]; that the rest can't be seen is one too, unless [`Options::assume_complete`].

mod account;
mod journal;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use read::{Told, read};

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::SystemTime;

use self::account::Account;
use super::{Error, Output, Problem, Source};
use crate::audit::{Form, Forms, Record};
use crate::event::{Event, Sink, Task};

/// Which records are taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Of these processes only, if there are any. A record doesn't tell a process's parent: children are not included.
    pub pids: Vec<i32>,
    /// Of threads of these names only. The kernel keeps 15 bytes of a name, and of these no more are compared.
    pub comms: Vec<OsString>,
    /// Of processes that execute these files only.
    pub exes: Vec<OsString>,
    /// Of calls only that the filter let through.
    pub allowed_only: bool,
    /// The user vouches for it that the logs are whole. What the logs themselves say of loss counts all the same.
    pub assume_complete: bool,
}

impl Options {
    /// Whether a record is one of these.
    pub(crate) fn takes(&self, record: &Record<'_>) -> bool {
        /// `TASK_COMM_LEN` without the NUL (linux/sched.h).
        const COMM: usize = 15;
        let is_comm = |comm: &OsString| {
            let comm = comm.as_bytes();
            comm[..comm.len().min(COMM)] == *record.comm
        };
        let is_exe = |exe: &OsString| record.exe.as_deref() == Some(exe.as_bytes());
        (!self.allowed_only || record.was_allowed())
            && (self.pids.is_empty() || self.pids.contains(&record.pid))
            && (self.comms.is_empty() || self.comms.iter().any(is_comm))
            && (self.exes.is_empty() || self.exes.iter().any(is_exe))
    }
}

/// What an import met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines, of every kind.
    pub lines: u64,
    /// Records of seccomp that were taken.
    pub records: u64,
    /// Of these, records of calls that the filter did not let through.
    pub refused: u64,
    /// Records of seccomp that were not asked for.
    pub filtered: u64,
    /// Records of other types.
    pub other: u64,
    /// Records of seccomp that couldn't be read.
    pub broken: u64,
}

/// Reads the sources one after another, and gives their records of seccomp to `sink` as events, and the lines that can't
/// be read to `report`.
pub fn import(
    sources: Vec<Source>,
    options: &Options,
    sink: &mut dyn Sink,
    report: &mut dyn FnMut(Problem),
) -> Result<Summary, Error> {
    let forms = Forms::new();
    let mut importer = Importer {
        options,
        forms: &forms,
        output: Output { sink, report },
        summary: Summary::default(),
        clock: None,
        latest: (0, Vec::new()),
        executing: HashMap::new(),
        executables: HashMap::new(),
    };
    for source in sources {
        importer.source(source)?;
    }
    if !options.assume_complete {
        importer.output.lost(
            None,
            "a saved log doesn't show whether records are missing".to_owned(),
        );
    }
    Ok(importer.summary)
}

struct Importer<'a> {
    options: &'a Options,
    forms: &'a Forms,
    output: Output<'a>,
    summary: Summary,
    /// What the sink was told last.
    clock: Option<SystemTime>,
    /// The process of the latest record, and the file that it executes.
    latest: (i32, Vec<u8>),
    /// What the processes execute, as numbers of `executables`.
    executing: HashMap<i32, usize>,
    executables: HashMap<Box<[u8]>, usize>,
}

impl Importer<'_> {
    fn source(&mut self, source: Source) -> Result<(), Error> {
        let mut account = Account::new(source.name().to_owned());
        let reader = source.open()?;
        let (forms, mut lines) = (self.forms, 0);
        let read = read(reader, forms, &mut lines, &mut |number, told| {
            self.told(told, number, &mut account);
        });
        self.summary.lines += lines;
        super::settle_read(read, account.name(), lines, &mut self.output)?;
        account.settle(self.options.assume_complete, &mut self.output);
        Ok(())
    }

    fn told(&mut self, told: Told<'_>, number: u64, account: &mut Account) {
        match told {
            Told::Form(form) => self.form(form, number, account),
            Told::Sequence(sequence) => account.sequence(sequence),
            Told::BadJson(why) => self.broken(account, number, &why),
        }
    }

    fn form(&mut self, form: Form<'_>, number: u64, account: &mut Account) {
        let record = match form {
            Form::Record(text) => Record::parse(text),
            Form::Headless { body, time, serial } => Record::parse_headless(body, time, serial),
            Form::Other(serial) => {
                self.summary.other += 1;
                account.other(serial);
                return;
            }
            Form::Note(note) => {
                account.note(note);
                return;
            }
            Form::Found => {
                account.found();
                return;
            }
            Form::Nothing => {
                account.nothing();
                return;
            }
        };
        match record {
            Ok(record) => {
                account.record(record.serial);
                self.record(&record);
            }
            Err(error) => self.broken(account, number, &error.to_string()),
        }
    }

    fn broken(&mut self, account: &mut Account, number: u64, what: &str) {
        self.summary.broken += 1;
        account.broken();
        self.output.problem(account.name(), number, what);
    }

    fn record(&mut self, record: &Record<'_>) {
        if !self.options.takes(record) {
            self.summary.filtered += 1;
            return;
        }
        self.summary.records += 1;
        self.summary.refused += u64::from(!record.was_allowed());
        if let Some(now) = record.time
            && self.clock != record.time
        {
            self.clock = record.time;
            self.output.event(Event::Clock { now });
        }
        if let Some(exe) = &record.exe {
            self.executes(record.pid, exe);
        }
        self.output.event(Event::Syscall {
            task: Task(record.pid),
            syscall: record.syscall,
            site: None,
        });
    }

    /// Tells the sink if the process executes another file than before: records don't tell of execve(2), nor of the end of
    /// a process, the pid of which another one can get.
    fn executes(&mut self, pid: i32, exe: &[u8]) {
        if self.latest.0 == pid && self.latest.1 == exe {
            return;
        }
        self.latest.0 = pid;
        self.latest.1.clear();
        self.latest.1.extend_from_slice(exe);
        let next = self.executables.len();
        let executable = match self.executables.get(exe) {
            Some(&known) => known,
            None => *self.executables.entry(exe.into()).or_insert(next),
        };
        if self.executing.insert(pid, executable) != Some(executable) {
            self.output.event(Event::Exec {
                task: Task(pid),
                executable: PathBuf::from(OsString::from_vec(exe.to_vec())),
            });
        }
    }
}
