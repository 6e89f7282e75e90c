//! The hint after an error message: advice for the user.

use std::error::Error;
use std::path::Path;

use nix::errno::Errno;
use sc_record::backend::log::AuditSourceError;
use sc_record::backend::{NoBackend, Unavailable};
use sc_record::bpf::DumpError;
use sc_record::enforce::{CompileError, ExecError};
use sc_record::format::{self, DocumentError, ParseErrorKind, RenderError};
use sc_record::recording::{FileError, MergeError, ParseError};
use sc_record::{atomic_file, backend, command::CommandError};

use super::failure::{Content, Nothing, UnknownNames, WrongFile};

/// The advice for an error, if any: that for the first cause that has some. `verb` is the verb that a command was
/// probably meant to be.
pub(crate) fn of(error: &anyhow::Error, verb: Option<&str>) -> Option<String> {
    let not_found = matches!(error.downcast_ref(), Some(CommandError::NotFound { .. }));
    match verb.filter(|_| not_found) {
        Some("record") => {
            Some("there is no verb for recording: sc-record [OPTIONS] -- CMD".to_owned())
        }
        Some(verb) => Some(format!("did you mean the verb {verb}?")),
        None => error.chain().find_map(of_cause),
    }
}

/// Returns the advice for an error, if it matches a pattern. The patterns are of different types.
macro_rules! advise {
    ($error:expr; $($pattern:pat => $advice:expr,)+) => {
        $(if let Some($pattern) = $error.downcast_ref() {
            return Some($advice.into());
        })+
    };
}

const NOT_EXECUTABLE: &str =
    "check that it is executable (chmod +x) and that its interpreter exists";
const NEEDS_ROOT: &str = "run as root, or use --backend ptrace, which needs no privileges";
const TRACED: &str = "end the other tracer first: a task can have only one";

fn of_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    advise! { cause;
        CommandError::NotFound { .. } => "a program that is not in PATH needs its path: ./NAME",
        CommandError::NotExecutable { errno: Errno::EACCES, .. } => NOT_EXECUTABLE,
        backend::Error::Exec { .. } => NOT_EXECUTABLE,
        backend::Error::Traced { .. } => TRACED,
        backend::Error::Task { source: Errno::EPERM, .. } =>
            "run as root or with CAP_SYS_PTRACE; /proc/sys/kernel/yama/ptrace_scope can forbid it too",
        backend::Error::Init => "name the process of the workload: pgrep -f PATTERN",
        AuditSourceError::Denied { .. } | AuditSourceError::None(_) => NEEDS_ROOT,
        AuditSourceError::DaemonRuns(_) => "use --source netlink, which can read alongside it",
        AuditSourceError::NotLogged =>
            "as root: sysctl kernel.seccomp.actions_logged=\"$(sysctl -n kernel.seccomp.actions_logged) log\"; \
             or use --backend ptrace",
        AuditSourceError::Silent(_) =>
            "the kernel prints records only while no audit daemon runs, and sends them to the initial network namespace \
             only; audit rules can exclude them (auditctl -l); lines of syslog need --trust-syslog; --backend ptrace needs \
             none of this",
        backend::Error::NoRecord { others } => if others.is_empty() {
            "the workload must run under a profile whose default action is SCMP_ACT_LOG; audit rules can exclude its records \
             (auditctl -l); with --assume PROFILE, no record means that the profile lacks nothing"
        } else {
            "--container takes the id (docker inspect -f '{{.Id}}' NAME), --exe the path as recorded or the file's name; the \
             workload must run under a profile whose default action is SCMP_ACT_LOG"
        },
        FileError::Full { .. } =>
            "fold runs that add nothing new: sc-record merge --compact FILE -o FILE; or start over with --fresh",
        WrongFile { path, is, wanted } => of_wrong_file(&path.display(), *is, *wanted),
        atomic_file::Error::Locked { .. } =>
            "the lock is the file `.NAME.lock` beside it; fuser(1) shows which process holds it",
        MergeError::Names { .. } =>
            "merge -n NAME gives them one name; generate -o FILE writes one profile for both",
        DocumentError::Unnamed(_) =>
            "--skip-unnamed writes the profile without these calls, so they are refused",
        RenderError::Unsaid { .. } => "--lossy leaves it out, with a comment that says so",
        DumpError::Attach { .. } | DumpError::Read { .. } =>
            "reading the filters of a process needs CAP_SYS_ADMIN, and no filter on sc-record itself: run it as root",
        DumpError::Traced { .. } => TRACED,
        Nothing::Record(_) =>
            "the profile's action must be SCMP_ACT_LOG, and `log` in /proc/sys/kernel/seccomp/actions_logged",
        Nothing::Trusted(_) =>
            "import auditd's log, dmesg, or `journalctl -o json`; or pass --trust-syslog to trust the lines",
        Nothing::Selected(_) => "check --comm, --exe, --pid, --since, --until and --allowed-only",
        Nothing::Call(_) =>
            "the input must be strace's output: its stderr, or the files of -o or -ff",
        UnknownNames(_) => "--ignore-unknown leaves them out: their calls get the default action",
        CompileError::Wrong { .. } | CompileError::Endless =>
            "this libseccomp can't combine comparisons of one call's arguments (GHSA-4q85-33p6-j5g6): compare with fewer \
             values, or use == and masks instead of < and >",
        ExecError::Refused { .. } =>
            "allow execve: `generate --policy safe` does, and so does record without `--policy exact`",
        ExecError::NeedsCapability => "leave out --allow-new-privs, or run as root",
    }
    // Errors whose cause has the advice.
    if let Some(NoBackend(all)) = cause.downcast_ref() {
        // The preferred backend comes first.
        return (all.iter()).find_map(|(backend, why)| of_unavailable(backend, why));
    }
    match cause.downcast_ref() {
        Some(backend::Error::Unavailable { backend, source }) => of_unavailable(backend, source),
        _ => None,
    }
    .or_else(|| match cause.downcast_ref()? {
        FileError::Parse { path, problem } => of_parse(path, problem),
        FileError::Write(error) => of_cause(error),
        _ => None,
    })
    .or_else(|| match cause.downcast_ref()? {
        DocumentError::Render(error) => of_cause(error),
        _ => None,
    })
    .or_else(|| of_profile(cause.downcast_ref()?))
}

