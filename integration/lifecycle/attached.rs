//! Recorders that attach to running processes.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{CHECKING, Tree, count, status_line};
use crate::support::process::{Room, Running, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// Starts `sc-record -p`, and waits until it begins to seize the process.
fn begin_to_attach(room: &Room, files: &Files, pid: Pid) -> Running {
    let mut command = Command::new(PROGRAM);
    command.args(["--backend", "ptrace", "--progress", "never"]);
    command.args(["-p", &pid.to_string()]);
    command.arg("-r").arg(&files.recording);
    command.arg("-o").arg(&files.profile);
    let recorder = room.spawn(&mut command);
    until("the recorder to attach", || {
        status_line(pid, "TracerPid:") != "0"
    });
    recorder
}

/// The same, until all tasks of the process and its descendants are seized.
fn attach(room: &Room, files: &Files, pid: Pid) -> Running {
    let recorder = begin_to_attach(room, files, pid);
    until("all to be seized", || {
        recorder.stderr().contains("sc-record: recording process")
    });
    recorder
}

#[apply(test)]
fn attaching_and_detaching_leave_a_tree_at_work() {
    let room = Room::new();
    let tree = Tree::new(&room);
    let native = room.spawn(Command::new(&tree.command()[0]).arg(&tree.counts));
    tree.works();
    for _ in 0..10 {
        let files = Files::new(&room);
        let recorder = attach(&room, &files, native.pid());
        tree.works();
        recorder.signal(Signal::SIGINT);
        let ended = recorder.wait(&room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        tree.works();
        assert_eq!(status_line(native.pid(), "TracerPid:"), "0");
        for name in [
            "getpid",
            "clock_nanosleep",
            "getppid",
            "exit_group",
            "wait4",
        ] {
            assert!(
                count(&files, name) > 0,
                "{name} of all tasks wasn't recorded"
            );
        }
    }
}

#[apply(test)]
fn attached_to_a_process_the_recording_ends_with_it() {
    let room = Room::new();
    let files = Files::new(&room);
    let go = room.fresh("g");
    let script = "until [ -e \"$0\" ]; do sleep 0.01; done; exit 5";
    let native = room.spawn(Command::new("sh").args(["-c", script]).arg(&go));
    let mut recorder = attach(&room, &files, native.pid());
    assert!(!recorder.has_ended());
    std::fs::write(&go, "").unwrap();
    assert_eq!(native.wait(&room).code(), 5);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(count(&files, "exit_group") > 0);
    assert_eq!(files.run().0["exit"]["code"].as_u64(), Some(5));
}

#[apply(test)]
fn a_stopped_process_stays_stopped_while_a_recorder_comes_and_goes() {
    let room = Room::new();
    let files = Files::new(&room);
    let tree = Tree::new(&room);
    let native = room.spawn(Command::new(&tree.command()[0]).arg(&tree.counts));
    tree.works();
    // The first two tasks are its threads. Its children are other processes and keep running: a child's progress shows how
    // much time the threads had.
    let stands_still = || {
        let before = tree.read();
        until("its child to work on", || tree.read()[2] > before[2] + 200);
        tree.read()[..2] == before[..2]
    };
    let stop = || {
        native.signal(Signal::SIGSTOP);
        until("it to stop", stands_still);
    };
    stop();
    assert!(stands_still(), "it runs natively");
    let recorder = attach(&room, &files, native.pid());
    assert!(stands_still(), "it runs recorded");
    recorder.signal(Signal::SIGINT);
    assert_eq!(recorder.wait(&room).code(), 0);
    assert!(stands_still(), "it runs after the recording");
    native.signal(Signal::SIGCONT);
    tree.works();

    // It is continued while it is recorded, and stopped again.
    stop();
    let recorder = attach(&room, &files, native.pid());
    native.signal(Signal::SIGCONT);
    tree.works();
    stop();
    assert!(stands_still(), "it runs recorded");
    recorder.signal(Signal::SIGTERM);
    assert_eq!(recorder.wait(&room).code(), 0);
    assert!(stands_still(), "it runs after the recording");
    native.signal(Signal::SIGCONT);
    tree.works();
}

#[apply(test)]
fn a_process_that_makes_no_call_has_a_recording_and_no_profile() {
    let room = Room::new();
    let files = Files::new(&room);
    let native = room.spawn(Command::new("sleep").arg("1000"));
    native.signal(Signal::SIGSTOP);
    until("it to stop", || {
        status_line(native.pid(), "State:").starts_with('T')
    });
    let recorder = attach(&room, &files, native.pid());
    recorder.signal(Signal::SIGINT);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    for line in [
        "sc-record: 0 distinct system calls; 0 calls by 1 task in ",
        "sc-record: error: the runs recorded no system call that has a name",
    ] {
        assert!(ended.stderr.contains(line), "{}", ended.stderr);
    }
    assert!(files.run().calls().is_empty());
    assert!(!files.profile.exists());
}

/// Repeats a workload while recorders attach and detach: each attaches, and the workload always ends as it does
/// natively.
fn disturbed(room: &Room, (name, arguments, code): (&str, &[&str], i32)) {
    let mut native = Command::new(programs::workload(name));
    let expected = room.run(native.args(arguments));
    assert_eq!(expected.code(), code, "{name}: {}", expected.stderr);
    let files = [(); 4].map(|()| room.fresh("f"));
    let [stop, rounds, wanted, _] = &files;
    std::fs::write(wanted, &expected.stdout).unwrap();
    let script = "stop=$1 rounds=$2 wanted=$3 printed=$4 code=$5; shift 5
        until [ -e $stop ]; do
            setsid --wait \"$@\" >$printed; ended=$?
            [ $ended -eq $code ] || { echo ended with $ended; exit 1; }
            cmp $wanted $printed || exit 1
            echo >>$rounds
        done";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).args(&files);
    command.arg(code.to_string()).arg(programs::workload(name));
    let shell = room.spawn(command.args(arguments));
    let pid = shell.pid();
    let record = || {
        let mut command = Command::new(PROGRAM);
        command.args([
            "-q",
            "--backend",
            "ptrace",
            "-r",
            "none",
            "-o",
            "none",
            "-p",
        ]);
        room.spawn(command.arg(pid.to_string()))
    };
    let seized = || status_line(pid, "TracerPid:") != "0";
    for [before, during] in [[0, 0], [0, 7], [3, 12], [11, 30]] {
        std::thread::sleep(Duration::from_millis(before));
        let recorder = record();
        until(&format!("{name} to be seized"), || {
            seized() || !recorder.stderr().is_empty()
        });
        std::thread::sleep(Duration::from_millis(during));
        recorder.signal(Signal::SIGINT);
        let ended = recorder.wait(room);
        let of_shell = [shell.stdout(), shell.stderr()].concat();
        assert_eq!(ended.code(), 0, "{name}: {}{of_shell}", ended.stderr);
        // Before it has seized anything, a recorder dies of the signal like any program.
        let recorder = record();
        std::thread::sleep(Duration::from_millis(during));
        recorder.signal(Signal::SIGINT);
        let ended = recorder.wait(room);
        let of_shell = [shell.stdout(), shell.stderr()].concat();
        assert!(
            [0, 130].contains(&ended.code()),
            "{name}: {}{of_shell}",
            ended.stderr
        );
    }
    let done = || std::fs::metadata(rounds).map_or(0, |file| file.len());
    let before = done();
    until(&format!("{name} to go on"), || done() > before);
    std::fs::write(stop, "").unwrap();
    let ended = shell.wait(room);
    assert_eq!(ended.code(), 0, "{name}: {}{}", ended.stdout, ended.stderr);
    room.wait_until_empty(&command);
}

#[apply(test)]
fn recorders_that_come_and_go_at_any_moment_change_nothing() {
    let room = Room::new();
    for workload in CHECKING {
        disturbed(&room, workload);
    }
}

/// Attaches to a process whose leader is a zombie, and lets the other thread replace it while the recorder's first or second
/// attempt to seize a task is delayed.
fn leader_is_replaced(delay: &str, attempt: usize) {
    let room = Room::new();
    let files = Files::new(&room);
    let native = room.spawn(&mut Command::new(programs::workload("leader_replaced")));
    let pid = native.pid();
    until("the leader to end", || {
        status_line(pid, "State:").starts_with('Z')
    });
    let trace = room.fresh("trace");
    let mut command = Command::new("strace");
    command.arg("-fo").arg(&trace);
    command.args([
        "-e",
        "trace=ptrace",
        "-e",
        &format!("inject=ptrace:{delay}"),
    ]);
    command.arg(PROGRAM);
    command.args(["--backend", "ptrace", "-p", &pid.to_string()]);
    command.arg("-r").arg(&files.recording);
    command.arg("-o").arg(&files.profile);
    let recorder = room.spawn(&mut command);
    until("the delay", || {
        std::fs::read_to_string(&trace)
            .is_ok_and(|text| text.matches("PTRACE_SEIZE").count() >= attempt)
    });
    native.signal(Signal::SIGUSR1);
    until("the leader to be replaced", || {
        native.stdout() == "replaced\n"
    });
    until("all to be seized", || {
        recorder.stderr().contains("sc-record: ")
    });
    native.signal(Signal::SIGUSR1);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let trace = std::fs::read_to_string(&trace).unwrap();
    assert!(trace.lines().next().unwrap().contains("EPERM"), "{trace}");
    assert!(trace.contains("DELAYED"), "{trace}");
    assert_eq!(count(&files, "sched_get_priority_max"), 1);
}

#[apply(test)]
#[needs(program("strace"))]
fn a_leader_replaced_after_it_refused_is_recorded() {
    leader_is_replaced("delay_exit=500000:when=1", 1);
}

#[apply(test)]
#[needs(program("strace"))]
fn a_leader_replaced_before_its_successor_is_seized_is_recorded() {
    leader_is_replaced("delay_enter=500000:when=2", 2);
}

#[apply(test)]
fn a_recorder_killed_while_attached_leaves_the_tree_at_work() {
    let room = Room::new();
    let tree = Tree::new(&room);
    let native = room.spawn(Command::new(&tree.command()[0]).arg(&tree.counts));
    tree.works();
    for _ in 0..10 {
        let recorder = begin_to_attach(&room, &Files::new(&room), native.pid());
        recorder.signal(Signal::SIGKILL);
        assert_eq!(recorder.wait(&room).code(), 137);
        tree.works();
    }
}

#[apply(test)]
#[needs(io_uring())]
fn a_process_with_threads_of_the_kernel_is_attached_to() {
    let room = Room::new();
    let files = Files::new(&room);
    let fifo = room.fresh("p");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Opened for both: neither end waits for the other.
    let both = std::fs::File::options().read(true).write(true).open(&fifo);
    let mut both = both.unwrap();
    let output = room.fresh("f");
    let native = room.spawn_on(
        &mut Command::new(programs::workload("io_workers")),
        both.try_clone().unwrap(),
        std::fs::File::create(&output).unwrap(),
        std::process::Stdio::inherit(),
    );
    let read = || std::fs::read_to_string(&output).unwrap();
    until("it to be ready", || !read().is_empty());
    let recorder = attach(&room, &files, native.pid());
    both.write_all(b"x").unwrap();
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert_eq!(native.wait(&room).code(), 6);
    assert_eq!(count(&files, "sched_get_priority_max"), 1);
}

#[apply(test)]
#[needs(program("strace"))]
fn a_process_that_can_not_be_attached_to_is_named() {
    let room = Room::new();
    let fails = |pid: &str, expect: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["--backend", "ptrace", "-r", "none", "-o", "none", "-p", pid]);
        let ended = room.spawn(&mut command).wait(&room);
        assert_eq!(ended.code(), 125, "{}", ended.stderr);
        assert!(ended.stderr.contains(expect), "{}", ended.stderr);
    };
    fails("999999999", "no process 999999999");
    fails(
        "1",
        "process 1 is init: every process here descends from it",
    );
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name == "kthreadd\n") {
        fails(
            "2",
            "process 2 (kthreadd) is a kernel thread, which makes no system calls",
        );
    }
    let sleep = room.spawn(Command::new("sleep").arg("100"));
    let pid = sleep.pid().to_string();
    let strace = room.spawn(Command::new("strace").args(["-o", "/dev/null", "-p", &pid]));
    until("strace to attach", || {
        status_line(sleep.pid(), "TracerPid:") != "0"
    });
    fails(&pid, &format!("already traced by process {}", strace.pid()));
}
