//! `sc-record resolve`.

use clap::Args;

use super::values::{ArchesArg, arches};

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// Numbers (59, 0x3b, #59) and names, each with an optional architecture in front (x86:openat, c000003e:59).
    /// Without any, or with `-`, annotate the lines of stdin that have `syscall=`
    #[arg(value_name = "CALL", allow_negative_numbers = true)]
    pub(crate) calls: Vec<String>,

    /// Architecture of calls that don't name one, or `all` (repeatable) [default: this machine's]
    #[arg(long = "arch", value_name = "ARCH", value_parser = arches)]
    pub(crate) arches: Vec<ArchesArg>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
