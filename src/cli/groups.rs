//! Options that several verbs have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use sc_record::backend::log::{AuditSource, RECEIVE_BUFFER};
use sc_record::format::{Format, KernelVersion};
use sc_record::recording::{ExecutableFilter, Name};
use sc_record::syscall::Arch;

use super::values::{
    ArgRules, BackendArg, Caps, Destination, Like, PolicyArg, UntilArg, When, arch, caps, formats,
    kernel, label,
};

/// How much is printed on stderr.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Verbosity {
    /// Print only errors and warnings
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Print which choices were made, and why
    #[arg(short, long, conflicts_with = "quiet")]
    pub(crate) verbose: bool,
}

/// [`Verbosity`] for verbs without choices to print.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Quiet {
    /// Print only results and errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Whether the code of the recorded programs is read, too.
#[derive(Debug, Args)]
pub(crate) struct CodeArgs {
    /// Also read the code of the recorded programs, as `reach` does: which calls can they make that no run has made?
    #[arg(long)]
    pub(crate) reach: bool,

    /// With --reach: library that the programs may load at run time (repeatable)
    #[arg(long, value_name = "FILE", requires = "reach", value_hint = clap::ValueHint::FilePath)]
    pub(crate) with: Vec<PathBuf>,
}

/// How a running workload is observed.
#[derive(Debug, Args)]
pub(crate) struct ObserveArgs {
    /// How to record
    #[arg(short, long, value_enum, default_value_t = BackendArg::Auto)]
    pub(crate) backend: BackendArg,

    /// When the recording ends
    #[arg(long, value_enum, default_value_t = UntilArg::All)]
    pub(crate) until: UntilArg,

    /// Stop at every call without a seccomp filter: slower, but never sets `no_new_privs`
    #[arg(long)]
    pub(crate) no_filter: bool,

    /// Stop at every call, count it, and leave the workload's code in memory as it is: slower
    #[arg(long, overrides_with = "patch")]
    pub(crate) no_patch: bool,

    /// Change the workload's code in memory so that known calls are made without a stop; their counts are lower bounds [default]
    #[arg(long, overrides_with = "no_patch")]
    pub(crate) patch: bool,

    /// Show a live line on the terminal
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto)]
    pub(crate) progress: When,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl ObserveArgs {
    pub(crate) fn is_log_mode(&self) -> bool {
        self.log.log_mode || self.backend == BackendArg::Log
    }
}

pub(super) const LOG_MODE: &str = "Log mode";

/// Whether and how log mode records.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// The same as --backend log
    #[arg(long, help_heading = LOG_MODE)]
    pub(crate) log_mode: bool,

    #[command(flatten)]
    pub(crate) read: AuditArgs,

    /// Run CMD at most N times. Each pass logs only calls not seen yet, until a pass finds nothing
    /// new and loses nothing
    #[arg(long, help_heading = LOG_MODE, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) passes: u32,
}

/// How the kernel's audit records are read.
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// Where to read audit records: auto, netlink, auditd (become the audit daemon), kmsg, `file:PATH`
    /// (a growing log, followed across rotation), or - (stdin, without CMD)
    #[arg(long, help_heading = LOG_MODE, value_name = "SOURCE", default_value_t = AuditSource::Auto)]
    pub(crate) source: AuditSource,

    /// Let --source auto become the audit daemon until the recording ends, if no other source works
    /// and no daemon runs
    #[arg(long, help_heading = LOG_MODE)]
    pub(crate) become_auditd: bool,

    /// Trust lines of syslog, and of journalctl without the transport: any user can write them (logger -t kernel)
    #[arg(long, help_heading = LOG_MODE)]
    pub(crate) trust_syslog: bool,

    /// Size of the receive buffer for records; more than `net.core.rmem_max` needs `CAP_NET_ADMIN`
    #[arg(long, help_heading = LOG_MODE, value_name = "BYTES", default_value_t = RECEIVE_BUFFER, hide_default_value = true)]
    pub(crate) receive_buffer: usize,
}

/// Where a run and its profile are written.
#[derive(Debug, Args)]
pub(crate) struct KeepArgs {
    /// Name of the workload [default: the program's file name without its extension]
    #[arg(short, long)]
    pub(crate) name: Option<Name>,

    /// Recording to add the run to; `none` keeps none [default: recordings/NAME.json]
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) recording: Option<Destination>,

    /// Profile to write from all runs of the recording; `-` is stdout, `none` writes none [default: profiles/NAME.json]
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) output: Option<Destination>,

    /// Start a new recording, without the earlier runs; keep the old file beside it as .bak
    #[arg(long)]
    pub(crate) fresh: bool,

    #[command(flatten)]
    pub(crate) profile: ProfileArgs,

    #[command(flatten)]
    pub(crate) labels: Labels,

    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
}

