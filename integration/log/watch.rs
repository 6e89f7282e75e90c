//! `sc-record watch`: the calls of running programs that their profile lacks.

use std::path::Path;
use std::process::Command;

use nix::fcntl::FlockArg;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::follow::{made_profile, under};
use super::lock;
use crate::support::process::{Ended, Room, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// Watches a program while it runs under a profile and makes this many calls of getppid(2).
fn watch(
    room: &Room,
    options: &[&str],
    program: &str,
    profile: &Path,
    under_it: &Path,
    calls: &str,
) -> Ended {
    let mut watch = Command::new(PROGRAM);
    watch
        .args(["watch", "--exe", program])
        .args(options)
        .arg(profile);
    let watch = room.spawn(&mut watch);
    until("the watch to begin", || {
        watch.stderr().contains("following audit records")
    });
    room.spawn(&mut under(under_it, &[program, calls]))
        .wait(room);
    watch.signal(Signal::SIGINT);
    watch.wait(room)
}

#[apply(test)]
#[needs(audit())]
fn calls_that_the_profile_of_a_running_program_lacks_are_reported() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let flood = room.path().join("watched");
    room.copy(&programs::workload("flood"), &flood);
    let flood = flood.to_str().unwrap();
    // Without an argument the flood doesn't call getppid.
    let known = Files::new(&room);
    room.run(known.command(&["-q"]).arg(flood));
    let profile = known.profile.to_str().unwrap();
    let enforced = made_profile(&room, &["log-profile", "--enforce", profile]);
    let logged = made_profile(&room, &["log-profile", "--assume", profile]);
    let profile = &known.profile;

    let ended = watch(&room, &[], flood, profile, &enforced, "30");
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let lines: Vec<_> = ended.stdout.lines().collect();
    let [line] = lines[..] else {
        panic!("{lines:?}")
    };
    let start = format!("getppid (x86_64) denied: {flood}, process ");
    assert!(line.starts_with(&start), "{line}");
    let end = format!("lacks getppid (x86_64): 30 records, 30 denied, by {flood}\n");
    assert!(ended.stderr.contains(&end), "{}", ended.stderr);

    let ended = watch(&room, &["--json"], flood, profile, &logged, "20");
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let lines = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    let [drift, end] = &lines[..] else {
        panic!("{lines:?}")
    };
    assert_eq!(drift["syscall"], "getppid");
    assert_eq!(drift["denied"], false);
    assert_eq!(end["lacking"][0]["count"], 20);
    assert_eq!(end["lacking"][0]["programs"][0], flood);

    // What the profile allows is no drift, also where every call is logged.
    let log = made_profile(&room, &["log-profile"]);
    for under_it in [&enforced, &logged, &log] {
        let ended = watch(&room, &[], flood, profile, under_it, "0");
        assert_eq!(ended.code(), 0, "{} {}", ended.stdout, ended.stderr);
        assert_eq!(ended.stdout, "");
    }
}
