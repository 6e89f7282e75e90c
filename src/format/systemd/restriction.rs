//! Settings that allow a call with some arguments only.

use crate::format::by_call::Said;
use crate::profile::{Action, ArgCmp, ErrnoRet, Op, Profile};
use crate::syscall::Arch;
use crate::syscall::arguments::CLONE_NAMESPACES;

/// A setting that allows a call with some arguments only, and denies it with others by EPERM (`seccomp_restrict_namespaces` and
/// `seccomp_lock_personality`, `src/shared/seccomp-util.c`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Restriction {
    /// `RestrictNamespaces=yes`: clone(2) and unshare(2) without flags that make a namespace, and no setns(2).
    Namespaces,
    /// `LockPersonality=yes`: personality(2) with the default only.
    Personality,
}

impl Restriction {
    pub(super) fn setting(self) -> &'static str {
        match self {
            Restriction::Namespaces => "RestrictNamespaces=yes\n",
            Restriction::Personality => "LockPersonality=yes\n",
        }
    }

    pub(super) fn call(self) -> &'static str {
        match self {
            Restriction::Namespaces => "clone",
            Restriction::Personality => "personality",
        }
    }

    /// The comparison under which the call is allowed.
    pub(super) fn comparison(self) -> Option<ArgCmp> {
        let mask = match self {
            Restriction::Namespaces => CLONE_NAMESPACES,
            Restriction::Personality => u64::from(u32::MAX),
        };
        ArgCmp::new(0, Op::MaskedEq, mask, Some(0)).ok()
    }

    /// The setting that means exactly what the rules of a call say, or why there is none.
    pub(super) fn of(
        name: &str,
        said: &Said<'_>,
        profile: &Profile,
    ) -> Result<Restriction, &'static str> {
        let all = [Restriction::Namespaces, Restriction::Personality];
        let known = all.into_iter().find(|known| known.call() == name);
        let Some(restriction) = known else {
            return Err(match name {
                "socket" => {
                    " (RestrictAddressFamilies= answers EAFNOSUPPORT, and compares no types)"
                }
                "mmap" | "mmap2" | "mprotect" | "pkey_mprotect" | "shmat" => {
                    " (MemoryDenyWriteExecute= depends on the kernel's PR_SET_MDWE)"
                }
                "sched_setscheduler" => " (RestrictRealtime= allows three policies)",
                _ => "",
            });
        };
        let parts = |one: &ArgCmp| {
            let expected = one.value_two().unwrap_or(0);
            (one.index(), one.op(), one.value(), expected)
        };
        let is_same = match (said, restriction.comparison()) {
            (Said::When(when), Some(wanted)) => {
                matches!(when[..], [([only], Action::Allow)] if parts(only) == parts(&wanted))
            }
            _ => false,
        };
        // On s390, the flags of clone are argument 1.
        let is_first = !profile
            .listed_or(Arch::NATIVE)
            .iter()
            .any(|arch| matches!(arch, Arch::S390 | Arch::S390x));
        let denies = profile.default_action() == Action::Errno(ErrnoRet::EPERM);
        // systemd answers ENOSYS to clone3, too.
        let others_denied = profile.replaces("clone3")
            && ["unshare", "setns"]
                .iter()
                .all(|other| !profile.may_execute(other));
        match restriction {
            _ if !is_same || !denies => Err(""),
            Restriction::Namespaces if !is_first || !others_denied => Err(""),
            restriction => Ok(restriction),
        }
    }
}
