//! Reads profiles of any format from files.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use sc_record::enforce::compile_known;
use sc_record::format::{self, Format, KernelVersion, Machine, Parsed, Reading};
use sc_record::syscall::Arch;

use crate::cli::ReadArgs;

/// A profile, and the file that it was read from.
pub(super) struct Loaded {
    pub(super) parsed: Parsed,
    pub(super) bytes: Vec<u8>,
}

/// Reads a profile. `into` is the format that it will be written in, if any; `lossy` omits what no profile holds.
pub(super) fn load(
    path: &Path,
    args: &ReadArgs,
    into: Option<Format>,
    lossy: bool,
) -> anyhow::Result<Loaded> {
    let file = path.display();
    let bytes = format::read_file(path).with_context(|| format!("cannot read {file}"))?;
    let parsed = parse(&bytes, args, into, lossy).with_context(|| format!("{file}"))?;
    Ok(Loaded { parsed, bytes })
}

/// Reads a profile from the content of a file.
pub(super) fn parse(
    bytes: &[u8],
    args: &ReadArgs,
    into: Option<Format>,
    lossy: bool,
) -> Result<Parsed, format::ParseError> {
    let reading = Reading {
        machine: machine(args),
        select: args.select.as_deref(),
        into,
        lossy,
        groups: Some(format::groups_of_systemd),
        compile: Some(compile_known),
    };
    format::read(bytes, args.from, &reading)
}

/// The machine that conditions are resolved for.
fn machine(args: &ReadArgs) -> Machine {
    let this = || {
        let uname = nix::sys::utsname::uname().ok()?;
        KernelVersion::of_release(uname.release().to_str()?)
    };
    let caps = args.for_caps.clone();
    Machine {
        arch: args.for_arch.unwrap_or(Arch::NATIVE),
        caps: caps.map(|caps| caps.0.into_iter().collect::<BTreeSet<_>>()),
        kernel: args.for_kernel.or_else(this),
    }
}
