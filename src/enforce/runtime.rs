//! Compiles profiles as container runtimes do: with what they skip, what they add, and the bugs of their libseccomp.
//!
//! Both runtimes give the profile to libseccomp in one context. They skip names that libseccomp doesn't know, and leave
//! libseccomp's default for calls of unlisted ABIs: the thread is killed. runc (`libcontainer/seccomp/patchbpf`) puts a stub
//! before the filter: on each ABI of the profile, numbers above the highest one that the profile names answer ENOSYS. crun
//! (`src/libcrun/seccomp.c`) has no stub.
//!
//! The result is not checked against the profile: where the runtime is wrong, so is this.

use std::collections::BTreeMap;

use libc::{BPF_JA, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_JSET, sock_filter};
use libseccomp::ScmpSyscall;

use super::compile::{
    add_rule, effective_names, empty_context, export, unsupported_arch, version, within_patience,
};
use super::{CompileError, Filter, UnknownName};
use crate::bpf::Program;
use crate::bpf::assemble::{ARCH, NR, answer, jump, load, statement};
use crate::profile::{Action, Flag, Profile, ProfilePart, Rule, Runtime};
use crate::syscall::{Arch, Syscall};

/// Compiles a profile into the filter that a container runtime loads for it on this machine, with this libseccomp. Names that
/// the runtime skips are in [`Filter::unknown`].
pub fn compile_like(profile: &Profile, runtime: Runtime) -> Result<Filter, CompileError> {
    within_patience(profile, move |profile| compile(profile, runtime))
}

fn compile(profile: &Profile, runtime: Runtime) -> Result<Filter, CompileError> {
    require_accepted(profile, runtime)?;
    let mut unknown: BTreeMap<&str, UnknownName> = BTreeMap::new();
    let mut context = empty_context(profile)?;
    for arch in profile.listed() {
        let unsupported = || unsupported_arch(profile, arch);
        let scmp = arch.scmp().ok_or_else(unsupported)?;
        context.add_arch(scmp).map_err(|_| unsupported())?;
    }
    for (place, rule, name) in effective_names(profile) {
        if let Ok(syscall) = ScmpSyscall::from_name(name) {
            add_rule(&mut context, rule, syscall, place, name)?;
            continue;
        }
        let arches = profile.listed_or(Arch::NATIVE).into_iter();
        let has = |arch: &Arch| Syscall::from_name(*arch, name).is_some();
        unknown.entry(name).or_insert_with(|| UnknownName {
            place,
            name: name.clone(),
            arches: arches.filter(has).collect(),
            version: version(),
        });
    }
    let stub = match runtime {
        Runtime::Runc => stub(profile),
        Runtime::Crun => Vec::new(),
    };
    let stub_length = stub.len();
    let program = [stub, export(&context)?.encoded().to_vec()].concat();
    let program = Program::new(program).map_err(CompileError::Invalid)?;
    let unknown = unknown.into_values().collect();
    Ok(Filter {
        stub_length,
        ..Filter::new(profile, program, unknown, Vec::new())
    })
}

/// Fails for profiles that the runtime refuses, though libseccomp and the kernel would accept them.
fn require_accepted(profile: &Profile, runtime: Runtime) -> Result<(), CompileError> {
    if profile.default_action() == Action::Notify {
        return Err(CompileError::NotifyByDefault);
    }
    if runtime == Runtime::Crun {
        return Ok(());
    }
    for (rule, of_rule) in profile.rules().iter().enumerate() {
        let write = of_rule.names().iter().position(|name| name == "write");
        if let (Action::Notify, Some(name)) = (of_rule.action(), write) {
            return Err(CompileError::Refused {
                place: Some(ProfilePart::Name { rule, name }),
                runtime,
                what: "SCMP_ACT_NOTIFY for write".to_owned(),
            });
        }
    }
    if profile.effective_flags().contains(&Flag::WaitKillableRecv) {
        return Err(CompileError::Refused {
            place: None,
            runtime,
            what: Flag::WaitKillableRecv.to_string(),
        });
    }
    Ok(())
}

/// The part of runc's program before libseccomp's. It ends where libseccomp's begins.
fn stub(profile: &Profile) -> Vec<sock_filter> {
    if matches!(
        profile.default_action(),
        Action::Allow | Action::Log | Action::Trace(_)
    ) {
        return Vec::new();
    }
    let mut last: BTreeMap<u32, BTreeMap<Arch, u32>> = BTreeMap::new();
    for arch in profile.listed().chain([Arch::NATIVE]) {
        if let Some(number) = last_number(profile, arch) {
            last.entry(arch.audit()).or_default().insert(arch, number);
        }
    }
    let mut sections: Vec<sock_filter> = Vec::new();
    for (&audit, last) in last.iter().rev() {
        sections = [section(audit, last, sections.len()), sections].concat();
    }
    if !sections.is_empty() {
        sections.insert(0, load(ARCH));
    }
    sections
}

/// The highest number that the profile names, as `struct seccomp_data` has it. The action makes no difference.
fn last_number(profile: &Profile, arch: Arch) -> Option<u32> {
    let scmp = arch.scmp()?;
    let names = profile.rules().iter().flat_map(Rule::names);
    let numbers = names.filter_map(|name| ScmpSyscall::from_name_by_arch(name, scmp).ok());
    // The pseudo numbers of calls that the ABI lacks are negative.
    let numbers = numbers.filter_map(|syscall| u32::try_from(syscall.as_raw_syscall()).ok());
    numbers.max().filter(|&number| number > 0)
}

/// `__X32_SYSCALL_BIT`.
const X32_BIT: u32 = 0x4000_0000;

/// The instructions for the ABIs of one audit value: `x86_64` and x32 share theirs. A is left with the number; libseccomp's
/// program loads what it needs.
fn section(audit: u32, last: &BTreeMap<Arch, u32>, behind: usize) -> Vec<sock_filter> {
    let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    let behind = u32::try_from(behind).unwrap_or(u32::MAX);
    let ends = [answer(enosys), statement(BPF_JMP | BPF_JA, behind)];
    let above = |number: &u32, jt, jf| jump(BPF_JGT, *number, jt, jf);
    let tests = match (last.get(&Arch::X86_64), last.get(&Arch::X32)) {
        (Some(x86_64), Some(x32)) => vec![
            jump(BPF_JSET, X32_BIT, 1, 0),
            above(x86_64, 1, 2),
            above(x32, 0, 1),
        ],
        (Some(x86_64), None) => vec![jump(BPF_JSET, X32_BIT, 2, 0), above(x86_64, 0, 1)],
        (None, Some(x32)) => vec![jump(BPF_JSET, X32_BIT, 0, 2), above(x32, 0, 1)],
        (None, None) => last.values().map(|number| above(number, 0, 1)).collect(),
    };
    // At most 7 instructions.
    let skip = u8::try_from(1 + tests.len() + ends.len()).unwrap_or(u8::MAX);
    let head = [jump(BPF_JEQ, audit, 0, skip), load(NR)];
    [&head[..], &tests, &ends].concat()
}
