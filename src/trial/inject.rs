//! Makes a system call under a profile, to test whether the profile stops it.
//!
//! The emulator gives the filter's answer, and a process under the filter makes the call and reports the result. Only both
//! together prove that the profile stopped the call, since the kernel itself returns EPERM too.
//!
//! Every argument is -1, with which no call does harm. With 0, some do (`sethostname`, `acct`). If a value is injected, arguments
//! that rules compare too get values with which the rules hold, so that the value decides.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::enforce::{Filter, Privileges};
use crate::profile::{ARGS, Action, Op, Profile, Rule};
use crate::sys::inject::{CallEnd, call_under_filter};
use crate::sys::raw_call::CallInstruction;
use crate::sys::seccomp::LoadFilter;
use crate::syscall::{Arch, Syscall};

/// The maximum duration of a call.
const PATIENCE: Duration = Duration::from_secs(1);

/// The result of a call under a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// The call.
    pub syscall: Syscall,
    /// The filter's action.
    pub action: Action,
    /// The result in the process.
    pub outcome: InjectOutcome,
    /// Whether the profile may allow it with other arguments.
    pub depends_on_args: bool,
    /// The injected value of an argument, by its register.
    pub value: Option<(u8, u64)>,
}

/// The result of a call in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectOutcome {
    /// It returned this value, or a negative errno.
    Returned(i64),
    /// This signal killed the process.
    Killed(i32),
    /// The call ended the process (`exit`).
    Ended,
    /// The call did not return within a second (`pause`).
    Waits,
    /// This program can't make calls of the ABI, so only the filter's answer is known.
    NotMade,
}

/// What an injected call shows about a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InjectVerdict {
    /// The profile stopped it.
    Stopped,
    /// The kernel executed it.
    LetThrough,
    /// The process that answers notifications decides.
    Asked,
    /// The result is not the filter's answer: a bug in this program or in the kernel, or another filter.
    Contradiction,
}

impl Injected {
    /// What it shows.
    #[must_use]
    pub fn verdict(&self) -> InjectVerdict {
        let errno = |errno: i32| InjectOutcome::Returned(-i64::from(errno));
        let stopped = match self.action {
            Action::Allow | Action::Log => {
                return match self.outcome {
                    InjectOutcome::Killed(libc::SIGSYS) => InjectVerdict::Contradiction,
                    _ => InjectVerdict::LetThrough,
                };
            }
            Action::Notify => return InjectVerdict::Asked,
            _ if self.outcome == InjectOutcome::NotMade => true,
            Action::Errno(expected) => self.outcome == errno(i32::from(expected.get())),
            // There is no tracer.
            Action::Trace(_) => self.outcome == errno(libc::ENOSYS),
            Action::KillProcess | Action::KillThread | Action::Trap => {
                self.outcome == InjectOutcome::Killed(libc::SIGSYS)
            }
        };
        if stopped {
            InjectVerdict::Stopped
        } else {
            InjectVerdict::Contradiction
        }
    }
}

