//! `sc-record stats`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(
    after_help = "The estimates hold if the runs are a fair sample of what the workload will do: runs of one and the same \
                        test are none.\n\
                        Chao2: Chao (1987), Biometrics 43, 783-791. Good-Turing: Good (1953), Biometrika 40, 237-264. \
                        Coverage: Chao & Jost (2012), Ecology 93, 2533-2547.\n\
                        Exit status: 0, 1 if a --fail-… option is not met, 2 trouble."
)]
pub(crate) struct StatsArgs {
    /// Recordings of one workload; `-` is stdin
    #[arg(value_name = "RECORDING", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Exit with 1 if the chance that the next run brings a new call is greater, in percent; or can't be told (one run)
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) fail_above: Option<f64>,

    /// Draw curves with ASCII characters only [default: unless the locale is UTF-8]
    #[arg(long)]
    pub(crate) ascii: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: f64 = text
        .trim_end_matches('%')
        .parse()
        .map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&number) {
        Ok(number)
    } else {
        Err("not between 0 and 100".to_owned())
    }
}
