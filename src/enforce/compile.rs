//! From a profile to a filter, with libseccomp.
//!
//! As runc does it (`libcontainer/seccomp/seccomp_linux.go`): rules that answer what the default action answers are left
//! out, a rule that compares an argument twice becomes a rule for each comparison, and the native ABI is in the filter
//! whether the profile lists it or not. Unlike runc: a name that isn't known is an error unless it is to be ignored, and
//! there is no stub that answers ENOSYS to numbers above the highest named one, so what the profile says is all that holds.
//!
//! A call of an ABI that the profile does not list ends the process as by SIGSYS. libseccomp's own default, which runc
//! leaves, ends the thread only: the others then wait for it for ever.
//!
//! Each ABI gets a filter of its own, in the numbers of that ABI; then they are united. A call that libseccomp is too old
//! to know is put in by its number, which it takes for the native ABI only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use libseccomp::error::SeccompErrno;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
    ScmpVersion,
};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::conformance::{self, OTHER_ARCH, Part};
use super::narrow::narrow;
use super::{CompileError, Filter, Ignored, Note, OnUnknown};
use crate::bpf::machine::{self, MAX_INSTRUCTIONS};
use crate::profile::{Action, ArgCmp, Op, Place, Profile, Rule};
use crate::syscall::{Arch, Syscall};

/// How long libseccomp may take. A filter takes it milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Compiles a profile for this machine, and checks what libseccomp made of it.
///
/// libseccomp (2.5) does not come to an end with some rules that compare several arguments of one call and have a comparison
/// in common. That is an error after some seconds; the thread in which it happens goes on to use a processor until the
/// process ends.
pub fn compile(profile: &Profile, on_unknown: OnUnknown) -> Result<Filter, CompileError> {
    let (sender, receiver) = mpsc::channel();
    let copy = profile.clone();
    let thread = thread::Builder::new().name("libseccomp".to_owned());
    let thread = thread
        .spawn(move || {
            // Nobody listens any more when it took too long.
            let _ = sender.send(compile_in_time(&copy, on_unknown));
        })
        .map_err(CompileError::Thread)?;
    let compiled = match receiver.recv_timeout(PATIENCE) {
        Ok(compiled) => compiled,
        Err(RecvTimeoutError::Timeout) => return Err(CompileError::Endless),
        Err(RecvTimeoutError::Disconnected) => Err(CompileError::Endless),
    };
    // What it leaves is gone before a filter is loaded. It can't fail: a panic disconnects, and there is no other.
    let _ = thread.join();
    compiled
}

fn compile_in_time(profile: &Profile, on_unknown: OnUnknown) -> Result<Filter, CompileError> {
    if profile.default_action == Action::Notify {
        return Err(CompileError::NotifyByDefault);
    }
    let listed = profile.architectures.iter().flatten().copied();
    let listed: BTreeSet<Arch> = listed.collect();
    let mut notes = Vec::new();
    if !listed.is_empty() && !listed.contains(&Arch::NATIVE) {
        notes.push(Note::NativeNotListed);
    }
    let mut ignored = BTreeMap::new();
    let (native, mut united) = part(profile, Arch::NATIVE, &mut notes, &mut ignored)?;
    let mut parts = vec![native];
    for &arch in listed.iter().filter(|&&arch| arch != Arch::NATIVE) {
        let (part, context) = part(profile, arch, &mut notes, &mut ignored)?;
        united
            .merge(context)
            .map_err(|source| CompileError::Unite { arch, source })?;
        parts.push(part);
    }
    let ignored: Vec<Ignored> = ignored.into_values().collect();
    if on_unknown == OnUnknown::Fail && !ignored.is_empty() {
        return Err(CompileError::UnknownNames(ignored));
    }
    let program = machine::from_bytes(&export(&united)?);
    if program.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong {
            instructions: program.len(),
        });
    }
    conformance::check(&program, &parts)?;
    Ok(Filter {
        program,
        flags: profile.effective_flags(),
        notifies: (profile.rules.iter()).any(|rule| rule.action() == Action::Notify),
        ignored,
        notes,
    })
}

