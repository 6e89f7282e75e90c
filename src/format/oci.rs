//! `linux.seccomp` of the OCI runtime specification (`config-linux.md`, "Seccomp"), as JSON.
//!
//! The enumerations are those of the crate `oci-spec`. Its structures ignore unknown fields, so that a profile in Docker's
//! dialect would lose its conditions and allow more than it says. The structures here refuse such fields.
//!
//! Of two spellings, one is written: an absent errno is EPERM, as in runc and crun;
//! `SCMP_ACT_KILL` is `SCMP_ACT_KILL_THREAD`; `null` is absent, as in Go.

use std::sync::Arc;

use super::detect::{Fields, Outline};
use super::edit_json::edit_json;
use super::error::{Invalid, ParseError, ParseErrorKind, RenderError};
use super::json::{self, JsonPath, Object};
use super::name::Format;
use super::reading::{Parsed, PartPositions, ReadState};
use super::row::{FormatReader, FormatRow, Writer};
use super::writing::Output;
use crate::profile::{
    Action, ArgCmp, ErrnoRet, Flag, Listener, Op, Profile, ProfilePart, Rule, RuleError,
};
use crate::syscall::Arch;
use oci_spec::runtime::{
    Arch as OciArch, LinuxSeccompAction as OciAction, LinuxSeccompFilterFlag as OciFlag,
    LinuxSeccompOperator as OciOp,
};
use serde::{Deserialize, Serialize};

