//! Compiles profiles into filters, with libseccomp.
//!
//! Like runc (`libcontainer/seccomp/seccomp_linux.go`), it leaves out rules whose action is the default action, splits a rule
//! that compares an argument twice into one rule per comparison, and always includes the native ABI. Unlike runc, it refuses
//! unknown names unless told to ignore them, and adds no stub that answers ENOSYS to numbers above the highest named one:
//! [`compile_like`](super::compile_like) does what the runtimes do.
//!
//! A call of an unlisted ABI kills the process. libseccomp's default, which runc keeps, kills the thread only, and the other
//! threads can wait for it forever.
//!
//! Each ABI is compiled on its own, then the filters are merged. A call that is too new for libseccomp is added by its number,
//! which libseccomp accepts for the native ABI only.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use libseccomp::error::{SeccompErrno, SeccompError};
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
    ScmpVersion,
};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::time::ClockId;
use nix::unistd::{Pid, gettid};

use super::conformance::{ExpectedArch, UNLISTED_ARCH, require_conformance};
use super::{CompileError, Filter, FilterNote, OnUnknown, UnknownName};
use crate::bpf::Program;
use crate::profile::arg_width::fit_rule;
use crate::profile::{Action, ArgCmp, Op, Profile, ProfilePart, Rule};
use crate::syscall::multiplexed::multiplexed;
use crate::syscall::{Arch, Syscall};

/// How much of a processor's time libseccomp may take. It needs milliseconds for a filter.
const PATIENCE: Duration = Duration::from_secs(5);

/// Compiles a profile for this machine, and checks libseccomp's result.
///
/// libseccomp (2.5) does not terminate with some rules that compare several arguments of one call and share a comparison. That
/// is an error after some seconds; its thread keeps a processor busy until the process ends.
pub fn compile(profile: &Profile, on_unknown: OnUnknown) -> Result<Filter, CompileError> {
    within_patience(profile, move |profile| compile_checked(profile, on_unknown))
}

/// Calls libseccomp in a thread of its own, for [`PATIENCE`].
pub(super) fn within_patience(
    profile: &Profile,
    compile: impl FnOnce(&Profile) -> Result<Filter, CompileError> + Send + 'static,
) -> Result<Filter, CompileError> {
    within(PATIENCE, profile, compile)
}

/// Calls libseccomp in a thread of its own, for this much of a processor's time. While the thread waits for a processor or for a
/// disk, on a busy machine, nothing is wrong with the profile.
pub(super) fn within(
    patience: Duration,
    profile: &Profile,
    compile: impl FnOnce(&Profile) -> Result<Filter, CompileError> + Send + 'static,
) -> Result<Filter, CompileError> {
    let (tell_task, task) = mpsc::channel();
    let (sender, receiver) = mpsc::channel();
    let copy = profile.clone();
    let thread = thread::Builder::new().name("libseccomp".to_owned());
    let thread = thread
        .spawn(move || {
            // Both fail if the caller has given up.
            let _ = tell_task.send(gettid());
            let _ = sender.send(compile(&copy));
        })
        .map_err(CompileError::Thread)?;
    let task = task.recv();
    let compiled = loop {
        match receiver.recv_timeout(patience) {
            Ok(compiled) => break compiled,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break Err(CompileError::Endless),
        }
        if task.is_ok_and(|task| processor_time(task) >= patience) {
            return Err(CompileError::Endless);
        }
    };
    // The thread must be gone before a filter is loaded. An error means a panic, which has disconnected the channel.
    let _ = thread.join();
    compiled
}

/// The time that processors spent on a thread of this process; zero if it has ended.
fn processor_time(task: Pid) -> Duration {
    // As pthread_getcpuclockid(3): CPUCLOCK_PERTHREAD and CPUCLOCK_SCHED, which all kernels know.
    let clock = ClockId::from_raw((!task.as_raw()) << 3 | 4 | 2);
    clock.now().map_or(Duration::ZERO, Duration::from)
}

