//! Settings that allow a call with some arguments only.

use std::collections::BTreeSet;

use crate::format::by_call::Said;
use crate::profile::{ARGS, Action, ArgCmp, ErrnoRet, Op, Profile, Rule};
use crate::syscall::Arch;
use crate::syscall::arguments::{Argument, CLONE_NAMESPACES, CallArguments};

/// A setting that allows a call with some arguments only, and denies it with others (`seccomp_restrict_namespaces`,
/// `seccomp_lock_personality`, `seccomp_restrict_realtime` and `seccomp_restrict_address_families`,
/// `src/shared/seccomp-util.c`). All but the first compare all 64 bits of the register.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Restriction {
    /// `RestrictNamespaces=yes`: clone(2) and unshare(2) without flags that make a namespace, and no setns(2).
    Namespaces,
    /// `LockPersonality=yes`: personality(2) with the default only.
    Personality,
    /// `RestrictRealtime=yes`: `sched_setscheduler(2)` with these policies only: `SCHED_OTHER`, `SCHED_BATCH`, `SCHED_IDLE`.
    Realtime,
    /// `RestrictAddressFamilies=`: socket(2) with these families only, or with all but these.
    Families(bool, BTreeSet<u64>),
}

const POLICIES: [u64; 3] = [0, 3, 5];

/// The ABIs on which systemd restricts families: it knows them, and they have no socketcall(2).
const FAMILIES_ON: [Arch; 8] = [
    Arch::X86_64,
    Arch::X32,
    Arch::Arm,
    Arch::Aarch64,
    Arch::Mips64,
    Arch::Mips64n32,
    Arch::Mipsel64,
    Arch::Mipsel64n32,
];

impl Restriction {
    pub(super) fn setting(&self) -> String {
        let yes = |key: &str| format!("{key}=yes");
        match self {
            Restriction::Namespaces => yes("RestrictNamespaces"),
            Restriction::Personality => yes("LockPersonality"),
            Restriction::Realtime => yes("RestrictRealtime"),
            Restriction::Families(allows, families) => {
                let families = families.iter().map(|&family| family_name(family));
                let families: Vec<String> = families.collect();
                let inverted = if *allows { "" } else { "~" };
                format!("RestrictAddressFamilies={inverted}{}", families.join(" "))
            }
        }
    }

    pub(super) fn call(&self) -> &'static str {
        match self {
            Restriction::Namespaces => "clone",
            Restriction::Personality => "personality",
            Restriction::Realtime => "sched_setscheduler",
            Restriction::Families(..) => "socket",
        }
    }

    /// The values that are allowed, or all that are denied.
    fn values(&self) -> (bool, BTreeSet<u64>) {
        match self {
            // Of the bits that are compared.
            Restriction::Namespaces | Restriction::Personality => (true, BTreeSet::from([0])),
            Restriction::Realtime => (true, BTreeSet::from(POLICIES)),
            Restriction::Families(allows, families) => (*allows, families.clone()),
        }
    }

    /// The register that is compared.
    fn register(&self) -> u8 {
        match self {
            Restriction::Realtime => 1,
            _ => 0,
        }
    }

    /// The answer to other arguments.
    fn denial(&self) -> Action {
        Action::Errno(match self {
            Restriction::Families(..) => ErrnoRet::EAFNOSUPPORT,
            _ => ErrnoRet::EPERM,
        })
    }

    fn compare(&self, op: Op, value: u64) -> Option<ArgCmp> {
        let register = u64::from(self.register());
        match self {
            Restriction::Namespaces => {
                ArgCmp::new(register, Op::MaskedEq, CLONE_NAMESPACES, Some(value))
            }
            _ => ArgCmp::new(register, op, value, None),
        }
        .ok()
    }

    /// The rules of a profile with this default action that say the same.
    pub(super) fn rules(&self, default_action: Action) -> Vec<Rule> {
        let (allows, values) = self.values();
        let (with, without) = if allows {
            (Action::Allow, self.denial())
        } else {
            (self.denial(), Action::Allow)
        };
        let mut rules: Vec<(Action, Op, u64)> = Vec::new();
        rules.extend(values.iter().map(|&value| (with, Op::Eq, value)));
        if let (Some(&first), Some(&last)) = (values.first(), values.last()) {
            rules.extend((first > 0).then_some((without, Op::Lt, first)));
            let between = (first..last).filter(|value| !values.contains(value));
            rules.extend(between.map(|value| (without, Op::Eq, value)));
            rules.push((without, Op::Gt, last));
        }
        let rules = rules.into_iter();
        let rules = rules.filter(|(action, ..)| *action != default_action);
        let rules = rules.filter_map(|(action, op, value)| {
            let args = Vec::from_iter(self.compare(op, value));
            Rule::new(vec![self.call().to_owned()], action, args).ok()
        });
        rules.collect()
    }

    /// The setting that means exactly what the rules of a call say, or why there is none.
    pub(super) fn of(
        name: &str,
        said: &Said<'_>,
        profile: &Profile,
    ) -> Result<Restriction, &'static str> {
        let (restriction, why) = match name {
            "clone" => {
                return if namespaces(said, profile) {
                    Ok(Restriction::Namespaces)
                } else {
                    Err("")
                };
            }
            "personality" => (
                Some(Restriction::Personality),
                " (LockPersonality= allows 0 only, compares 64 bits, and answers EPERM)",
            ),
            "sched_setscheduler" => (
                Some(Restriction::Realtime),
                " (RestrictRealtime= allows SCHED_OTHER, SCHED_BATCH and SCHED_IDLE, compares 64 bits, and answers EPERM)",
            ),
            "socket" => (
                families(profile),
                " (RestrictAddressFamilies= answers EAFNOSUPPORT, and compares 64 bits and no types)",
            ),
            "mmap" | "mmap2" | "mprotect" | "pkey_mprotect" | "shmat" => (
                None,
                " (MemoryDenyWriteExecute= is the kernel's PR_SET_MDWE where there is one, which answers EACCES)",
            ),
            _ => (None, ""),
        };
        restriction
            .filter(|restriction| restriction.is_said(profile))
            .ok_or(why)
    }

    /// Whether the rules for the call say the same for each value of the register.
    fn is_said(&self, profile: &Profile) -> bool {
        let (allows, values) = self.values();
        let Some(mut points) = points(profile, self.call(), self.register()) else {
            return false;
        };
        points.extend(values.iter().flat_map(|&value| around(value)));
        points.into_iter().all(|point| {
            let expected = if values.contains(&point) == allows {
                Action::Allow
            } else {
                self.denial()
            };
            answers(profile, self.call(), self.register(), point) == BTreeSet::from([expected])
        })
    }
}

