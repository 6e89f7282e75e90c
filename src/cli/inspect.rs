//! `sc-record inspect`.

use std::ffi::OsString;

use clap::Args;

use super::groups::ReadArgs;
use super::values::argument;

#[derive(Debug, Args)]
#[command(
    after_help = "Reading the filters of a process needs root (CAP_SYS_ADMIN); anybody can see whether it has any.\n\
                  Exit status: 0, or 2 for trouble."
)]
pub(crate) struct InspectArgs {
    /// Id of a process or thread, a profile in any format, or a file of BPF; `-` is stdin. For a file
    /// with a number as its name, write ./1
    #[arg(value_name = "PID|FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) what: OsString,

    /// Also print the instructions
    #[arg(short, long)]
    pub(crate) disassemble: bool,

    /// Print only the action for this call (openat, x86:5, #59)
    #[arg(short, long, value_name = "CALL", allow_hyphen_values = true)]
    pub(crate) call: Option<String>,

    /// Argument of the call: `0=0x10`, `2=-1` (repeatable); the others are 0
    #[arg(long = "arg", value_name = "N=VALUE", requires = "call", value_parser = argument)]
    pub(crate) args: Vec<(usize, u64)>,

    /// Compare this output with the kernel's answers to calls of a child under the filter. No call is
    /// executed
    #[arg(long)]
    pub(crate) prove: bool,

    #[command(flatten)]
    pub(crate) read: ReadArgs,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