pub(super) const ROW: FormatRow = FormatRow {
    name: "oci",
    extension: "json",
    about: "OCI runtime JSON: Docker, Podman, containerd, CRI-O, Kubernetes",
    is_oci: true,
    // The format of JSON that has no marks of another.
    json: |_| false,
    line: |_| false,
    read: FormatReader::Text(parse),
    write: Writer::Text(render),
    companion: None,
    edit: Some(edit_json),
};

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Seccomp {
    default_action: OciAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architectures: Option<Vec<OciArch>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<OciFlag>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Object<SyscallEntry>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SyscallEntry {
    names: Vec<String>,
    action: OciAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Vec<Object<Arg>>>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Arg {
    index: usize,
    value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_two: Option<u64>,
    op: OciOp,
}

/// Something invalid, and where.
pub(super) struct InvalidAt {
    path: JsonPath,
    invalid: Invalid,
}

impl InvalidAt {
    /// The error for it in a text.
    pub(super) fn in_text(self, text: &str) -> ParseError {
        let position = self.path.locate(text);
        let path = self.path.to_string();
        let invalid = self.invalid;
        ParseError::new(position, ParseErrorKind::Invalid { path, invalid })
    }
}

pub(super) fn invalid<T>(path: JsonPath, invalid: impl Into<Invalid>) -> Result<T, InvalidAt> {
    let invalid = invalid.into();
    Err(InvalidAt { path, invalid })
}

fn parse(text: &str, input: &mut ReadState<'_>) -> Result<Parsed, ParseError> {
    let format = input.format;
    let Object::<Seccomp>(seccomp) = serde_json::from_str(text)
        .map_err(|error| other_format(text, format).unwrap_or_else(|| form(&error)))?;
    let listed: Vec<OciArch> = (seccomp.architectures.iter().flatten().copied()).collect();
    let profile = profile(seccomp).map_err(|invalid| invalid.in_text(text))?;
    // A file may list an ABI twice.
    let mut arches: Vec<usize> = Vec::new();
    for (index, arch) in listed.iter().enumerate() {
        if !arches.iter().any(|&earlier| listed[earlier] == *arch) {
            arches.push(index);
        }
    }
    let path = move |place: ProfilePart| match place {
        ProfilePart::Architecture(index) => {
            Some(path(ProfilePart::Architecture(*arches.get(index)?)))
        }
        place => Some(path(place)),
    };
    Ok(Parsed::new(
        format,
        profile,
        PartPositions::Json(Arc::new(path)),
    ))
}

/// The path of a part of a profile in the specification's JSON.
pub(super) fn path(place: ProfilePart) -> JsonPath {
    let root = JsonPath::default();
    let syscall = |rule| root.field("syscalls").index(rule);
    match place {
        ProfilePart::DefaultAction => root.field("defaultAction"),
        ProfilePart::Architecture(index) => root.field("architectures").index(index),
        ProfilePart::Rule(rule) => syscall(rule),
        ProfilePart::Name { rule, name } => syscall(rule).field("names").index(name),
        ProfilePart::Arg { rule, arg } => syscall(rule).field("args").index(arg),
    }
}

pub(super) fn form(error: &serde_json::Error) -> ParseError {
    let (message, position) = json::split(error);
    ParseError::new(Some(position), ParseErrorKind::Form(message))
}

fn profile(seccomp: Seccomp) -> Result<Profile, InvalidAt> {
    let root = JsonPath::default();
    let architectures = read_arches(seccomp.architectures, &root.field("architectures"))?;
    let listener = read_listener(seccomp.listener_path, seccomp.listener_metadata)?;
    let syscalls = seccomp.syscalls.unwrap_or_default().into_iter().enumerate();
    let path = |index| root.field("syscalls").index(index);
    let default_action = read_action(seccomp.default_action, seccomp.default_errno_ret)
        .or_else(|error| invalid(root.field("defaultErrnoRet"), error))?;
    let rules = syscalls.map(|(index, Object(syscall))| rule(syscall, &path(index)));
    let rules: Vec<Rule> = rules.collect::<Result<_, _>>()?;
    Ok(Profile::new(default_action)
        .with_architectures(architectures)
        .with_flags((seccomp.flags).map(|flags| flags.into_iter().map(read_flag).collect()))
        .with_listener(listener)
        .with_rules(rules))
}

fn rule(syscall: SyscallEntry, path: &JsonPath) -> Result<Rule, InvalidAt> {
    let action = read_action(syscall.action, syscall.errno_ret)
        .or_else(|error| invalid(path.field("errnoRet"), error))?;
    read_rule(syscall.names, action, syscall.args, path)
}

pub(super) fn read_arches(
    arches: Option<Vec<OciArch>>,
    path: &JsonPath,
) -> Result<Option<Vec<Arch>>, InvalidAt> {
    let read = |(index, arch)| read_arch(arch).or_else(|error| invalid(path.index(index), error));
    arches
        .map(|arches| arches.into_iter().enumerate().map(read).collect())
        .transpose()
}

pub(super) fn read_listener(
    path: Option<String>,
    metadata: Option<String>,
) -> Result<Option<Listener>, InvalidAt> {
    let root = JsonPath::default();
    match (path, metadata) {
        (Some(path), metadata) => match Listener::new(path, metadata) {
            None => invalid(root.field("listenerPath"), Invalid::EmptyListenerPath),
            listener => Ok(listener),
        },
        (None, Some(_)) => invalid(
            root.field("listenerMetadata"),
            Invalid::MetadataWithoutListener,
        ),
        (None, None) => Ok(None),
    }
}

/// Reads the rest of a rule.
pub(super) fn read_rule(
    names: Vec<String>,
    action: Action,
    args: Option<Vec<Object<Arg>>>,
    path: &JsonPath,
) -> Result<Rule, InvalidAt> {
    let args = args.unwrap_or_default().into_iter().enumerate();
    let args = args
        .map(|(index, Object(arg))| {
            ArgCmp::new(arg.index as u64, read_op(arg.op), arg.value, arg.value_two)
                .or_else(|error| invalid(path.field("args").index(index).field("index"), error))
        })
        .collect::<Result<_, _>>()?;
    Rule::new(names, action, args).or_else(|error| {
        let names = path.field("names");
        let path = match error {
            RuleError::NoNames => names,
            RuleError::EmptyName { index } | RuleError::UnprintableName { index } => {
                names.index(index)
            }
        };
        invalid(path, error)
    })
}

pub(super) fn read_arch(arch: OciArch) -> Result<Arch, Invalid> {
    let name = arch.to_string();
    Arch::from_oci_name(&name).ok_or(Invalid::Architecture(name))
}

pub(super) fn read_action(action: OciAction, errno: Option<u32>) -> Result<Action, Invalid> {
    let number = errno.unwrap_or(u32::from(ErrnoRet::EPERM.get()));
    let too_great = |max| Invalid::ErrnoTooGreat {
        action: action_name(action),
        number,
        max,
    };
    let plain = match action {
        OciAction::ScmpActErrno => {
            let errno = ErrnoRet::new(number);
            return errno
                .map(Action::Errno)
                .ok_or(too_great(ErrnoRet::MAX.get()));
        }
        OciAction::ScmpActTrace => {
            let message = u16::try_from(number);
            return message.map(Action::Trace).map_err(|_| too_great(u16::MAX));
        }
        OciAction::ScmpActKill | OciAction::ScmpActKillThread => Action::KillThread,
        OciAction::ScmpActKillProcess => Action::KillProcess,
        OciAction::ScmpActTrap => Action::Trap,
        OciAction::ScmpActNotify => Action::Notify,
        OciAction::ScmpActLog => Action::Log,
        OciAction::ScmpActAllow => Action::Allow,
    };
    match errno {
        None => Ok(plain),
        Some(_) => Err(Invalid::NoErrno {
            action: action_name(action),
        }),
    }
}

pub(super) fn action_name(action: OciAction) -> &'static str {
    match action {
        OciAction::ScmpActKill => "SCMP_ACT_KILL",
        OciAction::ScmpActKillThread => "SCMP_ACT_KILL_THREAD",
        OciAction::ScmpActKillProcess => "SCMP_ACT_KILL_PROCESS",
        OciAction::ScmpActTrap => "SCMP_ACT_TRAP",
        OciAction::ScmpActErrno => "SCMP_ACT_ERRNO",
        OciAction::ScmpActNotify => "SCMP_ACT_NOTIFY",
        OciAction::ScmpActTrace => "SCMP_ACT_TRACE",
        OciAction::ScmpActLog => "SCMP_ACT_LOG",
        OciAction::ScmpActAllow => "SCMP_ACT_ALLOW",
    }
}

pub(super) fn read_flag(flag: OciFlag) -> Flag {
    match flag {
        OciFlag::SeccompFilterFlagLog => Flag::Log,
        OciFlag::SeccompFilterFlagTsync => Flag::Tsync,
        OciFlag::SeccompFilterFlagSpecAllow => Flag::SpecAllow,
        OciFlag::SeccompFilterFlagWaitKillableRecv => Flag::WaitKillableRecv,
    }
}

pub(super) fn read_op(op: OciOp) -> Op {
    match op {
        OciOp::ScmpCmpNe => Op::Ne,
        OciOp::ScmpCmpLt => Op::Lt,
        OciOp::ScmpCmpLe => Op::Le,
        OciOp::ScmpCmpEq => Op::Eq,
        OciOp::ScmpCmpGe => Op::Ge,
        OciOp::ScmpCmpGt => Op::Gt,
        OciOp::ScmpCmpMaskedEq => Op::MaskedEq,
    }
}

/// The error for a file of another known kind.
fn other_format(text: &str, format: Format) -> Option<ParseError> {
    const DIALECT: &str =
        "this is a profile in the dialect of Docker and Podman, not plain OCI JSON";
    const CONFIG: &str =
        "this is a whole OCI runtime configuration; the profile is its linux.seccomp";
    let outline = Outline::of(text)?;
    let root = JsonPath::default();
    let fields = [
        ("ociVersion", CONFIG),
        ("archMap", DIALECT),
        ("defaultErrno", DIALECT),
    ];
    let of_file = (fields.into_iter())
        .find(|(field, _)| outline.has(field))
        .map(|(field, is)| (root.field(field), is));
    let of_syscall = |(index, fields): (usize, &Fields<'_>)| {
        let path = root.field("syscalls").index(index);
        ["name", "comment", "includes", "excludes", "errno"]
            .into_iter()
            .find(|field| fields.contains_key(*field))
            .map(|field| (path.field(field), DIALECT))
    };
    let (path, is) = of_file.or_else(|| outline.rules.iter().enumerate().find_map(of_syscall))?;
    Some(ParseError::new(
        path.locate(text),
        ParseErrorKind::OtherFormat {
            field: path.to_string(),
            expected: format,
            is,
        },
    ))
}

fn render(profile: &Profile, out: &mut Output<'_>) -> Result<String, RenderError> {
    let (default_action, default_errno_ret) = write_action(profile.default_action());
    let arches = profile.architectures();
    let listener = profile.listener();
    out.json(&Seccomp {
        default_action,
        default_errno_ret,
        architectures: arches
            .map(|arches| write_arches(arches, out.format))
            .transpose()?,
        flags: profile.flags().map(write_flags),
        listener_path: listener.map(|listener| listener.path().to_owned()),
        listener_metadata: listener.and_then(|listener| listener.metadata.clone()),
        syscalls: Some(profile.rules().iter().map(write_rule).collect()),
    })
}

fn write_rule(rule: &Rule) -> Object<SyscallEntry> {
    let (action, errno_ret) = write_action(rule.action());
    Object(SyscallEntry {
        names: rule.names().to_vec(),
        action,
        errno_ret,
        args: write_args(rule),
    })
}

/// The comparisons of a rule, if it has any.
pub(super) fn write_args(rule: &Rule) -> Option<Vec<Object<Arg>>> {
    let args = rule.args().iter().map(|arg| {
        Object(Arg {
            index: arg.index(),
            value: arg.value(),
            value_two: arg.value_two(),
            op: write_op(arg.op()),
        })
    });
    (!rule.args().is_empty()).then(|| args.collect())
}

pub(super) fn write_op(op: Op) -> OciOp {
    match op {
        Op::Ne => OciOp::ScmpCmpNe,
        Op::Lt => OciOp::ScmpCmpLt,
        Op::Le => OciOp::ScmpCmpLe,
        Op::Eq => OciOp::ScmpCmpEq,
        Op::Ge => OciOp::ScmpCmpGe,
        Op::Gt => OciOp::ScmpCmpGt,
        Op::MaskedEq => OciOp::ScmpCmpMaskedEq,
    }
}

pub(super) fn write_action(action: Action) -> (OciAction, Option<u32>) {
    match action {
        Action::KillProcess => (OciAction::ScmpActKillProcess, None),
        Action::KillThread => (OciAction::ScmpActKillThread, None),
        Action::Trap => (OciAction::ScmpActTrap, None),
        Action::Errno(errno) => (OciAction::ScmpActErrno, Some(errno.get().into())),
        Action::Notify => (OciAction::ScmpActNotify, None),
        Action::Trace(message) => (OciAction::ScmpActTrace, Some(message.into())),
        Action::Log => (OciAction::ScmpActLog, None),
        Action::Allow => (OciAction::ScmpActAllow, None),
    }
}

pub(super) fn write_flag(flag: Flag) -> OciFlag {
    match flag {
        Flag::Tsync => OciFlag::SeccompFilterFlagTsync,
        Flag::Log => OciFlag::SeccompFilterFlagLog,
        Flag::SpecAllow => OciFlag::SeccompFilterFlagSpecAllow,
        Flag::WaitKillableRecv => OciFlag::SeccompFilterFlagWaitKillableRecv,
    }
}

pub(super) fn write_flags(flags: &[Flag]) -> Vec<OciFlag> {
    flags.iter().copied().map(write_flag).collect()
}

pub(super) fn write_arch(arch: Arch, format: Format) -> Result<OciArch, RenderError> {
    let name = arch.oci_name().and_then(|name| name.parse().ok());
    name.ok_or(RenderError::Architecture { format, arch })
}

pub(super) fn write_arches(arches: &[Arch], format: Format) -> Result<Vec<OciArch>, RenderError> {
    arches
        .iter()
        .map(|&arch| write_arch(arch, format))
        .collect()
}

#[cfg(test)]
mod tests;
