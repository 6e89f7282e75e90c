//! Calls that are made under a profile on purpose: does it stop them?
//!
//! The filter says what it answers, and a process under it makes the call and tells what it got. Only both together show
//! that the profile stopped the call: the kernel itself refuses things with EPERM too.
//!
//! Every argument is -1: no call does any harm with that, as some do with 0 (`sethostname`, `acct`).

use std::time::Duration;

use nix::errno::Errno;

use crate::enforce::{Filter, Privileges};
use crate::profile::{ARGS, Action, Profile};
use crate::sys::exec::Load;
use crate::sys::inject::{self as sys, Made, Way};
use crate::syscall::{Arch, Syscall};

/// How long a call may wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// What became of a call under a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// The call.
    pub syscall: Syscall,
    /// What the filter answers to it.
    pub action: Action,
    /// What the process got.
    pub outcome: Outcome,
    /// With other arguments the profile may let it through.
    pub depends_on_args: bool,
}

/// What a process got for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This value, or a negative errno.
    Returned(i64),
    /// This signal ended it.
    Killed(i32),
    /// The call ended the process (`exit`).
    Ended,
    /// The call was still waiting after a second (`pause`).
    Waits,
    /// This machine's program can't make calls of that ABI: the filter's answer is all that is known.
    NotMade,
}

/// What an injected call shows of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The profile stopped it.
    Stopped,
    /// The kernel executed it.
    LetThrough,
    /// It is up to whoever has the listener.
    Asked,
    /// The process got something else than what the filter answers: this program or the kernel errs, or another filter
    /// holds too.
    Contradiction,
}

impl Injected {
    /// What it shows.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let errno = |errno: i32| Outcome::Returned(-i64::from(errno));
        let stopped = match self.action {
            Action::Allow | Action::Log => {
                return match self.outcome {
                    Outcome::Killed(libc::SIGSYS) => Verdict::Contradiction,
                    _ => Verdict::LetThrough,
                };
            }
            Action::Notify => return Verdict::Asked,
            _ if self.outcome == Outcome::NotMade => true,
            Action::Errno(expected) => self.outcome == errno(i32::from(expected.get())),
            // There is no tracer.
            Action::Trace(_) => self.outcome == errno(libc::ENOSYS),
            Action::KillProcess | Action::KillThread | Action::Trap => {
                self.outcome == Outcome::Killed(libc::SIGSYS)
            }
        };
        if stopped {
            Verdict::Stopped
        } else {
            Verdict::Contradiction
        }
    }
}

