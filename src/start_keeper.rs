//! Starts `sc-record agent --keeper`, which answers notifications when the recorder has ended.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use sc_record::backend::agent::Keeper;

/// Starts the process that answers for a command when this one has ended.
pub(crate) fn start_keeper_of_command() -> io::Result<Keeper> {
    start_keeper(&[OsStr::new("--without-socket")]).map(|(keeper, _)| keeper)
}

/// Starts a keeper. It has its own process group, so that ^C in the terminal ends only the recorder.
pub(crate) fn start_keeper(options: &[&OsStr]) -> io::Result<(Keeper, Child)> {
    let (keeper, theirs) = Keeper::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("sc-record")
        .args(["agent", "--keeper"])
        .args(options)
        .process_group(0)
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null());
    Ok((keeper, command.spawn()?))
}
