//! Recordings that begin or end at other times than their workload.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use sc_record::syscall::{Arch, Syscall};

use crate::support::process::{Room, Running, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// The process tree of `works_on`, observed through the file with its tasks' counters.
struct Tree {
    counts: PathBuf,
}

/// The number of counters of tasks, and the index of the counter for failed calls.
const TASKS: usize = 6;
const FAILURES: usize = 7;

impl Tree {
    fn new(room: &Room) -> Tree {
        Tree {
            counts: room.fresh("c"),
        }
    }

    fn command(&self) -> [PathBuf; 2] {
        [programs::workload("works_on"), self.counts.clone()]
    }

    /// `None` as long as there is no file.
    fn read(&self) -> [u64; TASKS + 2] {
        let bytes = std::fs::read(&self.counts).unwrap_or_default();
        let mut counts = [0; TASKS + 2];
        for (count, bytes) in counts.iter_mut().zip(bytes.chunks_exact(8)) {
            *count = u64::from_ne_bytes(bytes.try_into().unwrap());
        }
        counts
    }

    /// Waits until every task has made progress, and checks that no call has failed.
    fn works(&self) {
        let before = self.read();
        until(&format!("all tasks to go on: {before:?}"), || {
            let now = self.read();
            (0..TASKS).all(|task| now[task] > before[task] + 2)
        });
        assert_eq!(self.read()[FAILURES], 0, "calls failed");
    }
}

fn count(files: &Files, name: &str) -> u64 {
    let syscall = Syscall::from_name(Arch::X86_64, name).unwrap();
    files.run().calls().get(&syscall).copied().unwrap_or(0)
}

fn status_line(pid: Pid, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim().to_owned()
}

/// Starts `sc-record -p`, and waits until it has seized the process.
fn attach(room: &Room, files: &Files, pid: Pid) -> Running {
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

#[apply(test)]
fn a_killed_recorder_leaves_no_task_that_cannot_run() {
    let room = Room::new();
    let files = Files::new(&room);
    let tree = Tree::new(&room);
    let recorder = room.spawn(files.command(&[] as &[&str]).args(tree.command()));
    tree.works();
    recorder.signal(Signal::SIGKILL);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 137);
    until("the workload to be gone", || room.alive().is_empty());
    assert!(!files.recording.exists());
}

#[apply(test)]
fn a_recorder_killed_at_any_moment_of_a_storm_leaves_nothing_behind() {
    let room = Room::new();
    let storm = programs::workload("fork_storm");
    for ms in 0..20 {
        let files = Files::new(&room);
        let begun = room.fresh("f");
        // With code that is just being changed, too.
        let options = ["-q", "--patch"];
        let mut command = files.command(if ms % 2 == 0 { &options } else { &options[..1] });
        command.env("SC_RECORD_TEST_FAST_PATH", "at random");
        // It doesn't end on its own.
        command.args(["sh", "-c", "echo >$0; while :; do \"$1\"; done"]);
        let recorder = room.spawn(command.arg(&begun).arg(&storm));
        until("the storm to begin", || begun.exists());
        std::thread::sleep(Duration::from_millis(ms * 4));
        recorder.signal(Signal::SIGKILL);
        assert_eq!(recorder.wait(&room).code(), 137);
        until("the workload to be gone", || room.alive().is_empty());
        assert!(!files.recording.exists());
    }
}

#[apply(test)]
fn a_killed_recorder_that_does_not_wait_for_all_leaves_them_at_work() {
    let room = Room::new();
    let files = Files::new(&room);
    let tree = Tree::new(&room);
    let recorder = room.spawn(files.command(&["--until", "exit"]).args(tree.command()));
    tree.works();
    recorder.signal(Signal::SIGKILL);
    recorder.wait(&room);
    tree.works();
}

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
    for pid in room.alive() {
        assert_eq!(status_line(pid, "TracerPid:"), "0");
    }
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

/// Workloads that check their own behaviour, and how they end.
const CHECKING: [(&str, &[&str], i32); 14] = [
    ("fork_storm", &[], 3),
    ("threads_200", &[], 0),
    ("signal_storm", &[], 0),
    ("rt_signals", &[], 0),
    ("stop_threads", &[], 0),
    ("stop_cont", &[], 0),
    ("stop_newborn", &[], 0),
    ("wait_semantics", &[], 0),
    ("sessions", &[], 0),
    ("vfork_exec", &[], 0),
    ("vfork_killed", &[], 0),
    ("exec_from_thread", &[], 9),
    ("own_filter_errno", &["seccomp"], 0),
    ("user_notif", &[], 0),
];

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
        until(&format!("{name} to be seized"), seized);
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

#[apply(test)]
fn calls_that_the_recorder_interrupted_go_on_after_its_end() {
    /// A signal can wake a task just when the kernel lets go of it.
    const RARELY: usize = 3;
    let room = Room::new();
    let sleeps = programs::workload("left_asleep");
    let is_interrupted = |hundredths: &usize| {
        let status = room.fresh("f");
        let mut command = Files::new(&room).command(&["-q", "--until", "exit"]);
        let script = format!("{{ $0; echo $? >$1; }} & sleep 0.0{hundredths}; exit 6");
        command.args(["sh", "-c", &script]).args([&sleeps, &status]);
        let ended = room.run(&mut command);
        assert_eq!(ended.code(), 6, "{}", ended.stderr);
        std::fs::read_to_string(&status).unwrap() != "0\n"
    };
    let interrupted = (1..10).chain(1..8).filter(is_interrupted).count();
    assert!(interrupted <= RARELY, "{interrupted} times");
}

#[apply(test)]
fn a_recorder_killed_while_attached_leaves_the_tree_at_work() {
    let room = Room::new();
    let tree = Tree::new(&room);
    let native = room.spawn(Command::new(&tree.command()[0]).arg(&tree.counts));
    tree.works();
    for _ in 0..10 {
        let recorder = attach(&room, &Files::new(&room), native.pid());
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

/// The recorder under a filter that refuses a call.
fn under_filter(refused: &str, recorder: &Command) -> Command {
    let number = Syscall::from_name(Arch::NATIVE, refused).unwrap().nr;
    let mut command = Command::new(programs::workload("under_filter"));
    command.arg(number.to_string()).arg(recorder.get_program());
    command.args(recorder.get_args());
    command
}

#[apply(test)]
fn calls_that_an_inherited_filter_refuses_are_recorded() {
    let room = Room::new();
    let files = Files::new(&room);
    let mut command = under_filter("sched_get_priority_max", &files.command(&["-q"]));
    let ended = room.run(command.arg(programs::workload("clone_vm")));
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (0, "shared 6 sum 6\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(count(&files, "sched_get_priority_max"), 3);
    assert_eq!(files.run().incomplete_because(), [""; 0]);
}

#[apply(test)]
#[needs(ebpf())]
fn without_ptrace_auto_records_with_the_next_backend_and_says_so() {
    let room = Room::new();
    let files = Files::new(&room);
    let options = ["--backend", "auto"];
    let ended = room.run(under_filter("ptrace", &files.command(&options)).arg("true"));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    let backend = run.0["backend"].as_str().unwrap();
    assert_ne!(backend, "ptrace");
    let warning = format!(
        "warning: recording with {backend} because ptrace can't: ptrace(2) fails (Operation not permitted), probably by \
         the seccomp filter"
    );
    assert!(ended.stderr.contains(&warning), "{}", ended.stderr);
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!(count(&files, "execve"), 1);
}

#[apply(test)]
fn a_stderr_that_is_full_changes_nothing() {
    let room = Room::new();
    for options in [&["--progress=never"][..], &["--progress=always"]] {
        let files = Files::new(&room);
        let mut command = Command::new(PROGRAM);
        command
            .args(options)
            .arg("-r")
            .arg(&files.recording)
            .arg("-o")
            .arg(&files.profile);
        command.args(["--", "sh", "-c", "sleep 0.3; exit 3"]);
        let full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let null = std::process::Stdio::null;
        let ended = room
            .spawn_on(&mut command, null(), null(), full)
            .wait(&room);
        assert_eq!(ended.code(), 3, "{options:?}");
        assert_eq!(files.run().0["exit"]["code"].as_u64(), Some(3));
        assert!(files.profile.exists());
    }
}

#[apply(test)]
#[needs(capability(SYS_ADMIN))]
fn the_proc_of_another_namespace_is_not_used() {
    let room = Room::new();
    let files = Files::new(&room);
    let recorder = files.command(&["-q"]);
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork"])
        .arg(recorder.get_program())
        .args(recorder.get_args());
    let ended = room.run(command.arg(programs::workload("tsync")).arg("errno"));
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (0, "mode 2\nhere 13 there 13\n"),
        "{}",
        ended.stderr
    );
    assert_eq!(count(&files, "sched_get_priority_max"), 2);
    for tally in files.run().0["syscalls"]["x86_64"]
        .as_object()
        .unwrap()
        .values()
    {
        for executable in tally["executables"].as_array().unwrap() {
            let executable = executable.as_str().unwrap();
            assert!(
                executable.ends_with("tsync") || executable == "unknown",
                "{executable}"
            );
        }
    }
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

#[apply(test)]
fn a_signal_for_the_recorder_is_for_the_workload() {
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGUSR1, 138),
    ] {
        let room = Room::new();
        let files = Files::new(&room);
        let recorder = room.spawn(files.command(&[] as &[&str]).args(["sleep", "1000"]));
        let runs = |pid: &Pid| status_line(*pid, "Name:") == "sleep";
        until("the workload to run", || room.alive().iter().any(runs));
        recorder.signal(signal);
        let ended = recorder.wait(&room);
        assert_eq!(ended.code(), code, "{}", ended.stderr);
        assert_eq!(
            files.run().0["exit"]["signal"].as_i64(),
            Some(i64::from(code - 128))
        );
        assert_eq!(files.run().incomplete_because(), [""; 0]);
    }
}

#[apply(test)]
fn signals_of_the_workload_do_not_control_the_recorder() {
    let room = Room::new();
    for options in [&[][..], &["--no-filter"], &["--backend", "notify"]] {
        let files = Files::new(&room);
        // A child of the command, twice, as somebody would end a recording.
        let script = "(kill -TERM $PPID; sleep 0.3; kill -TERM $PPID; sleep 0.3); exit 4";
        let ended = room.run(files.command(options).args(["sh", "-c", script]));
        assert_eq!(ended.code(), 4, "{options:?}: {}", ended.stderr);
        assert_eq!(files.run().incomplete_because(), [""; 0], "{options:?}");
    }
}

#[apply(test)]
fn the_tool_has_its_own_statuses() {
    let room = Room::new();
    let fails = |command: &Path, code: i32| {
        let files = Files::new(&room);
        let ended = room.run(files.command(&["-q"]).arg(command));
        assert_eq!(
            ended.code(),
            code,
            "{}: {}",
            command.display(),
            ended.stderr
        );
        assert!(!ended.stderr.is_empty());
        assert!(!files.recording.exists() && !files.profile.exists());
    };
    fails(Path::new("no-such-program"), 127);
    fails(Path::new("/no/such/program"), 127);
    fails(Path::new("/etc/passwd"), 126);
    fails(Path::new("/etc"), 126);
}
