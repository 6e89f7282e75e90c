//! Log mode without a command: programs that others start, under a profile with the default action `SCMP_ACT_LOG`.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::FlockArg;
use nix::sys::signal::Signal;
use sc_record::syscall::Syscall;

use super::sources::getppid;
use super::{calls, lock};
use crate::support::process::{Room, Running, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// A following recorder that has begun.
pub(super) struct Follower {
    running: Running,
    files: Files,
    errors: PathBuf,
}

impl Follower {
    pub(super) fn start(room: &Room, options: &[&str]) -> Follower {
        Follower::start_with(room, options, Stdio::null())
    }

    fn start_with(room: &Room, options: &[&str], stdin: Stdio) -> Follower {
        let files = Files::new(room);
        let errors = room.fresh("e");
        let mut command = Command::new(PROGRAM);
        command.args(["--log-mode", "--progress", "never", "--policy", "exact"]);
        command.args(options);
        command
            .arg("-r")
            .arg(&files.recording)
            .arg("-o")
            .arg(&files.profile);
        let file = |path: &Path| File::create(path).unwrap();
        let running = room.spawn_on(&mut command, stdin, file(&room.fresh("o")), file(&errors));
        until("the recorder to follow", || {
            std::fs::read_to_string(&errors)
                .unwrap()
                .contains("following audit records")
        });
        Follower {
            running,
            files,
            errors,
        }
    }

    /// Ends it as Ctrl-C does: earlier records count.
    pub(super) fn interrupt(self, room: &Room) -> Files {
        self.running.signal(Signal::SIGINT);
        self.end(room)
    }

    /// Waits for its end, and returns its run.
    pub(super) fn end(self, room: &Room) -> Files {
        let ended = self.running.wait(room);
        assert_eq!(
            ended.code(),
            0,
            "{}",
            std::fs::read_to_string(&self.errors).unwrap()
        );
        self.files
    }
}

/// Runs a command to its end with all its calls logged, while other processes of the room run.
pub(super) fn run_logged(room: &Room, command: &[&str]) {
    let ended = room.spawn(&mut logged(room, command)).wait(room);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
}

/// A command that runs another one with all its calls logged.
pub(super) fn logged(room: &Room, command: &[&str]) -> Command {
    let profile = room.fresh("p");
    // Without a list, the profile is for this machine's own ABI.
    let text = r#"{"defaultAction":"SCMP_ACT_LOG","syscalls":[]}"#;
    std::fs::write(&profile, text).unwrap();
    let mut logged = Command::new(PROGRAM);
    logged.arg("run").arg(profile).arg("--").args(command);
    logged
}

pub(super) fn flood() -> String {
    programs::workload("flood").display().to_string()
}

/// A copy of the flood under another name, so with another executable and thread name.
fn other_flood(room: &Room) -> String {
    let path = room.path().join("other");
    room.copy(&programs::workload("flood"), &path);
    path.display().to_string()
}

fn names(files: &Files) -> BTreeSet<String> {
    calls(files).iter().map(Syscall::to_string).collect()
}

#[apply(test)]
#[needs(audit())]
fn records_of_an_executable_are_followed_until_none_come() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let (flood, other) = (flood(), other_flood(&room));
    let follower = Follower::start(&room, &["--exe", &other, "--idle", "5s"]);
    run_logged(&room, &[&flood, "30"]);
    run_logged(&room, &[&other, "500"]);
    let files = follower.end(&room);
    let run = files.run();
    assert_eq!(getppid(&run), 500);
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!(run.0["program"], other.as_str());
    // The program before it makes the call that starts it.
    let expected = Files::new(&room);
    room.run(
        expected
            .command(&["-q", "--policy", "exact"])
            .args([&flood, "1"]),
    );
    let mut expected = names(&expected);
    assert!(expected.remove("execve"));
    assert_eq!(names(&files), expected);
}

#[apply(test)]
#[needs(audit())]
fn records_of_a_name_are_followed_until_interrupted() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let (flood, other) = (flood(), other_flood(&room));
    let follower = Follower::start(&room, &["--comm", "other"]);
    run_logged(&room, &[&flood, "30"]);
    run_logged(&room, &[&other, "40"]);
    let run = follower.interrupt(&room).run();
    assert_eq!(getppid(&run), 40);
    assert_eq!(run.incomplete_because(), [""; 0]);
}

#[apply(test)]
#[needs(audit())]
fn records_of_a_process_and_its_descendants_are_followed_until_they_end() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let (flood, runs, go) = (flood(), room.fresh("r"), room.fresh("g"));
    let script = format!(
        ">{runs}; until [ -e {go} ]; do sleep 0.02; done; {flood} 100; (sh -c '{flood} 50; {flood} 5' &)",
        runs = runs.display(),
        go = go.display()
    );
    let mut shell = logged(&room, &["/bin/sh", "-c", &script]);
    let shell = room.spawn(&mut shell);
    let pid = shell.pid().to_string();
    until("the shell to run", || runs.exists());
    let follower = Follower::start(&room, &["--pid", &pid]);
    run_logged(&room, &[&flood, "3000"]);
    File::create(&go).unwrap();
    shell.wait(&room);
    let run = follower.end(&room).run();
    // dash itself calls getppid once.
    assert!((155..200).contains(&getppid(&run)), "{}", getppid(&run));
    let because = run.incomplete_because();
    // The shell, and perhaps a sleep that it had started by then.
    assert!(
        because
            .iter()
            .all(|why| why.ends_with("was already running when the recording began")),
        "{because:?}"
    );
    let shell = format!("process {pid} (");
    assert!(
        because.iter().any(|why| why.starts_with(&shell)),
        "{because:?}"
    );
}

