//! A profile's answer to a call, with known or unknown arguments.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::profile::arg_width::{fit_rule, has_32_bit_args};
use crate::profile::{ARGS, Action, ArgCmp, Op, Profile, Rule, TooWide};
use crate::syscall::multiplexed::multiplexed;
use crate::syscall::{Arch, Syscall};

/// The action for calls of unlisted ABIs (`SCMP_FLTATR_ACT_BADARCH`): sc-record kills the process, runc the thread.
const UNLISTED: Action = Action::KillProcess;

/// More than the calls of any ABI except those of MIPS.
const MOST_CALLS: i32 = 512;

/// A profile, prepared to be evaluated for many calls.
///
/// As in runc and `sc-record run`, the filter always includes the native ABI and omits rules with the default action; a
/// rule for a call that can be made through socketcall(2) or ipc(2) applies there too, with all arguments.
#[derive(Clone, Debug)]
pub struct Answers {
    default: Action,
    arches: BTreeSet<Arch>,
    rules: FxHashMap<Syscall, Vec<Candidate>>,
    /// The calls that the names of rules mean.
    names: BTreeMap<(usize, usize), Vec<Syscall>>,
}

/// A rule that may apply to a call.
#[derive(Clone, Debug)]
struct Candidate {
    index: usize,
    /// As wide as the ABI's arguments.
    rule: Rule,
}

/// A profile's answer to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The possible actions. Several if they depend on unknown arguments, or if rules contradict each other.
    pub actions: BTreeSet<Action>,
    /// The rules that apply, or may apply, by their numbers in the profile.
    pub rules: BTreeSet<usize>,
    /// The profile does not list the ABI.
    pub unlisted: bool,
}

impl Answer {
    /// Whether the call is executed; `None` if that is undecided.
    #[must_use]
    pub fn executes(&self) -> Option<bool> {
        let mut actions = self.actions.iter().map(|action| action.executes());
        let first = actions.next()?;
        actions.all(|other| other == first).then_some(first)
    }
}

impl Answers {
    /// Prepares a profile.
    pub fn of(profile: &Profile) -> Result<Answers, TooWide> {
        let listed = profile.listed();
        let mut answers = Answers {
            default: profile.default_action(),
            arches: listed.chain([Arch::NATIVE]).collect(),
            rules: FxHashMap::default(),
            names: BTreeMap::new(),
        };
        for (index, rule) in profile.rules().iter().enumerate() {
            for arch in answers.arches.clone() {
                answers.add(index, &fit_rule(rule, index, arch)?, arch);
            }
        }
        Ok(answers)
    }

    fn add(&mut self, index: usize, rule: &Rule, arch: Arch) {
        for (number, name) in rule.names().iter().enumerate() {
            let mut of_name = Vec::new();
            if let Some(syscall) = Syscall::from_name(arch, name) {
                of_name.push((syscall, rule.clone()));
            }
            if let Some((multiplexer, number)) = multiplexed(name)
                && let Some(syscall) = Syscall::from_name(arch, multiplexer)
                && let Ok(first) = ArgCmp::new(0, Op::Eq, number, None)
            {
                of_name.push((syscall, rule.with_args(vec![first])));
            }
            for (syscall, rule) in of_name {
                let calls = self.names.entry((index, number)).or_default();
                calls.push(syscall);
                if rule.action() != self.default {
                    let candidates = self.rules.entry(syscall).or_default();
                    candidates.push(Candidate { index, rule });
                }
            }
        }
    }

    /// The profile's answer.
    #[must_use]
    pub fn answer(&self, syscall: Syscall, args: Option<&[u64; ARGS]>) -> Answer {
        let args = args.map_or([None; ARGS], |args| {
            seen_by_filter(args, syscall.arch).map(Some)
        });
        self.answer_of(syscall, &args)
    }

    /// The profile's answer to a call of which some arguments are known, as a filter sees them.
    pub(super) fn answer_of(&self, syscall: Syscall, args: &[Option<u64>; ARGS]) -> Answer {
        if !self.arches.contains(&syscall.arch) {
            return Answer {
                actions: BTreeSet::from([UNLISTED]),
                rules: BTreeSet::new(),
                unlisted: true,
            };
        }
        let candidates = self.rules.get(&syscall).map_or(&[][..], Vec::as_slice);
        let mut actions = BTreeSet::new();
        let mut rules = BTreeSet::new();
        let mut certain = false;
        for candidate in candidates {
            let holds = candidate.rule.may_hold(args);
            if holds != Some(false) {
                actions.insert(candidate.rule.action());
                rules.insert(candidate.index);
                certain |= holds == Some(true);
            }
        }
        if !certain {
            actions.insert(self.default);
        }
        Answer {
            actions,
            rules,
            unlisted: false,
        }
    }

    /// The calls that have a name, or are named by a rule, and are executed with all arguments.
    #[must_use]
    pub fn always_executed(&self) -> BTreeSet<Syscall> {
        let mut calls: BTreeSet<Syscall> = self.rules.keys().copied().collect();
        if self.default.executes() {
            let numbers = |&arch: &Arch| (0..MOST_CALLS).map(move |nr| Syscall { arch, nr });
            calls.extend(self.arches.iter().flat_map(numbers));
        }
        calls.retain(|&syscall| {
            let executed = self.answer(syscall, None).executes() == Some(true);
            executed && !self.has_conditions(syscall)
        });
        calls
    }