/// Why a call can't be injected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// The process for the call can't be created.
    #[error("can't create a process for {0}")]
    Process(Syscall, #[source] io::Error),
    /// The filter can't be loaded.
    #[error("the kernel refuses the filter")]
    Load(#[source] Errno),
}

/// Makes a call under a profile's filter, with a value of an argument, by its register, if one is given.
pub fn inject(
    profile: &Profile,
    filter: &Filter,
    syscall: Syscall,
    value: Option<(u8, u64)>,
    privileges: Privileges,
) -> Result<Injected, InjectError> {
    let args = arguments(profile, syscall, value);
    let name = syscall.name().unwrap_or_default();
    let depends_on_args = (profile.rules().iter())
        .any(|rule| !rule.args().is_empty() && rule.names().iter().any(|n| *n == name));
    let load = LoadFilter {
        program: filter.program().encoded(),
        flags: libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        no_new_privs: privileges == Privileges::NoNew,
    };
    let outcome = match CallInstruction::of(syscall.arch) {
        None => InjectOutcome::NotMade,
        Some(entry) => match call_under_filter(&load, entry, syscall.audit_nr(), args, PATIENCE) {
            Err(errno) => return Err(InjectError::Process(syscall, errno)),
            Ok(CallEnd::NotLoaded(errno)) => return Err(InjectError::Load(errno)),
            Ok(CallEnd::Returned(value)) => InjectOutcome::Returned(value),
            Ok(CallEnd::Killed(signal)) => InjectOutcome::Killed(signal),
            Ok(CallEnd::Ended(_)) => InjectOutcome::Ended,
            Ok(CallEnd::Waits) => InjectOutcome::Waits,
        },
    };
    Ok(Injected {
        syscall,
        action: filter.action(syscall, &args),
        outcome,
        depends_on_args,
        value,
    })
}

fn arguments(profile: &Profile, syscall: Syscall, value: Option<(u8, u64)>) -> [u64; ARGS] {
    let harmless = match syscall.arch {
        // 32-bit registers.
        Arch::X86 | Arch::Arm => [u64::from(u32::MAX); ARGS],
        _ => [u64::MAX; ARGS],
    };
    let Some((register, value)) = value else {
        return harmless;
    };
    let name = syscall.name().unwrap_or_default();
    let rules = profile.rules().iter();
    let rules = rules.filter(|rule| rule.names().iter().any(|of| *of == name));
    let with_rules = rules.flat_map(Rule::alternatives).map(|all| {
        let mut args = harmless;
        for comparison in all {
            args[comparison.index()] = match comparison.op() {
                Op::MaskedEq => comparison.value_two().unwrap_or(0),
                Op::Gt => comparison.value().wrapping_add(1),
                Op::Lt | Op::Ne => comparison.value().wrapping_sub(1),
                Op::Eq | Op::Le | Op::Ge => comparison.value(),
            };
        }
        args[usize::from(register)] = value;
        args
    });
    let mut candidates: Vec<[u64; ARGS]> = with_rules.collect();
    let mut alone = harmless;
    alone[usize::from(register)] = value;
    candidates.push(alone);
    let executes = |args: &&[u64; ARGS]| {
        let answers = profile.answers(&name, args);
        answers.iter().any(|action| action.executes())
    };
    // If any rule lets the value through, that is what counts.
    let found = candidates.iter().find(executes).or(candidates.first());
    found.copied().unwrap_or(alone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::{OnUnknown, compile};
    use crate::profile::shorthand::{ENOSYS, EPERM, allow, rule};

    fn expect(
        profile: &Profile,
        arch: Arch,
        name: &str,
        expected: (Action, InjectOutcome, InjectVerdict),
    ) -> Injected {
        let filter = compile(profile, OnUnknown::Fail).unwrap();
        let syscall = Syscall::from_name(arch, name).unwrap();
        let injected = inject(profile, &filter, syscall, None, Privileges::NoNew).unwrap();
        let got = (injected.action, injected.outcome, injected.verdict());
        assert_eq!(got, expected, "{arch} {name}");
        injected
    }

    #[test]
    fn every_answer_is_distinguished_from_the_kernel_s_own_errors() {
        let mut profile = Profile::new(EPERM);
        profile = profile.with_rules([
            allow("setns"),
            rule("unshare", Action::Log, ""),
            rule("acct", Action::KillProcess, ""),
            rule("swapon", Action::KillThread, ""),
            rule("reboot", Action::Trap, ""),
            rule("syslog", Action::Trace(7), ""),
            rule("uname", ENOSYS, ""),
            allow("pause"),
            allow("exit"),
        ]);
        let errno = |errno: i32| InjectOutcome::Returned(-i64::from(errno));
        let sigsys = InjectOutcome::Killed(libc::SIGSYS);
        let (stopped, through) = (InjectVerdict::Stopped, InjectVerdict::LetThrough);
        let native = Arch::NATIVE;
        let cases = [
            ("mount", EPERM, errno(libc::EPERM), stopped),
            ("setns", Action::Allow, errno(libc::EBADF), through),
            ("unshare", Action::Log, errno(libc::EINVAL), through),
            ("acct", Action::KillProcess, sigsys, stopped),
            ("swapon", Action::KillThread, sigsys, stopped),
            ("reboot", Action::Trap, sigsys, stopped),
            ("syslog", Action::Trace(7), errno(libc::ENOSYS), stopped),
            ("uname", ENOSYS, errno(libc::ENOSYS), stopped),
            ("exit", Action::Allow, InjectOutcome::Ended, through),
        ];
        for (name, action, outcome, verdict) in cases {
            expect(&profile, native, name, (action, outcome, verdict));
        }
        #[cfg(target_arch = "x86_64")]
        {
            let waits = (Action::Allow, InjectOutcome::Waits, through);
            expect(&profile, native, "pause", waits);
        }
    }

    /// vfork(2) returns twice on one stack, and `rt_sigreturn` reads registers from the stack.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_that_use_the_caller_s_stack_are_made_too() {
        let profile = Profile::new(Action::Allow);
        let filter = compile(&profile, OnUnknown::Fail).unwrap();
        for _ in 0..20 {
            let vfork = Syscall::from_name(Arch::X86_64, "vfork").unwrap();
            let injected = inject(&profile, &filter, vfork, None, Privileges::NoNew).unwrap();
            let InjectOutcome::Returned(pid) = injected.outcome else {
                panic!("{injected:?}");
            };
            assert!(pid > 0, "{pid}");
        }
        let killed = InjectOutcome::Killed(libc::SIGSEGV);
        let expected = (Action::Allow, killed, InjectVerdict::LetThrough);
        expect(&profile, Arch::X86_64, "rt_sigreturn", expected);
    }

    #[test]
    fn conditions_on_other_arguments_are_reported() {
        let mut profile = Profile::new(EPERM);
        profile = profile.with_rules([rule("unshare", Action::Allow, "arg0 == 0")]);
        let eperm = InjectOutcome::Returned(-i64::from(libc::EPERM));
        let expected = (profile.default_action(), eperm, InjectVerdict::Stopped);
        let injected = expect(&profile, Arch::NATIVE, "unshare", expected);
        assert!(injected.depends_on_args);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_of_i386_are_made_too() {
        let mut profile = Profile::new(EPERM);
        profile = profile.with_architectures(Some(vec![Arch::X86_64, Arch::X86]));
        profile = profile.with_rules([allow("setns")]);
        let errno = |errno: i32| InjectOutcome::Returned(-i64::from(errno));
        let allowed = (Action::Allow, errno(libc::EBADF), InjectVerdict::LetThrough);
        expect(&profile, Arch::X86, "setns", allowed);
        let refused = (EPERM, errno(libc::EPERM), InjectVerdict::Stopped);
        expect(&profile, Arch::X86, "mount", refused);
        // A call of an unlisted ABI kills the process.
        profile = profile.with_architectures(Some(vec![Arch::X86_64]));
        let killed = InjectOutcome::Killed(libc::SIGSYS);
        let killed = (Action::KillProcess, killed, InjectVerdict::Stopped);
        expect(&profile, Arch::X86, "setns", killed);
        expect(&profile, Arch::X32, "setns", killed);
    }
}
