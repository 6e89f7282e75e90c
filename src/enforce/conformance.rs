//! Checks what libseccomp compiled, before it is relied on.
//!
//! libseccomp up to 2.6.0 can weaken a filter when it unites 64-bit comparisons of one call (GHSA-4q85-33p6-j5g6), and it
//! had the like before. So every call of every ABI is put to the program, with arguments around each value that the
//! profile compares with, and the answer must be one that the profile gives.

use std::collections::BTreeSet;

use libc::sock_filter;

use super::CompileError;
use crate::bpf::machine::{self, Data};
use crate::bpf::samples::{combinations, numbers};
use crate::profile::{ARGS, Action, Profile};
use crate::syscall::{Arch, Syscall};

/// What a call of an ABI that is not listed gets.
pub(super) const OTHER_ARCH: Action = Action::KillProcess;

/// What a filter should say of one ABI.
pub(super) struct Part {
    pub(super) arch: Arch,
    /// The profile, compared as libseccomp compares on the ABI.
    pub(super) profile: Profile,
    /// The names that are not in the filter although they are in the profile.
    pub(super) left_out: BTreeSet<String>,
    /// Whether socketcall(2) and ipc(2) get rules that the profile doesn't have.
    pub(super) multiplexed: bool,
}

/// Checks a program against what it should say of each ABI.
pub(super) fn check(program: &[sock_filter], parts: &[Part]) -> Result<(), CompileError> {
    for part in parts {
        for nr in numbers(part.arch) {
            let syscall = Syscall {
                arch: part.arch,
                nr,
            };
            check_call(program, part, syscall)?;
        }
    }
    let arches = parts.iter().map(|part| part.arch);
    check_other_arches(program, &arches.collect())
}

fn check_call(program: &[sock_filter], part: &Part, syscall: Syscall) -> Result<(), CompileError> {
    let name = syscall.name();
    let profile = match name.as_deref() {
        // Their rules come from the names of the calls that go through them.
        Some("socketcall" | "ipc") if part.multiplexed => return Ok(()),
        Some(name) if !part.left_out.contains(name) => part.profile.only(name),
        _ => Profile::new(part.profile.default_action),
    };
    for args in combinations(&profile.rules, part.arch) {
        let answers = profile.answers(name.as_deref().unwrap_or_default(), &args);
        expect(program, syscall, &args, &answers)?;
    }
    Ok(())
}

/// Calls of ABIs that are not in the filter.
fn check_other_arches(
    program: &[sock_filter],
    arches: &BTreeSet<Arch>,
) -> Result<(), CompileError> {
    let audits: BTreeSet<u32> = arches.iter().map(|arch| arch.audit()).collect();
    let answers = BTreeSet::from([OTHER_ARCH]);
    let others = (Arch::ALL.iter().copied()).filter(|arch| match arch {
        // The number tells it from x86_64.
        Arch::X32 => !arches.contains(&Arch::X32),
        arch => !audits.contains(&arch.audit()),
    });
    for arch in others {
        for nr in [0, 1, 59, 300] {
            expect(program, Syscall { arch, nr }, &[0; ARGS], &answers)?;
        }
    }
    Ok(())
}

fn expect(
    program: &[sock_filter],
    syscall: Syscall,
    args: &[u64; ARGS],
    answers: &BTreeSet<Action>,
) -> Result<(), CompileError> {
    let actual =
        machine::answer(program, &Data::new(syscall, args)).map_err(CompileError::Unreadable)?;
    if answers.contains(&actual) {
        return Ok(());
    }
    Err(CompileError::Wrong {
        syscall,
        args: *args,
        expected: answers.iter().copied().collect(),
        actual,
    })
}
