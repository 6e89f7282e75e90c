//! Profiles put to work without a container engine: compiled into a filter, checked, loaded, and a command under it.

mod compile;
mod conformance;
mod exec;
mod listener;
mod narrow;

pub use compile::compile;
pub use exec::{ExecError, Privileges, exec};
pub use listener::ListenerError;

use std::collections::BTreeSet;
use std::fmt;

use libc::sock_filter;
use libseccomp::ScmpVersion;
use libseccomp::error::SeccompError;

use crate::bpf::machine;
use crate::bpf::samples::hex;
use crate::bpf::{BadProgram, InvalidProgram, MAX_INSTRUCTIONS, Program};
use crate::profile::{ARGS, Action, Flag, Place};
use crate::syscall::{Arch, Syscall};

/// A program for seccomp(2) that says what a profile says, and how it is loaded.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Vec<sock_filter>,
    flags: BTreeSet<Flag>,
    notifies: bool,
    ignored: Vec<Ignored>,
    notes: Vec<Note>,
}

impl Filter {
    /// The program on its own.
    pub fn program(&self) -> Result<Program, InvalidProgram> {
        Program::new(self.program.clone())
    }

    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.program
    }

    /// What the filter answers to a call.
    pub fn answer(&self, syscall: Syscall, args: &[u64; ARGS]) -> Result<Action, BadProgram> {
        machine::answer(&self.program, &machine::Data::new(syscall, args))
    }

    /// The names of the profile that are not in the filter ([`OnUnknown::Ignore`]).
    #[must_use]
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// What the filter does otherwise than a reader of the profile may think.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }
}

/// What becomes of names that can't be put into the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// They make an error.
    #[default]
    Fail,
    /// They are left out: their calls get the default action.
    Ignore,
}

/// A name that can't be put into the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// Where it is in the profile.
    pub place: Place,
    /// The name.
    pub name: String,
    /// The ABIs of the profile that are known to have the call: it is too new for libseccomp. Empty: no ABI is known to
    /// have it.
    pub arches: Vec<Arch>,
    /// The version of libseccomp.
    pub version: ScmpVersion,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ignored { name, version, .. } = self;
        if self.arches.is_empty() {
            return write!(f, "{name} is not a system call of any known ABI");
        }
        let arches: Vec<_> = self.arches.iter().map(|arch| arch.name()).collect();
        write!(
            f,
            "libseccomp {version} does not know {name}, and takes no number for {}",
            arches.join(", ")
        )
    }
}

/// What a filter does otherwise than a reader of its profile may think.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The profile lists ABIs but not the native one, for which it holds all the same, as in runc: the command is executed
    /// with a native call.
    NativeNotListed,
    /// A call can also be reached through socketcall(2) or ipc(2), which have its arguments behind a pointer: on that way
    /// they are not compared, and the rule holds whatever they are. runc has it so.
    ArgsUnseen {
        /// Where it is in the profile.
        place: Place,
        /// The call.
        name: String,
        /// The ABI.
        arch: Arch,
    },
}

impl Note {
    /// The part of the profile that it is about.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            Note::NativeNotListed => None,
            Note::ArgsUnseen { place, .. } => Some(*place),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::NativeNotListed => write!(
                f,
                "the profile does not list {}, but holds for it all the same, as in runc",
                Arch::NATIVE
            ),
            Note::ArgsUnseen { name, arch, .. } => write!(
                f,
                "on {arch}, {name} can also be reached through socketcall or ipc, where its arguments can't be \
                 compared"
            ),
        }
    }
}

