//! Audit profiles: from a workload in a container to its allowlist, and from a profile to the calls that it lacks.

use std::path::Path;
use std::process::Command;

use nix::fcntl::FlockArg;
use serde_json::{Value, json};

use super::lock;
use crate::support::machine;
use crate::support::process::Room;
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn names(profile: &Value) -> Vec<&str> {
    let rules = profile["syscalls"].as_array().unwrap();
    let names = rules
        .iter()
        .flat_map(|rule| rule["names"].as_array().unwrap());
    names.map(|name| name.as_str().unwrap()).collect()
}

#[apply(test)]
fn a_log_profile_logs_all_calls_on_all_abis_of_the_machine() {
    let room = Room::new();
    let output = room.run(Command::new(PROGRAM).args(["log-profile", "--arch", "aarch64"]));
    let profile: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_LOG");
    let arches = json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    assert_eq!(profile["architectures"], arches);
    // But prctl(2) where it loads no filter.
    assert!(names(&profile).iter().all(|&name| name == "prctl"));
    let rules = profile["syscalls"].as_array().unwrap();
    assert!(
        rules
            .iter()
            .all(|rule| rule["args"][0]["op"] == "SCMP_CMP_MASKED_EQ")
    );
}

#[apply(test)]
#[needs(audit())]
fn an_audit_profile_logs_only_calls_that_the_recording_lacks() {
    // It follows by name, and another test has a program of that name logged.
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let files = Files::new(&room);
    let flood = programs::workload("flood");
    // Without an argument the flood doesn't call getppid.
    room.run(
        files
            .command(&["-q", "-n", "flood", "--policy", "exact"])
            .arg(&flood),
    );
    let audit = room.fresh("p");
    let mut generate = Command::new(PROGRAM);
    generate
        .args(["generate", "--audit", "-q", "-o"])
        .arg(&audit)
        .arg(&files.recording);
    assert_eq!(room.run(&mut generate).code(), 0);
    let profile = read(&audit);
    assert_eq!(profile["defaultAction"], "SCMP_ACT_LOG");
    assert!(names(&profile).contains(&"execve") && !names(&profile).contains(&"getppid"));

    // The flow with container engines and Kubernetes: run under the audit profile, then turn the log into an allowlist.
    let log = Files::new(&room);
    let errors = room.fresh("e");
    let mut follow = Command::new(PROGRAM);
    follow.args([
        "--log-mode",
        "--progress",
        "never",
        "--comm",
        "flood",
        "--idle",
        "2s",
        "-n",
        "flood",
    ]);
    follow
        .arg("-r")
        .arg(&files.recording)
        .arg("-o")
        .arg(&log.profile);
    let file = |path: &Path| std::fs::File::create(path).unwrap();
    let follower = room.spawn_on(
        &mut follow,
        std::process::Stdio::null(),
        file(&room.fresh("o")),
        file(&errors),
    );
    crate::support::process::until("the recorder to follow", || {
        std::fs::read_to_string(&errors)
            .unwrap()
            .contains("following audit records")
    });
    let mut run = Command::new(PROGRAM);
    let run = run.arg("run").arg(&audit).arg("--").arg(&flood).arg("50");
    assert_eq!(room.spawn(run).wait(&room).code(), 7);
    assert_eq!(follower.wait(&room).code(), 0);
    let found: Vec<_> = files
        .run()
        .calls()
        .into_iter()
        .map(|(call, count)| (call.to_string(), count))
        .collect();
    assert_eq!(found, [("getppid".to_owned(), 50)]);
    // The profile of both runs has all calls that the workload needs.
    let mut run = Command::new(PROGRAM);
    let run = run
        .arg("run")
        .arg(&log.profile)
        .arg("--")
        .arg(&flood)
        .arg("50");
    assert_eq!(room.run(run).code(), 7);
}

#[apply(test)]
#[needs(audit())]
fn calls_of_an_assumed_profile_are_not_logged_and_stay_in_the_profile() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let flood = programs::workload("flood");
    let before = Files::new(&room);
    room.run(
        before
            .command(&["-q", "-n", "flood", "--policy", "exact"])
            .arg(&flood),
    );
    let assumed = before.profile.to_str().unwrap();

    let files = Files::new(&room);
    let options = ["-q", "--log-mode", "--assume", assumed, "--policy", "exact"];
    let ended = room.run(files.command(&options).arg(&flood).arg("20"));
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let run = files.run();
    let found: Vec<_> = run
        .calls()
        .into_iter()
        .map(|(call, count)| (call.to_string(), count))
        .collect();
    assert_eq!(found, [("getppid".to_owned(), 20)]);
    // The run says what it can't show, and isn't counted as one that shows all.
    assert_eq!(run.incomplete_because(), Vec::<String>::new());
    assert!(
        run.0["not_observed"][machine::NATIVE]
            .to_string()
            .contains("execve")
    );
    let ended = room.run(Command::new(PROGRAM).arg("stats").arg(&files.recording));
    assert!(
        ended.stdout.contains("1 partial run not counted"),
        "{}",
        ended.stdout
    );
    let (old, new) = (read(&before.profile), read(&files.profile));
    let mut expected = names(&old);
    expected.push("getppid");
    expected.sort_unstable();
    assert_eq!(names(&new), expected);

    // Now nothing is missing.
    let again = Files::new(&room);
    let assumed = files.profile.to_str().unwrap();
    let ended = room.run(
        again
            .command(&["--log-mode", "--assume", assumed])
            .arg(&flood)
            .arg("20"),
    );
    assert_eq!(ended.code(), 7);
    assert!(
        ended.stderr.contains("allows every call that was made"),
        "{}",
        ended.stderr
    );
    assert!(!again.recording.exists() && !again.profile.exists());
}
