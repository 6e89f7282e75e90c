//! `sc-record check`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use sc_record::backend::log::{RECEIVE_BUFFER, Source};

use super::source::SourceArgs;
use super::{Backend, Policy, Until, Verbosity, When, label};

/// Compare a profile with what a workload calls.
#[derive(Debug, Args)]
#[command(
    override_usage = "sc-record check [OPTIONS] PROFILE -- CMD [ARG]...\n       sc-record check [OPTIONS] PROFILE RECORDING...",
    after_help = "Exit status: 0 if the profile allows all that was called, 1 if something was found (calls that are not \
                  allowed, a workload that failed, a run that is not complete), 2 if the check could not be made.\n\
                  With CMD the report for people goes to stderr; what --json and --github print follows the \
                  workload's own output on stdout. --report FILE keeps it apart."
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct CheckArgs {
    /// The profile
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    /// Recordings of the workload, instead of running it; `-` is stdin
    #[arg(value_name = "RECORDING", required_unless_present = "command", conflicts_with = "command", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recordings: Vec<PathBuf>,

    /// Program to run, and its arguments. Nothing is refused to it
    #[arg(value_name = "CMD", last = true, value_hint = clap::ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,

    /// Apply the patch: allow what the profile lacks. What it says besides stays as it is, byte for byte
    #[arg(short, long)]
    pub(crate) update: bool,

    /// Have the patch take out the names that nobody called and the policy doesn't add
    #[arg(long)]
    pub(crate) remove_unused: bool,

    /// Fail for names that nobody called too, and for calls of which it can't be told whether they are allowed
    #[arg(long)]
    pub(crate) strict: bool,

    /// Calls that may be denied, by their names (or #NUMBER): the workload does without them
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) tolerate: Vec<String>,

    /// Don't fail because runs are not complete
    #[arg(long)]
    pub(crate) allow_incomplete: bool,

    /// Don't fail because CMD did
    #[arg(long)]
    pub(crate) any_status: bool,

    /// Names that this policy adds to what was called are not stale
    #[arg(long, value_enum, default_value_t = Policy::Safe)]
    pub(crate) policy: Policy,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    #[command(flatten)]
    pub(crate) output: CheckOutput,

    #[command(flatten)]
    pub(crate) run: CheckRun,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// How the report is written.
#[derive(Debug, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct CheckOutput {
    /// Print the report as one line of JSON, on stdout
    #[arg(long, conflicts_with = "github")]
    pub(crate) json: bool,

    /// Print annotations for GitHub's workflows, on stdout
    #[arg(long)]
    pub(crate) github: bool,

    /// Write the report as `JUnit` XML too
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) junit: Option<PathBuf>,

    /// Write the report (that of --json or --github, or the one for people) to a file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,
}

/// How CMD is watched.
#[derive(Debug, Args)]
#[command(next_help_heading = "With CMD")]
pub(crate) struct CheckRun {
    /// How to watch
    #[arg(short, long, value_enum, default_value_t = Backend::Auto)]
    pub(crate) backend: Backend,

    /// The same as --backend log: have the kernel log what the profile doesn't allow. Names that nobody called are
    /// looked for with --strict or --remove-unused only, for then every call has to be logged
    #[arg(long)]
    pub(crate) log_mode: bool,

    /// When the check ends: when CMD itself ends, or when all its descendants have
    #[arg(long, value_enum, default_value_t = Until::All)]
    pub(crate) until: Until,

    /// Stop at every call without a seccomp filter: slower, but never with `no_new_privs`
    #[arg(long)]
    pub(crate) no_filter: bool,

    /// Show a live line on the terminal
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto)]
    pub(crate) progress: When,

    /// Add the run to this recording too
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recording: Option<PathBuf>,

    /// Store a label with the run in the recording (can be repeated)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label, requires = "recording")]
    pub(crate) labels: Vec<(String, String)>,

    /// Log mode: where audit records are read: auto, netlink, auditd, kmsg or `file:PATH`
    #[arg(long, value_name = "SOURCE", default_value_t = Source::Auto)]
    pub(crate) source: Source,

    /// Log mode: let --source auto become the audit daemon if it has to and none runs
    #[arg(long)]
    pub(crate) become_auditd: bool,

    /// Log mode: bytes of records that may wait to be read
    #[arg(long, value_name = "BYTES", default_value_t = RECEIVE_BUFFER, hide_default_value = true)]
    pub(crate) receive_buffer: usize,

    /// Log mode: run CMD at most so many times, each time logging only what is not known yet, until
    /// a run brings nothing new and loses nothing
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) passes: u32,
}

impl CheckArgs {
    /// Whether a workload is run.
    pub(crate) fn runs_workload(&self) -> bool {
        !self.command.is_empty()
    }
}