/// Why a profile can't be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Names can't be put into the filter.
    #[error("{}", list(.0))]
    UnknownNames(Vec<Ignored>),
    /// Every call would wait for an answer, that of the listener too.
    #[error(
        "{}: SCMP_ACT_NOTIFY can't be the default action",
        Place::DefaultAction
    )]
    NotifyByDefault,
    /// libseccomp doesn't support an ABI, or not together with the native one.
    #[error(
        "{place}: libseccomp {version} can't put {arch} into a filter for {}",
        Arch::NATIVE
    )]
    Architecture {
        /// Where it is in the profile.
        place: Place,
        /// The ABI.
        arch: Arch,
        /// The version of libseccomp.
        version: ScmpVersion,
    },
    /// libseccomp doesn't support an action, or this kernel doesn't.
    #[error("{place}: libseccomp refuses the action")]
    Action {
        /// Where it is in the profile.
        place: Place,
        /// Why.
        source: SeccompError,
    },
    /// A value is wider than the arguments that it is compared with.
    #[error("{place}: {comparison}: the value is too wide for the 32-bit arguments of {arch}")]
    TooWide {
        /// Where it is in the profile.
        place: Place,
        /// The comparison.
        comparison: String,
        /// The ABI.
        arch: Arch,
    },
    /// Two rules for the same calls with the same arguments have different answers.
    #[error("{place}: an earlier rule has another action for {name} with the same arguments")]
    Contradiction {
        /// Where the later one is in the profile.
        place: Place,
        /// The call.
        name: String,
    },
    /// libseccomp refuses a rule.
    #[error("{place}: libseccomp refuses the rule for {name}")]
    Rule {
        /// Where it is in the profile.
        place: Place,
        /// The call.
        name: String,
        /// Why.
        source: SeccompError,
    },
    /// libseccomp can't unite the filters of the ABIs.
    #[error(
        "libseccomp can't unite the filter of {arch} with that of {}",
        Arch::NATIVE
    )]
    Unite {
        /// The ABI.
        arch: Arch,
        /// Why.
        source: SeccompError,
    },
    /// libseccomp can't make the program.
    #[error("libseccomp can't make the filter")]
    Export(#[source] SeccompError),
    /// There is no memory for the program.
    #[error("can't take over the filter from libseccomp")]
    Memory(#[source] std::io::Error),
    /// libseccomp does not come to an end.
    #[error("libseccomp can't unite the comparisons of the profile: it does not come to an end")]
    Endless,
    /// There is no thread to compile in.
    #[error("can't start the thread that compiles the profile")]
    Thread(#[source] std::io::Error),
    /// The kernel refuses programs of this length.
    #[error(
        "the filter has {instructions} instructions; the kernel takes {}",
        MAX_INSTRUCTIONS
    )]
    TooLong {
        /// How many instructions the program has.
        instructions: usize,
    },
    /// libseccomp made a program that can't be checked.
    #[error("the filter that libseccomp made can't be checked")]
    Unreadable(#[source] BadProgram),
    /// libseccomp made a program that does not say what the profile says.
    #[error(
        "the filter that libseccomp made is wrong: it answers {actual} to {} {syscall} with {}, where the profile says \
         {}",
        syscall.arch, hex(args), list(expected)
    )]
    Wrong {
        /// The call.
        syscall: Syscall,
        /// With which arguments.
        args: [u64; ARGS],
        /// What the profile answers; several if rules contradict each other.
        expected: Vec<Action>,
        /// What the filter answers.
        actual: Action,
    },
}

impl CompileError {
    /// The part of the profile that the error is about.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        match self {
            CompileError::UnknownNames(names) => names.first().map(|name| name.place),
            CompileError::NotifyByDefault => Some(Place::DefaultAction),
            CompileError::Architecture { place, .. }
            | CompileError::Action { place, .. }
            | CompileError::TooWide { place, .. }
            | CompileError::Contradiction { place, .. }
            | CompileError::Rule { place, .. } => Some(*place),
            CompileError::Unite { .. }
            | CompileError::Export(_)
            | CompileError::Memory(_)
            | CompileError::Endless
            | CompileError::Thread(_)
            | CompileError::TooLong { .. }
            | CompileError::Unreadable(_)
            | CompileError::Wrong { .. } => None,
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join("; ")
}

#[cfg(test)]
mod tests;
