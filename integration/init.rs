//! The recorder as pid 1 of a pid namespace.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::process::Room;
use crate::support::recorder::{Files, PROGRAM};
use crate::support::{programs, recorder};

/// A recorder that is the init of its own namespace.
fn command(files: &Files, options: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    command.arg(PROGRAM);
    files.arguments(&mut command, options);
    command
}

fn child_of(pid: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    let child = children.split_whitespace().next()?;
    child.parse().ok().map(Pid::from_raw)
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("unshare"))]
fn an_init_reaps_what_it_did_not_start() {
    for options in [
        &[][..],
        &["--no-filter"],
        &["--until", "exit"],
        &["--backend", "notify"],
        &["--backend", "log"],
    ] {
        let room = Room::new();
        let files = Files::new(&room);
        let nested = programs::workload("nested_namespace");
        let ended = room.run(command(&files, options).arg(nested));
        assert_eq!(ended.code(), 3, "{options:?}: {}", ended.stderr);
        let run = files.run();
        let why = run.incomplete_because();
        match options {
            [] | ["--no-filter"] | ["--backend", "notify"] => {
                assert_eq!(why, [""; 0], "{options:?}");
            }
            _ => assert!(
                !why.iter().any(|why| why.contains("interrupted")),
                "{why:?}"
            ),
        }
    }
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("unshare"))]
fn a_signal_for_an_init_is_for_the_workload() {
    let room = Room::new();
    let files = Files::new(&room);
    let runs = room.fresh("f");
    let mut command = command(&files, &["-q"]);
    let script = "trap 'exit 7' USR1; >$0; while :; do sleep 0.01; done";
    let unshare = room.spawn(command.args(["sh", "-c", script]).arg(&runs));
    room.until("the workload to run", || runs.exists());
    let init = child_of(unshare.pid()).unwrap();
    kill(init, Signal::SIGUSR1).unwrap();
    let ended = unshare.wait(&room);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    assert_eq!(files.run().incomplete_because(), [""; 0]);

    // The status of a recorder that can't end by itself.
    fs::remove_file(&runs).unwrap();
    let unshare = room.spawn(&mut command);
    room.until("the workload to run", || runs.exists());
    let recorder = child_of(child_of(unshare.pid()).unwrap()).unwrap();
    kill(recorder, Signal::SIGKILL).unwrap();
    assert_eq!(unshare.wait(&room).code(), 137);
}

#[apply(test)]
#[needs(capability(SYS_ADMIN))]
fn signals_that_an_init_ignores_interrupt_nothing() {
    let room = Room::new();
    let command = [programs::workload("init_ignores")];
    for options in [&[][..], &["--no-filter"]] {
        let (ended, _) = recorder::record(&room, options, &command);
        assert_eq!(ended.code(), 0, "{options:?}: {}", ended.stderr);
    }
}