/// Why a call can't be injected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// There is no process for it.
    #[error("can't make a process for {0}")]
    Process(Syscall, #[source] Errno),
    /// The filter can't be loaded.
    #[error("the kernel refuses the filter")]
    Load(#[source] Errno),
}

/// Makes a call under a profile's filter.
pub fn inject(
    profile: &Profile,
    filter: &Filter,
    syscall: Syscall,
    privileges: Privileges,
) -> Result<Injected, InjectError> {
    let args = match syscall.arch {
        // 32-bit registers.
        Arch::X86 => [u64::from(u32::MAX); ARGS],
        _ => [u64::MAX; ARGS],
    };
    let name = syscall.name().unwrap_or_default();
    let depends_on_args = (profile.rules.iter())
        .any(|rule| !rule.args().is_empty() && rule.names().iter().any(|n| *n == name));
    let load = Load {
        program: filter.program().encoded(),
        flags: libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        no_new_privs: privileges == Privileges::NoNew,
    };
    let outcome = match way(syscall.arch) {
        None => Outcome::NotMade,
        Some(way) => match sys::call(&load, way, syscall.audit_nr(), PATIENCE) {
            Err(errno) => return Err(InjectError::Process(syscall, errno)),
            Ok(Made::NotLoaded(errno)) => return Err(InjectError::Load(errno)),
            Ok(Made::Returned(value)) => Outcome::Returned(value),
            Ok(Made::Killed(signal)) => Outcome::Killed(signal),
            Ok(Made::Ended(_)) => Outcome::Ended,
            Ok(Made::Waits) => Outcome::Waits,
        },
    };
    Ok(Injected {
        syscall,
        action: filter.action(syscall, &args),
        outcome,
        depends_on_args,
    })
}

/// How this program makes calls of an ABI, if it can.
fn way(arch: Arch) -> Option<Way> {
    #[cfg(target_arch = "x86_64")]
    match arch {
        Arch::X86 => return Some(Way::Int80),
        Arch::X32 => return Some(Way::Native),
        _ => {}
    }
    (arch == Arch::NATIVE).then_some(Way::Native)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforce::{OnUnknown, compile};
    use crate::profile::{ArgCmp, ErrnoRet, Op, Rule};

    fn rule(name: &str, action: Action, args: Vec<ArgCmp>) -> Rule {
        Rule::new(vec![name.to_owned()], action, args).unwrap()
    }

    fn check(
        profile: &Profile,
        arch: Arch,
        name: &str,
        expected: (Action, Outcome, Verdict),
    ) -> Injected {
        let filter = compile(profile, OnUnknown::Fail).unwrap();
        let syscall = Syscall::from_name(arch, name).unwrap();
        let injected = inject(profile, &filter, syscall, Privileges::NoNew).unwrap();
        let got = (injected.action, injected.outcome, injected.verdict());
        assert_eq!(got, expected, "{arch} {name}");
        injected
    }

    #[test]
    fn every_answer_is_told_from_what_the_kernel_does_itself() {
        let eperm = Action::Errno(ErrnoRet::EPERM);
        let mut profile = Profile::new(eperm);
        profile.rules = vec![
            rule("setns", Action::Allow, vec![]),
            rule("unshare", Action::Log, vec![]),
            rule("acct", Action::KillProcess, vec![]),
            rule("swapon", Action::KillThread, vec![]),
            rule("reboot", Action::Trap, vec![]),
            rule("syslog", Action::Trace(7), vec![]),
            rule("uname", Action::Errno(ErrnoRet::ENOSYS), vec![]),
            rule("pause", Action::Allow, vec![]),
            rule("exit", Action::Allow, vec![]),
        ];
        let errno = |errno: i32| Outcome::Returned(-i64::from(errno));
        let sigsys = Outcome::Killed(libc::SIGSYS);
        let (stopped, through) = (Verdict::Stopped, Verdict::LetThrough);
        let native = Arch::NATIVE;
        let expect = [
            ("mount", eperm, errno(libc::EPERM), stopped),
            ("setns", Action::Allow, errno(libc::EBADF), through),
            ("unshare", Action::Log, errno(libc::EINVAL), through),
            ("acct", Action::KillProcess, sigsys, stopped),
            ("swapon", Action::KillThread, sigsys, stopped),
            ("reboot", Action::Trap, sigsys, stopped),
            ("syslog", Action::Trace(7), errno(libc::ENOSYS), stopped),
            (
                "uname",
                Action::Errno(ErrnoRet::ENOSYS),
                errno(libc::ENOSYS),
                stopped,
            ),
            ("exit", Action::Allow, Outcome::Ended, through),
        ];
        for (name, action, outcome, verdict) in expect {
            check(&profile, native, name, (action, outcome, verdict));
        }
        #[cfg(target_arch = "x86_64")]
        check(
            &profile,
            native,
            "pause",
            (Action::Allow, Outcome::Waits, through),
        );
    }

    #[test]
    fn that_other_arguments_may_pass_is_told() {
        let mut profile = Profile::new(Action::Errno(ErrnoRet::EPERM));
        let zero = ArgCmp::new(0, Op::Eq, 0, None).unwrap();
        profile.rules = vec![rule("unshare", Action::Allow, vec![zero])];
        let eperm = Outcome::Returned(-i64::from(libc::EPERM));
        let expected = (profile.default_action, eperm, Verdict::Stopped);
        let injected = check(&profile, Arch::NATIVE, "unshare", expected);
        assert!(injected.depends_on_args);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_of_i386_are_made_too() {
        let mut profile = Profile::new(Action::Errno(ErrnoRet::EPERM));
        profile.architectures = Some(vec![Arch::X86_64, Arch::X86]);
        profile.rules = vec![rule("setns", Action::Allow, vec![])];
        let errno = |errno: i32| Outcome::Returned(-i64::from(errno));
        let allowed = (Action::Allow, errno(libc::EBADF), Verdict::LetThrough);
        check(&profile, Arch::X86, "setns", allowed);
        let refused = (profile.default_action, errno(libc::EPERM), Verdict::Stopped);
        check(&profile, Arch::X86, "mount", refused);
        // Not listed: whoever makes such a call is killed.
        profile.architectures = Some(vec![Arch::X86_64]);
        let killed = (
            Action::KillProcess,
            Outcome::Killed(libc::SIGSYS),
            Verdict::Stopped,
        );
        check(&profile, Arch::X86, "setns", killed);
        check(&profile, Arch::X32, "setns", killed);
    }
}
