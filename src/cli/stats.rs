//! `sc-record stats`.

use std::path::PathBuf;

use clap::Args;

use super::groups::CodeArgs;
use super::values::{Destination, percent};

#[derive(Debug, Args)]
#[command(
    after_help = "The estimates hold if the runs are a fair sample of what the workload will do. Repetitions of one \
                  test are not.\n\
                  Chao2: Chao (1987), Biometrics 43, 783-791. Good-Turing: Good (1953), Biometrika 40, 237-264. \
                  Coverage: Chao & Jost (2012), Ecology 93, 2533-2547.\n\
                  Exit status: 0, 1 if a --fail-… limit is exceeded, 2 for trouble."
)]
pub(crate) struct StatsArgs {
    /// Recordings of one workload; `-` is stdin
    #[arg(value_name = "RECORDING", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Exit with 1 if the probability that the next run makes a new call is higher, in percent, or
    /// unknown (a single run)
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) fail_above: Option<f64>,

    #[command(flatten)]
    pub(crate) code: CodeArgs,

    /// Also write an HTML page, like that of `report` about the profile that `generate` writes
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) html: Option<Destination>,

    /// Draw curves with ASCII characters only [default: unless the locale is UTF-8]
    #[arg(long)]
    pub(crate) ascii: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
