//! `sc-record inspect`.

use std::ffi::OsString;

use clap::Args;

use super::source::SourceArgs;

#[derive(Debug, Args)]
#[command(
    after_help = "A process's filters can be read by root only (CAP_SYS_ADMIN); whether it has any, by anybody.\n\
                  Exit status: 0, or 2 for trouble."
)]
pub(crate) struct InspectArgs {
    /// The id of a process or thread, a profile of any format, or a file of BPF; `-` is stdin. A file that is called as a
    /// number is ./1
    #[arg(value_name = "PID|FILE", value_hint = clap::ValueHint::FilePath)]
    pub(crate) what: OsString,

    /// Print the instructions too
    #[arg(short, long)]
    pub(crate) disassemble: bool,

    /// Tell what becomes of this call (openat, x86:5, #59) instead
    #[arg(short, long, value_name = "CALL", allow_hyphen_values = true)]
    pub(crate) call: Option<String>,

    /// An argument of the call: `0=0x10`, `2=-1` (can be repeated); those that aren't given are 0
    #[arg(long = "arg", value_name = "N=VALUE", requires = "call", value_parser = argument)]
    pub(crate) args: Vec<(usize, u64)>,

    /// Make calls in a child under the filter, and compare what the kernel answers with what is told here. None of them
    /// is executed
    #[arg(long)]
    pub(crate) prove: bool,

    #[command(flatten)]
    pub(crate) source: SourceArgs,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

fn argument(text: &str) -> Result<(usize, u64), String> {
    let wrong = || "an argument is N=VALUE, with N from 0 to 5".to_owned();
    let (index, value) = text.split_once('=').ok_or_else(wrong)?;
    let index: usize = index.parse().map_err(|_| wrong())?;
    let (negative, digits) = match value.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, value),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| wrong())?;
    let value = if negative {
        value.wrapping_neg()
    } else {
        value
    };
    if index < 6 {
        Ok((index, value))
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_numbers_in_any_spelling() {
        assert_eq!(argument("0=16"), Ok((0, 16)));
        assert_eq!(argument("5=0x10"), Ok((5, 16)));
        assert_eq!(argument("1=-1"), Ok((1, u64::MAX)));
        assert!(argument("6=1").is_err());
        assert!(argument("1").is_err());
        assert!(argument("1=x").is_err());
    }
}
