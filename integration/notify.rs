//! The backend that answers notifications. Which calls it sees of the hard cases is in `workloads.rs`.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::machine;
use crate::support::process::{Room, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

const OPTIONS: &[&str] = &["-q", "--backend", "notify"];

#[apply(test)]
#[needs(program("strace"), program("gdb"))]
fn tracers_work_inside() {
    let room = Room::new();
    let files = Files::new(&room);
    let script = "strace -f -o /dev/null /bin/true && gdb -nx -batch -ex run /bin/true";
    let ended = room.run(files.command(OPTIONS).args(["/bin/sh", "-c", script]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("exited normally"), "{}", ended.stdout);
    let run = files.run();
    // The tracers have handlers without SA_RESTART: a signal can come before a call is taken.
    let because = run.incomplete_because();
    let is_known = |why: &String| why.contains("signals interrupted calls before");
    assert!(because.iter().all(is_known), "{because:?}");
    assert!(run.0["syscalls"][machine::NATIVE]["ptrace"]["count"].as_u64() > Some(2));
}

#[apply(test)]
#[needs(no_privileges())]
fn without_privileges_a_command_is_recorded_and_no_new_privs_is_noted() {
    let room = Room::new();
    let recorder = room.path().join("sc-record");
    room.copy(std::path::Path::new(PROGRAM), &recorder);
    let mut command = Room::as_nobody(&recorder);
    command.args([
        "--backend",
        "notify",
        "-r",
        "none",
        "-o",
        "-",
        "/bin/sh",
        "-c",
        "nice true",
    ]);
    let ended = room.run(&mut command);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stdout.contains("setpriority"), "{}", ended.stdout);
    assert!(ended.stderr.contains("by 2 tasks"), "{}", ended.stderr);
}

/// A workload that makes many calls, in threads too, until `done` is written.
fn busy(room: &Room) -> (std::path::PathBuf, std::path::PathBuf, String) {
    let (go, done) = (room.fresh("go"), room.fresh("done"));
    let script = format!(
        "while ! [ -e {go} ]; do :; done & while ! [ -e {go} ]; do :; done; wait; {threads} && echo done >{done}",
        go = go.display(),
        threads = programs::workload("threads_200").display(),
        done = done.display()
    );
    (go, done, script)
}

#[apply(test)]
fn a_killed_recorder_leaves_the_workload_at_work() {
    // The recorder dies at any point of an answer.
    for _ in 0..10 {
        let room = Room::new();
        let (go, done, script) = busy(&room);
        let files = Files::new(&room);
        let recorder = room.spawn(files.command(OPTIONS).args(["/bin/sh", "-c", &script]));
        let children = format!("/proc/{0}/task/{0}/children", recorder.pid());
        until("the workload to run", || {
            let children = fs::read_to_string(&children).unwrap_or_default();
            children.split_whitespace().any(|child| {
                let comm = fs::read_to_string(format!("/proc/{child}/comm"));
                comm.is_ok_and(|comm| comm == "sh\n")
            })
        });
        recorder.signal(Signal::SIGKILL);
        fs::write(&go, "").unwrap();
        until("the workload to end", || {
            fs::read_to_string(&done).is_ok_and(|text| text == "done\n")
        });
        drop(recorder.wait(&room));
    }
}

#[apply(test)]
fn what_the_command_leaves_behind_runs_on() {
    let room = Room::new();
    let (go, done) = (room.fresh("go"), room.fresh("done"));
    let script = "(until [ -e $0 ]; do sleep 0.02; done; chroot / true; echo done >$1) & exit 3";
    let files = Files::new(&room);
    let options = [OPTIONS, &["--until", "exit"]].concat();
    let mut command = files.command(&options);
    let command = command.args(["/bin/sh", "-c", script]).args([&go, &done]);
    let ended = room.spawn(command).wait(&room);
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    fs::write(go, "").unwrap();
    until("the rest to end", || done.exists());
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert!(run.0["syscalls"][machine::NATIVE]["chroot"].is_null());
}

#[apply(test)]
fn a_command_that_cannot_be_executed_is_an_error() {
    let room = Room::new();
    let script = room.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let files = Files::new(&room);
    let ended = room.run(files.command(OPTIONS).arg(&script));
    assert_eq!(ended.code(), 127, "{}", ended.stderr);
    assert!(ended.stderr.contains("can't execute"), "{}", ended.stderr);
}

#[apply(test)]
fn inside_of_itself_it_says_that_a_listener_is_there() {
    let room = Room::new();
    let files = Files::new(&room);
    let mut command = files.command(OPTIONS);
    command.arg(PROGRAM).args([
        "--backend",
        "notify",
        "-r",
        "none",
        "-o",
        "none",
        "/bin/true",
    ]);
    let ended = room.run(&mut command);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("a task can have only one"),
        "{}",
        ended.stderr
    );
}
