//! Calls and conditions with the names of arguments and of their values: `socket(AF_ALG, SOCK_SEQPACKET, 0x0)`,
//! `domain == AF_ALG`. Only calls whose arguments decide what they do, and that profiles compare.

use crate::profile::{ARGS, ArgCmp, Op};
use crate::syscall::{Arch, Syscall};

/// How the value of an argument is shown. Named arguments have 32 bits, but for clone's flags, whose upper half is unused.
#[derive(Clone, Copy)]
enum Kind {
    /// As a number.
    Number,
    /// One of these.
    One(Names),
    /// One of the former, in the bits of the mask, and any of the latter.
    Flags(u64, Names, Names),
}

type Names = &'static [(&'static str, u64)];

/// Names of constants of the crate libc with their values.
macro_rules! names {
    ($($name:ident)*) => {
        &[$((stringify!($name), libc::$name as u32 as u64)),*]
    };
}

use Kind::{Flags, Number, One};

#[allow(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    clippy::cast_lossless,
    clippy::unnecessary_cast,
    trivial_numeric_casts,
    reason = "the constants have different types; all have 32 bits"
)]
mod tables {
    use super::Names;

    pub(super) const FAMILIES: Names = names!(AF_UNSPEC AF_UNIX AF_INET AF_AX25 AF_IPX AF_APPLETALK AF_INET6 AF_NETLINK
        AF_PACKET AF_RDS AF_PPPOX AF_CAN AF_TIPC AF_BLUETOOTH AF_RXRPC AF_ALG AF_NFC AF_VSOCK AF_XDP);
    pub(super) const TYPES: Names =
        names!(SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_RDM SOCK_SEQPACKET SOCK_DCCP);
    pub(super) const TYPE_FLAGS: Names = names!(SOCK_CLOEXEC SOCK_NONBLOCK);
    pub(super) const NAMESPACES: Names = names!(CLONE_NEWNS CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER
        CLONE_NEWPID CLONE_NEWNET CLONE_NEWTIME CLONE_FS CLONE_FILES CLONE_SYSVSEM);
    pub(super) const CLONE: Names = names!(CLONE_VM CLONE_FS CLONE_FILES CLONE_SIGHAND CLONE_PIDFD CLONE_PTRACE CLONE_VFORK
        CLONE_PARENT CLONE_THREAD CLONE_NEWNS CLONE_SYSVSEM CLONE_SETTLS CLONE_PARENT_SETTID CLONE_CHILD_CLEARTID
        CLONE_DETACHED CLONE_UNTRACED CLONE_CHILD_SETTID CLONE_NEWCGROUP CLONE_NEWUTS CLONE_NEWIPC CLONE_NEWUSER CLONE_NEWPID
        CLONE_NEWNET CLONE_IO);
    pub(super) const SIGNALS: Names = names!(SIGCHLD);
    pub(super) const PRCTL: Names = names!(PR_SET_PDEATHSIG PR_GET_DUMPABLE PR_SET_DUMPABLE PR_SET_KEEPCAPS PR_SET_NAME
        PR_GET_NAME PR_GET_SECCOMP PR_SET_SECCOMP PR_CAPBSET_READ PR_CAPBSET_DROP PR_SET_SECUREBITS PR_SET_TIMERSLACK
        PR_SET_MM PR_SET_PTRACER PR_SET_CHILD_SUBREAPER PR_SET_NO_NEW_PRIVS PR_GET_NO_NEW_PRIVS PR_SET_THP_DISABLE
        PR_CAP_AMBIENT PR_SET_VMA);
    pub(super) const PTRACE: Names = names!(PTRACE_TRACEME PTRACE_PEEKTEXT PTRACE_PEEKDATA PTRACE_POKETEXT PTRACE_POKEDATA
        PTRACE_CONT PTRACE_KILL PTRACE_SINGLESTEP PTRACE_ATTACH PTRACE_DETACH PTRACE_SYSCALL PTRACE_SETOPTIONS
        PTRACE_GETREGSET PTRACE_SETREGSET PTRACE_SEIZE PTRACE_INTERRUPT);
    pub(super) const SECCOMP: Names = names!(SECCOMP_SET_MODE_STRICT SECCOMP_SET_MODE_FILTER SECCOMP_GET_ACTION_AVAIL
        SECCOMP_GET_NOTIF_SIZES);
    pub(super) const PROTECTION: Names =
        names!(PROT_READ PROT_WRITE PROT_EXEC PROT_GROWSDOWN PROT_GROWSUP);
    pub(super) const NO_PROTECTION: Names = names!(PROT_NONE);
    pub(super) const IOCTL: Names = names!(TCGETS TCSETS TIOCSCTTY TIOCGPGRP TIOCSPGRP TIOCSTI TIOCGWINSZ TIOCSWINSZ TIOCLINUX
        FIONREAD FIONBIO FIOCLEX FIOASYNC);
    pub(super) const PERSONALITY: Names = &[("PER_LINUX", 0), ("PER_LINUX32", 8)];
    pub(super) const PERSONALITY_FLAGS: Names = names!(ADDR_NO_RANDOMIZE READ_IMPLIES_EXEC MMAP_PAGE_ZERO ADDR_COMPAT_LAYOUT
        SHORT_INODE WHOLE_SECONDS STICKY_TIMEOUTS ADDR_LIMIT_3GB UNAME26 FDPIC_FUNCPTRS ADDR_LIMIT_32BIT);
}

