//! Checks that a program from libseccomp does what the profile says.
//!
//! libseccomp up to 2.6.0 can weaken a filter when it combines 64-bit comparisons of one call (GHSA-4q85-33p6-j5g6), and had
//! similar bugs before. So the emulator runs every call of every ABI, with arguments on both sides of each value in the
//! profile.

use std::collections::BTreeSet;

use super::CompileError;
use crate::bpf::Program;
use crate::bpf::samples::{combinations, numbers};
use crate::profile::{ARGS, Action, Profile};
use crate::syscall::{Arch, Syscall};

/// The action for calls of unlisted ABIs.
pub(super) const UNLISTED_ARCH: Action = Action::KillProcess;

/// What a filter should do for one ABI.
pub(super) struct ExpectedArch {
    pub(super) arch: Arch,
    /// The profile, with values as wide as the ABI's arguments.
    pub(super) profile: Profile,
    /// The names of the profile that the filter leaves out.
    pub(super) left_out: BTreeSet<String>,
    /// Whether socketcall(2) and ipc(2) have rules that the profile doesn't have.
    pub(super) multiplexed: bool,
}

/// Fails if a program doesn't do what it should.
pub(super) fn require_conformance(
    program: &Program,
    expected: &[ExpectedArch],
) -> Result<(), CompileError> {
    for expected in expected {
        for nr in numbers(expected.arch) {
            let syscall = Syscall {
                arch: expected.arch,
                nr,
            };
            require_call(program, expected, syscall)?;
        }
    }
    let arches = expected.iter().map(|expected| expected.arch);
    require_other_arches(program, &arches.collect())
}

fn require_call(
    program: &Program,
    expected: &ExpectedArch,
    syscall: Syscall,
) -> Result<(), CompileError> {
    let name = syscall.name();
    let profile = match name.as_deref() {
        // Their rules come from the names of the calls that can be made through them.
        Some("socketcall" | "ipc") if expected.multiplexed => return Ok(()),
        Some(name) if !expected.left_out.contains(name) => expected.profile.only(name),
        _ => Profile::new(expected.profile.default_action()),
    };
    for args in combinations(profile.rules(), expected.arch) {
        let actions = profile.answers(name.as_deref().unwrap_or_default(), &args);
        require_action(program, syscall, &args, &actions)?;
    }
    Ok(())
}

/// Calls of ABIs that are not in the filter.
fn require_other_arches(program: &Program, arches: &BTreeSet<Arch>) -> Result<(), CompileError> {
    let audits: BTreeSet<u32> = arches.iter().map(|arch| arch.audit()).collect();
    let actions = BTreeSet::from([UNLISTED_ARCH]);
    let others = (Arch::ALL.iter().copied()).filter(|arch| match arch {
        // It shares the value of x86_64.
        Arch::X32 => !arches.contains(&Arch::X32),
        arch => !audits.contains(&arch.audit()),
    });
    for arch in others {
        for nr in [0, 1, 59, 300] {
            require_action(program, Syscall { arch, nr }, &[0; ARGS], &actions)?;
        }
    }
    Ok(())
}

fn require_action(
    program: &Program,
    syscall: Syscall,
    args: &[u64; ARGS],
    expected: &BTreeSet<Action>,
) -> Result<(), CompileError> {
    let actual = program.action(syscall, args);
    if expected.contains(&actual) {
        return Ok(());
    }
    Err(CompileError::Wrong {
        syscall,
        args: *args,
        expected: expected.iter().copied().collect(),
        actual,
    })
}
