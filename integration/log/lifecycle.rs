//! Begin and end of recordings in log mode, and concurrent and nested recorders.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::FlockArg;
use nix::sys::signal::{Signal, kill};
use sc_record::syscall::{Arch, Syscall};

use super::sources::{audit_daemon, record};
use super::{calls, lock};
use crate::support::machine;
use crate::support::process::{Room, set_mode, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

fn count(files: &Files, name: &str) -> u64 {
    let syscall = Syscall::from_name(Arch::NATIVE, name).unwrap();
    files.run().calls().get(&syscall).copied().unwrap_or(0)
}

#[apply(test)]
#[needs(audit())]
fn the_end_of_the_command_is_passed_on() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let sh = Path::new("/bin/sh");
    let (ended, files) = record(&room, &[], sh, &["-c", "kill -KILL $$"]);
    assert_eq!(ended.code(), 137, "{}", ended.stderr);
    assert_eq!(files.run().0["exit"]["signal"], 9);
    let text = room.fresh("t");
    std::fs::write(&text, "exit 5\n").unwrap();
    let (ended, _) = record(&room, &[], &text, &[]);
    assert_eq!(ended.code(), 126, "{}", ended.stderr);
    set_mode(&text, 0o755);
    // A script without an interpreter line: the shell executes it, as with execvp(3).
    let (ended, files) = record(&room, &[], &text, &[]);
    assert_eq!(ended.code(), 5, "{}", ended.stderr);
    assert_eq!(count(&files, "execve"), 1);
    std::fs::write(&text, "#!/nowhere\n").unwrap();
    let (ended, _) = record(&room, &[], &text, &[]);
    assert_eq!(ended.code(), 127, "{}", ended.stderr);
}

#[apply(test)]
#[needs(audit())]
fn until_exit_leaves_the_descendants_and_until_all_waits_for_them() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let go = room.fresh("g");
    // The descendant is an orphan in its own session and group.
    let script = format!(
        "setsid -f sh -c 'until [ -e {} ]; do sleep 0.02; done; {} 25'; exit 4",
        go.display(),
        programs::workload("flood").display()
    );
    let files = Files::new(&room);
    let mut command = files.command(&["-q", "--log-mode", "--passes", "1", "--until", "exit"]);
    let ended = room.spawn(command.args(["sh", "-c", &script])).wait(&room);
    assert_eq!(ended.code(), 4, "{}", ended.stderr);
    assert!(!room.alive().is_empty());
    assert!(count(&files, "getppid") < 20);
    File::create(&go).unwrap();
    until("what was left behind to end", || room.alive().is_empty());

    std::fs::remove_file(&go).unwrap();
    let files = Files::new(&room);
    let mut command = files.command(&["-q", "--log-mode", "--passes", "1"]);
    let mut recorder = room.spawn(command.args(["sh", "-c", &script]));
    until("the command to end", || room.alive().len() == 3);
    assert!(!recorder.has_ended());
    File::create(&go).unwrap();
    assert_eq!(recorder.wait(&room).code(), 4);
    assert!(count(&files, "getppid") >= 25);
    assert!(files.run().incomplete_because().is_empty());
}

#[apply(test)]
#[needs(audit(), program("auditctl"))]
fn a_recorder_that_is_killed_leaves_the_workload_and_the_kernel_as_they_were() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let (go, done) = (room.fresh("g"), room.fresh("f"));
    let script = format!(
        "until [ -e {} ]; do sleep 0.02; done; echo >{}",
        go.display(),
        done.display()
    );
    let files = Files::new(&room);
    let mut command = files.command(&["-q", "--log-mode", "--source", "auditd"]);
    let recorder = room.spawn(command.args(["sh", "-c", &script]));
    until("the recorder to be the audit daemon", || {
        audit_daemon() != 0
    });
    until("the workload to run", || room.alive().len() > 1);
    recorder.signal(Signal::SIGKILL);
    recorder.wait(&room);
    File::create(&go).unwrap();
    until("the workload to go on", || done.exists());
    assert_eq!(audit_daemon(), 0);
}