/// The low bits of a socket's type (`SOCK_TYPE_MASK`, `linux/net.h`).
const SOCK_TYPE: u64 = 0xf;
/// The exit signal in clone's flags (`CSIGNAL`).
const EXIT_SIGNAL: u64 = 0xff;
/// The personality without its flags (`PER_MASK`).
const PERSONA: u64 = 0xff;

/// The arguments that a call has, with the names of their manual pages. Clone's others differ between architectures.
#[rustfmt::skip]
const CALLS: &[(&str, &[(&str, Kind)])] = &[
    ("clone", &[("flags", Flags(EXIT_SIGNAL, tables::SIGNALS, tables::CLONE)),
        ("", Number), ("", Number), ("", Number), ("", Number)]),
    ("ioctl", &[("fd", Number), ("request", One(tables::IOCTL)), ("", Number)]),
    ("mmap", &[("addr", Number), ("length", Number), ("prot", Flags(0, tables::NO_PROTECTION, tables::PROTECTION)),
        ("flags", Number), ("fd", Number), ("offset", Number)]),
    ("mprotect", &[("addr", Number), ("len", Number), ("prot", Flags(0, tables::NO_PROTECTION, tables::PROTECTION))]),
    ("personality", &[("persona", Flags(PERSONA, tables::PERSONALITY, tables::PERSONALITY_FLAGS))]),
    ("prctl", &[("option", One(tables::PRCTL)), ("", Number), ("", Number), ("", Number), ("", Number)]),
    ("ptrace", &[("request", One(tables::PTRACE)), ("pid", Number), ("addr", Number), ("data", Number)]),
    ("seccomp", &[("operation", One(tables::SECCOMP)), ("flags", Number), ("args", Number)]),
    ("setns", &[("fd", Number), ("nstype", Flags(0, &[], tables::NAMESPACES))]),
    ("socket", &[("domain", One(tables::FAMILIES)), ("type", Flags(SOCK_TYPE, tables::TYPES, tables::TYPE_FLAGS)),
        ("protocol", Number)]),
    ("socketpair", &[("domain", One(tables::FAMILIES)), ("type", Flags(SOCK_TYPE, tables::TYPES, tables::TYPE_FLAGS)),
        ("protocol", Number), ("sv", Number)]),
    ("unshare", &[("flags", Flags(0, &[], tables::NAMESPACES))]),
];

