//! Calls are credited to the program that made them, in any order of stops of parents and children.

use std::collections::BTreeSet;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::machine;
use crate::support::process::Room;
use crate::support::recorder::{Files, PROGRAM};

/// Calls that only one program makes.
const SIGNATURES: [(&str, &str); 5] = [
    ("timer_create", "timeout"),
    ("setpriority", "nice"),
    ("sched_setaffinity", "taskset"),
    ("mknodat", "mkfifo"),
    ("uname", "uname"),
];

/// Starts all of them, through vfork(2) by the shell and by each other.
const ONCE: &str =
    "timeout 9 nice -n 1 taskset 1 mkfifo f; rm f; nice uname; taskset 1 timeout 9 uname & wait";

fn check(files: &Files) {
    let run = files.run();
    let calls = &run.0["syscalls"][machine::NATIVE];
    for (call, program) in SIGNATURES {
        let executables = calls[call]["executables"].as_array().unwrap();
        let names: BTreeSet<_> = executables
            .iter()
            .map(|path| path.as_str().unwrap().rsplit('/').next().unwrap())
            .collect();
        assert_eq!(names, BTreeSet::from([program]), "{call}");
    }
}

#[apply(test)]
fn of_a_command() {
    let room = Room::new();
    let script = format!("cd \"$0\" && for i in 1 2 3 4 5 6 7 8 9 10; do {ONCE}; done");
    for until in ["all", "exit"] {
        let files = Files::new(&room);
        let mut command = files.command(&["-q", "--until", until]);
        command.args(["sh", "-c", &script]).arg(room.directory());
        let ended = room.run(&mut command);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        check(&files);
    }
}

#[apply(test)]
fn of_a_running_process() {
    let room = Room::new();
    let script = format!("cd \"$0\" && while :; do {ONCE}; echo >>rounds; done");
    let place = room.directory();
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(&place);
    let shell = room.spawn(&mut command);
    for _ in 0..5 {
        let files = Files::new(&room);
        let mut command = Command::new(PROGRAM);
        command.args(["-q", "--backend", "ptrace", "--progress", "never"]);
        command.args(["-o", "none", "-r"]);
        command
            .arg(&files.recording)
            .arg("-p")
            .arg(shell.pid().to_string());
        let recorder = room.spawn(&mut command);
        room.until("the recorder to attach", || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", shell.pid()));
            !status.unwrap().contains("TracerPid:\t0\n")
        });
        let rounds = || std::fs::metadata(place.join("rounds")).map_or(0, |file| file.len());
        let before = rounds();
        room.until("every program to start", || rounds() >= before + 3);
        recorder.signal(Signal::SIGINT);
        let ended = recorder.wait(&room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        check(&files);
    }
}
