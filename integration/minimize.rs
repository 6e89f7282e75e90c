//! `sc-record minimize`: the calls that a workload doesn't need.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::process::{Ended, Room};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};
use crate::verify::server;

/// A time limit that no run reaches. If one does, the verdicts differ and the test fails.
const NEVER: &str = "50s";

/// Records a command that may leave processes behind, and returns its profile.
fn profile_of(room: &Room, command: &[&str]) -> PathBuf {
    let files = Files::new(room);
    let ended = room
        .spawn(files.command(&["-q", "--until", "exit"]).args(command))
        .wait(room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    room.kill_all();
    files.profile
}

fn minimize(profile: &Path, options: &[&str], command: &[&str]) -> Command {
    let mut line = Command::new(PROGRAM);
    line.arg("minimize")
        .args(options)
        .arg(profile)
        .arg("--")
        .args(command);
    line
}

/// `NAME → VERDICT`, with a star if the call is not tested.
fn verdicts(ended: &Ended) -> BTreeMap<String, String> {
    let report: Value = serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", ended.stdout, ended.stderr));
    let calls = report["calls"].as_array().unwrap().iter().map(|call| {
        let star = match call["left_alone_because"] {
            Value::Null => "",
            _ => "*",
        };
        let verdict = call["verdict"].as_str().unwrap();
        (
            call["name"].as_str().unwrap().to_owned(),
            format!("{verdict}{star}"),
        )
    });
    calls.collect()
}

/// The outcome without a call.
fn without(ended: &Ended, name: &str) -> String {
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let calls = report["calls"].as_array().unwrap().iter();
    let call = calls.clone().find(|call| call["name"] == name);
    call.unwrap()["without_it"].as_str().unwrap().to_owned()
}

/// The workload `dispensable`, its profile with two additional calls, and a directory for both.
struct Dispensable {
    room: Room,
    program: String,
    profile: PathBuf,
}

impl Dispensable {
    fn new() -> Dispensable {
        let room = Room::new();
        let program = programs::workload("dispensable")
            .to_str()
            .unwrap()
            .to_owned();
        let profile = profile_of(&room, &[&program]);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
        let names = value["syscalls"][0]["names"].as_array_mut().unwrap();
        names.extend(["mount", "nanosleep", "ptrace"].map(Value::from));
        std::fs::write(&profile, value.to_string()).unwrap();
        Dispensable {
            room,
            program,
            profile,
        }
    }

    fn minimize(&self, options: &[&str]) -> Ended {
        let mut command = minimize(&self.profile, options, &[&self.program]);
        self.room.run(&mut command)
    }

    fn names(profile: &Path) -> Vec<String> {
        let value: Value = serde_json::from_slice(&std::fs::read(profile).unwrap()).unwrap();
        let names = value["syscalls"][0]["names"].as_array().unwrap().iter();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    }
}

fn check_verdicts(ended: &Ended) {
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    let verdicts = verdicts(ended);
    let of = |name: &str| verdicts[name].as_str();
    for (name, verdict) in [
        ("mount", "unused"),
        ("ptrace", "unused"),
        ("nanosleep", "unused"),
        ("restart_syscall", "unused*"),
        ("getpgid", "tolerated"),
        ("getppid", "tolerated"),
        ("setsid", "tolerated"),
        ("uname", "needed"),
        ("sched_get_priority_max", "needed"),
        ("sched_yield", "needed"),
        ("getuid", "needed"),
        ("execve", "needed"),
        ("write", "needed"),
    ] {
        assert_eq!(of(name), verdict, "{name}");
    }
    // Either can go, not both.
    let links = [of("faccessat"), of("readlinkat")];
    assert!(
        links.contains(&"tolerated") && links.contains(&"needed"),
        "{links:?}"
    );
    let of = |name: &str| without(ended, name);
    assert_eq!(
        of("uname"),
        "exit 99 instead of exit 0; stderr ends with: what machine is this?"
    );
    assert_eq!(of("sched_get_priority_max"), "stdout differs in line 1");
    assert_eq!(of("getuid"), "killed by SIGSEGV instead of exit 0");
    assert_eq!(of("sched_yield"), "exit 4 instead of exit 0");
    assert!(
        of("execve").contains("no command can be started under it"),
        "{}",
        of("execve")
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn unused_calls_that_the_programs_cannot_make_are_named() {
    let subject = Dispensable::new();
    let only = ["--only", "mount,ptrace,restart_syscall,uname", "--reach"];
    let ended = subject.minimize(&[&only[..], &["--json"]].concat());
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    let calls = report["calls"].as_array().unwrap().iter();
    let possible: Vec<(&str, bool)> = calls
        .map(|call| {
            let is_possible = call["possible"].as_bool().unwrap();
            (call["name"].as_str().unwrap(), is_possible)
        })
        .collect();
    let expected = [
        ("mount", false),
        ("ptrace", false),
        ("restart_syscall", true),
        ("uname", true),
    ];
    assert_eq!(possible, expected);
    let words = subject.minimize(&only).stdout;
    let said = "  of these, the programs can't make any more:\n    mount ptrace\n";
    assert!(words.contains(said), "{words}");
}

#[apply(test)]
fn calls_are_unused_tolerated_or_needed() {
    let subject = Dispensable::new();
    let before = std::fs::read(&subject.profile).unwrap();
    let smaller = subject.room.path().join("smaller.json");
    let to = [
        "--json",
        "--timeout",
        NEVER,
        "--write",
        smaller.to_str().unwrap(),
    ];
    let ended = subject.minimize(&to);
    check_verdicts(&ended);
    // The profile keeps its calls unless asked otherwise, and no state is left.
    assert_eq!(std::fs::read(&subject.profile).unwrap(), before);
    let state = subject.profile.with_file_name(".profile.json.minimize");
    assert!(!state.exists());
    // The daemons of all runs are gone.
    assert_eq!(subject.room.alive(), []);

    let kept: Vec<String> = verdicts(&ended)
        .into_iter()
        .filter(|(_, verdict)| verdict == "needed" || verdict.ends_with('*'))
        .map(|(name, _)| name)
        .collect();
    let mut names = Dispensable::names(&smaller);
    names.sort();
    assert_eq!(names, kept);
    let mut run = Command::new(PROGRAM);
    run.arg("run").arg(&smaller).arg("--").arg(&subject.program);
    let ended = subject.room.spawn(&mut run).wait(&subject.room);
    subject.room.kill_all();
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (0, "priority known\n")
    );

    // The smaller profile can't be reduced further.
    let ended = (subject.room).run(&mut minimize(
        &smaller,
        &["--timeout", NEVER],
        &[&subject.program],
    ));
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("needed: the outcome without it\n"),
        "{}",
        ended.stdout
    );
    assert!(
        ended.stdout.contains(": 0 unused, 0 tolerated, "),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.stderr, "");
}

#[apply(test)]
fn a_call_without_which_the_command_hangs_is_needed() {
    let subject = Dispensable::new();
    let options = ["--json", "--only", "sched_yield", "--timeout", "5s"];
    let command = [subject.program.as_str(), "0", "hangs"];
    let ended = (subject.room).run(&mut minimize(&subject.profile, &options, &command));
    let needed = [("sched_yield".to_owned(), "needed".to_owned())];
    assert_eq!(verdicts(&ended), BTreeMap::from(needed));
    assert!(without(&ended, "sched_yield").starts_with("hangs: did not end in 5"));
    assert_eq!(subject.room.alive(), []);
}

#[apply(test)]
fn several_runs_at_once_find_the_same() {
    let subject = Dispensable::new();
    check_verdicts(&subject.minimize(&["--json", "-j", "4", "--timeout", NEVER]));
}

#[apply(test)]
fn an_interrupted_search_continues() {
    let subject = Dispensable::new();
    let command = [subject.program.as_str(), "100"];
    let limit = ["--timeout", NEVER];
    let state = subject.profile.with_file_name(".profile.json.minimize");
    let mut running = (subject.room).spawn(&mut minimize(&subject.profile, &limit, &command));
    let results = || {
        let text = std::fs::read_to_string(&state).unwrap_or_default();
        text.matches("\"denied\"").count()
    };
    crate::support::process::until("three results", || results() >= 3);
    assert!(!running.has_ended());
    running.signal(Signal::SIGINT);
    let ended = running.wait(&subject.room);
    assert_eq!(ended.code(), 130, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("run the same command to continue"),
        "{}",
        ended.stderr
    );
    let had = results();
    assert!(had >= 3);
    // Even the interrupted run has left no process.
    assert_eq!(subject.room.alive(), []);

    // Other commands don't continue from its state.
    let other = ["--json", "--state", state.to_str().unwrap()];
    let mut line = minimize(&subject.profile, &other, &["false"]);
    let refused = subject.room.run(&mut line);
    assert!(
        refused.stderr.contains("starting again"),
        "{}",
        refused.stderr
    );
    assert_eq!(results(), had);

    let ended = (subject.room).run(&mut minimize(
        &subject.profile,
        &[&limit[..], &["--json"]].concat(),
        &command,
    ));
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains(&format!("continuing with {had} results")),
        "{}",
        ended.stderr
    );
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(report["resumed"], had);
    assert_eq!(verdicts(&ended)["uname"], "needed");
    assert!(!state.exists());
}

