//! The definitions of the command line, one file per verb. They do nothing: [`crate::commands`] gives them their meaning.

mod agent;
mod baseline;
mod check;
mod completions;
mod container;
mod convert;
mod diff;
mod explain;
mod generate;
mod groups;
mod hook;
mod import;
mod inspect;
mod lint;
mod log_profile;
mod manpages;
mod merge;
mod minimize;
mod reach;
mod record;
mod registry;
mod report;
mod resolve;
mod run;
mod stats;
mod values;
mod verify;
mod watch;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, Parser, Subcommand};
use sc_record::nearest::nearest;

pub(crate) use self::agent::AgentArgs;
pub(crate) use self::baseline::BaselineArgs;
pub(crate) use self::check::CheckArgs;
pub(crate) use self::completions::CompletionsArgs;
pub(crate) use self::container::{ContainerArgs, ContainerRunArgs, ContainerWhat};
pub(crate) use self::convert::ConvertArgs;
pub(crate) use self::diff::DiffArgs;
pub(crate) use self::explain::ExplainArgs;
pub(crate) use self::generate::GenerateArgs;
pub(crate) use self::groups::{
    AuditArgs, CodeArgs, EnforceArgs, KeepArgs, Labels, ObserveArgs, ProfileArgs, ReadArgs,
    Verbosity,
};
pub(crate) use self::hook::HookArgs;
pub(crate) use self::import::{
    FromArgs, ImportArgs, ImportAuditArgs, ImportStraceArgs, ImportWhat,
};
pub(crate) use self::inspect::InspectArgs;
pub(crate) use self::lint::LintArgs;
pub(crate) use self::log_profile::LogProfileArgs;
pub(crate) use self::manpages::ManpagesArgs;
pub(crate) use self::merge::MergeArgs;
pub(crate) use self::minimize::MinimizeArgs;
pub(crate) use self::reach::ReachArgs;
pub(crate) use self::record::RecordArgs;
pub(crate) use self::registry::{PullArgs, PushArgs, RegistryArgs};
pub(crate) use self::report::ReportArgs;
pub(crate) use self::resolve::ResolveArgs;
pub(crate) use self::run::RunArgs;
pub(crate) use self::stats::StatsArgs;
pub(crate) use self::values::{
    ArchesArg, ArgRules, BackendArg, ComparedArg, ContainersArg, Destination, FailOn, PolicyArg,
    UntilArg, When,
};
pub(crate) use self::verify::VerifyArgs;
pub(crate) use self::watch::WatchArgs;

const LONG_VERSION: &str = if cfg!(has_ebpf) {
    concat!(env!("CARGO_PKG_VERSION"), " (with the ebpf backend)")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (without the ebpf backend)")
};

/// Record the system calls of a workload and write its minimal seccomp profile
#[derive(Debug, Parser)]
#[command(
    name = "sc-record",
    version,
    long_version = LONG_VERSION,
    override_usage = "sc-record [OPTIONS] [--] CMD [ARG]...\n       sc-record [OPTIONS] --pid PID\n       sc-record [OPTIONS] --log-mode\n       sc-record VERB ...",
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs",
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
    /// The options and verbs without CMD, for tools that would take a verb for CMD's argument.
    pub(crate) fn without_command() -> clap::Command {
        let all = Cli::command();
        let options = all.get_arguments().filter(|arg| !arg.is_positional());
        let verbs = all.get_subcommands().filter(|verb| !verb.is_hide_set());
        clap::Command::new("sc-record")
            .version(env!("CARGO_PKG_VERSION"))
            .args(options.cloned().collect::<Vec<_>>())
            .subcommands(verbs.cloned().collect::<Vec<_>>())
    }

    /// The verb that CMD was probably meant to be. `record` is no verb, but users may type it.
    pub(crate) fn mistyped_verb(&self) -> Option<String> {
        let command = self.record.command.first().filter(|_| self.is_record())?;
        nearest_verb(command.to_str()?, &["help", "record"])
    }

    /// Whether a workload is recorded, which is what the program does without a verb.
    pub(crate) fn is_record(&self) -> bool {
        self.verb.is_none()
    }

    /// Whether a workload runs beside this program.
    pub(crate) fn runs_workload(&self) -> bool {
        match &self.verb {
            None | Some(Verb::Container(_)) => true,
            Some(Verb::Check(args)) => args.runs_workload(),
            Some(Verb::Agent(args)) => !args.print_profile,
            Some(_) => false,
        }
    }

    /// Whether the exit status is the workload's. This program's own failures then need other statuses.
    pub(crate) fn passes_status_on(&self) -> bool {
        self.is_record() || matches!(self.verb, Some(Verb::Run(_)))
    }
}