/// Whether the rules for clone(2) and the calls like it say what `RestrictNamespaces=yes` does.
fn namespaces(said: &Said<'_>, profile: &Profile) -> bool {
    let parts = |one: &ArgCmp| {
        let expected = one.value_two().unwrap_or(0);
        (one.index(), one.op(), one.value(), expected)
    };
    let wanted = Restriction::Namespaces.compare(Op::MaskedEq, 0);
    let is_same = match (said, wanted) {
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
    // systemd answers ENOSYS to clone3, too.
    let others_denied = profile.replaces("clone3")
        && ["unshare", "setns"]
            .iter()
            .all(|other| !profile.may_execute(other));
    is_same
        && is_first
        && others_denied
        && profile.default_action() == Restriction::Namespaces.denial()
}

/// The setting that the answers to socket(2) look like.
fn families(profile: &Profile) -> Option<Restriction> {
    let arches = profile.listed_or(Arch::NATIVE);
    if !arches.iter().all(|arch| FAMILIES_ON.contains(arch)) {
        return None;
    }
    let allow = BTreeSet::from([Action::Allow]);
    let allowed = |&point: &u64| answers(profile, "socket", 0, point) == allow;
    let allows = !allowed(&u64::MAX);
    let points = points(profile, "socket", 0)?.into_iter();
    let families: BTreeSet<u64> = points.filter(|point| allowed(point) == allows).collect();
    let are_named = families
        .iter()
        .all(|&family| family > 0 && family_of(&family_name(family)) == Some(family));
    (!families.is_empty() && are_named).then_some(Restriction::Families(allows, families))
}

fn family() -> Option<&'static Argument> {
    CallArguments::named("socket")?.arguments.first()
}

fn family_name(value: u64) -> String {
    family().map_or(String::new(), |family| family.show(value, Arch::NATIVE))
}

pub(super) fn family_of(name: &str) -> Option<u64> {
    family()?.parse(name).filter(|_| name.starts_with("AF_"))
}

/// Values of a register, one at least of each range in which all rules for the call have the same answer. `None` if they compare
/// other registers, or some bits only.
fn points(profile: &Profile, call: &str, register: u8) -> Option<BTreeSet<u64>> {
    let mut points = BTreeSet::from([0, u64::MAX]);
    let about = |rule: &&Rule| rule.names().iter().any(|name| name == call);
    for compared in profile.rules().iter().filter(about).flat_map(Rule::args) {
        if compared.index() != usize::from(register) || compared.op() == Op::MaskedEq {
            return None;
        }
        points.extend(around(compared.value()));
    }
    Some(points)
}

fn around(value: u64) -> [u64; 3] {
    [value.saturating_sub(1), value, value.saturating_add(1)]
}

fn answers(profile: &Profile, call: &str, register: u8, value: u64) -> BTreeSet<Action> {
    let mut args = [0; ARGS];
    args[usize::from(register)] = value;
    profile.answers(call, &args)
}