#[apply(test)]
fn update_replaces_the_profile() {
    let subject = Dispensable::new();
    let ended = subject.minimize(&["--update", "--timeout", NEVER]);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let names = Dispensable::names(&subject.profile);
    assert!(
        !names
            .iter()
            .any(|name| ["mount", "getppid"].contains(&name.as_str()))
    );
    assert!(names.iter().any(|name| name == "uname"));
}

/// The status and stderr of a minimization that fails before it denies a call.
fn trouble(options: &[&str], change: impl FnOnce(&mut Value), script: &str) -> String {
    let room = Room::new();
    let profile = profile_of(&room, &["sh", "-c", "date; ls / | tail -n 1"]);
    let mut value: Value = serde_json::from_slice(&std::fs::read(&profile).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&profile, value.to_string()).unwrap();
    let ended = room.run(&mut minimize(&profile, options, &["sh", "-c", script]));
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (2, ""),
        "{}",
        ended.stderr
    );
    ended.stderr
}

#[apply(test)]
fn a_varying_outcome_is_an_error() {
    let message = trouble(&[], |_| {}, "date +%N");
    assert!(
        message.contains("varies even without the profile"),
        "{message}"
    );
    assert!(message.contains("--compare exit"), "{message}");
    let message = trouble(&["--test", "grep -q no \"$1\""], |_| {}, "echo yes");
    assert!(message.contains("the test fails"), "{message}");
}