/// Who is told that a recording has begun.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct ReadyArgs {
    /// When the recording has begun, write a newline to this descriptor and close it. systemd is told too (Type=notify)
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) ready_fd: Option<i32>,
}

/// Labels of a run.
#[derive(Debug, Default, Args)]
pub(crate) struct Labels {
    /// Store a label with the run (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

impl Labels {
    pub(crate) fn to_map(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

/// How a profile is generated and written.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ProfileArgs {
    /// What the profile may allow beyond the recorded calls
    #[arg(long, value_enum, default_value_t = PolicyArg::Safe)]
    pub(crate) policy: PolicyArg,

    /// Record the arguments that decide what a call does (not in log mode), and allow calls only with the recorded values, or
    /// with what they stand for [safe, if the option has no value]
    #[arg(long, value_enum, value_name = "RULES", num_args = 0..=1, require_equals = true, default_value_t = ArgRules::Off, default_missing_value = "safe")]
    pub(crate) args: ArgRules,

    /// Format of the profile
    #[arg(short, long, value_parser = formats(), default_value = "oci")]
    pub(crate) format: Format,

    /// Omit what the format can't express, with a comment, instead of failing
    #[arg(long)]
    pub(crate) lossy: bool,

    /// Write the profile even if it can't allow a call whose number has no name
    #[arg(long)]
    pub(crate) skip_unnamed: bool,

    /// Deny newer calls that libc probes for with ENOSYS instead of EPERM; profiles for a container runtime always do
    #[arg(long)]
    pub(crate) enosys_probes: bool,
}

/// Whose calls of a recording count.
#[derive(Clone, Debug, Args)]
pub(crate) struct ExeArgs {
    /// Keep only calls that this executable made: its path as recorded, or its file name (repeatable). A call stays if
    /// any of them made it
    #[arg(long = "exe", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    exes: Vec<PathBuf>,

    /// Drop calls that only this executable made, such as the test client or the shell (repeatable)
    #[arg(long = "exclude-exe", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    excluded: Vec<PathBuf>,
}

impl ExeArgs {
    pub(crate) fn filter(&self) -> ExecutableFilter {
        ExecutableFilter {
            only: self.exes.clone(),
            without: self.excluded.clone(),
        }
    }
}

/// How a profile is read.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ReadArgs {
    /// Format of PROFILE, as for `convert --format` [default: detected from its content]
    #[arg(short = 'F', long, value_parser = formats(), value_name = "FORMAT", hide_possible_values = true)]
    pub(crate) from: Option<Format>,

    /// Which profile to take if PROFILE holds several: a seccompiler thread, a Kubernetes resource, a Falco rule
    #[arg(long, value_name = "NAME")]
    pub(crate) select: Option<String>,

    /// Resolve the conditions of Docker's and Podman's dialects for this architecture [default: this machine's]
    #[arg(long, value_name = "ARCH", value_parser = arch)]
    pub(crate) for_arch: Option<Arch>,

    /// Resolve them for a container with these capabilities: `CAP_CHOWN,CAP_KILL`, or `none` [default: the engine's own]
    #[arg(long, value_name = "CAPS", value_parser = caps)]
    pub(crate) for_caps: Option<Caps>,

    /// Resolve them for this kernel version, such as 5.10 [default: this machine's]
    #[arg(long, value_name = "VERSION", value_parser = kernel)]
    pub(crate) for_kernel: Option<KernelVersion>,
}

/// Which profile a command runs under, and how it is enforced.
#[derive(Debug, Args)]
pub(crate) struct EnforceArgs {
    /// Profile to enforce
    #[arg(value_name = "PROFILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) profile: PathBuf,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    /// Compile the profile as this runtime does: without the names that it skips, and with runc's ENOSYS for numbers above
    /// the highest named one
    #[arg(long, value_enum, value_name = "RUNTIME", default_value_t = Like::Kernel)]
    pub(crate) like: Like,

    /// Skip names that can't be put into the filter; their calls get the default action
    #[arg(long)]
    pub(crate) ignore_unknown: bool,

    /// Let set-user-ID programs and file capabilities take effect (don't set `no_new_privs`); needs `CAP_SYS_ADMIN`
    #[arg(long)]
    pub(crate) allow_new_privs: bool,
}
