//! `sc-record completions SHELL`.

use std::io;

use clap::CommandFactory;

use super::exit_status;
use crate::cli::{Cli, CompletionsArgs};

pub(super) fn completions(args: &CompletionsArgs) -> u8 {
    clap_complete::generate(
        args.shell,
        &mut Cli::command(),
        "sc-record",
        &mut io::stdout(),
    );
    exit_status::CLEAN
}
