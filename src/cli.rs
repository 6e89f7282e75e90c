//! The command line's definitions. Nothing is done here: [`crate::commands`] gives them their meaning.

mod check;
mod convert;
mod diff;
mod explain;
mod format;
mod import;
mod inspect;
mod lint;
mod minimize;
mod run;
mod source;
mod stats;
mod verify;

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use sc_record::backend::log::{RECEIVE_BUFFER, Source};
use sc_record::format::Format;
use sc_record::recording::Name;
use sc_record::syscall::Arch;

pub(crate) use self::check::CheckArgs;
pub(crate) use self::convert::ConvertArgs;
pub(crate) use self::diff::DiffArgs;
pub(crate) use self::explain::ExplainArgs;
use self::format::formats;
pub(crate) use self::import::{
    FromArgs, ImportArgs, ImportAuditArgs, ImportStraceArgs, ImportWhat,
};
pub(crate) use self::inspect::InspectArgs;
pub(crate) use self::lint::LintArgs;
pub(crate) use self::minimize::{Compared, MinimizeArgs};
pub(crate) use self::run::RunArgs;
pub(crate) use self::source::{EnforceArgs, SourceArgs};
pub(crate) use self::stats::StatsArgs;
pub(crate) use self::verify::VerifyArgs;

/// Record the system calls of a workload and write its minimal seccomp profile
#[derive(Debug, Parser)]
#[command(
    name = "sc-record",
    version,
    override_usage = "sc-record [OPTIONS] [--] CMD [ARG]...\n       sc-record [OPTIONS] --pid PID\n       sc-record [OPTIONS] --log-mode\n       sc-record VERB ...",
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) record: RecordArgs,

    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

impl Cli {
    /// Whether a workload is recorded: what the program does when no verb is given.
    pub(crate) fn is_record(&self) -> bool {
        self.verb.is_none()
    }

    /// Whether a workload runs while this program goes on.
    pub(crate) fn runs_workload(&self) -> bool {
        match &self.verb {
            None => true,
            Some(Verb::Check(args)) => args.runs_workload(),
            Some(_) => false,
        }
    }

    /// Whether the exit status belongs to a workload, so that this program's own troubles need statuses of their own.
    pub(crate) fn passes_status_on(&self) -> bool {
        self.is_record() || matches!(self.verb, Some(Verb::Run(_)))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Unite recordings: the runs of all, each once
    Merge(MergeArgs),
    /// Make the profile of a recording
    Generate(GenerateArgs),
    /// Write the profile that has the calls of containers and services logged, for --log-mode
    LogProfile(LogProfileArgs),
    /// Compare a profile with what a workload calls: what is not allowed, what is never called
    Check(Box<CheckArgs>),
    /// Make a run of what others noted
    Import(ImportArgs),
    /// Turn numbers of system calls into names, and names into numbers
    Resolve(ResolveArgs),
    /// Run a command under a profile, in place, without a container engine
    Run(RunArgs),
    /// Run a command under a profile and report all that the profile denies, and whether the result is the same
    Verify(VerifyArgs),
    /// Find the calls of a profile that a command can do without, by running it with them denied
    Minimize(MinimizeArgs),
    /// Tell what differs between two profiles or recordings, by what they mean
    Diff(DiffArgs),
    /// Tell why each call is in a profile, and how tight the profile is
    Explain(ExplainArgs),
    /// Find what is likely to go wrong with a profile, in what loads it
    Lint(LintArgs),
    /// Tell how sure a recording is: what its runs say of calls that no run has made yet
    Stats(StatsArgs),
    /// Write a profile in another format
    Convert(ConvertArgs),
    /// Look inside the filters of a process, a profile or a file: what they answer to which call
    Inspect(InspectArgs),
    /// Print a shell's completion script
    Completions(CompletionsArgs),
}

/// What is recorded, how, and where to.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    /// How to record
    #[arg(short, long, value_enum, default_value_t = Backend::Auto)]
    pub(crate) backend: Backend,

    /// Attach to a running process, with its threads and children, instead of starting CMD
    #[arg(short, long, value_name = "PID", conflicts_with = "command", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pid: Option<i32>,

    #[command(flatten)]
    pub(crate) keep: KeepArgs,

    /// Store CMD's arguments with the run; recordings are often committed, so mind secrets
    #[arg(long)]
    pub(crate) keep_argv: bool,

    /// When the recording ends: when CMD itself ends, or when all its descendants have
    #[arg(long, value_enum, default_value_t = Until::All)]
    pub(crate) until: Until,

    /// Stop at every call without a seccomp filter: slower, but never with `no_new_privs`
    #[arg(long)]
    pub(crate) no_filter: bool,

    /// Show a live line on the terminal
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto)]
    pub(crate) progress: When,

    /// Print the summary as JSON, on stderr
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) log: LogArgs,

    /// Program to run, and its arguments
    #[arg(
        value_name = "CMD",
        required_unless_present_any = ["pid", "log_mode"],
        trailing_var_arg = true,
        value_hint = clap::ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,
}