/// The filter of one ABI.
fn part(
    profile: &Profile,
    arch: Arch,
    notes: &mut Vec<Note>,
    ignored: &mut BTreeMap<Place, Ignored>,
) -> Result<(Part, ScmpFilterContext), CompileError> {
    let mut context = context(profile, arch)?;
    let mut part = Part {
        arch,
        profile: narrow(profile, arch)?,
        left_out: BTreeSet::new(),
        multiplexed: false,
    };
    for (rule_index, rule) in part.profile.rules.iter().enumerate() {
        if rule.action() == profile.default_action {
            continue;
        }
        for (name_index, name) in rule.names().iter().enumerate() {
            let place = Place::Name {
                rule: rule_index,
                name: name_index,
            };
            match resolve(name, arch) {
                Resolved::Call(syscall) => add_rule(&mut context, rule, syscall, place, name)?,
                Resolved::Multiplexed(syscall, through) => {
                    part.multiplexed = true;
                    if !rule.args().is_empty() {
                        notes.push(Note::ArgsUnseen {
                            place,
                            name: name.clone(),
                            arch,
                        });
                    }
                    match through {
                        None => add_rule(&mut context, rule, syscall, place, name)?,
                        Some(first) => {
                            let rule = rule.with_args(vec![first]);
                            add_rule(&mut context, &rule, syscall, place, name)?;
                        }
                    }
                }
                Resolved::Absent => {}
                Resolved::Unknown(on) => {
                    part.left_out.insert(name.clone());
                    let ignored = ignored.entry(place).or_insert_with(|| Ignored {
                        place,
                        name: name.clone(),
                        arches: Vec::new(),
                        version: version(),
                    });
                    ignored.arches.extend(on);
                }
            }
        }
    }
    Ok((part, context))
}

/// An empty filter for one ABI.
fn context(profile: &Profile, arch: Arch) -> Result<ScmpFilterContext, CompileError> {
    let place = (profile.architectures.iter().flatten())
        .position(|&listed| listed == arch)
        .map_or(Place::DefaultAction, Place::Architecture);
    let unsupported = || CompileError::Architecture {
        place,
        arch,
        version: version(),
    };
    let not_supported = |source| CompileError::Action {
        place: Place::DefaultAction,
        source,
    };
    let scmp = arch.scmp().ok_or_else(unsupported)?;
    let mut context =
        ScmpFilterContext::new(action(profile.default_action)).map_err(not_supported)?;
    (context.set_act_badarch(action(OTHER_ARCH))).map_err(not_supported)?;
    if arch != Arch::NATIVE {
        // libseccomp refuses ABIs that it doesn't know, and those of another byte order.
        (context.add_arch(scmp))
            .and_then(|context| context.remove_arch(ScmpArch::Native))
            .map_err(|_| unsupported())?;
    }
    Ok(context)
}

fn add_rule(
    context: &mut ScmpFilterContext,
    rule: &Rule,
    syscall: ScmpSyscall,
    place: Place,
    name: &str,
) -> Result<(), CompileError> {
    for all in rule.alternatives() {
        let comparisons: Vec<ScmpArgCompare> = all.iter().map(comparison).collect();
        context
            .add_rule_conditional(action(rule.action()), syscall, &comparisons)
            .map_err(|source| match source.errno() {
                Some(SeccompErrno::EEXIST) => CompileError::Contradiction {
                    place,
                    name: name.to_owned(),
                },
                _ => CompileError::Rule {
                    place,
                    name: name.to_owned(),
                    source,
                },
            })?;
    }
    Ok(())
}

/// What a name is on an ABI, as libseccomp takes it: by the number of the native ABI, which it translates.
enum Resolved {
    /// A call.
    Call(ScmpSyscall),
    /// A call that is reached through socketcall(2) or ipc(2) too: libseccomp takes care of that. Or through them alone:
    /// then it is a call of them with this first argument.
    Multiplexed(ScmpSyscall, Option<ArgCmp>),
    /// The ABI has no such call.
    Absent,
    /// libseccomp can't put it into a filter. The ABI, if it has the call.
    Unknown(Option<Arch>),
}

/// What libseccomp gives for calls that some ABIs have in socketcall(2) or ipc(2) only is minus their number there, minus
/// these (`seccomp.h`: `__PNR_socket` is -101, `__PNR_semop` -201). Pseudo numbers of calls that an ABI doesn't have
/// at all are below -10000.
const MULTIPLEXERS: [(&str, std::ops::RangeInclusive<i32>); 2] =
    [("socketcall", 101..=199), ("ipc", 201..=299)];

