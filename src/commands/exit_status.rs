//! The exit statuses, in one place.
//!
//! A verb that runs a workload passes on the workload's own status, and needs others for its own troubles: those of
//! env(1) and timeout(1). The other verbs have diff(1)'s.

use std::ffi::OsString;

use clap::CommandFactory;

use crate::cli::Cli;

/// All is well, and nothing was found.
pub(crate) const CLEAN: u8 = 0;
/// A verb other than record and run: it could not do its work.
pub(crate) const TROUBLE: u8 = 2;
/// record, run: sc-record itself failed.
pub(crate) const TOOL_FAILED: u8 = 125;
/// record, run: the command is there but can't be executed.
pub(crate) const CANNOT_EXECUTE: u8 = 126;
/// record, run: there is no such command.
pub(crate) const NOT_FOUND: u8 = 127;

/// The command could not be started: the cause of an error that gets the status that shells give for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(dead_code, reason = "for the verbs that start a command")]
pub(crate) enum CannotStart {
    #[error("no such command")]
    NotFound,
    #[error("the command can't be executed")]
    CannotExecute,
}

/// The status of a command line that clap refused, or answered by itself (`--help`).
pub(crate) fn of_usage(error: &clap::Error, first_argument: Option<OsString>) -> u8 {
    if !error.use_stderr() {
        return CLEAN;
    }
    let verb = first_argument
        .and_then(|argument| argument.into_string().ok())
        .filter(|argument| Cli::command().find_subcommand(argument).is_some());
    match verb.as_deref() {
        None | Some("run") => TOOL_FAILED,
        Some(_) => TROUBLE,
    }
}

/// The status of a verb that failed.
pub(crate) fn of_error(error: &anyhow::Error, passes_status_on: bool) -> u8 {
    let start = error.chain().find_map(|cause| cause.downcast_ref());
    match (passes_status_on, start) {
        (false, _) => TROUBLE,
        (true, Some(CannotStart::NotFound)) => NOT_FOUND,
        (true, Some(CannotStart::CannotExecute)) => CANNOT_EXECUTE,
        (true, None) => TOOL_FAILED,
    }
}
