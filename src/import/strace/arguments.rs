//! The values of arguments that carry a choice, as strace prints them: `AF_INET`, `SOCK_STREAM|SOCK_CLOEXEC`, `0x26`, `38`,
//! `0x26 /* AF_ALG */`, `flags=CLONE_VM|SIGCHLD`.

use crate::syscall::Syscall;
use crate::syscall::arguments::{Argument, CallArguments};

/// Names that depend on other arguments, so that the table doesn't have them. `linux/in.h`, `linux/netlink.h`, `asm/socket.h`,
/// `linux/tcp.h`.
const MORE: &[(&str, u64)] = &[
    ("IPPROTO_IP", 0),
    ("IPPROTO_ICMP", 1),
    ("IPPROTO_TCP", 6),
    ("IPPROTO_UDP", 17),
    ("IPPROTO_IPV6", 41),
    ("IPPROTO_ICMPV6", 58),
    ("IPPROTO_RAW", 255),
    ("NETLINK_ROUTE", 0),
    ("NETLINK_SOCK_DIAG", 4),
    ("NETLINK_AUDIT", 9),
    ("NETLINK_NETFILTER", 12),
    ("NETLINK_KOBJECT_UEVENT", 15),
    ("NETLINK_GENERIC", 16),
    ("SO_DEBUG", 1),
    ("SO_REUSEADDR", 2),
    ("SO_TYPE", 3),
    ("SO_ERROR", 4),
    ("SO_BROADCAST", 6),
    ("SO_SNDBUF", 7),
    ("SO_RCVBUF", 8),
    ("SO_KEEPALIVE", 9),
    ("SO_LINGER", 13),
    ("SO_REUSEPORT", 15),
    ("SO_PASSCRED", 16),
    ("SO_PEERCRED", 17),
    ("TCP_NODELAY", 1),
    ("TCP_KEEPIDLE", 4),
    ("TCP_KEEPINTVL", 5),
    ("TCP_KEEPCNT", 6),
    ("IPV6_V6ONLY", 26),
    ("SIG_0", 0),
];

/// The registers of a call whose arguments carry a choice, from the text after the parenthesis; those without a choice are 0.
/// `None` if any of them can't be read.
pub(super) fn registers(syscall: Syscall, rest: &[u8]) -> Option<[u64; 6]> {
    let name = syscall.name()?;
    let call = CallArguments::named(&name)?;
    // Names and numbers are ASCII; strings before them may be cut or escaped.
    let text = std::str::from_utf8(rest).ok()?;
    let text = if call.is_in_memory() {
        text.strip_prefix('{')?
    } else {
        text
    };
    let shown = split(text);
    let mut args = [0; 6];
    for (register, argument) in call.registers(&name, syscall.arch) {
        let prefix = format!("{}=", argument.name);
        let named = shown.iter().find_map(|one| one.strip_prefix(&*prefix));
        let shown = named.or(shown.get(usize::from(register)).copied())?;
        args[usize::from(register)] = value(argument, shown)?;
    }
    Some(args)
}

/// Splits arguments at their commas, but not at those in strings, structures and comments.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_u32);
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth == 0 => {
                parts.push(text[start..at].trim());
                return parts;
            }
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn value(argument: &Argument, shown: &str) -> Option<u64> {
    // A call that another line interrupts ends with a remark.
    let shown = shown.trim_end_matches("<unfinished ...>").trim();
    // Older versions give every command with a number: `SNDCTL_TMR_TIMEBASE or TCGETS`.
    shown.split(" or ").find_map(|one| {
        let mut all = 0;
        for part in one.split('|') {
            let number = part.split(" /*").next()?.trim();
            let more = MORE.iter().find(|(name, _)| *name == number);
            let private = number
                .strip_suffix("_PRIVATE")
                .filter(|_| argument.name == "futex_op");
            all |= match (more, private) {
                (Some((_, value)), _) => *value,
                (None, Some(name)) => argument.parse(name)? | 0x80,
                (None, None) => argument.parse(number)?,
            };
        }
        Some(all)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syscall::Arch;

    #[test]
    fn symbolic_and_raw_values_are_read() {
        let check = |name: &str, rest: &str, register: usize, expected: Option<u64>| {
            let syscall = Syscall::from_name(Arch::X86_64, name).unwrap();
            let read = registers(syscall, rest.as_bytes()).map(|args| args[register]);
            assert_eq!(read, expected, "{name}({rest}");
        };
        check(
            "socket",
            "AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3",
            1,
            Some(0x8_0001),
        );
        check(
            "socket",
            "AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP) = 3",
            2,
            Some(6),
        );
        check(
            "socket",
            "0x26 /* AF_ALG */, 0x5 /* SOCK_SEQPACKET */, 0) = 3",
            0,
            Some(38),
        );
        check("socket", "0x26, 0x5, 0) = 3", 0, Some(38));
        check("socket", "AF_NEW, SOCK_STREAM, 0) = 3", 0, None);
        check(
            "ioctl",
            "1, TCGETS, {c_iflag=ICRNL, c_oflag=NL0}) = 0",
            1,
            Some(0x5401),
        );
        check(
            "ioctl",
            "1, SNDCTL_TMR_TIMEBASE or TCGETS, 0x7) = -1 ENOTTY",
            1,
            Some(0x5401),
        );
        check(
            "mmap",
            "NULL, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f",
            2,
            Some(3),
        );
        check(
            "futex",
            "0x7f, FUTEX_WAIT_PRIVATE, 2, NULL <unfinished ...>",
            1,
            Some(0x80),
        );
        check(
            "clone",
            "child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7) = 5",
            0,
            Some(0x100_0011),
        );
        check(
            "clone3",
            "{flags=CLONE_VM|CLONE_VFORK, exit_signal=SIGCHLD, stack=0x7}, 88) = 5",
            0,
            Some(0x4100),
        );
        check(
            "mount",
            "\"a,b\", \"/x\\\"\", NULL, MS_BIND|MS_REC, NULL) = 0",
            3,
            Some(0x5000),
        );
        check("fcntl", "3, F_DUPFD_CLOEXEC, 10) = 10", 1, Some(1030));
        check("kill", "1, SIGTERM) = 0", 1, Some(15));
        check(
            "prlimit64",
            "0, RLIMIT_NOFILE, NULL, {rlim_cur=1024, rlim_max=4096}) = 0",
            1,
            Some(7),
        );
        check("read", "3, \"\", 1) = 0", 0, None);
    }
}