#[apply(test)]
fn a_profile_that_breaks_the_workload_is_an_error() {
    let message = trouble(
        &[],
        |profile| {
            let names = profile["syscalls"][0]["names"].as_array_mut().unwrap();
            names.retain(|name| name != "getdents64");
        },
        "ls /",
    );
    assert!(
        message.contains("sc-record verify shows what is denied"),
        "{message}"
    );
}

#[apply(test)]
fn calls_that_the_profile_denies_can_not_be_tested() {
    let message = trouble(&["--only", "ls,read"], |_| {}, "true");
    assert!(message.contains("--only ls: "), "{message}");
}

#[apply(test)]
fn a_profile_that_allows_all_calls_can_not_be_minimized() {
    let message = trouble(
        &[],
        |profile| {
            *profile = serde_json::json!({"defaultAction": "SCMP_ACT_ALLOW"});
        },
        "true",
    );
    assert!(message.contains("denies nothing"), "{message}");
}

#[apply(test)]
fn a_test_decides_the_outcome() {
    let subject = Dispensable::new();
    let test = "test \"$3\" = 0 && grep -q priority \"$1\" && ! test -s \"$2\"";
    let options = [
        "--json",
        "--compare",
        "exit",
        "--timeout",
        NEVER,
        "--test",
        test,
    ];
    let ended = subject.minimize(&options);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let verdicts = verdicts(&ended);
    // It writes other output, which the test accepts.
    assert_eq!(verdicts["sched_get_priority_max"], "tolerated");
    assert_eq!(verdicts["write"], "needed");
    assert_eq!(verdicts["uname"], "needed");
}

/// Facts about a server's calls: those that it needs, with the outcome without them, and those that it doesn't need.
fn check_server(name: &str, needed: &[(&str, &str)], tolerated: &[&str]) {
    let room = Room::new();
    let script = server(&room, name);
    let command = [script.to_str().unwrap()];
    let profile = profile_of(&room, &command);
    // Testing all calls would take too long.
    let needed_names = needed.iter().map(|(name, _)| *name);
    let only: Vec<_> = needed_names.chain(tolerated.iter().copied()).collect();
    let only = only.join(",");
    let options = ["--json", "-j", "2", "--timeout", NEVER, "--only", &only];
    let ended = room.run(&mut minimize(&profile, &options, &command));
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    let verdicts = verdicts(&ended);
    assert_eq!(verdicts.len(), needed.len() + tolerated.len());
    for (name, without_it) in needed {
        assert_eq!(verdicts[*name], "needed", "{name}");
        let found = without(&ended, name);
        assert!(found.starts_with(without_it), "{name}: {found}");
    }
    for name in tolerated {
        assert_eq!(verdicts[*name], "tolerated", "{name}");
    }
    assert_eq!(room.alive(), []);
}

#[apply(test)]
#[needs(program("redis-server"), program("redis-cli"))]
fn redis_does_not_need_some_calls() {
    let ends = "exit 1 instead of exit 0";
    check_server(
        "redis",
        &[("listen", ends), ("bind", ends)],
        &["sysinfo", "umask"],
    );
}

#[apply(test)]
#[needs(program("nginx"), program("curl"))]
fn nginx_does_not_need_some_calls() {
    let needed = [
        ("listen", "exit 1 instead of exit 0"),
        ("sendfile", "exit "),
    ];
    check_server("nginx", &needed, &["sysinfo", "eventfd2"]);
}
