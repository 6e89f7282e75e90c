//! A recorder tells other programs when it has begun to record what it did not start.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::process::{LIMIT, Room, until};
use crate::support::recorder::{Files, PROGRAM};

/// Starts a recorder, and returns when the descriptor and the service manager were told.
fn check(room: &Room, args: &[&str]) {
    let (file, socket) = (room.fresh("r"), room.fresh("s"));
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut command = Command::new("sh");
    let script = "exec 7>\"$1\"; export NOTIFY_SOCKET=\"$2\"; shift 2; exec \"$@\"";
    command.args(["-c", script, "sh"]).arg(&file).arg(&socket);
    command.arg(PROGRAM).args(args).args(["--ready-fd", "7"]);
    let recorder = room.spawn(&mut command);
    let mut message = [0; 64];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(message[..length].trim_ascii_end(), b"READY=1", "{args:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "\n", "{args:?}");
    // Closed, so that who reads to the end doesn't wait for the end of the recording.
    let descriptors = Path::new("/proc")
        .join(recorder.pid().to_string())
        .join("fd");
    let descriptors = std::fs::read_dir(descriptors).unwrap();
    let mut targets = descriptors.map(|fd| std::fs::read_link(fd.unwrap().path()));
    assert!(!targets.any(|target| target.is_ok_and(|target| target == file)));
    assert!(
        recorder.stderr().contains(" until "),
        "{}",
        recorder.stderr()
    );
    recorder.signal(Signal::SIGINT);
    let ended = recorder.wait(room);
    assert!([0, 125, 130].contains(&ended.code()), "{}", ended.stderr);
}

#[apply(test)]
fn other_programs_are_told_when_a_recording_has_begun() {
    let room = Room::new();
    let sleep = room.spawn(Command::new("sleep").arg("1000"));
    let pid = sleep.pid().to_string();
    until("the program to run", || {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
    });
    let files = Files::new(&room);
    let recording = files.recording.to_str().unwrap();
    let attach = [
        "--backend",
        "ptrace",
        "-p",
        &pid,
        "-o",
        "none",
        "-r",
        recording,
    ];
    check(&room, &attach);
    let socket = room.fresh("a");
    check(&room, &["agent", "--socket", socket.to_str().unwrap()]);
    sleep.signal(Signal::SIGKILL);
    sleep.wait(&room);
}

#[apply(test)]
#[needs(audit())]
fn other_programs_are_told_when_log_mode_follows() {
    check(
        &Room::new(),
        &["--log-mode", "--comm", "nobody", "-r", "none", "-o", "none"],
    );
}

#[apply(test)]
fn a_descriptor_that_is_not_open_is_an_error() {
    let room = Room::new();
    let pid = std::process::id().to_string();
    let ended = room.run(Command::new(PROGRAM).args(["-p", &pid, "--ready-fd", "77"]));
    assert_eq!(ended.code(), 125);
    assert!(ended.stderr.contains("--ready-fd 77"), "{}", ended.stderr);
}
