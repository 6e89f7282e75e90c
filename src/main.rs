//! The command line of sc-record: parse, run, print an error once, exit.

#[macro_use]
mod ui;
mod cli;
mod commands;
mod exit_status;
mod start_keeper;

use std::process::ExitCode;

use clap::Parser;
use sc_record::escape::is_plain;

use crate::cli::Cli;

sc_record::capture_inherited_state!();

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(mut error) => {
            cli::suggest(&mut error);
            let mut arguments = std::env::args_os();
            // clap shows them as they are.
            let is_hostile = arguments.any(|argument| !is_plain(&argument.to_string_lossy()));
            if error.use_stderr() && is_hostile {
                say!("{}", error.render());
            } else {
                // If stdout or stderr is closed, the error can't be printed.
                let _ = error.print();
            }
            return ExitCode::from(exit_status::of_usage(&error, std::env::args_os().nth(1)));
        }
    };
    let mistyped = cli.mistyped_verb();
    let passes_status_on = cli.passes_status_on();
    if cli.runs_workload() {
        if let Err(errno) = sc_record::backend::init::split() {
            say!("sc-record: error: can't start a child of this init (pid 1): {errno}");
            return ExitCode::from(exit_status::TOOL_FAILED);
        }
    } else {
        // A recorder ignores SIGPIPE: a closed stderr must not end the workload.
        sc_record::sys::inherited::restore_sigpipe();
    }
    match commands::dispatch(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            say!("sc-record: error: {error:#}");
            if let Some(hint) = ui::hint::of(&error, mistyped.as_deref()) {
                say!("  hint: {hint}");
            }
            ExitCode::from(exit_status::of_error(&error, passes_status_on))
        }
    }
}
