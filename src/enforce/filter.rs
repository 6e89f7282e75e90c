//! A compiled filter, and what the user should know about it.

use std::collections::BTreeSet;
use std::fmt;

use libseccomp::ScmpVersion;

use crate::bpf::Program;
use crate::profile::{ARGS, Action, Flag, Profile, ProfilePart};
use crate::syscall::{Arch, Syscall};

/// A seccomp program that does what a profile says, and how to load it.
#[derive(Clone, Debug)]
pub struct Filter {
    pub(super) program: Program,
    pub(super) flags: BTreeSet<Flag>,
    /// Whether it returns `SECCOMP_RET_USER_NOTIF`.
    pub(super) notifies: bool,
    pub(super) unknown: Vec<UnknownName>,
    pub(super) notes: Vec<FilterNote>,
    /// The number of instructions of runc's ENOSYS stub, which come first.
    pub(super) stub_length: usize,
}

impl Filter {
    /// The filter of a profile.
    pub(super) fn new(
        profile: &Profile,
        program: Program,
        unknown: Vec<UnknownName>,
        mut notes: Vec<FilterNote>,
    ) -> Filter {
        let mut listed = profile.listed().peekable();
        if listed.peek().is_some() && listed.all(|arch| arch != Arch::NATIVE) {
            notes.insert(0, FilterNote::NativeNotListed);
        }
        Filter {
            program,
            flags: profile.effective_flags(),
            notifies: (profile.rules().iter()).any(|rule| rule.action() == Action::Notify),
            unknown,
            notes,
            stub_length: 0,
        }
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The action for a system call.
    #[must_use]
    pub fn action(&self, syscall: Syscall, args: &[u64; ARGS]) -> Action {
        self.program.action(syscall, args)
    }

    /// Whether runc's ENOSYS stub answers to a system call, not the profile.
    #[must_use]
    pub fn is_by_stub(&self, syscall: Syscall) -> bool {
        // The stub doesn't look at arguments.
        self.program.end(syscall, &[0; ARGS]).0 < self.stub_length
    }

    /// The names that the filter leaves out ([`OnUnknown::Ignore`], [`compile_like`](super::compile_like)).
    #[must_use]
    pub fn unknown(&self) -> &[UnknownName] {
        &self.unknown
    }

    /// Where the filter differs from what the profile seems to say.
    #[must_use]
    pub fn notes(&self) -> &[FilterNote] {
        &self.notes
    }
}

/// What to do with names that can't be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUnknown {
    /// Return an error.
    #[default]
    Fail,
    /// Leave them out, so their calls get the default action.
    Ignore,
}

/// A name that can't be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// Its place in the profile.
    pub place: ProfilePart,
    /// The name.
    pub name: String,
    /// The ABIs of the profile that have the call, which is too new for libseccomp. Empty if no ABI is known to have it.
    pub arches: Vec<Arch>,
    /// The version of libseccomp.
    pub version: ScmpVersion,
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownName { name, version, .. } = self;
        if self.arches.is_empty() {
            return write!(f, "{name} is not a system call of any known ABI");
        }
        // By its number, sc-record adds a call of the native ABI.
        if self.arches.contains(&Arch::NATIVE) {
            return write!(
                f,
                "libseccomp {version} does not know {name}, and the runtime skips it"
            );
        }
        let arches: Vec<_> = self.arches.iter().map(|arch| arch.name()).collect();
        write!(
            f,
            "libseccomp {version} does not know {name}, and accepts no number for {}",
            arches.join(", ")
        )
    }
}

/// A difference between a filter and what its profile seems to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterNote {
    /// The profile lists ABIs but not the native one, which is in the filter nevertheless, as in runc: the command is executed
    /// with a native call.
    NativeNotListed,
    /// A call can also be made through socketcall(2) or ipc(2), which have its arguments behind a pointer. Made that way, it
    /// matches the rule with any arguments, as in runc.
    ArgsUnseen {
        /// The call's place in the profile.
        place: ProfilePart,
        /// The call.
        name: String,
        /// The ABI.
        arch: Arch,
    },
}

impl FilterNote {
    /// The part of the profile that it is about.
    #[must_use]
    pub fn place(&self) -> Option<ProfilePart> {
        match self {
            FilterNote::NativeNotListed => None,
            FilterNote::ArgsUnseen { place, .. } => Some(*place),
        }
    }
}

impl fmt::Display for FilterNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterNote::NativeNotListed => write!(
                f,
                "the profile does not list {}, but applies to it nevertheless, as in runc",
                Arch::NATIVE
            ),
            FilterNote::ArgsUnseen { name, arch, .. } => write!(
                f,
                "on {arch}, {name} can also be made through socketcall or ipc, where its arguments can't be compared"
            ),
        }
    }
}