/// What becomes of a run.
#[derive(Debug, Args)]
pub(crate) struct KeepArgs {
    /// Name of the workload [default: the program's file name without its ending]
    #[arg(short, long)]
    pub(crate) name: Option<Name>,

    /// Recording to add the run to; `none` keeps none [default: recordings/NAME.json]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) recording: Option<Destination>,

    /// Profile to write from all runs of the recording; `-` is stdout, `none` writes none [default: profiles/NAME.json]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<Destination>,

    /// Leave out the recording's earlier runs; the old file is kept beside it as .bak
    #[arg(long)]
    pub(crate) fresh: bool,

    #[command(flatten)]
    pub(crate) profile: ProfileArgs,

    /// Store a label with the run (can be repeated)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// Recording by the kernel's audit records.
#[derive(Debug, Args)]
#[command(next_help_heading = "Log mode (--backend log)")]
pub(crate) struct LogArgs {
    /// The same as --backend log; without CMD, record what the kernel logs of others until Ctrl-C,
    /// --duration or --idle
    #[arg(long)]
    pub(crate) log_mode: bool,

    /// Where audit records are read: auto, netlink, auditd (become the audit daemon), kmsg, `file:PATH`
    /// (a log that grows, across rotation), or - (stdin)
    #[arg(long, value_name = "SOURCE", default_value_t = Source::Auto)]
    pub(crate) source: Source,

    /// Let --source auto become the audit daemon if it has to and none runs, until the recording ends
    #[arg(long)]
    pub(crate) become_auditd: bool,

    /// Bytes of records that may wait to be read; beyond `net.core.rmem_max` with `CAP_NET_ADMIN` only
    #[arg(long, value_name = "BYTES", default_value_t = RECEIVE_BUFFER, hide_default_value = true)]
    pub(crate) receive_buffer: usize,

    /// Run CMD at most so many times, each time logging only what is not known yet, until a pass
    /// brings nothing new and loses nothing
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) passes: u32,

    /// Don't log what this profile allows: the run then shows only what it lacks, and the profile
    /// that is written has both
    #[arg(long, value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) assume: Option<PathBuf>,

    /// Without CMD: take the records of threads of this name only (can be repeated)
    #[arg(
        long = "comm",
        value_name = "NAME",
        requires = "log_mode",
        conflicts_with = "command"
    )]
    pub(crate) comms: Vec<OsString>,

    /// Without CMD: take the records of processes that execute this file only (can be repeated)
    #[arg(
        long = "exe",
        value_name = "FILE",
        requires = "log_mode",
        conflicts_with = "command"
    )]
    pub(crate) exes: Vec<OsString>,

    /// Without CMD: take the records of processes in this container only, by its id (or what else of
    /// it is in the names of its cgroups)
    #[arg(long, value_name = "ID", requires = "log_mode", conflicts_with = "command", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) container: Option<String>,

    /// Without CMD: end the recording after this time (90s, 10min)
    #[arg(
        long,
        value_name = "TIME",
        requires = "log_mode",
        conflicts_with = "command"
    )]
    pub(crate) duration: Option<humantime::Duration>,

    /// Without CMD: end the recording when no record has come for this time
    #[arg(
        long,
        value_name = "TIME",
        requires = "log_mode",
        conflicts_with = "command"
    )]
    pub(crate) idle: Option<humantime::Duration>,
}

/// What the profile of a recording says.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ProfileArgs {
    /// What the profile may allow beyond what was recorded
    #[arg(long, value_enum, default_value_t = Policy::Safe)]
    pub(crate) policy: Policy,

    /// Format of the profile
    #[arg(short, long, value_parser = formats(), default_value = "oci")]
    pub(crate) format: Format,

    /// Leave out what the format can't say, and tell so in a comment, instead of refusing
    #[arg(long)]
    pub(crate) lossy: bool,

    /// Write the profile even if it can't allow a call whose number has no name
    #[arg(long)]
    pub(crate) skip_unnamed: bool,

    /// Answer ENOSYS, not EPERM, to newer calls that libc tries and can do without
    #[arg(long)]
    pub(crate) enosys_probes: bool,
}

