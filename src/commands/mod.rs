//! What each verb does: one file per verb. The only place that joins the library's parts.

mod agent;
mod baseline;
mod check;
mod completions;
mod container;
mod convert;
mod diff;
mod explain;
mod explain_arguments;
mod generate;
mod hook;
mod import;
mod input;
mod inspect;
mod lint;
mod load;
mod log_profile;
mod manpages;
mod merge;
mod minimize;
mod profile;
mod reach;
mod record;
mod registry;
mod report;
mod resolve;
mod run;
mod selected;
mod stats;
mod verify;
mod watch;

use crate::cli::{Cli, Verb};
use crate::exit_status;

/// Executes the command line, and returns the exit status.
pub(crate) fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    match cli.verb {
        None => record::record(&cli.record),
        Some(Verb::Agent(args)) => agent::agent(&args),
        Some(Verb::Container(args)) => container::container(&args),
        Some(Verb::Hook(args)) => hook::hook(&args),
        Some(Verb::Baseline(args)) => baseline::baseline(&args),
        Some(Verb::Merge(args)) => merge::merge(&args),
        Some(Verb::Generate(args)) => generate::generate(&args),
        Some(Verb::LogProfile(args)) => log_profile::log_profile(&args),
        Some(Verb::Check(args)) => check::check(&args),
        Some(Verb::Watch(args)) => watch::watch(&args),
        Some(Verb::Import(args)) => import::import(&args),
        Some(Verb::Resolve(args)) => resolve::resolve(&args),
        Some(Verb::Run(args)) => run::run(&args),
        Some(Verb::Verify(args)) => verify::verify(&args),
        Some(Verb::Minimize(args)) => minimize::minimize(&args),
        Some(Verb::Diff(args)) => diff::diff(&args),
        Some(Verb::Explain(args)) => explain::explain(&args),
        Some(Verb::Report(args)) => report::report(&args),
        Some(Verb::Lint(args)) => lint::lint(&args),
        Some(Verb::Stats(args)) => stats::stats(&args),
        Some(Verb::Reach(args)) => reach::reach(&args),
        Some(Verb::Convert(args)) => convert::convert(&args),
        Some(Verb::Push(args)) => registry::push(&args),
        Some(Verb::Pull(args)) => registry::pull(&args),
        Some(Verb::Inspect(args)) => inspect::inspect(&args),
        Some(Verb::Completions(args)) => completions::completions(&args),
        Some(Verb::Manpages(args)) => manpages::manpages(&args),
    }
}
