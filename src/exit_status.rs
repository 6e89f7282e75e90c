//! The exit statuses, in one place.
//!
//! A verb that runs a workload returns the workload's status, and those of env(1) and timeout(1) for its own errors.
//! The other verbs return diff(1)'s.

use std::ffi::OsString;

use clap::CommandFactory;
use nix::errno::Errno;
use sc_record::backend;
use sc_record::command::CommandError;

use crate::cli::Cli;

/// Success, without findings.
pub(crate) const CLEAN: u8 = 0;
/// A verb that checks has findings, or a verb that looks something up found nothing.
pub(crate) const FINDINGS: u8 = 1;
/// A verb other than record and run failed.
pub(crate) const TROUBLE: u8 = 2;
/// record, run: sc-record itself failed.
pub(crate) const TOOL_FAILED: u8 = 125;
/// record, run: the command exists but can't be executed.
pub(crate) const CANNOT_EXECUTE: u8 = 126;
/// record, run: there is no such command.
pub(crate) const NOT_FOUND: u8 = 127;

/// The status of a verb that checks.
pub(crate) fn of_findings(any: bool) -> u8 {
    if any { FINDINGS } else { CLEAN }
}

/// The status of a command line that clap rejected, or answered itself (`--help`).
pub(crate) fn of_usage(error: &clap::Error, first_argument: Option<OsString>) -> u8 {
    if !error.use_stderr() {
        return CLEAN;
    }
    let verb = first_argument
        .and_then(|argument| argument.into_string().ok())
        .filter(|argument| {
            argument == "help" || Cli::command().find_subcommand(argument).is_some()
        });
    match verb.as_deref() {
        None | Some("run") => TOOL_FAILED,
        Some(_) => TROUBLE,
    }
}

/// The status of a verb that failed.
pub(crate) fn of_error(error: &anyhow::Error, passes_status_on: bool) -> u8 {
    if !passes_status_on {
        return TROUBLE;
    }
    error.chain().find_map(of_start).unwrap_or(TOOL_FAILED)
}

/// The status of a command that could not be started, as in env(1) and timeout(1).
fn of_start(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(CommandError::NotFound { .. }), _) => Some(NOT_FOUND),
        (Some(CommandError::NotExecutable { .. }), _) => Some(CANNOT_EXECUTE),
        (_, Some(backend::Error::Exec { source, .. })) => Some(match source {
            Errno::ENOENT => NOT_FOUND,
            _ => CANNOT_EXECUTE,
        }),
        _ => None,
    }
}