/// Compiles what libseccomp knows of a profile, as [`format::Compile`](crate::format::Compile): returns the program, and the
/// names that it leaves out, each with its place and the reason.
pub fn compile_known(profile: &Profile) -> Result<(Program, Vec<String>), String> {
    let filter = compile(profile, OnUnknown::Ignore).map_err(|error| {
        let causes = std::iter::successors(Some(&error as &dyn Error), |&error| error.source());
        causes
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    })?;
    let unknown = filter.unknown().iter();
    let unknown = unknown.map(|unknown| format!("{}: {unknown}", unknown.place));
    Ok((filter.program().clone(), unknown.collect()))
}

fn compile_checked(profile: &Profile, on_unknown: OnUnknown) -> Result<Filter, CompileError> {
    if profile.default_action() == Action::Notify {
        return Err(CompileError::NotifyByDefault);
    }
    let listed: BTreeSet<Arch> = profile.listed().collect();
    let mut notes = Vec::new();
    let mut unknown = BTreeMap::new();
    let (native, mut merged) = compile_arch(profile, Arch::NATIVE, &mut notes, &mut unknown)?;
    let mut expected = vec![native];
    for &arch in listed.iter().filter(|&&arch| arch != Arch::NATIVE) {
        let (expected_arch, context) = compile_arch(profile, arch, &mut notes, &mut unknown)?;
        merged
            .merge(context)
            .map_err(|source| CompileError::Merge { arch, source })?;
        expected.push(expected_arch);
    }
    let unknown: Vec<UnknownName> = unknown.into_values().collect();
    if on_unknown == OnUnknown::Fail && !unknown.is_empty() {
        return Err(CompileError::UnknownNames(unknown));
    }
    let program = export(&merged)?;
    require_conformance(&program, &expected)?;
    Ok(Filter::new(profile, program, unknown, notes))
}

/// The names for which libseccomp gets a rule: like runc, not those whose action is the default action.
pub(super) fn effective_names(
    profile: &Profile,
) -> impl Iterator<Item = (ProfilePart, &Rule, &String)> {
    let rules = profile.rules().iter().enumerate();
    rules
        .filter(|(_, rule)| rule.action() != profile.default_action())
        .flat_map(|(index, rule)| {
            let place = move |name| ProfilePart::Name { rule: index, name };
            let names = rule.names().iter().enumerate();
            names.map(move |(index, name)| (place(index), rule, name))
        })
}