/// A call with its arguments, named where they have names. Of a call that isn't in the table, all registers are shown.
#[must_use]
pub fn call_with_arguments(syscall: Syscall, args: &[u64; ARGS]) -> String {
    let name = syscall.to_string();
    // s390 swaps clone's first two arguments.
    let swapped = name == "clone" && matches!(syscall.arch, Arch::S390 | Arch::S390x);
    let entry = CALLS.iter().find(|(of, _)| *of == name && !swapped);
    let kinds = entry.map_or(&[("", Number); ARGS][..], |(_, kinds)| kinds);
    let shown = kinds
        .iter()
        .zip(args)
        .map(|((_, kind), &value)| kind.show(value));
    format!("{name}({})", shown.collect::<Vec<_>>().join(", "))
}

/// The condition of a rule for the call of this name: `domain != AF_ALG`, `arg1 > 0x5`.
#[must_use]
pub fn condition(name: &str, arg: &ArgCmp) -> String {
    let entry = CALLS.iter().find(|(of, _)| *of == name);
    let Some((argument, kind)) = entry.and_then(|(_, all)| all.get(arg.index())) else {
        return arg.to_string();
    };
    // An argument with a name has 32 bits; a wider value equals none.
    let show = |value: u64| match u32::try_from(value) {
        Ok(_) => kind.show(value),
        Err(_) => format!("{value:#x}"),
    };
    let sign = match arg.op() {
        _ if argument.is_empty() => return arg.to_string(),
        Op::Eq => "==",
        Op::Ne => "!=",
        Op::MaskedEq => {
            let (mask, expected) = (arg.value(), arg.value_two().unwrap_or(0));
            let expected = match expected {
                // No flag of the mask.
                0 if mask != u64::from(u32::MAX) => "0x0".to_owned(),
                expected => show(expected),
            };
            return format!("{argument} & {} == {expected}", kind.show_mask(mask));
        }
        // Values with names have no order.
        _ => {
            return arg
                .to_string()
                .replacen(&format!("arg{}", arg.index()), argument, 1);
        }
    };
    format!("{argument} {sign} {}", show(arg.value()))
}

impl Kind {
    /// Flags that a condition looks at.
    fn show_mask(self, mask: u64) -> String {
        match self {
            Flags(.., flags) => {
                let all = flags.iter().fold(0, |all, (_, bits)| all | bits);
                if mask != 0 && mask & !all == 0 {
                    format!("({})", self.show(mask))
                } else {
                    format!("{mask:#x}")
                }
            }
            Number | One(_) => format!("{mask:#x}"),
        }
    }

