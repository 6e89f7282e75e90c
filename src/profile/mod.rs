//! Profiles, independent of their file format: the model, the policies, and generation from a recording.
//!
//! A [`Profile`] that exists is valid: what the OCI runtime specification forbids can't be built. Unwise
//! profiles can. The meaning is that of the OCI specification as runc and crun apply it with libseccomp.

mod action;
pub(crate) mod arg_width;
mod arguments;
mod audit;
pub mod baseline;
mod edit;
pub(crate) mod families;
mod generate;
mod policy;
mod rule;
#[cfg(test)]
pub(crate) mod shorthand;
#[cfg(test)]
pub(crate) mod strategies;

pub use action::{Action, ErrnoRet};
pub use arg_width::TooWide;
pub use arguments::{AllowedValues, AnyValue, ArgumentRule, MAX_EXPECTED_NEW, MIN_RUNS};
pub(crate) use arguments::{incidence as argument_incidence, saturated};
pub use baseline::{Baseline, Runtime, RuntimeCalls};
pub use edit::Edit;
pub use generate::{GenerateError, Generated, Incomplete, Reason, Unnamed, generate};
pub use policy::{ArgumentRules, Extent, Policy};
pub use rule::{ARGS, ArgCmp, NoSuchArg, Op, Rule, RuleError};

use std::collections::BTreeSet;
use std::fmt;

use crate::syscall::Arch;

/// The calls that a workload may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    default_action: Action,
    architectures: Option<Vec<Arch>>,
    flags: Option<Vec<Flag>>,
    listener: Option<Listener>,
    rules: Vec<Rule>,
}

impl Profile {
    /// A profile that answers `default_action` to every call, on the native ABI.
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

    /// The same profile with another default action.
    #[must_use]
    pub fn with_default_action(self, default_action: Action) -> Profile {
        Profile {
            default_action,
            ..self
        }
    }

    /// The same profile for other ABIs. libseccomp takes each once (`seccomp_arch_add(3)`, EEXIST): repeats are dropped.
    #[must_use]
    pub fn with_architectures(self, architectures: Option<Vec<Arch>>) -> Profile {
        Profile {
            architectures: architectures.map(without_repeats),
            ..self
        }
    }

    /// The same profile, loaded with other flags. Repeats are dropped.
    #[must_use]
    pub fn with_flags(self, flags: Option<Vec<Flag>>) -> Profile {
        Profile {
            flags: flags.map(without_repeats),
            ..self
        }
    }

    /// The same profile with another listener.
    #[must_use]
    pub fn with_listener(self, listener: Option<Listener>) -> Profile {
        Profile { listener, ..self }
    }

    /// The same profile with other rules.
    #[must_use]
    pub fn with_rules(self, rules: impl IntoIterator<Item = Rule>) -> Profile {
        Profile {
            rules: rules.into_iter().collect(),
            ..self
        }
    }

    /// The answer to every call that no rule holds for.
    #[must_use]
    pub fn default_action(&self) -> Action {
        self.default_action
    }

    /// The ABIs that rules hold for, each once. Absent (`None`) and empty both mean the native one; files keep them apart.
    #[must_use]
    pub fn architectures(&self) -> Option<&[Arch]> {
        self.architectures.as_deref()
    }

    /// The ABIs that the profile lists.
    pub fn listed(&self) -> impl Iterator<Item = Arch> {
        self.architectures.iter().flatten().copied()
    }

    /// The ABIs that rules hold for: those listed, or `native`.
    #[must_use]
    pub fn listed_or(&self, native: Arch) -> BTreeSet<Arch> {
        let mut arches: BTreeSet<Arch> = self.listed().collect();
        if arches.is_empty() {
            arches.insert(native);
        }
        arches
    }

    /// How the filter is loaded, each flag once. Absent (`None`) means `SPEC_ALLOW` in runc and crun; empty means none.
    #[must_use]
    pub fn flags(&self) -> Option<&[Flag]> {
        self.flags.as_deref()
    }

    /// The process that answers [`Action::Notify`].
    #[must_use]
    pub fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// The rules. Their order has no meaning.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The flags that hold: without any in the profile, those that runc and crun assume.
    #[must_use]
    pub fn effective_flags(&self) -> BTreeSet<Flag> {
        match &self.flags {
            Some(flags) => flags.iter().copied().collect(),
            None => BTreeSet::from([Flag::SpecAllow]),
        }
    }

    /// The same profile with the names that `keep` holds for. A rule without names is dropped.
    #[must_use]
    pub fn with_names(&self, keep: impl Fn(&Rule, &str) -> bool) -> Profile {
        self.with_each_rule(|rule| {
            let names = rule.names().iter().filter(|name| keep(rule, name));
            let names = names.cloned().collect();
            // The names are valid: only an empty list is refused.
            Rule::new(names, rule.action(), rule.args().to_vec()).ok()
        })
    }

    /// The part of the profile about one call.
    #[must_use]
    pub fn only(&self, name: &str) -> Profile {
        self.with_each_rule(|rule| rule.only(name))
    }

    fn with_each_rule(&self, change: impl Fn(&Rule) -> Option<Rule>) -> Profile {
        Profile {
            rules: self.rules.iter().filter_map(change).collect(),
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

    /// Whether the profile makes libraries call another one instead: clone3(2), whose flags no filter can read, answers ENOSYS,
    /// and clone(2) is allowed with some flags.
    #[must_use]
    pub fn replaces(&self, name: &str) -> bool {
        let compared = |rule: &Rule| {
            rule.action().executes()
                && !rule.args().is_empty()
                && rule.names().iter().any(|name| name == "clone")
        };
        let enosys = BTreeSet::from([Action::Errno(ErrnoRet::ENOSYS)]);
        name == "clone3"
            && self.rules.iter().any(compared)
            && self.answers(name, &[0; ARGS]) == enosys
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

fn without_repeats<T: PartialEq>(list: Vec<T>) -> Vec<T> {
    let mut once = Vec::with_capacity(list.len());
    for item in list {
        if !once.contains(&item) {
            once.push(item);
        }
    }
    once
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
    /// Data that is sent to the listener with the descriptor.
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
pub enum ProfilePart {
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

impl fmt::Display for ProfilePart {
    /// As a path in the OCI format.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProfilePart::DefaultAction => f.write_str("defaultAction"),
            ProfilePart::Architecture(index) => write!(f, "architectures[{index}]"),
            ProfilePart::Rule(rule) => write!(f, "syscalls[{rule}]"),
            ProfilePart::Name { rule, name } => write!(f, "syscalls[{rule}].names[{name}]"),
            ProfilePart::Arg { rule, arg } => write!(f, "syscalls[{rule}].args[{arg}]"),
        }
    }
}
