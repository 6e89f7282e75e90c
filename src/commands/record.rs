//! `sc-record [OPTIONS] [--] CMD [ARG]...`: the verb that needs no name.

use crate::cli::RecordArgs;

pub(super) fn record(args: &RecordArgs) -> anyhow::Result<u8> {
    anyhow::bail!(
        "{:?} can't be recorded: no backend is built in",
        args.command
    )
}
