//! Recordings by root and by other users, of set-user-ID programs, and of files that can't be read.

use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use sc_record::syscall::{Arch, Syscall};

use crate::support::process::{Ended, Room, set_mode};
use crate::support::recorder::{Files, PROGRAM, Run};
use crate::support::{programs, strace};

/// Copies of the programs for the user nobody, who may have no access to the build directory.
struct Nobody {
    room: Room,
    recorder: PathBuf,
}

impl Nobody {
    fn new() -> Nobody {
        let room = Room::new();
        let recorder = room.path().join("sc-record");
        room.copy(Path::new(PROGRAM), &recorder);
        Nobody { room, recorder }
    }

    fn program(&self, name: &str) -> PathBuf {
        let copy = self.room.path().join(name);
        self.room.copy(&programs::workload(name), &copy);
        copy
    }

    /// Runs a command as nobody.
    fn run(&self, command: &[&Path]) -> Ended {
        self.room
            .run(Room::as_nobody(command[0]).args(&command[1..]))
    }

    /// Records a command as nobody.
    fn record(&self, command: &[&Path]) -> (Ended, Run) {
        self.record_with(&["--no-patch", "--policy", "exact"], command)
    }

    fn record_with(&self, options: &[&str], command: &[&Path]) -> (Ended, Run) {
        let files = Files::new(&self.room);
        let mut recorder = Room::as_nobody(&self.recorder);
        recorder.env("SC_RECORD_TEST_FAST_PATH", "at once");
        files.arguments(&mut recorder, options);
        let ended = self.room.run(recorder.args(command));
        let run = files.run();
        (ended, run)
    }
}

/// A recording by nobody has the same calls as strace sees as nobody.
fn check(name: &str, arguments: &[&str], varies: &[&str]) {
    let nobody = Nobody::new();
    let program = nobody.program(name);
    let mut command = vec![program.as_path()];
    command.extend(arguments.iter().map(Path::new));
    let native = nobody.run(&command);
    let (ended, run) = nobody.record(&command);
    assert_eq!(
        (ended.code(), &ended.stdout),
        (native.code(), &native.stdout),
        "{}",
        ended.stderr
    );
    assert_eq!(run.incomplete_because(), [""; 0]);
    let log = nobody.room.directory().join("strace");
    let mut witness = Room::as_nobody("strace");
    strace::arguments(&mut witness, &log);
    let witness = nobody.room.run(witness.args(&command));
    assert_eq!(witness.stdout, native.stdout, "{}", witness.stderr);
    let seen = strace::calls(&std::fs::read_to_string(&log).unwrap());
    let mut recorded = run.calls();
    for (syscall, count) in &seen {
        let found = recorded.remove(syscall).unwrap_or(0);
        let same = found == *count || found > 0 && varies.contains(&syscall.to_string().as_str());
        assert!(same, "{syscall}: {count} by strace, {found} recorded");
    }
    assert!(recorded.is_empty(), "not seen by strace: {recorded:?}");
}

#[apply(test)]
#[needs(no_privileges(), program("strace"))]
fn an_unprivileged_user_records_a_storm_of_forks() {
    check("fork_storm", &[], &["clone", "wait4"]);
}

#[apply(test)]
#[needs(no_privileges(), program("strace"))]
fn the_filter_of_an_unprivileged_recorder_gives_no_privilege() {
    check("no_new_privs", &[], &["futex", "wait4"]);
}

#[apply(test)]
#[needs(no_privileges(), program("strace"))]
fn an_unprivileged_user_records_threads() {
    check("threads_200", &[], &["futex"]);
}

#[apply(test)]
#[needs(no_privileges(), program("strace"))]
fn an_unprivileged_user_records_a_workload_with_its_own_filter() {
    check("own_filter_errno", &["seccomp"], &["futex"]);
    check("own_filter_trace", &[], &[]);
    check("user_notif", &[], &[]);
}