/// The filter of one ABI, and what it should do.
fn compile_arch(
    profile: &Profile,
    arch: Arch,
    notes: &mut Vec<FilterNote>,
    unknown: &mut BTreeMap<ProfilePart, UnknownName>,
) -> Result<(ExpectedArch, ScmpFilterContext), CompileError> {
    let mut context = context(profile, arch)?;
    let rules = profile.rules().iter().enumerate();
    let rules = rules.map(|(index, rule)| fit_rule(rule, index, arch));
    let mut expected = ExpectedArch {
        arch,
        profile: (profile.clone()).with_rules(rules.collect::<Result<Vec<_>, _>>()?),
        left_out: BTreeSet::new(),
        multiplexed: false,
    };
    for (place, rule, name) in effective_names(&expected.profile) {
        match resolve(name, arch) {
            ResolvedName::Call(syscall) => add_rule(&mut context, rule, syscall, place, name)?,
            ResolvedName::Multiplexed(syscall, through) => {
                expected.multiplexed = true;
                if !rule.args().is_empty() {
                    notes.push(FilterNote::ArgsUnseen {
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
            ResolvedName::Absent => {}
            ResolvedName::Unknown(on) => {
                expected.left_out.insert(name.clone());
                let unknown = unknown.entry(place).or_insert_with(|| UnknownName {
                    place,
                    name: name.clone(),
                    arches: Vec::new(),
                    version: version(),
                });
                unknown.arches.extend(on);
            }
        }
    }
    Ok((expected, context))
}

/// An empty filter for one ABI.
fn context(profile: &Profile, arch: Arch) -> Result<ScmpFilterContext, CompileError> {
    let unsupported = || unsupported_arch(profile, arch);
    let scmp = arch.scmp().ok_or_else(unsupported)?;
    let mut context = empty_context(profile)?;
    (context.set_act_badarch(action(UNLISTED_ARCH))).map_err(default_action_refused)?;
    if arch != Arch::NATIVE {
        // libseccomp refuses unknown ABIs, and those of another byte order.
        (context.add_arch(scmp))
            .and_then(|context| context.remove_arch(ScmpArch::Native))
            .map_err(|_| unsupported())?;
    }
    Ok(context)
}

/// An empty filter for the native ABI.
pub(super) fn empty_context(profile: &Profile) -> Result<ScmpFilterContext, CompileError> {
    ScmpFilterContext::new(action(profile.default_action())).map_err(default_action_refused)
}

fn default_action_refused(source: SeccompError) -> CompileError {
    CompileError::Action {
        place: ProfilePart::DefaultAction,
        source,
    }
}

/// The error for an ABI that libseccomp can't put into a filter.
pub(super) fn unsupported_arch(profile: &Profile, arch: Arch) -> CompileError {
    let place = (profile.listed())
        .position(|listed| listed == arch)
        .map_or(ProfilePart::DefaultAction, ProfilePart::Architecture);
    CompileError::Architecture {
        place,
        arch,
        version: version(),
    }
}

pub(super) fn add_rule(
    context: &mut ScmpFilterContext,
    rule: &Rule,
    syscall: ScmpSyscall,
    place: ProfilePart,
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

/// What a name means on an ABI. libseccomp takes the native ABI's number, and translates it.
enum ResolvedName {
    /// A call.
    Call(ScmpSyscall),
    /// A call that can also be made through socketcall(2) or ipc(2), which libseccomp handles; or, with a comparison, one that
    /// can be made through them only: then the rule is for them, with this first argument.
    Multiplexed(ScmpSyscall, Option<ArgCmp>),
    /// The ABI has no such call.
    Absent,
    /// A call that libseccomp can't compile. The ABI, if it has the call.
    Unknown(Option<Arch>),
}

fn resolve(name: &str, arch: Arch) -> ResolvedName {
    let on_arch = |name: &str| {
        let syscall = ScmpSyscall::from_name_by_arch(name, arch.scmp()?).ok()?;
        Some(syscall.as_raw_syscall())
    };
    let (Some(nr), Ok(native)) = (on_arch(name), ScmpSyscall::from_name(name)) else {
        return match Syscall::from_name(arch, name) {
            Some(syscall) if arch == Arch::NATIVE => ResolvedName::Call(syscall.audit_nr().into()),
            Some(_) => ResolvedName::Unknown(Some(arch)),
            None if exists(name) => ResolvedName::Absent,
            None => ResolvedName::Unknown(None),
        };
    };
    if nr >= 0 {
        return ResolvedName::Call(native);
    }
    // Its number is a pseudo number of libseccomp's: this ABI has the call in a multiplexer only, or not at all.
    let Some((multiplexer, number)) =
        multiplexed(name).filter(|(through, _)| on_arch(through).is_some_and(|nr| nr >= 0))
    else {
        return ResolvedName::Absent;
    };
    if Syscall::from_name(arch, name).is_some() {
        return ResolvedName::Multiplexed(native, None);
    }
    // Given the name, libseccomp (2.5) would add a rule for the pseudo number too, and not load the number of the call for
    // the rules after it.
    let first = ArgCmp::new(0, Op::Eq, number, None);
    match (ScmpSyscall::from_name(multiplexer), first) {
        (Ok(multiplexer), Ok(first)) => ResolvedName::Multiplexed(multiplexer, Some(first)),
        _ => ResolvedName::Unknown(Some(arch)),
    }
}

/// Whether any ABI has a call with this name.
fn exists(name: &str) -> bool {
    let mut arches = Arch::ALL.iter();
    arches.any(|&arch| Syscall::from_name(arch, name).is_some())
}

/// The version of libseccomp; 0.0.0 if unknown.
pub(super) fn version() -> ScmpVersion {
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
pub(super) fn export(context: &ScmpFilterContext) -> Result<Program, CompileError> {
    let mut bytes = Vec::new();
    let mut file = File::from(
        memfd_create(c"filter", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| CompileError::Memory(errno.into()))?,
    );
    context.export_bpf(&file).map_err(CompileError::Export)?;
    file.rewind().map_err(CompileError::Memory)?;
    file.read_to_end(&mut bytes).map_err(CompileError::Memory)?;
    Program::from_bytes(&bytes).map_err(CompileError::Invalid)
}