/// Adds the verb that `help` was probably meant for to an error about it; clap adds the others.
pub(crate) fn suggest(error: &mut clap::Error) {
    let known = error.get(ContextKind::SuggestedSubcommand).is_some();
    if let Some(ContextValue::String(text)) = error.get(ContextKind::InvalidSubcommand)
        && !known
        && let Some(verb) = nearest_verb(text, &["record"])
    {
        let (kind, value) = match verb.as_str() {
            "record" => {
                let tip = "there is no verb for recording: see sc-record --help".to_owned();
                (
                    ContextKind::Suggested,
                    ContextValue::StyledStrs(vec![tip.into()]),
                )
            }
            _ => (ContextKind::SuggestedSubcommand, ContextValue::String(verb)),
        };
        error.insert(kind, value);
    }
}

fn nearest_verb(text: &str, more: &[&str]) -> Option<String> {
    let all = Cli::command();
    let verbs = all.get_subcommands().map(clap::Command::get_name);
    nearest(text, verbs.chain(more.iter().copied())).map(str::to_owned)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Record containers, by the seccomp notifications that their runtimes hand over
    Agent(Box<AgentArgs>),
    /// Run a container, record it, and try its profile
    Container(ContainerArgs),
    /// Record the container that a runtime starts, as its hook: a replacement for oci-seccomp-bpf-hook
    Hook(HookArgs),
    /// Measure which calls a container runtime makes before it executes the program
    Baseline(BaselineArgs),
    /// Merge recordings, keeping each run once
    Merge(MergeArgs),
    /// Generate the profile of a recording
    Generate(GenerateArgs),
    /// Write a profile that logs every call, for --log-mode to follow containers and services
    LogProfile(LogProfileArgs),
    /// Compare a profile with the calls of a workload: what it lacks, and what is never called
    Check(Box<CheckArgs>),
    /// Report the calls of running programs that their profile lacks, as they are made
    Watch(WatchArgs),
    /// Import a run from audit logs or strace output
    Import(ImportArgs),
    /// Resolve system call numbers to names, and names to numbers
    Resolve(ResolveArgs),
    /// Run a command under a profile, without a container engine
    Run(RunArgs),
    /// Run a command under a profile, report every denial and whether the outcome is the same
    Verify(VerifyArgs),
    /// Find the calls of a profile that a command can do without, by denying them
    Minimize(MinimizeArgs),
    /// Compare the meaning of two profiles or recordings
    Diff(DiffArgs),
    /// Explain why each call is in a profile, and how tight the profile is
    Explain(ExplainArgs),
    /// Write a report for reviewers: one HTML page, or the text of a pull request comment
    Report(ReportArgs),
    /// Find likely problems of a profile in the runtime that loads it
    Lint(LintArgs),
    /// Estimate how complete a recording is
    Stats(StatsArgs),
    /// Find the calls that programs can make at all, from their code, beside those of a recording
    Reach(ReachArgs),
    /// Convert a profile to another format
    Convert(ConvertArgs),
    /// Push a profile to a registry, as the OCI artifact that Kubernetes and its runtimes pull
    Push(PushArgs),
    /// Pull a profile from a registry
    Pull(PullArgs),
    /// Show what the filters of a process, a profile or a file answer to each call
    Inspect(InspectArgs),
    /// Print a shell completion script
    Completions(CompletionsArgs),
    /// Write the manual pages, for packagers
    #[command(hide = true)]
    Manpages(ManpagesArgs),
}

#[cfg(test)]
mod tests;
