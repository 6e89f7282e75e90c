//! What the programs of recordings can call at all, beside what they were recorded to call.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as _;
use std::path::{Path, PathBuf};

use crate::profile::Profile;
use crate::reach::{Bound, Reach, ReachError, Way};
use crate::recording::{Name, Recording};
use crate::syscall::{Arch, Syscall};

/// A recording that names no program: nothing can be read.
#[derive(Debug, thiserror::Error)]
#[error("the recording of {0} doesn't say which programs made its calls")]
pub struct NoPrograms(Name);

/// The bounds of programs, and the calls that were recorded of them.
#[derive(Debug)]
pub struct Reachable {
    analysis: Reach,
    with: Vec<PathBuf>,
    /// By the program's path, as it was given or recorded.
    bounds: BTreeMap<PathBuf, Bound>,
    skipped: BTreeMap<PathBuf, String>,
    recorded: Option<BTreeMap<Syscall, BTreeSet<PathBuf>>>,
}

/// How a program can make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Possible<'a> {
    /// The program.
    pub program: &'a Path,
    /// The way to the call.
    pub way: &'a Way,
}

impl Reachable {
    /// No program yet. All may load the libraries in `with` at run time.
    #[must_use]
    pub fn new(with: Vec<PathBuf>) -> Reachable {
        Reachable {
            analysis: Reach::new().cached(),
            with,
            bounds: BTreeMap::new(),
            skipped: BTreeMap::new(),
            recorded: None,
        }
    }

    /// Adds a program.
    pub fn add_program(&mut self, program: PathBuf) -> Result<(), ReachError> {
        let bound = self.analysis.bound(&program, &self.with)?;
        self.bounds.insert(program, bound);
        Ok(())
    }

    /// Adds a recording, and the programs that it executed. A program that can't be analysed is [skipped](Reachable::skipped).
    pub fn add_recording(&mut self, recording: &Recording) -> Result<(), NoPrograms> {
        let executables = recording.executables();
        if executables.is_empty() {
            return Err(NoPrograms(recording.name.clone()));
        }
        for program in executables {
            if !self.bounds.contains_key(program)
                && let Err(error) = self.add_program(program.to_owned())
            {
                let cause = error.source().map(|cause| format!(": {cause}"));
                let why = format!("{error}{}", cause.unwrap_or_default());
                self.skipped.insert(program.to_owned(), why);
            }
        }
        let recorded = self.recorded.get_or_insert_default();
        for (call, seen) in recording.syscalls() {
            let by = seen.executables.into_iter().map(Path::to_owned);
            recorded.entry(call).or_default().extend(by);
        }
        Ok(())
    }

    /// The bounds, by the programs' paths.
    #[must_use]
    pub fn bounds(&self) -> &BTreeMap<PathBuf, Bound> {
        &self.bounds
    }

    /// Recorded programs that could not be analysed, and why.
    #[must_use]
    pub fn skipped(&self) -> &BTreeMap<PathBuf, String> {
        &self.skipped
    }

    /// The calls of the recordings, each with the programs that made it; `None` without recordings.
    #[must_use]
    pub fn recorded(&self) -> Option<&BTreeMap<Syscall, BTreeSet<PathBuf>>> {
        self.recorded.as_ref()
    }

    fn is_recorded(&self, call: Syscall) -> bool {
        (self.recorded.as_ref()).is_some_and(|recorded| recorded.contains_key(&call))
    }

    /// The calls that can be made and were not recorded, each with the program that has the shortest way to it.
    #[must_use]
    pub fn possible(&self) -> BTreeMap<Syscall, Possible<'_>> {
        let mut possible = BTreeMap::<Syscall, Possible<'_>>::new();
        for (program, bound) in &self.bounds {
            for (&call, way) in &bound.calls {
                let shortest = possible
                    .get(&call)
                    .is_none_or(|known| way.length() < known.way.length());
                if shortest && !self.is_recorded(call) {
                    possible.insert(call, Possible { program, way });
                }
            }
        }
        possible
    }

    /// The possible calls that were not recorded and that a profile doesn't execute, whatever their arguments.
    #[must_use]
    pub fn denied(&self, profile: &Profile) -> BTreeMap<Syscall, Possible<'_>> {
        let arches = profile.listed_or(Arch::NATIVE);
        let executes = |call: &Syscall| {
            let name = call.name().filter(|_| arches.contains(&call.arch));
            name.is_some_and(|name| profile.may_execute(&name))
        };
        let mut possible = self.possible();
        possible.retain(|call, _| !executes(call));
        possible
    }

    /// The calls that were recorded although the program can't make them: the bound is wrong there.
    #[must_use]
    pub fn outside(&self) -> Vec<(Syscall, &Path)> {
        let recorded = self.recorded.iter().flatten();
        let made =
            recorded.flat_map(|(call, programs)| programs.iter().map(|program| (*call, program)));
        let outside = made.filter(|(call, program)| {
            let bound = self.bounds.get(*program);
            bound.is_some_and(|bound| !bound.calls.contains_key(call))
        });
        outside
            .map(|(call, program)| (call, program.as_path()))
            .collect()
    }

    /// The calls of x86-64 that are not possible and were not recorded.
    #[must_use]
    pub fn unreachable(&self) -> Vec<Syscall> {
        let all = (0..1024).map(|nr| Syscall {
            arch: Arch::X86_64,
            nr,
        });
        let named = all.filter(|call| call.name().is_some());
        named
            .filter(|&call| !self.is_possible(call) && !self.is_recorded(call))
            .collect()
    }

    /// Whether a program can make a call.
    #[must_use]
    pub fn is_possible(&self, call: Syscall) -> bool {
        let mut bounds = self.bounds.values();
        bounds.any(|bound| bound.calls.contains_key(&call))
    }

    /// Whether a program can make a call of this name, on any ABI.
    #[must_use]
    pub fn is_name_possible(&self, name: &str) -> bool {
        let calls = self.bounds.values().flat_map(|bound| bound.calls.keys());
        calls.filter_map(|call| call.name()).any(|of| of == name)
    }

    /// Whether the programs can't make any other call, as long as they load no further library and make no code at run time.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.skipped.is_empty()
            && self.bounds.values().all(Bound::holds)
            && self.outside().is_empty()
    }
}
