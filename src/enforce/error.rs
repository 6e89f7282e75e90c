//! Why a profile can't be compiled.

use std::fmt;

use libseccomp::ScmpVersion;
use libseccomp::error::SeccompError;

use super::UnknownName;
use crate::bpf::InvalidProgram;
use crate::bpf::samples::hex;
use crate::profile::{ARGS, Action, ProfilePart, Runtime, TooWide};
use crate::syscall::{Arch, Syscall};

/// Why a profile can't be compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Names can't be compiled.
    #[error("{}", list(.0))]
    UnknownNames(Vec<UnknownName>),
    /// Every call would wait for an answer, including those of the process that answers.
    #[error(
        "{}: SCMP_ACT_NOTIFY can't be the default action",
        ProfilePart::DefaultAction
    )]
    NotifyByDefault,
    /// libseccomp doesn't support an ABI, or not together with the native one.
    #[error(
        "{place}: libseccomp {version} can't put {arch} into a filter for {}",
        Arch::NATIVE
    )]
    Architecture {
        /// The ABI's place in the profile.
        place: ProfilePart,
        /// The ABI.
        arch: Arch,
        /// The version of libseccomp.
        version: ScmpVersion,
    },
    /// libseccomp or this kernel doesn't support an action.
    #[error("{place}: libseccomp refuses the action")]
    Action {
        /// The action's place in the profile.
        place: ProfilePart,
        /// The cause.
        source: SeccompError,
    },
    /// A value is wider than the arguments that it is compared with.
    #[error(transparent)]
    TooWide(#[from] TooWide),
    /// Two rules give different actions to the same calls with the same arguments.
    #[error("{place}: an earlier rule has another action for {name} with the same arguments")]
    Contradiction {
        /// The later rule's place in the profile.
        place: ProfilePart,
        /// The call.
        name: String,
    },
    /// A container runtime refuses the profile.
    #[error("{runtime} refuses {what}")]
    Refused {
        /// The refused part's place in the profile, if it is a part of it.
        place: Option<ProfilePart>,
        /// The runtime.
        runtime: Runtime,
        /// What it refuses.
        what: String,
    },
    /// libseccomp refuses a rule.
    #[error("{place}: libseccomp refuses the rule for {name}")]
    Rule {
        /// The rule's place in the profile.
        place: ProfilePart,
        /// The call.
        name: String,
        /// The cause.
        source: SeccompError,
    },
    /// libseccomp can't merge the filters of two ABIs.
    #[error("libseccomp can't merge the filters of {arch} and {}", Arch::NATIVE)]
    Merge {
        /// The ABI.
        arch: Arch,
        /// The cause.
        source: SeccompError,
    },
    /// libseccomp can't generate the program.
    #[error("libseccomp can't generate the filter")]
    Export(#[source] SeccompError),
    /// The program can't be read from libseccomp.
    #[error("can't read the filter from libseccomp")]
    Memory(#[source] std::io::Error),
    /// libseccomp doesn't terminate.
    #[error("libseccomp does not terminate with the profile's comparisons")]
    Endless,
    /// The thread that compiles can't be started.
    #[error("can't start the thread that compiles the profile")]
    Thread(#[source] std::io::Error),
    /// libseccomp generated a program that the kernel refuses.
    #[error("the kernel would refuse the filter that libseccomp generated")]
    Invalid(#[source] InvalidProgram),
    /// libseccomp generated a program that doesn't do what the profile says.
    #[error(
        "libseccomp generated a wrong filter: it answers {actual} to {} {syscall} with {}, but the profile says {}",
        syscall.arch, hex(args), list(expected)
    )]
    Wrong {
        /// The call.
        syscall: Syscall,
        /// Its arguments.
        args: [u64; ARGS],
        /// The profile's actions: several if rules contradict each other.
        expected: Vec<Action>,
        /// The filter's action.
        actual: Action,
    },
}

impl CompileError {
    /// The part of the profile that the error is about.
    #[must_use]
    pub fn place(&self) -> Option<ProfilePart> {
        match self {
            CompileError::UnknownNames(names) => names.first().map(|name| name.place),
            CompileError::NotifyByDefault => Some(ProfilePart::DefaultAction),
            CompileError::Refused { place, .. } => *place,
            CompileError::Architecture { place, .. }
            | CompileError::Action { place, .. }
            | CompileError::TooWide(TooWide { place, .. })
            | CompileError::Contradiction { place, .. }
            | CompileError::Rule { place, .. } => Some(*place),
            CompileError::Merge { .. }
            | CompileError::Export(_)
            | CompileError::Memory(_)
            | CompileError::Endless
            | CompileError::Thread(_)
            | CompileError::Invalid(_)
            | CompileError::Wrong { .. } => None,
        }
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(ToString::to_string).collect();
    items.join("; ")
}
