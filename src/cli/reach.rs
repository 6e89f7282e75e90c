//! `sc-record reach`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(
    after_help = "A bound doesn't include libraries that are loaded at run time and not given with --with, code that is made at run time, \
                  and other programs that are executed, but those in a recording.\n\
                  Exit status: 0, 1 if a recorded call is outside of the bound, 2 for trouble."
)]
pub(crate) struct ReachArgs {
    /// Programs for x86-64: files, or names to look for in PATH; or recordings, for the programs that they executed
    #[arg(value_name = "PROGRAM|RECORDING", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Library that the programs may load at run time: a plugin, an extension module (repeatable)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) with: Vec<PathBuf>,

    /// Print the whole path to each call, and the calls that can't be reached
    #[arg(short, long)]
    pub(crate) verbose: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