fn resolve(name: &str, arch: Arch) -> Resolved {
    let on_arch = |name: &str| {
        let syscall = ScmpSyscall::from_name_by_arch(name, arch.scmp()?).ok()?;
        Some(syscall.as_raw_syscall())
    };
    let (Some(nr), Ok(native)) = (on_arch(name), ScmpSyscall::from_name(name)) else {
        return match Syscall::from_name(arch, name) {
            Some(syscall) if arch == Arch::NATIVE => Resolved::Call(syscall.audit_nr().into()),
            Some(_) => Resolved::Unknown(Some(arch)),
            None if exists(name) => Resolved::Absent,
            None => Resolved::Unknown(None),
        };
    };
    if nr >= 0 {
        return Resolved::Call(native);
    }
    let Some((multiplexer, numbers)) = (MULTIPLEXERS.iter())
        .find(|(name, numbers)| numbers.contains(&-nr) && on_arch(name).is_some_and(|nr| nr >= 0))
    else {
        return Resolved::Absent;
    };
    if Syscall::from_name(arch, name).is_some() {
        return Resolved::Multiplexed(native, None);
    }
    // libseccomp (2.5) would put in a rule for the pseudo number too, and forget to load the number of the call for all
    // rules after it.
    let number = u64::try_from(-nr - numbers.start() + 1).ok();
    let first = number.and_then(|number| ArgCmp::new(0, Op::Eq, number, None).ok());
    match (ScmpSyscall::from_name(multiplexer), first) {
        (Ok(multiplexer), Some(first)) => Resolved::Multiplexed(multiplexer, Some(first)),
        _ => Resolved::Unknown(Some(arch)),
    }
}

/// Whether any ABI has a call of this name.
fn exists(name: &str) -> bool {
    let mut arches = Arch::ALL.iter();
    arches.any(|&arch| Syscall::from_name(arch, name).is_some())
}

/// The version of libseccomp; 0.0.0 if it doesn't tell.
fn version() -> ScmpVersion {
    ScmpVersion::current().unwrap_or(ScmpVersion::from((0, 0, 0)))
}

fn action(action: Action) -> ScmpAction {
    match action {
        Action::KillProcess => ScmpAction::KillProcess,
        Action::KillThread => ScmpAction::KillThread,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(errno) => ScmpAction::Errno(errno.get().into()),
        Action::Notify => ScmpAction::Notify,
        Action::Trace(message) => ScmpAction::Trace(message),
        Action::Log => ScmpAction::Log,
        Action::Allow => ScmpAction::Allow,
    }
}

fn comparison(arg: &ArgCmp) -> ScmpArgCompare {
    let (op, value) = match arg.op() {
        Op::Ne => (ScmpCompareOp::NotEqual, arg.value()),
        Op::Lt => (ScmpCompareOp::Less, arg.value()),
        Op::Le => (ScmpCompareOp::LessOrEqual, arg.value()),
        Op::Eq => (ScmpCompareOp::Equal, arg.value()),
        Op::Ge => (ScmpCompareOp::GreaterEqual, arg.value()),
        Op::Gt => (ScmpCompareOp::Greater, arg.value()),
        Op::MaskedEq => (
            ScmpCompareOp::MaskedEqual(arg.value()),
            arg.value_two().unwrap_or(0),
        ),
    };
    // There are 6 arguments.
    let index = u32::try_from(arg.index()).unwrap_or(u32::MAX);
    ScmpArgCompare::new(index, op, value)
}

/// The program. libseccomp before 2.6 writes it to descriptors only.
fn export(context: &ScmpFilterContext) -> Result<Vec<u8>, CompileError> {
    let mut bytes = Vec::new();
    let mut file = File::from(
        memfd_create(c"filter", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| CompileError::Memory(errno.into()))?,
    );
    context.export_bpf(&file).map_err(CompileError::Export)?;
    file.rewind().map_err(CompileError::Memory)?;
    file.read_to_end(&mut bytes).map_err(CompileError::Memory)?;
    Ok(bytes)
}
