//! An import under way: its options, its state, and what it reports.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::SystemTime;

use super::arguments;
use super::image::{HeldCalls, ImageId, TracedImages};
use super::log::TraceLog;
use super::names::{NameMeaning, StraceNames};
use crate::event::{Event, Exit, Task};
use crate::import::output::ImportOutput;
use crate::syscall::Arch;

/// The task of lines without a pid.
pub(super) const ONLY_TASK: i32 = 0;

/// How to import the output of strace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StraceOptions {
    /// The ABI of strace itself: `x86_64` on such a machine, even if it traces 32-bit programs.
    pub native: Arch,
    /// When the trace began, if it has times without a date (-t, -tt, -r).
    pub began: SystemTime,
    /// The user guarantees that every call of the workload was traced. Losses that the trace shows count nevertheless.
    pub assume_complete: bool,
    /// Whether the values of arguments that carry a choice are imported.
    pub arguments: bool,
}

/// What an import found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StraceSummary {
    /// All lines.
    pub lines: u64,
    /// Calls.
    pub calls: u64,
    /// Lines that can't be read.
    pub broken: u64,
    /// How the first task ended, if known.
    pub exit: Option<Exit>,
}

/// An import under way.
pub(super) struct StraceImporter<'a> {
    pub(super) options: &'a StraceOptions,
    pub(super) output: ImportOutput<'a>,
    pub(super) names: StraceNames,
    pub(super) images: TracedImages,
    pub(super) tasks: HashMap<i32, TracedTask>,
    /// Those whose pending call creates a task.
    pub(super) forking: BTreeSet<i32>,
    pub(super) first: Option<i32>,
    /// Whether strace prints the ends of tasks (not with -qq).
    pub(super) exits: bool,
    /// The latest [`Event::Clock`].
    pub(super) clock: Option<SystemTime>,
    pub(super) summary: StraceSummary,
}

/// A live task.
pub(super) struct TracedTask {
    pub(super) image: ImageId,
    /// The ABI of its next calls, if strace printed it.
    pub(super) noted: Option<Arch>,
    /// The ABI of its latest call since execve(2), if determined.
    pub(super) latest: Option<Arch>,
    /// The call that has not returned yet.
    pub(super) pending: Option<Pending>,
    /// Whether it has made a call.
    pub(super) called: bool,
    /// Whether its program is known: it has called execve(2), or its parent is known.
    pub(super) placed: bool,
}

/// A call that has not returned yet.
pub(super) struct Pending {
    pub(super) name: Box<str>,
    /// The file that it executes.
    pub(super) executable: Option<PathBuf>,
    /// Whether it creates a task.
    pub(super) forks: bool,
}

impl StraceImporter<'_> {
    /// Reports the calls that were made while the ABI was unknown.
    pub(super) fn release(&mut self, id: i32, held: Vec<HeldCalls>, arch: Arch) {
        let now = self.clock;
        for held in held {
            self.set_clock(held.first);
            if let Some((_, calls)) = held.calls(arch) {
                self.count(id, calls, held.count);
            }
        }
        self.set_clock(now);
    }

    pub(super) fn called(&mut self, id: i32, chosen: Option<(Arch, NameMeaning)>, rest: &[u8]) {
        let Some((_, calls)) = chosen else {
            return;
        };
        self.count(id, calls, 1);
        for syscall in calls.iter().filter(|_| self.options.arguments) {
            if let Some(args) = arguments::registers(syscall, rest) {
                self.output.event(Event::Arguments { syscall, args });
            }
        }
    }

    pub(super) fn count(&mut self, id: i32, calls: NameMeaning, count: u64) {
        self.summary.calls = self.summary.calls.saturating_add(count);
        let task = Task(id);
        for syscall in calls.iter() {
            self.output.event(match count {
                1 => Event::Syscall {
                    task,
                    syscall,
                    site: None,
                },
                count => Event::Calls {
                    task,
                    syscall,
                    count,
                },
            });
        }
    }

    pub(super) fn set_clock(&mut self, time: Option<SystemTime>) {
        if let Some(now) = time
            && self.clock != time
        {
            self.clock = time;
            self.output.event(Event::Clock { now });
        }
    }

    pub(super) fn broken(&mut self, log: &mut TraceLog, what: &str) {
        self.summary.broken += 1;
        log.broken += 1;
        self.output.bad_line(&log.name, log.line, what);
    }
}
