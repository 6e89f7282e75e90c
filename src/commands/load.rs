//! Reads profiles of any format from files.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::Path;
use std::time::SystemTime;

use sc_record::enforce::compile_known;
use sc_record::format::{self, Format, KernelVersion, Machine, Parsed, Reading};
use sc_record::import::{AuditOptions, ImportSource, StraceOptions, import_audit, import_strace};
use sc_record::input::{FileKind, read_file};
use sc_record::recording::{RunBuilder, looks_like_recording};
use sc_record::syscall::Arch;

use crate::cli::ReadArgs;
use crate::ui::failure::{Content, WrongFile};

/// A profile, and the file that it was read from.
pub(super) struct Loaded {
    pub(super) parsed: Parsed,
    pub(super) bytes: Vec<u8>,
}

/// Reads a profile. `into` is the format to write it in, if any; with `lossy`, parts that no profile can hold are omitted.
pub(super) fn load(
    path: &Path,
    args: &ReadArgs,
    into: Option<Format>,
    lossy: bool,
) -> anyhow::Result<Loaded> {
    let bytes = read(path)?;
    let parsed = parse(path, &bytes, args, into, lossy)?;
    Ok(Loaded { parsed, bytes })
}

/// Reads the file of a profile; `-` is stdin.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = read_file(path, FileKind::Profile)?;
    if looks_like_recording(&bytes) {
        let (path, is, wanted) = (path.to_owned(), Content::Recording, Content::Profile);
        return Err(WrongFile { path, is, wanted }.into());
    }
    Ok(bytes)
}

/// The content of a file that is not what was wanted, if it is known.
pub(super) fn content(bytes: &[u8]) -> Option<Content> {
    /// A log's start shows what it is.
    const START: usize = 64 << 10;
    let reading = Reading {
        lossy: true,
        groups: Some(format::groups_of_systemd),
        compile: Some(compile_known),
        ..Reading::default()
    };
    if looks_like_recording(bytes) {
        return Some(Content::Recording);
    }
    if format::read(bytes, None, &reading).is_ok() {
        return Some(Content::Profile);
    }
    let start = bytes[..bytes.len().min(START)].to_vec();
    let source = |bytes| vec![ImportSource::new("log", Cursor::new(bytes))];
    let mut builder = RunBuilder::of_the_past("log");
    let options = AuditOptions::default();
    let audit = import_audit(source(start.clone()), &options, &mut builder, &mut |_| {});
    if audit.is_ok_and(|found| found.records > 0) {
        return Some(Content::Audit);
    }
    let options = StraceOptions {
        native: Arch::NATIVE,
        began: SystemTime::UNIX_EPOCH,
        assume_complete: false,
        arguments: false,
    };
    let strace = import_strace(source(start), &options, &mut builder, &mut |_| {});
    (strace.is_ok_and(|found| found.calls > 0)).then_some(Content::Strace)
}

/// The error for a file that can't be read as wanted.
pub(super) fn not(
    wanted: Content,
    path: &Path,
    bytes: &[u8],
    error: anyhow::Error,
) -> anyhow::Error {
    let path = path.to_owned();
    match content(bytes).filter(|is| *is != wanted) {
        Some(is) => WrongFile { path, is, wanted }.into(),
        None => error,
    }
}

/// Reads a profile from the content of a file.
pub(super) fn parse(
    path: &Path,
    bytes: &[u8],
    args: &ReadArgs,
    into: Option<Format>,
    lossy: bool,
) -> anyhow::Result<Parsed> {
    let reading = Reading {
        machine: machine(args),
        select: args.select.as_deref(),
        into,
        lossy,
        groups: Some(format::groups_of_systemd),
        compile: Some(compile_known),
    };
    read_as(path, bytes, args.from, &reading)
}

/// Reads a profile from the content of a file. The error says what else the file is.
pub(super) fn read_as(
    path: &Path,
    bytes: &[u8],
    from: Option<Format>,
    reading: &Reading<'_>,
) -> anyhow::Result<Parsed> {
    format::read(bytes, from, reading).map_err(|error| {
        let is_json = bytes.trim_ascii_start().starts_with(b"{");
        let is_any = from.is_some() || is_json || format::detect(bytes) != Format::Oci;
        let what = if is_any { "" } else { " is not a profile" };
        let error = anyhow::Error::new(error).context(format!("{}{what}", path.display()));
        not(Content::Profile, path, bytes, error)
    })
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