fn of_wrong_file(path: &std::path::Display<'_>, is: Content, wanted: Content) -> String {
    match (is, wanted) {
        (Content::Profile, _) => format!(
            "use sc-record explain {path} to explain it, sc-record lint {path} to check it, or sc-record convert {path} to \
             convert it"
        ),
        (Content::Recording, Content::Profile) => {
            format!("write its profile first: sc-record generate {path} -o PROFILE")
        }
        (Content::Recording, _) => {
            format!("it needs no import: sc-record generate {path} writes its profile")
        }
        (Content::Audit, _) => format!("import it first: sc-record import audit {path}"),
        (Content::Strace, _) => format!("import it first: sc-record import strace {path}"),
    }
}

fn of_unavailable(backend: &str, error: &Unavailable) -> Option<String> {
    match error {
        Unavailable::Capability { .. } if backend == "log" => Some(NEEDS_ROOT.to_owned()),
        Unavailable::Capability { capability, .. } => {
            Some(format!("run as root, or with {capability}"))
        }
        Unavailable::Failed(error) => of_cause(error.as_ref()),
        _ => None,
    }
}

fn of_parse(path: &Path, problem: &ParseError) -> Option<String> {
    // git takes relative paths only.
    let path = if path.is_relative() {
        path.display()
    } else {
        Path::new("FILE").display()
    };
    Some(match problem {
        ParseError::Newer { .. } => "use a newer sc-record".to_owned(),
        ParseError::Conflict { .. } => format!(
            "merge both sides: git show :2:./{path} >ours; git show :3:./{path} >theirs; \
             sc-record merge ours theirs -o {path}"
        ),
        _ => return None,
    })
}

fn of_profile(error: &format::ParseError) -> Option<String> {
    let advice = match &error.kind {
        ParseErrorKind::Unsaid(_) => "convert --lossy leaves it out, and reports it",
        ParseErrorKind::Form(message) if message.starts_with("there is more than one") => {
            "choose one with --select NAME"
        }
        ParseErrorKind::OtherFormat { .. } => {
            "without --from (or --format), run, convert and inspect detect the format"
        }
        _ => return None,
    };
    Some(advice.to_owned())
}