    /// Whether it depends on the arguments of a call which rule applies.
    #[must_use]
    pub fn has_conditions(&self, syscall: Syscall) -> bool {
        let mut candidates = self.rules.get(&syscall).into_iter().flatten();
        candidates.any(|candidate| !candidate.rule.args().is_empty())
    }

    /// The bits of an argument that rules for a call compare.
    pub(super) fn compared(&self, syscall: Syscall, register: u8) -> u64 {
        let candidates = self.rules.get(&syscall).into_iter().flatten();
        let args = candidates.flat_map(|candidate| candidate.rule.args());
        let args = args.filter(|arg| arg.index() == usize::from(register));
        args.fold(0, |bits, arg| match arg.op() {
            Op::MaskedEq => bits | arg.value(),
            _ => u64::MAX,
        })
    }

    /// The calls that a name of a rule means, on all ABIs of the profile.
    #[must_use]
    pub fn calls_of(&self, rule: usize, name: usize) -> &[Syscall] {
        self.names.get(&(rule, name)).map_or(&[], Vec::as_slice)
    }
}

/// Arguments as a filter compares them.
fn seen_by_filter(args: &[u64; ARGS], arch: Arch) -> [u64; ARGS] {
    if has_32_bit_args(arch) {
        args.map(|arg| arg & u64::from(u32::MAX))
    } else {
        *args
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::{OnUnknown, compile};
    use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};

    /// One with everything that makes answers differ.
    fn profile() -> Profile {
        Profile::new(EPERM)
            .with_architectures(Some(vec![Arch::X86_64, Arch::X86]))
            .with_rules([
                allow("read connect sendto shmat"),
                rule("socket", Action::Allow, "arg0 == 1"),
                rule("socket", Action::Allow, "arg0 == 16"),
                rule("clone", Action::Allow, "arg0 & 0x7e020000 == 0"),
                rule("clone3", ENOSYS, ""),
                rule("mount", EPERM, ""),
                rule("ioctl", Action::Log, "arg1 != 0x5412"),
                rule("setuid", Action::Allow, "arg0 == -1"),
            ])
    }

    #[test]
    fn answers_are_those_of_the_filter_that_libseccomp_makes() {
        let profile = profile();
        let filter = compile(&profile, OnUnknown::Fail).unwrap();
        let answers = Answers::of(&profile).unwrap();
        let firsts = [0, 1, 2, 3, 11, 16, 21, 0x1000_0000, 0xffff_ffff, u64::MAX];
        for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
            for nr in -1..480 {
                if (arch, nr) == (Arch::X32, -1) {
                    // Negative numbers are those of x86_64.
                    continue;
                }
                let syscall = Syscall { arch, nr };
                for first in firsts {
                    for second in [0, 0x5412] {
                        let mut args = [first, second, 0, 0, 0, 0];
                        if arch == Arch::X86 {
                            args = args.map(|arg| arg & 0xffff_ffff);
                        }
                        let expected = filter.action(syscall, &args);
                        let answer = answers.answer(syscall, Some(&args));
                        let actions = BTreeSet::from([expected]);
                        assert_eq!(answer.actions, actions, "{arch} {syscall} {args:x?}");
                        let unknown = answers.answer(syscall, None);
                        assert!(unknown.actions.contains(&expected), "{arch} {syscall}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_depends_on_arguments_is_not_decided_without_them() {
        let answers = Answers::of(&profile()).unwrap();
        let of = |arch, name| {
            let syscall = Syscall::from_name(arch, name).unwrap();
            answers.answer(syscall, None).executes()
        };
        assert_eq!(of(Arch::X86_64, "read"), Some(true));
        assert_eq!(of(Arch::X86_64, "socket"), None);
        assert_eq!(of(Arch::X86_64, "ioctl"), None);
        assert_eq!(of(Arch::X86_64, "mount"), Some(false));
        assert_eq!(of(Arch::X86, "socketcall"), None);
        assert_eq!(of(Arch::X32, "read"), Some(false));
        let always = answers.always_executed().into_iter();
        let always: Vec<_> = always.map(|call| format!("{}:{call}", call.arch)).collect();
        let mut expected = "x86_64:read x86_64:shmat x86_64:connect x86_64:sendto x86:read x86:connect x86:sendto x86:shmat".to_owned();
        // The native ABI always belongs to a filter.
        if cfg!(target_arch = "aarch64") {
            expected += " aarch64:read aarch64:shmat aarch64:connect aarch64:sendto";
        }
        assert_eq!(always.join(" "), expected);
    }

    #[test]
    fn a_value_that_an_abi_can_t_have_is_an_error() {
        let mut profile = profile();
        profile = profile.with_rules([rule("read", Action::Allow, "arg0 > 0x100000000")]);
        let error = Answers::of(&profile).unwrap_err().to_string();
        assert_eq!(
            error,
            "syscalls[0].args[0]: arg0 > 0x100000000: the value is too wide for the 32-bit arguments of x86"
        );
    }
}
