//! Recordings with --until exit, which end before what the command leaves behind.

use std::fs::{DirEntry, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sc_record::syscall::{Arch, Syscall};

use super::{CHECKING, Tree, count, status_line};
use crate::support::process::{Room, Running, until};
use crate::support::programs;
use crate::support::recorder::Files;

#[apply(test)]
fn until_exit_leaves_a_daemon_at_work() {
    let room = Room::new();
    let files = Files::new(&room);
    let (begun, go, done) = (room.fresh("b"), room.fresh("g"), room.fresh("f"));
    let mut command = files.command(&["--until", "exit"]);
    // The daemon makes a call that no other process makes, but only after the recorder has ended.
    let daemon = ">$0; until [ -e $1 ]; do sleep 0.01; done; $3 && echo done >$2";
    let script = "setsid sh -c \"$@\" & until [ -e $2 ]; do sleep 0.01; done; exit 4";
    command.args(["sh", "-c", script, "sh", daemon]);
    let max = Syscall::from_name(Arch::NATIVE, "sched_get_priority_max").unwrap();
    let call = format!("{} {}", programs::workload("calls").display(), max.nr);
    command.args([&begun, &go, &done]).arg(call);
    let ended = room.spawn(&mut command).wait(&room);
    assert_eq!(ended.code(), 4, "{}", ended.stderr);
    assert_eq!(count(&files, "setsid"), 1);
    assert_eq!(count(&files, "sched_get_priority_max"), 0);
    std::fs::write(&go, "").unwrap();
    room.wait_until_empty(&command);
    assert_eq!(std::fs::read_to_string(&done).unwrap(), "done\n");
}

#[apply(test)]
fn until_exit_leaves_a_whole_tree_at_work() {
    let room = Room::new();
    let files = Files::new(&room);
    let tree = Tree::new(&room);
    let go = room.fresh("g");
    let mut command = files.command(&["--until", "exit"]);
    let script = "\"$@\" & until [ -e \"$0\" ]; do sleep 0.01; done";
    command.args(["sh", "-c", script]).arg(&go);
    let recorder = room.spawn(command.args(tree.command()));
    tree.works();
    std::fs::write(&go, "").unwrap();
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    tree.works();
    assert!(count(&files, "getpid") > 0);
    let mut left = 0;
    for pid in room.alive() {
        // Some of them end meanwhile.
        if let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) {
            assert!(status.contains("\nTracerPid:\t0\n"), "{status}");
            left += 1;
        }
    }
    assert!(left > 0);
}

#[apply(test)]
fn a_workload_that_is_detached_at_any_moment_works_on() {
    let room = Room::new();
    for (name, arguments, code) in CHECKING {
        for ms in ["0", "0.01", "0.03"] {
            let status = room.fresh("f");
            let mut native = Command::new(programs::workload(name));
            let expected = room.run(native.args(arguments));
            let files = Files::new(&room);
            let mut command = files.command(&["-q", "--until", "exit"]);
            // The shell ends while the workload runs. It is in its own session: an orphaned group with a stopped member
            // gets SIGHUP, natively too.
            command.args([
                "sh",
                "-c",
                "f=$1 t=$2; shift 2; { setsid \"$@\"; echo $? >$f; } & sleep $t; exit 6",
                "sh",
            ]);
            command
                .arg(&status)
                .arg(ms)
                .arg(programs::workload(name))
                .args(arguments);
            let ended = room.run(&mut command);
            assert_eq!(
                (ended.code(), ended.stdout),
                (6, expected.stdout),
                "{name}, {ms}: {}",
                ended.stderr
            );
            assert_eq!(
                std::fs::read_to_string(&status).unwrap(),
                format!("{code}\n"),
                "{name}, {ms}"
            );
        }
    }
}

/// The state of a task, as one letter: see proc(5).
fn state(task: Pid) -> String {
    status_line(task, "State:")[..1].to_owned()
}

/// Starts a workload with --until exit and a socket as its stdin, of which the other end is returned.
fn spawn_with_socket(
    room: &Room,
    files: &Files,
    arguments: &[PathBuf],
) -> (Running, UnixStream, PathBuf) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let output = room.fresh("o");
    let recorder = room.spawn_on(
        files.command(&["-q", "--until", "exit"]).args(arguments),
        OwnedFd::from(theirs),
        File::create(&output).unwrap(),
        Stdio::inherit(),
    );
    (recorder, ours, output)
}

const LEFT: &str = "the command ended before all that it started";

/// The workload's task that sleeps in recvfrom(2), and the process of this task.
fn who_receives(room: &Room) -> Option<(Pid, Pid)> {
    let number = Syscall::from_name(Arch::NATIVE, "recvfrom").unwrap().nr;
    let read = |path: &Path, name: &str| std::fs::read_to_string(path.join(name));
    for process in room.alive() {
        for task in std::fs::read_dir(format!("/proc/{process}/task")).ok()? {
            let path = task.ok()?.path();
            let is_there = read(&path, "comm").ok()? == "left_asleep\n"
                && read(&path, "syscall")
                    .ok()?
                    .starts_with(&format!("{number} "));
            let task = Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?);
            if is_there && state(task) == "S" {
                return Some((process, task));
            }
        }
    }
    None
}

#[apply(test)]
fn calls_that_the_recorder_interrupted_go_on_after_its_end() {
    for arguments in [&[][..], &["in a thread".into()]] {
        let room = Room::new();
        let files = Files::new(&room);
        let workload = [&[programs::workload("left_asleep")], arguments].concat();
        let (recorder, mut ours, output) = spawn_with_socket(&room, &files, &workload);
        until("the workload to sleep", || who_receives(&room).is_some());
        let (process, task) = who_receives(&room).unwrap();

        // While the recorder handles nothing, the call is interrupted, and the command ends.
        recorder.signal(Signal::SIGSTOP);
        let of_recorder = || std::fs::read_dir(format!("/proc/{}/task", recorder.pid())).unwrap();
        let id =
            |task: DirEntry| Pid::from_raw(task.file_name().to_str().unwrap().parse().unwrap());
        until("the recorder to stop", || {
            of_recorder().all(|task| state(id(task.unwrap())) == "T")
        });
        kill(process, Signal::SIGWINCH).unwrap();
        until("the call to be interrupted", || state(task) == "t");
        let command = Pid::from_raw(status_line(process, "PPid:").parse().unwrap());
        kill(command, Signal::SIGKILL).unwrap();
        until("the command to end", || state(command) == "Z");

        recorder.signal(Signal::SIGCONT);
        assert_eq!(recorder.wait(&room).code(), 137);
        assert_eq!(files.run().incomplete_because(), [LEFT]);
        // A workload whose call failed is gone.
        let _ = ours.write_all(b"x");
        let said = || std::fs::read_to_string(&output).unwrap();
        until("the call to return", || !said().is_empty());
        assert_eq!(said(), "received\n");
    }
}

#[apply(test)]
#[needs(userfaultfd())]
fn a_child_that_has_not_run_yet_when_the_command_ends_is_a_loss() {
    let room = Room::new();
    let files = Files::new(&room);
    let workload = [programs::workload("left_newborn")];
    let (recorder, ours, output) = spawn_with_socket(&room, &files, &workload);
    assert_eq!(recorder.wait(&room).code(), 137);
    assert_eq!(files.run().incomplete_because(), [LEFT]);
    let said = || std::fs::read_to_string(&output).unwrap();
    assert_eq!(said(), "");
    drop(ours);
    until("the child to run", || said() == "went on\n");
}