/// How much is said on stderr.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Verbosity {
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Say more: what is chosen, and why
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// Recordings to unite, in any order; `-` is stdin
    #[arg(value_name = "RECORDING", required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Recording to write; `-` is stdout. It may be one of those that are united
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: Destination,

    /// Name of the result; without it all must have the same
    #[arg(short, long)]
    pub(crate) name: Option<Name>,

    /// Print the summary as JSON, on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Recordings; the profile allows what the runs of all of them called
    #[arg(value_name = "RECORDING", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,

    /// The profile; `-` is stdout, `none` writes none [default: profiles/NAME.json]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<Destination>,

    #[command(flatten)]
    pub(crate) profile: ProfileArgs,

    /// Log what the profile doesn't allow (`SCMP_ACT_LOG`) instead of refusing it, for --log-mode to
    /// find out what is missing [default output: profiles/NAME.audit.json]
    #[arg(long)]
    pub(crate) audit: bool,

    /// Print the summary as JSON, on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Say nothing but errors and warnings
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LogProfileArgs {
    /// Don't log what this profile allows
    #[arg(long, value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) assume: Option<PathBuf>,

    /// ABIs of the machine, those that go with them included (can be repeated) [default: this
    /// machine's, or PROFILE's]
    #[arg(long = "arch", value_name = "ARCH")]
    pub(crate) arches: Vec<Arch>,

    /// Format of the profile
    #[arg(short, long, value_parser = formats(), default_value = "oci")]
    pub(crate) format: Format,

    /// The profile [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<Destination>,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// Numbers (59, 0x3b, #59) and names, each with its architecture in front if need be (x86:openat, c000003e:59).
    /// Without any, or with `-`, the lines of stdin are annotated where they have `syscall=`
    #[arg(value_name = "CALL", allow_negative_numbers = true)]
    pub(crate) calls: Vec<String>,

    /// Architecture of calls that don't tell theirs; `all` is every one (can be repeated) [default: this machine's]
    #[arg(long = "arch", value_name = "ARCH", value_parser = arches)]
    pub(crate) arches: Vec<Arches>,

    /// Print JSON, on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// One architecture, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arches {
    One(Arch),
    All,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// The best that this machine allows
    Auto,
    /// Stop at every call (ptrace(2)); needs no privileges
    Ptrace,
    /// Have the kernel log every call, and read its audit records; needs `CAP_AUDIT_READ` and `CAP_AUDIT_CONTROL`
    Log,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// What was recorded, nothing else
    Exact,
    /// And what the kernel, the loader and the vDSO hide
    Safe,
    /// And what other versions of libc use instead
    Portable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    /// CMD itself has ended; its descendants run on
    Exit,
    /// All its descendants have ended too
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// `none`: nowhere.
    Nowhere,
    /// `-`: stdout.
    Stdout,
    /// A file. One that is called `none` is `./none`.
    File(PathBuf),
}

impl From<OsString> for Destination {
    fn from(text: OsString) -> Destination {
        match text.to_str() {
            Some("none") => Destination::Nowhere,
            Some("-") => Destination::Stdout,
            _ => Destination::File(PathBuf::from(text)),
        }
    }
}

impl FromStr for Destination {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Destination, Infallible> {
        Ok(OsString::from(text).into())
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is KEY=VALUE".to_owned()),
    }
}

fn arch(text: &str) -> Result<Arch, String> {
    Arch::from_any_name(text).ok_or_else(|| {
        let known: Vec<_> = Arch::ALL.iter().map(|arch| arch.name()).collect();
        format!("not an architecture; there are {}", known.join(", "))
    })
}

fn arches(text: &str) -> Result<Arches, String> {
    match text {
        "all" => Ok(Arches::All),
        _ => arch(text).map(Arches::One),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// The verb (`""` for record) and the command that a command line gives, or the kind of the error.
    fn parse(line: &str) -> Result<(String, String), clap::error::ErrorKind> {
        let args = std::iter::once("sc-record").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(args).map_err(|error| error.kind())?;
        let command: Vec<_> = cli.record.command.iter().map(|a| a.to_str()).collect();
        let command: Option<Vec<_>> = command.into_iter().collect();
        let verb = cli.verb.map(|verb| format!("{verb:?}")).unwrap_or_default();
        let verb = verb.split('(').next().unwrap_or_default().to_lowercase();
        Ok((verb, command.unwrap_or_default().join(" ")))
    }

    #[test]
    fn definitions_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_after_the_command_belongs_to_it() {
        let check = |line: &str, command: &str| {
            assert_eq!(
                parse(line),
                Ok((String::new(), command.to_owned())),
                "{line}"
            );
        };
        check("./x --flag", "./x --flag");
        check("./x -q --name y -- z", "./x -q --name y -- z");
        check("-q ./x completions", "./x completions");
        check("-n y -- ./x -n z", "./x -n z");
        check("-- completions bash", "completions bash");
        check("-- merge", "merge");
        check("-- -x", "-x");
        check("ls --help", "ls --help");
        check("ls --version", "ls --version");
        check("-p 1", "");
    }

    #[test]
    fn a_verb_comes_first() {
        let check = |line: &str, verb: &str| {
            assert_eq!(parse(line), Ok((verb.to_owned(), String::new())), "{line}");
        };
        check("completions bash", "completions");
        check("merge a b -o c", "merge");
        check("merge - -q", "merge");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        use clap::error::ErrorKind as E;
        let check = |line: &str, kind| assert_eq!(parse(line), Err(kind), "{line}");
        check("", E::DisplayHelpOnMissingArgumentOrSubcommand);
        check("-q", E::MissingRequiredArgument);
        check("-p 1 ls", E::ArgumentConflict);
        check("-p 0", E::ValueValidation);
        check("-q -v ls", E::ArgumentConflict);
        check("--label x ls", E::ValueValidation);
        check("--label =x ls", E::ValueValidation);
        check("-n a/b ls", E::ValueValidation);
        check("-n .. ls", E::ValueValidation);
        check("--frobnicate ls", E::UnknownArgument);
        check("-b ebpf ls", E::InvalidValue);
        check("merge", E::MissingRequiredArgument);
    }
}