/// A profile that `sc-record ARGS` writes.
pub(super) fn made_profile(room: &Room, args: &[&str]) -> PathBuf {
    let profile = room.fresh("p");
    let mut writer = Command::new(PROGRAM);
    let made = room
        .spawn(writer.args(args).arg("-o").arg(&profile))
        .wait(room);
    assert_eq!(made.code(), 0, "{}", made.stderr);
    profile
}

/// A command under a profile.
pub(super) fn under(profile: &Path, command: &[&str]) -> Command {
    let mut run = Command::new(PROGRAM);
    run.args(["run", "--allow-new-privs"]).arg(profile);
    run.arg("--").args(command);
    run
}

#[apply(test)]
#[needs(audit())]
fn under_a_log_profile_only_programs_that_load_filters_make_a_run_incomplete() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let profile = made_profile(&room, &["log-profile"]);
    let record = |workload: &str, arg: &str| {
        // By the name of the file, without its path.
        let follower = Follower::start(&room, &["--exe", workload]);
        let program = programs::workload(workload).display().to_string();
        room.spawn(&mut under(&profile, &[&program, arg]))
            .wait(&room);
        let files = follower.interrupt(&room);
        let allowed = std::fs::read_to_string(&files.profile).unwrap();
        assert!(allowed.contains("\"prctl\""), "{workload}: {allowed}");
        files.run().incomplete_because()
    };
    // It calls prctl(2), but not for a filter.
    assert_eq!(record("pdeathsig", ""), Vec::<String>::new());
    for call in ["prctl", "seccomp"] {
        let because = record("own_filter_errno", call);
        let expected = format!("{call} may have loaded a seccomp filter");
        assert!(
            because.iter().any(|why| why.starts_with(&expected)),
            "{call}: {because:?}"
        );
    }
}

#[apply(test)]
#[needs(audit())]
fn records_of_others_are_named_if_none_is_selected_and_mixed_only_with_a_warning() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let files = Files::new(&room);
    let follow = |options: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(["--log-mode", "-n", "x", "-o", "none", "-r"]);
        let running = room.spawn(command.arg(&files.recording).args(options));
        until("the recorder to follow", || {
            running.stderr().contains("following audit records")
        });
        run_logged(&room, &[&flood(), "30"]);
        running.signal(Signal::SIGINT);
        running.wait(&room)
    };
    let ended = follow(&["--comm", "nobody"]);
    assert_eq!(ended.code(), 125);
    assert!(ended.stderr.contains(" of others: "), "{}", ended.stderr);
    assert!(!ended.stderr.contains("every program on this machine"));

    let ended = follow(&[]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("every program on this machine"),
        "{}",
        ended.stderr
    );
}

#[apply(test)]
fn a_log_on_stdin_is_followed_to_its_end_and_proves_nothing() {
    let room = Room::new();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/fixtures/audit/auditd.log");
    let stdin = File::open(fixture).unwrap();
    let follower = Follower::start_with(&room, &["--source", "-", "--skip-unnamed"], stdin.into());
    let run = follower.end(&room).run();
    assert!(run.calls().len() > 5);
    let because = run.incomplete_because();
    assert!(
        because
            .iter()
            .any(|why| why.contains("isn't this kernel's")),
        "{because:?}"
    );
}

#[apply(test)]
#[needs(audit(), program("auditctl"), program("auditd"))]
fn a_log_of_this_kernel_is_proven_to_be_whole() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let log = room.fresh("l");
    let _daemon = super::sources::Auditd::start(&room, &log);
    let source = format!("file:{}", log.display());
    let follower = Follower::start(&room, &["--source", &source, "--comm", "flood"]);
    run_logged(&room, &[&flood(), "5000"]);
    let run = follower.interrupt(&room).run();
    assert_eq!(getppid(&run), 5000);
    assert_eq!(run.incomplete_because(), [""; 0]);
}

#[apply(test)]
#[needs(audit())]
fn without_a_record_there_is_no_run_and_the_error_says_what_is_needed() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let files = Files::new(&room);
    let mut command = Command::new(PROGRAM);
    command.args(["--log-mode", "--comm", "nobody", "--duration", "100ms"]);
    let ended = room.run(command.arg("-r").arg(&files.recording).args(["-o", "none"]));
    assert_eq!(ended.code(), 125);
    assert!(ended.stderr.contains("SCMP_ACT_LOG"), "{}", ended.stderr);
    assert!(!files.recording.exists());

    let mut command = Command::new(PROGRAM);
    command.args([
        "--log-mode",
        "--pid",
        "999999999",
        "-r",
        "none",
        "-o",
        "none",
    ]);
    let ended = room.run(&mut command);
    assert_eq!(ended.code(), 125);
    assert!(
        ended.stderr.contains("there is no process 999999999"),
        "{}",
        ended.stderr
    );
}