    fn show(self, value: u64) -> String {
        // The upper half of a register can hold anything where the argument has 32 bits.
        let low = value & u64::from(u32::MAX);
        let name_of = |names: Names, value: u64| {
            names
                .iter()
                .find(|(_, of)| *of == value)
                .map(|(name, _)| *name)
        };
        match self {
            Number => format!("{value:#x}"),
            One(names) => name_of(names, low).map_or_else(|| format!("{value:#x}"), str::to_owned),
            Flags(mask, kinds, flags) => {
                let kind = low & mask;
                let (mut rest, mut parts) = (low & !mask, Vec::new());
                match name_of(kinds, kind) {
                    Some(name) if kind != 0 || rest == 0 => parts.push(name.to_owned()),
                    Some(_) => {}
                    None => rest |= kind,
                }
                for (name, bits) in flags.iter().filter(|(_, bits)| low & bits == *bits) {
                    parts.push((*name).to_owned());
                    rest &= !bits;
                }
                if rest != 0 || parts.is_empty() {
                    parts.push(format!("{rest:#x}"));
                }
                parts.join("|")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: &str, args: &[u64]) -> String {
        let mut all = [0; ARGS];
        all[..args.len()].copy_from_slice(args);
        call_with_arguments(Syscall::from_name(Arch::X86_64, name).unwrap(), &all)
    }

    #[test]
    fn values_that_decide_what_a_call_does_have_their_names() {
        let check = |name: &str, args: &[u64], expected: &str| {
            assert_eq!(shown(name, args), format!("{name}({expected})"));
        };
        check(
            "socket",
            &[38, 0x80005],
            "AF_ALG, SOCK_SEQPACKET|SOCK_CLOEXEC, 0x0",
        );
        check("socket", &[0xdead_0000_0001, 2], "AF_UNIX, SOCK_DGRAM, 0x0");
        check("socket", &[99, 7], "0x63, 0x7, 0x0");
        check("unshare", &[0x1002_0000], "CLONE_NEWNS|CLONE_NEWUSER");
        check("unshare", &[0], "0x0");
        check(
            "mprotect",
            &[0x1000, 4096, 5],
            "0x1000, 0x1000, PROT_READ|PROT_EXEC",
        );
        check("mprotect", &[0x1000, 4096, 0], "0x1000, 0x1000, PROT_NONE");
        check("prctl", &[38, 1], "PR_SET_NO_NEW_PRIVS, 0x1, 0x0, 0x0, 0x0");
        check("personality", &[0x4_0000], "ADDR_NO_RANDOMIZE");
        check("personality", &[8], "PER_LINUX32");
        check(
            "clone",
            &[0x120_0011],
            "SIGCHLD|CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID, 0x0, 0x0, 0x0, 0x0",
        );
        check("read", &[3], "0x3, 0x0, 0x0, 0x0, 0x0, 0x0");
    }

    #[test]
    fn conditions_have_the_names_of_arguments_and_values() {
        let check =
            |name: &str, index: u8, op: Op, value: u64, two: Option<u64>, expected: &str| {
                let arg = ArgCmp::new(index.into(), op, value, two).unwrap();
                assert_eq!(condition(name, &arg), expected);
            };
        check("socket", 0, Op::Ne, 38, None, "domain != AF_ALG");
        check("socket", 1, Op::Eq, 2, None, "type == SOCK_DGRAM");
        check("socket", 0, Op::Le, 2, None, "domain <= 0x2");
        check(
            "socket",
            0,
            Op::Eq,
            1 << 32 | 1,
            None,
            "domain == 0x100000001",
        );
        let low = u64::from(u32::MAX);
        check(
            "socket",
            0,
            Op::MaskedEq,
            low,
            Some(1),
            "domain & 0xffffffff == AF_UNIX",
        );
        let new = 0x7e02_0000;
        check(
            "clone",
            0,
            Op::MaskedEq,
            new,
            Some(0),
            "flags & (CLONE_NEWNS|CLONE_NEWCGROUP|CLONE_NEWUTS|CLONE_NEWIPC|CLONE_NEWUSER|CLONE_NEWPID|CLONE_NEWNET) == 0x0",
        );
        check(
            "clone",
            1,
            Op::MaskedEq,
            new,
            Some(0),
            "arg1 & 0x7e020000 == 0x0",
        );
        check("personality", 0, Op::Eq, 0, None, "persona == PER_LINUX");
        check(
            "mprotect",
            2,
            Op::MaskedEq,
            4,
            Some(4),
            "prot & (PROT_EXEC) == PROT_EXEC",
        );
        check("read", 0, Op::Eq, 3, None, "arg0 == 0x3");
    }

    #[test]
    fn every_call_of_the_table_exists_and_no_value_has_two_names() {
        for (name, kinds) in CALLS {
            assert!(Syscall::from_name(Arch::X86_64, name).is_some(), "{name}");
            for (_, kind) in *kinds {
                let names = match kind {
                    Number => continue,
                    One(names) | Flags(_, _, names) => names,
                };
                let values: std::collections::BTreeSet<u64> =
                    names.iter().map(|(_, value)| *value).collect();
                assert_eq!(values.len(), names.len(), "{name}");
            }
        }
    }
}
