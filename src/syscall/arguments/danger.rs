//! Values that are known to be dangerous.

use super::{Argument, CallArguments};

/// A value that a profile should allow only for programs that need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Danger {
    calls: &'static [&'static str],
    argument: &'static str,
    test: Test,
    /// What it makes possible, as the end of the sentence "VALUE is dangerous: it …".
    pub why: &'static str,
    /// A vulnerability that was reached by it.
    pub cve: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Is(u64),
    Has(u64),
}

use Test::{Has, Is};

/// Why a value of a call's argument is dangerous; `None` if it isn't known to be.
#[must_use]
pub fn danger(call: &CallArguments, argument: &Argument, value: u64) -> Option<&'static Danger> {
    DANGERS.iter().find(|danger| {
        danger.argument == argument.name
            && danger.calls.iter().any(|name| call.names.contains(name))
            && match danger.test {
                Is(of) => argument.cut(value) == of,
                Has(bits) => value & bits == bits,
            }
    })
}

const SOCKET: &[&str] = &["socket", "socketpair"];
const NAMESPACES: &[&str] = &["clone", "clone3", "unshare", "setns"];
const MAPS: &[&str] = &["mmap", "mprotect", "pkey_mprotect"];

const fn danger_of(
    calls: &'static [&'static str],
    argument: &'static str,
    test: Test,
    why: &'static str,
    cve: &'static str,
) -> Danger {
    Danger {
        calls,
        argument,
        test,
        why,
        cve: if cve.is_empty() { None } else { Some(cve) },
    }
}

#[rustfmt::skip]
const DANGERS: &[Danger] = &[
    danger_of(SOCKET, "domain", Is(38), "reaches the kernel's crypto code without privileges", "CVE-2026-31431"),
    danger_of(SOCKET, "domain", Is(40), "reaches the host of a virtual machine", "CVE-2021-26708"),
    danger_of(SOCKET, "domain", Is(16), "reaches the configuration of the network and of packet filters", "CVE-2024-1086"),
    danger_of(SOCKET, "domain", Is(17), "reads and forges packets", "CVE-2020-14386"),
    danger_of(SOCKET, "domain", Is(21), "loads a rarely used protocol", "CVE-2010-3904"),
    danger_of(SOCKET, "domain", Is(30), "loads a rarely used protocol", "CVE-2021-43267"),
    danger_of(SOCKET, "domain", Is(39), "loads a rarely used protocol", "CVE-2021-23134"),
    danger_of(SOCKET, "type", Has(6), "loads a rarely used protocol (DCCP)", "CVE-2017-6074"),
    danger_of(NAMESPACES, "flags", Has(0x1000_0000), "gives all capabilities in a new user namespace", "CVE-2022-0185"),
    danger_of(NAMESPACES, "nstype", Has(0x1000_0000), "gives capabilities in another user namespace", ""),
    danger_of(&["ioctl"], "op", Is(0x5412), "types into the terminal of other programs", "CVE-2017-5226"),
    danger_of(&["ioctl"], "op", Is(0x541c), "pastes into the console of other programs", "CVE-2023-1523"),
    danger_of(&["ptrace"], "op", Is(0), "lets the parent control the process, also with other credentials", "CVE-2019-13272"),
    danger_of(&["ptrace"], "op", Is(16), "controls other processes", ""),
    danger_of(&["ptrace"], "op", Is(0x4206), "controls other processes", ""),
    danger_of(&["ptrace"], "op", Is(4), "writes to the memory of other processes", ""),
    danger_of(&["ptrace"], "op", Is(5), "writes to the memory of other processes", ""),
    danger_of(&["ptrace"], "op", Is(6), "writes to the registers of other processes", ""),
    danger_of(&["ptrace"], "op", Is(13), "writes to the registers of other processes", ""),
    danger_of(&["ptrace"], "op", Is(15), "writes to the registers of other processes", ""),
    danger_of(&["ptrace"], "op", Is(0x4205), "writes to the registers of other processes", ""),
    danger_of(&["prctl"], "op", Is(35), "changes what proc(5) shows of the process", ""),
    danger_of(&["prctl"], "op", Is(0x5961_6d61), "lets another process trace this one", ""),
    danger_of(MAPS, "prot", Has(6), "makes memory that is writable and executable", ""),
    danger_of(&["shmat"], "shmflg", Has(0o100_000), "makes shared memory executable", ""),
    danger_of(&["personality"], "persona", Has(0x40_0000), "makes readable memory executable", ""),
    danger_of(&["personality"], "persona", Has(0x4_0000), "switches the randomisation of addresses off", ""),
    danger_of(&["bpf"], "cmd", Is(5), "runs programs in the kernel", "CVE-2022-23222"),
    danger_of(&["keyctl"], "operation", Is(1), "changes the session keyring, which is counted by reference", "CVE-2016-0728"),
    danger_of(&["io_uring_register"], "opcode", Is(0), "pins memory for operations that no filter sees", "CVE-2023-2598"),
    danger_of(&["syslog"], "type", Is(3), "reads addresses of the kernel in its log", ""),
];

/// Every row is about arguments of the table.
#[cfg(test)]
pub(super) fn check_table() {
    for row in DANGERS {
        for name in row.calls {
            let call = CallArguments::named(name).unwrap();
            assert!(
                CallArguments::all()
                    .iter()
                    .any(|call| call.names.contains(name)),
                "{row:?}"
            );
            let of_row = |argument: &&Argument| argument.name == row.argument;
            let (Is(value) | Has(value)) = row.test;
            if let Some(argument) = call.arguments.iter().find(of_row) {
                assert!(!argument.show_generic(value).contains("0x"), "{row:?}");
            } else {
                // setns(2) has another name for its flags.
                assert!(row.calls.contains(&"setns"), "{row:?}");
            }
        }
    }
}
