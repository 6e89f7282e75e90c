//! Imports audit records from saved logs: of auditd, ausearch(8), dmesg(1), /dev/kmsg, syslog and journals.
//!
//! A saved log can't prove that it is complete: the kernel drops records when the reader is slow, printk limits the rate, and
//! lines may have been left out when the log was saved. Visible losses are an [`Event::Lost`]. The possibility of invisible ones
//! is one too, unless [`AuditOptions::assume_complete`].

mod losses;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::SystemTime;

use self::losses::SourceLosses;
use super::output::{BadLine, ImportError, ImportOutput, report_read};
use super::source::ImportSource;
use crate::audit::{Classifier, LogItem, LogLine, Record, Selection, read_log};
use crate::event::{Event, Sink, Task};

/// How to import audit records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditOptions {
    /// Which records to import.
    pub selection: Selection,
    /// Believe lines of syslog, which any user can write (`logger -t kernel`).
    pub trust_syslog: bool,
    /// The user guarantees that the logs are complete. Losses that the logs show count nevertheless.
    pub assume_complete: bool,
}

/// What an import found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditSummary {
    /// All lines.
    pub lines: u64,
    /// Imported seccomp records.
    pub records: u64,
    /// Of these, records of calls that the filter denied.
    pub refused: u64,
    /// Seccomp records that were not selected.
    pub filtered: u64,
    /// Seccomp records in lines that any user could have written, which were skipped.
    pub untrusted: u64,
    /// Records of other types.
    pub other: u64,
    /// Seccomp records that can't be read.
    pub broken: u64,
}

/// Reads the sources one after another, and passes seccomp records to `sink` as events, and unreadable lines to `report`.
pub fn import_audit(
    sources: Vec<ImportSource>,
    options: &AuditOptions,
    sink: &mut dyn Sink,
    report: &mut dyn FnMut(BadLine),
) -> Result<AuditSummary, ImportError> {
    let classifier = Classifier::new(options.trust_syslog);
    let mut importer = AuditImporter {
        options,
        classifier: &classifier,
        output: ImportOutput { sink, report },
        summary: AuditSummary::default(),
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
            "a saved log can't prove that no records are missing".to_owned(),
        );
    }
    Ok(importer.summary)
}

struct AuditImporter<'a> {
    options: &'a AuditOptions,
    classifier: &'a Classifier,
    output: ImportOutput<'a>,
    summary: AuditSummary,
    /// The latest [`Event::Clock`].
    clock: Option<SystemTime>,
    /// The process of the latest record, and its executable.
    latest: (i32, Vec<u8>),
    /// The executables of the processes, as indices into `executables`.
    executing: HashMap<i32, usize>,
    executables: HashMap<Box<[u8]>, usize>,
}

impl AuditImporter<'_> {
    fn source(&mut self, source: ImportSource) -> Result<(), ImportError> {
        let mut losses = SourceLosses::new(source.name().to_owned());
        let reader = source.open()?;
        let (classifier, mut lines) = (self.classifier, 0);
        let read = read_log(
            reader,
            classifier,
            &mut lines,
            &mut |number, item| match item {
                LogItem::Line(line) => self.line(line, number, &mut losses),
                LogItem::KmsgSequence(sequence) => losses.kmsg_sequence(sequence),
                LogItem::BadJson(why) => self.broken(&mut losses, number, &why),
            },
        );
        self.summary.lines += lines;
        report_read(read, losses.name(), lines, &mut self.output)?;
        losses.report(self.options.assume_complete, &mut self.output);
        Ok(())
    }

    fn line(&mut self, line: LogLine<'_>, number: u64, losses: &mut SourceLosses) {
        let record = match line {
            LogLine::Seccomp(text) => Record::parse(text),
            LogLine::SeccompBody { body, time, serial } => {
                Record::parse_headless(body, time, serial)
            }
            LogLine::OtherRecord(serial) => {
                self.summary.other += 1;
                return losses.other_record(serial);
            }
            LogLine::Loss(note) => return losses.note(note),
            LogLine::Untrusted => {
                self.summary.untrusted += 1;
                return losses.untrusted_record();
            }
            LogLine::AusearchSeparator => return losses.ausearch(),
            LogLine::Unrelated => return losses.unrelated_line(),
        };
        match record {
            Ok(record) => {
                losses.seccomp_record(record.serial);
                self.record(&record);
            }
            Err(error) => self.broken(losses, number, &error.to_string()),
        }
    }

    fn broken(&mut self, losses: &mut SourceLosses, number: u64, what: &str) {
        self.summary.broken += 1;
        losses.broken_record();
        self.output.bad_line(losses.name(), number, what);
    }

    fn record(&mut self, record: &Record<'_>) {
        if !self.options.selection.includes(record) {
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

    /// Reports an exec if the executable of the process has changed. Records show neither execve(2) nor the end of a process,
    /// whose pid can be reused.
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
