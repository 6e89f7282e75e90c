//! Recordings that begin or end at other times than their workload.

mod attached;
mod left_behind;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use sc_record::syscall::{Arch, Syscall};

use crate::support::machine;
use crate::support::process::{Room, until};
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
    let syscall = Syscall::from_name(Arch::NATIVE, name).unwrap();
    files.run().calls().get(&syscall).copied().unwrap_or(0)
}

fn status_line(pid: Pid, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim().to_owned()
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
    for tally in files.run().0["syscalls"][machine::NATIVE]
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