#[apply(test)]
#[needs(audit())]
fn concurrent_recorders_take_only_their_own_records() {
    let _others_record_too = lock(FlockArg::LockShared);
    let threads: Vec<_> = (1..=4)
        .map(|number: u64| {
            std::thread::spawn(move || {
                let room = Room::new();
                let flood = programs::workload("flood").display().to_string();
                let script =
                    format!("for i in 1 2 3 4 5; do {flood} {number}000; done; exit {number}");
                let (ended, files) = record(&room, &[], Path::new("/bin/sh"), &["-c", &script]);
                assert_eq!(i64::from(ended.code()), number.cast_signed());
                let run = files.run();
                assert_eq!(run.incomplete_because(), [""; 0]);
                // dash itself calls getppid once.
                assert_eq!(count(&files, "getppid"), 5 * number * 1000 + 1);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[apply(test)]
#[needs(audit())]
fn a_recorder_can_be_recorded() {
    machine::load_libraries_at_the_same_addresses();
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let inner = Files::new(&room);
    let command = inner.command(&["-q", "--log-mode", "--passes", "1"]);
    let mut arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_str().unwrap())
        .collect();
    let flood = programs::workload("flood").display().to_string();
    arguments.extend([&flood, "10"]);
    let (ended, outer) = record(&room, &["--passes", "1"], Path::new(PROGRAM), &arguments);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    assert_eq!(
        inner.run().incomplete_because(),
        ["the recorder runs under a seccomp filter: calls that it refuses are not logged"]
    );
    let alone = Files::new(&room);
    room.run(alone.command(&["-q", "--no-patch"]).args([&flood, "10"]));
    assert_eq!(inner.run().calls(), alone.run().calls());
    assert!(calls(&outer).is_superset(&calls(&inner)));
}

#[apply(test)]
#[needs(audit())]
fn every_pass_reads_the_same_input_or_there_is_only_one() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let input = room.fresh("i");
    std::fs::write(&input, "a line\n").unwrap();
    let output = room.fresh("o");
    let run = |stdin: Stdio| {
        let files = Files::new(&room);
        let mut command = files.command(&["-q", "--log-mode"]);
        let file = |path: &Path| File::create(path).unwrap();
        let errors = file(&room.fresh("e"));
        let recorder = room.spawn_on(command.arg("cat"), stdin, file(&output), errors);
        assert_eq!(recorder.wait(&room).code(), 0);
        assert_eq!(files.run().incomplete_because(), [""; 0]);
        std::fs::read_to_string(&output).unwrap()
    };
    assert_eq!(run(File::open(&input).unwrap().into()), "a line\na line\n");
    let mut echo = Command::new("cat")
        .arg(&input)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(run(echo.stdout.take().unwrap().into()), "a line\n");
    echo.wait().unwrap();
}

#[apply(test)]
#[needs(audit())]
fn a_workload_that_ends_differently_in_the_second_pass_makes_the_run_incomplete() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let made = room.fresh("d");
    let (ended, files) = record(
        &room,
        &[],
        Path::new("/bin/mkdir"),
        &[made.to_str().unwrap()],
    );
    assert_eq!(ended.code(), 0);
    let because = files.run().incomplete_because();
    assert!(
        because
            .iter()
            .any(|why| why
                .contains("pass 2 ended differently from the first (status 1, not status 0)")),
        "{because:?}"
    );
}

#[apply(test)]
#[needs(audit())]
fn two_capabilities_are_enough_for_a_whole_run() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let run = |capabilities: &str, program: &Path| {
        let files = Files::new(&room);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command
            .arg(format!("--inh-caps={capabilities}"))
            .arg(format!("--ambient-caps={capabilities}"));
        command.arg("--").arg(PROGRAM);
        files.arguments(&mut command, &["-q", "--log-mode"]);
        let ended = room.run(command.arg(program));
        (ended, files)
    };
    let both = "+audit_read,+audit_control";
    let (ended, files) = run(both, &programs::workload("first_exit"));
    assert_eq!(ended.code(), 42, "{}", ended.stderr);
    let stored = files.run();
    assert_eq!(stored.incomplete_because(), [""; 0]);
    assert_eq!(stored.0["no_new_privs"], true);

    let (ended, files) = run("+audit_read", &programs::workload("first_exit"));
    assert_eq!(ended.code(), 42, "{}", ended.stderr);
    let because = files.run().incomplete_because();
    assert!(
        because
            .iter()
            .any(|why| why.contains("needs CAP_AUDIT_CONTROL")),
        "{because:?}"
    );

    // A setuid program without its privileges is reported.
    let setuid = room.path().join("setuid");
    room.copy(&programs::workload("first_exit"), &setuid);
    set_mode(&setuid, 0o4755);
    let (_, files) = run(both, &setuid);
    let because = files.run().incomplete_because();
    assert!(
        because
            .iter()
            .any(|why| why.contains("without the privileges that its file gives")),
        "{because:?}"
    );
}

#[apply(test)]
#[needs(audit())]
fn a_signal_to_the_recorder_reaches_the_command() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let ready = room.fresh("f");
    let script = format!(
        "trap 'exit 9' TERM; echo >{}; while :; do sleep 0.02; done",
        ready.display()
    );
    let files = Files::new(&room);
    let mut command = files.command(&["-q", "--log-mode", "--passes", "1"]);
    let recorder = room.spawn(command.args(["sh", "-c", &script]));
    until("the command to be ready", || ready.exists());
    kill(recorder.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(recorder.wait(&room).code(), 9);
    assert!(files.run().incomplete_because().is_empty());
}