#[apply(test)]
#[needs(no_privileges(), program("strace"))]
fn an_unprivileged_user_records_strict_mode() {
    check("strict", &["prctl"], &[]);
}

#[apply(test)]
#[needs(no_privileges(), program("strace"))]
fn an_unprivileged_user_records_namespaces() {
    check("namespaces", &[], &["wait4"]);
}

#[apply(test)]
#[needs(no_privileges(), program("strace"))]
fn an_unprivileged_user_records_a_process_that_is_not_dumpable() {
    check("non_dumpable", &[], &[]);
}

#[apply(test)]
#[needs(no_privileges())]
fn an_unprivileged_user_records_a_program_that_can_not_be_read() {
    let nobody = Nobody::new();
    let unreadable = nobody.program("clone_untraced");
    set_mode(&unreadable, 0o111);
    let runs_it = nobody.program("non_dumpable");
    let (_, run) = nobody.record(&[&runs_it, &unreadable]);
    // CLONE_UNTRACED is behind a pointer that the recorder can't read here: it sees the child, or says that it may not.
    let distinct = Syscall::from_name(Arch::NATIVE, "sched_get_priority_min").unwrap();
    assert!(
        run.calls().contains_key(&distinct) || !run.incomplete_because().is_empty(),
        "the child of clone3 escaped unnoticed"
    );
    let nolibc = nobody.program("nolibc");
    set_mode(&nolibc, 0o111);
    let (directly, run) = nobody.record(&[&nolibc]);
    assert_eq!(
        (directly.code(), directly.stdout.as_str()),
        (33, "no libc\n")
    );
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!(run.calls().len(), 3);
}

#[apply(test)]
#[needs(no_privileges(), workload("known_calls"))]
fn an_unprivileged_user_patches_a_program_that_can_not_be_read() {
    let nobody = Nobody::new();
    let known = nobody.program("known_calls");
    set_mode(&known, 0o111);
    let (patched, run) = nobody.record_with(&["--patch"], &[&known, Path::new("tasks")]);
    assert_eq!((patched.code(), patched.stdout.as_str()), (0, "tasks\n"));
    assert_eq!(run.incomplete_because(), [""; 0]);
    let distinct = Syscall::from_name(Arch::NATIVE, "sched_get_priority_min").unwrap();
    assert!(run.calls().contains_key(&distinct));
}

/// A set-user-ID copy of `ids`, owned by a user.
fn set_user_id_program(nobody: &Nobody, user: u32) -> PathBuf {
    let program = nobody.room.path().join(format!("ids-of-{user}"));
    nobody.room.copy(&programs::workload("ids"), &program);
    std::os::unix::fs::chown(&program, Some(user), Some(user)).unwrap();
    set_mode(&program, 0o4755);
    program
}

/// Each command with a stop at each call, and without.
fn in_both_ways<'a>(
    commands: &'a [&'a [&'a Path]],
) -> impl Iterator<Item = (&'a [&'a Path], &'static [&'static str])> {
    let ways: [&[&str]; 2] = [&["--no-patch"], &[]];
    (commands.iter()).flat_map(move |&command| ways.map(|way| (command, way)))
}

#[apply(test)]
#[needs(
    capability(CHOWN),
    capability(SETUID),
    capability(SYS_ADMIN),
    set_user_id()
)]
fn root_records_set_user_id_programs_as_they_are() {
    let nobody = Nobody::new();
    let daemons = set_user_id_program(&nobody, 1);
    let roots = set_user_id_program(&nobody, 0);
    let run_it = nobody.program("run_it");
    let setpriv = Path::new("setpriv");
    let as_nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"].map(Path::new);
    let nested = [&[setpriv][..], &as_nobody, &[&run_it, &roots]].concat();
    let commands: [&[&Path]; 3] = [&[&daemons], &[&run_it, &daemons], &nested];
    for (command, options) in in_both_ways(&commands) {
        let native = nobody
            .room
            .run(Command::new(command[0]).args(&command[1..]));
        let files = Files::new(&nobody.room);
        let mut recording = files.command(options);
        recording.env("SC_RECORD_TEST_FAST_PATH", "at once");
        let recorded = nobody.room.run(recording.args(command));
        let how = format!("{command:?} {options:?}");
        assert_eq!(recorded.stdout, native.stdout, "{how}");
        assert_eq!(files.run().incomplete_because(), [""; 0], "{how}");
        assert_eq!(files.run().0["no_new_privs"].as_bool(), Some(false));
    }
}

