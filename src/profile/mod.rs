//! Profiles: what a workload may call, whatever file format says it; and how one is made from a recording.
//!
//! A [`Profile`] that exists is valid: what the OCI runtime specification forbids can't be built. What is merely unwise
//! can. The meaning is that of the OCI specification as runc and crun apply it with libseccomp.

mod action;
pub(crate) mod arg_width;
mod audit;
mod edit;
pub(crate) mod families;
mod generate;
mod policy;
mod rule;
#[cfg(test)]
pub(crate) mod strategies;

pub use action::{Action, ErrnoRet};
pub use arg_width::TooWide;
pub use edit::Edit;
pub use generate::{GenerateError, Generated, Incomplete, Reason, Unnamed, generate};
pub use policy::{Extent, Policy};
pub use rule::{ARGS, ArgCmp, NoSuchArg, Op, Rule, RuleError};

use std::collections::BTreeSet;
use std::fmt;

use crate::syscall::Arch;

/// What a workload may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The answer to every call that no rule holds for.
    pub default_action: Action,
    /// The ABIs that rules hold for. Absent (`None`) and empty both mean the native one; files keep them apart.
    pub architectures: Option<Vec<Arch>>,
    /// How the filter is loaded. Absent (`None`) means `SPEC_ALLOW` in runc and crun; empty means none.
    pub flags: Option<Vec<Flag>>,
    /// Who answers [`Action::Notify`].
    pub listener: Option<Listener>,
    /// The rules. Their order has no meaning.
    pub rules: Vec<Rule>,
}

impl Profile {
    /// A profile that answers `default_action` to everything, on the native ABI.
    #[must_use]
    pub fn new(default_action: Action) -> Profile {
        Profile {
            default_action,
            architectures: None,
            flags: None,
            listener: None,
            rules: Vec::new(),
        }
    }

    /// The flags that hold: without any in the profile, those that runc and crun assume.
    #[must_use]
    pub fn effective_flags(&self) -> BTreeSet<Flag> {
        match &self.flags {
            Some(flags) => flags.iter().copied().collect(),
            None => BTreeSet::from([Flag::SpecAllow]),
        }
    }

    /// What the profile says of one call.
    #[must_use]
    pub fn only(&self, name: &str) -> Profile {
        Profile {
            rules: (self.rules.iter())
                .filter_map(|rule| rule.only(name))
                .collect(),
            architectures: self.architectures.clone(),
            flags: self.flags.clone(),
            listener: self.listener.clone(),
            default_action: self.default_action,
        }
    }

    /// Whether a call of this name is executed with some arguments at least.
    #[must_use]
    pub fn may_execute(&self, name: &str) -> bool {
        let mut about = false;
        for rule in self
            .rules
            .iter()
            .filter(|rule| rule.names().iter().any(|n| n == name))
        {
            if rule.action().executes() {
                return true;
            }
            about |= rule.args().is_empty();
        }
        !about && self.default_action.executes()
    }

    /// The answers that the profile may give to a call: those of the rules that hold, or the default action where none
    /// does. Rules with different answers for one call contradict each other, and which one wins is up to the runtime.
    #[must_use]
    pub fn answers(&self, name: &str, args: &[u64; ARGS]) -> BTreeSet<Action> {
        let holding = (self.rules.iter())
            .filter(|rule| rule.names().iter().any(|n| n == name) && rule.holds(args));
        let mut answers: BTreeSet<Action> = holding.map(Rule::action).collect();
        if answers.is_empty() {
            answers.insert(self.default_action);
        }
        answers
    }
}

/// How a filter is loaded (seccomp(2), `SECCOMP_FILTER_FLAG_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flag {
    /// All threads of the process get the filter.
    Tsync,
    /// Every answer but [`Action::Allow`] is logged.
    Log,
    /// Speculative store bypass is not mitigated: without this flag, older kernels slow down filtered programs.
    SpecAllow,
    /// Once the listener has a notification, only a fatal signal interrupts the call (Linux 5.19).
    WaitKillableRecv,
}

impl fmt::Display for Flag {
    /// The OCI name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flag::Tsync => "SECCOMP_FILTER_FLAG_TSYNC",
            Flag::Log => "SECCOMP_FILTER_FLAG_LOG",
            Flag::SpecAllow => "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            Flag::WaitKillableRecv => "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        })
    }
}

/// Where the runtime sends the descriptor that answers [`Action::Notify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    path: String,
    /// What is sent along, whatever it means to the listener.
    pub metadata: Option<String>,
}

impl Listener {
    /// The listener behind the Unix socket at `path`; `None` for an empty path.
    #[must_use]
    pub fn new(path: String, metadata: Option<String>) -> Option<Listener> {
        (!path.is_empty()).then_some(Listener { path, metadata })
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

/// A part of a profile, for messages. Numbers count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// [`Profile::default_action`].
    DefaultAction,
    /// One of [`Profile::architectures`].
    Architecture(usize),
    /// A rule.
    Rule(usize),
    /// A name of a rule.
    Name {
        /// Which rule.
        rule: usize,
        /// Which of its names.
        name: usize,
    },
    /// A comparison of a rule.
    Arg {
        /// Which rule.
        rule: usize,
        /// Which of its comparisons.
        arg: usize,
    },
}

impl fmt::Display for Place {
    /// As a path in the OCI format.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::DefaultAction => f.write_str("defaultAction"),
            Place::Architecture(index) => write!(f, "architectures[{index}]"),
            Place::Rule(rule) => write!(f, "syscalls[{rule}]"),
            Place::Name { rule, name } => write!(f, "syscalls[{rule}].names[{name}]"),
            Place::Arg { rule, arg } => write!(f, "syscalls[{rule}].args[{arg}]"),
        }
    }
}
