//! `sc-record log-profile`: writes a profile that logs every call, for `--log-mode`.

use sc_record::format::{Writing, write};
use sc_record::profile::{Flag, Profile};
use sc_record::syscall::Arch;

use super::{exit_status, profile};
use crate::cli::{Destination, LogProfileArgs};

pub(super) fn log_profile(args: &LogProfileArgs) -> anyhow::Result<u8> {
    let arches = if args.arches.is_empty() {
        &[Arch::NATIVE]
    } else {
        &args.arches[..]
    };
    let mut made = Profile::log_all(arches.iter().copied());
    if let Some(path) = &args.assume {
        let assumed = profile::assumed(path)?;
        made = if args.arches.is_empty() {
            assumed.audit()
        } else {
            let arches = made.listed().collect();
            assumed.audit().with_architectures(Some(arches))
        };
    }
    if let Some(path) = &args.enforce {
        let enforced = profile::assumed(path)?;
        let flags = enforced.effective_flags().into_iter().chain([Flag::Log]);
        let flags = flags.collect();
        made = enforced.with_flags(Some(flags));
    }
    let writing = Writing {
        name: "log",
        ..profile::WRITING
    };
    let written = write(args.format, &made, &writing).or_else(|error| {
        // Some formats have no conditions. Without any, every prctl(2) is logged.
        let plain = made.with_names(|rule, _| rule.args().is_empty());
        write(args.format, &plain, &writing).map_err(|_| error)
    })?;
    let stdout = Destination::Stdout;
    profile::write(&written, args.output.as_ref().unwrap_or(&stdout))?;
    Ok(exit_status::CLEAN)
}