#[apply(test)]
#[needs(no_privileges(), capability(CHOWN), set_user_id())]
fn a_set_user_id_program_that_lost_its_privileges_is_reported() {
    let nobody = Nobody::new();
    let roots = set_user_id_program(&nobody, 0);
    let run_it = nobody.program("run_it");
    let commands: [&[&Path]; 2] = [&[&roots], &[&run_it, &roots]];
    for (command, options) in in_both_ways(&commands) {
        let native = nobody.run(command);
        assert!(
            native.stdout.starts_with("uid 65534 0 0"),
            "{}",
            native.stdout
        );
        let (recorded, run) = nobody.record_with(options, command);
        assert!(
            recorded.stdout.starts_with("uid 65534 65534 65534"),
            "{}",
            recorded.stdout
        );
        let reasons = run.incomplete_because().join("\n");
        assert!(
            reasons.contains("ids-of-0") && reasons.contains("root"),
            "{reasons}"
        );
        assert!(recorded.stderr.contains("ids-of-0"), "{}", recorded.stderr);
    }
}

/// The user and the group of [`Room::as_nobody`].
const NOBODY: u32 = 65534;

/// A directory of nobody's, in which root records: nobody can put links there, and change it meanwhile.
struct Theirs {
    room: Room,
    directory: PathBuf,
    /// Where nobody can't write.
    victim: PathBuf,
}

impl Theirs {
    fn new() -> Theirs {
        let room = Room::new();
        let (directory, victim) = (room.directory(), room.directory());
        set_mode(&victim, 0o755);
        set_mode(&directory, 0o755);
        chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
        std::fs::write(victim.join("file"), "old").unwrap();
        Theirs {
            room,
            directory,
            victim,
        }
    }

    /// A shell script for the user nobody, whose first argument is the victim.
    fn nobody(&self, script: &str) {
        let mut command = Room::as_nobody("sh");
        command.current_dir(&self.directory);
        command.args(["-c", script, "sh"]).arg(&self.victim);
        let ended = self.room.run(&mut command);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }

    fn record(&self, options: &[&str], script: &str) -> Ended {
        let mut command = Command::new(PROGRAM);
        command
            .current_dir(&self.directory)
            .args(["-q", "-n", "app"]);
        command
            .args(options)
            .args(["--", "setpriv", "--reuid=65534", "--clear-groups"]);
        command.args(["sh", "-c", script, "sh"]).arg(&self.victim);
        self.room.run(&mut command)
    }

    fn assert_victim_is_untouched(&self, what: &str) {
        let entries = std::fs::read_dir(&self.victim).unwrap();
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "{what}");
        let text = std::fs::read_to_string(self.victim.join("file")).unwrap();
        assert_eq!(text, "old", "{what}");
    }
}

