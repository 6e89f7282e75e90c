//! A row of the table of workloads.

use std::collections::BTreeSet;
use std::path::PathBuf;

use sc_record::syscall::Syscall;

use crate::support::process::Room;
use crate::support::{Calls, machine, programs};

/// A row: a program of `workloads/`, its expected status, and facts about its calls.
pub(super) struct Workload {
    pub(super) program: &'static str,
    /// `{dir}` is an empty directory, `{file}` a path that doesn't exist, `{jail}` a directory with `nolibc` in it,
    /// `{NAME}` the path of another program of `workloads/`.
    pub(super) args: &'static [&'static str],
    /// As a shell shows it: 128 plus the signal.
    pub(super) exit: i32,
    /// Calls of every run whose number varies, by [`machine::name`]. Each row says why.
    pub(super) varies: &'static [&'static str],
    /// Calls, by [`machine::call`], with exact counts that are known by construction, even if strace reports others.
    pub(super) certain: &'static [(&'static str, u64)],
    pub(super) strace: Strace,
    /// The number of processes and threads, if it is the same on every run.
    pub(super) tasks: Option<u64>,
    /// Only the recording filter sees its calls.
    pub(super) needs_filter: bool,
    pub(super) under_profile: UnderProfile,
    pub(super) notify: Notify,
}

/// What the notify backend sees of the workload. These rows and their reasons are in docs/how-it-works.md.
#[derive(Clone, Copy)]
pub(super) enum Notify {
    /// All calls.
    Sees,
    /// Not all, and the run says so with these words. Calls that are known by construction need not be there.
    Misses(&'static str),
    /// All calls, or the run says so with these words: it depends on the moment of a signal.
    MayMiss(&'static str),
    /// The workload fails: it ends with this status, and the run says why with these words.
    Disturbs(i32, &'static str),
}

/// The behaviour of the workload under the profile that was generated from its recording.
#[derive(Clone, Copy)]
pub(super) enum UnderProfile {
    /// As without the profile.
    Same,
    /// It ends with another status, for a reason that the row gives.
    Ends(i32),
}

/// The reliability of strace as a witness.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strace {
    /// It sees all calls.
    Sees,
    /// It misses calls: the calls that are known by construction count.
    Misses,
    /// The workload behaves differently under it: only calls that are known by construction are compared.
    Disturbs,
}

impl Workload {
    pub(super) const fn of(program: &'static str) -> Workload {
        Workload {
            program,
            args: &[],
            exit: 0,
            varies: &[],
            certain: &[],
            strace: Strace::Sees,
            tasks: None,
            needs_filter: false,
            under_profile: UnderProfile::Same,
            notify: Notify::Sees,
        }
    }

    /// The command for one run.
    pub(super) fn command(&self, room: &Room) -> Vec<PathBuf> {
        let mut command = vec![if self.program.starts_with('/') {
            PathBuf::from(self.program)
        } else {
            programs::workload(self.program)
        }];
        for &argument in self.args {
            command.push(match argument {
                "{dir}" => room.directory(),
                "{file}" => room.fresh("f"),
                "{jail}" => {
                    let jail = room.directory();
                    room.copy(&programs::workload("nolibc"), &jail.join("nolibc"));
                    jail
                }
                _ => match argument
                    .strip_prefix('{')
                    .and_then(|name| name.strip_suffix('}'))
                {
                    Some(name) => programs::workload(name),
                    None => PathBuf::from(argument),
                },
            });
        }
        command
    }

    /// The differences between the recorded calls and those that were made.
    pub(super) fn differences(&self, witnessed: &Calls, recorded: &Calls) -> Vec<String> {
        // Two names can be one call of this machine.
        let mut certain = Calls::new();
        for (call, count) in self.certain {
            *certain.entry(machine::call(call)).or_default() += count;
        }
        let mut differences = Vec::new();
        let all: BTreeSet<_> = witnessed
            .keys()
            .chain(recorded.keys())
            .chain(certain.keys())
            .collect();
        for syscall in all {
            let count = |calls: &Calls| calls.get(syscall).copied().unwrap_or(0);
            let (seen, found) = (count(witnessed), count(recorded));
            let name = format!("{}/{syscall}", syscall.arch);
            if self.strace == Strace::Disturbs && !certain.contains_key(syscall) {
                continue;
            }
            if let Some(&made) = certain.get(syscall) {
                if found != made {
                    differences.push(format!("{name}: {made} by construction, {found} recorded"));
                }
                if seen != made && self.strace == Strace::Sees {
                    differences.push(format!("{name}: {made} by construction, {seen} by strace"));
                }
            } else if self.varies(*syscall) {
                if seen == 0 || found == 0 {
                    differences.push(format!(
                        "{name}: {seen} by strace, {found} recorded, on every run some"
                    ));
                }
            } else if seen != found {
                differences.push(format!("{name}: {seen} by strace, {found} recorded"));
            }
        }
        differences
    }

    pub(super) fn varies(&self, syscall: Syscall) -> bool {
        let name = syscall.to_string();
        (self.varies.iter()).any(|varies| machine::name(syscall.arch, varies) == name)
    }
}
