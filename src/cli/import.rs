//! `sc-record import`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use sc_record::syscall::Arch;

use super::groups::KeepArgs;
use super::values::{arch, time};

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    pub(crate) what: ImportWhat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportWhat {
    /// Import the kernel's audit records from logs of auditd, ausearch, dmesg, /dev/kmsg, syslog, the journal and filebeat
    Audit(ImportAuditArgs),
    /// Import the output of strace, with any of its options (-f, -ff, -c, -o, …)
    Strace(ImportStraceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ImportAuditArgs {
    #[command(flatten)]
    pub(crate) from: FromArgs,

    /// Take only records of this process, without its children (repeatable)
    #[arg(long = "pid", value_name = "PID", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) pids: Vec<i32>,

    /// Take only records of threads with this name (repeatable)
    #[arg(long = "comm", value_name = "NAME")]
    pub(crate) comms: Vec<OsString>,

    /// Take only records of processes that execute this file (repeatable)
    #[arg(long = "exe", value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    pub(crate) exes: Vec<OsString>,

    /// Take only records from this time on: RFC 3339, or `2026-11-21 23:46:11` in local time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) since: Option<SystemTime>,

    /// Take only records up to this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) until: Option<SystemTime>,

    /// Skip calls that the filter denied (errno, kill, trap), as in a log of denials
    #[arg(long)]
    pub(crate) allowed_only: bool,

    /// Trust lines of syslog, and of journalctl without the transport: any user can write them (logger -t kernel)
    #[arg(long)]
    pub(crate) trust_syslog: bool,

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

/// The files that are imported.
#[derive(Debug, Args)]
pub(crate) struct FromArgs {
    /// Files to read, plain or compressed with gzip; `-` is stdin
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,

    /// Trust that the files are complete, unless they show a loss themselves
    #[arg(long)]
    pub(crate) assume_complete: bool,

    /// Print the summary as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,
}