#[apply(test)]
#[needs(capability(SETUID), capability(CHOWN), program("setpriv"))]
fn root_follows_no_link_in_a_users_directory() {
    let refused = [
        "ln -s \"$1\" recordings",
        "mkdir recordings && ln -s \"$1/file\" recordings/app.json",
        "mkdir recordings && ln -s \"$1/new\" recordings/app.json",
        "mkdir recordings && ln -s \"$1/file\" recordings/.app.json.lock",
        "ln -s \"$1\" profiles",
        "mkdir profiles && ln -s \"$1/file\" profiles/app.json",
    ];
    for script in refused {
        let theirs = Theirs::new();
        theirs.nobody(script);
        let ended = theirs.record(&[], "echo started");
        assert_eq!(
            (ended.code(), ended.stdout.as_str()),
            (125, ""),
            "{script}: {}",
            ended.stderr
        );
        theirs.assert_victim_is_untouched(script);
    }
    // The link that an old file would be kept behind.
    let theirs = Theirs::new();
    assert_eq!(theirs.record(&["-o", "none"], "").code(), 0);
    theirs.nobody("mv recordings r && mkdir recordings && cp r/app.json recordings && ln -s \"$1/file\" recordings/app.json.bak");
    let ended = theirs.record(&["-o", "none", "--fresh"], "");
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    theirs.assert_victim_is_untouched("the link of the old file");
    // A link of root's own is followed.
    let theirs = Theirs::new();
    symlink(theirs.room.directory(), theirs.directory.join("recordings")).unwrap();
    let ended = theirs.record(&["-o", "none"], "");
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(theirs.directory.join("recordings/app.json").exists());
}

#[apply(test)]
#[needs(capability(SETUID), capability(CHOWN), program("setpriv"))]
fn root_follows_no_link_of_another_user_in_a_sticky_directory() {
    let theirs = Theirs::new();
    chown(&theirs.directory, Some(0), Some(0)).unwrap();
    set_mode(&theirs.directory, 0o1777);
    theirs.nobody("ln -s \"$1/file\" app.json && ln -s \"$1\" d");
    for file in ["app.json", "d/app.json"] {
        for options in [["-r", file, "-o", "none"], ["-r", "none", "-o", file]] {
            let ended = theirs.record(&options, "echo started");
            assert_eq!(
                (ended.code(), ended.stdout.as_str()),
                (125, ""),
                "{options:?}: {}",
                ended.stderr
            );
            theirs.assert_victim_is_untouched(file);
        }
    }
}

#[apply(test)]
#[needs(capability(SETUID), capability(CHOWN), program("setpriv"))]
fn a_workload_that_swaps_the_directory_of_its_recording_leads_root_nowhere() {
    let swaps = [
        "mv recordings r && ln -s \"$1\" recordings",
        "mv recordings/app.json a && ln -s \"$1/file\" recordings/app.json",
        "ln -s \"$1/file\" recordings/.app.json.lock",
        "ln -s \"$1/file\" recordings/app.json.bak",
        "mv profiles p && ln -s \"$1\" profiles",
        "mv profiles/app.json p && ln -s \"$1/file\" profiles/app.json",
        "rm -r recordings profiles && ln -s \"$1\" recordings && ln -s \"$1\" profiles",
    ];
    for script in swaps {
        let theirs = Theirs::new();
        theirs.nobody("mkdir recordings profiles");
        assert_eq!(theirs.record(&[], "").code(), 0);
        theirs.nobody("for d in recordings profiles; do mv $d o && cp -r o $d && rm -rf o; done");
        let options: &[&str] = if script.contains(".bak") {
            &["--fresh"]
        } else {
            &[]
        };
        let ended = theirs.record(options, script);
        // It is written where the directory is now, or refused and kept elsewhere: never lost without a word.
        let is_said = ended.code() == 125 && ended.stderr.contains("the run is kept in ");
        let is_profile = ended.code() == 125 && ended.stderr.contains("profiles/app.json");
        assert!(
            ended.code() == 0 || is_said || is_profile,
            "{script}: {} {}",
            ended.code(),
            ended.stderr
        );
        if let Some((_, kept)) = ended.stderr.split_once("the run is kept in ") {
            std::fs::remove_file(kept.split(' ').next().unwrap()).unwrap();
        }
        theirs.assert_victim_is_untouched(script);
    }
}
