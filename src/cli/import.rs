//! `sc-record import`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sc_record::syscall::Arch;

use super::{KeepArgs, arch};

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    pub(crate) what: ImportWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportWhat {
    /// The kernel's audit records of `SCMP_ACT_LOG`: logs of auditd, ausearch, dmesg, /dev/kmsg, syslog and journals
    Audit(ImportAuditArgs),
    /// The output of strace: with -f, -ff, -c, -o, and any other options
    Strace(ImportStraceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImportAuditArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,

    /// Take the records of this process only, without its children (can be repeated)
    #[arg(long = "pid", value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pids: Vec<i32>,

    /// Take the records of threads of this name only (can be repeated)
    #[arg(long = "comm", value_name = "NAME")]
    pub(crate) comms: Vec<OsString>,

    /// Take the records of processes that execute this file only (can be repeated)
    #[arg(long = "exe", value_name = "PATH")]
    pub(crate) exes: Vec<OsString>,

    /// Leave out calls that the filter refused (errno, kill, trap): what a log of denials holds
    #[arg(long)]
    pub(crate) allowed_only: bool,

    #[command(flatten)]
    pub(crate) keep: KeepArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportStraceArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,

    /// Architecture of the strace that wrote the files
    #[arg(long, value_parser = arch, default_value_t = Arch::NATIVE)]
    pub(crate) arch: Arch,

    #[command(flatten)]
    pub(crate) keep: KeepArgs,
}

/// What is imported.
#[derive(Debug, Args)]
pub(crate) struct FromArgs {
    /// Files to read, compressed with gzip or not; `-` is stdin
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,

    /// Vouch that nothing was left out: the run is then complete, unless the files themselves tell of loss
    #[arg(long)]
    pub(crate) assume_complete: bool,

    /// Print the summary as JSON, on stdout
    #[arg(long)]
    pub(crate) json: bool,
}
