//! Reads profiles of any format from files.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use sc_record::enforce::compile_known;
use sc_record::format::{self, Format, KernelVersion, Machine, Parsed, Reading};
use sc_record::input::{FileKind, read_file};
use sc_record::recording::looks_like_recording;
use sc_record::syscall::Arch;

use crate::cli::ReadArgs;
use crate::ui::failure::WrongFile;

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
    let bytes = read(path)?;
    let parsed = parse(&bytes, args, into, lossy);
    let parsed = parsed.with_context(|| path.display().to_string())?;
    Ok(Loaded { parsed, bytes })
}

/// Reads the file of a profile; `-` is stdin.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = read_file(path, FileKind::Profile)?;
    if looks_like_recording(&bytes) {
        return Err(WrongFile::Recording(path.to_owned()).into());
    }
    Ok(bytes)
}

/// Whether the content of a file is a profile in any format.
pub(super) fn is_profile(bytes: &[u8]) -> bool {
    let reading = Reading {
        lossy: true,
        groups: Some(format::groups_of_systemd),
        compile: Some(compile_known),
        ..Reading::default()
    };
    format::read(bytes, None, &reading).is_ok()
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
