//! `container run` where the second run isn't as the first, or there is none.

use std::fs;

use serde_json::Value;

use super::{EXACT, Place};
use crate::containers::names;
use crate::support::engines::Engine;
use crate::support::process::Room;

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_of_docker_runs_under_a_profile_with_arguments_and_what_they_lack_is_added() {
    let room = Room::new();
    let place = Place::new(&room);
    let volume = format!("--volume={}:/shared", room.directory().display());
    let line =
        "if [ -e /shared/a ]; then kill -CHLD $$; else kill -0 $$; echo x >/shared/a; fi; exit 7";
    let more = ["--policy", "exact", "--args=exact"];
    let ended = place.record(Engine::Docker, &[&volume], &more, line);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the profile lacked ") && ended.stderr.contains("kill"),
        "{}",
        ended.stderr
    );
    let text = fs::read(place.directory.join("profiles/app.json")).unwrap();
    let profile: Value = serde_json::from_slice(&text).unwrap();
    let rules = profile["syscalls"].as_array().unwrap();
    let of_kill = |rule: &&Value| {
        let mut names = rule["names"].as_array().unwrap().iter();
        names.any(|name| name == "kill") && rule["args"].is_array()
    };
    assert!(rules.iter().any(|rule| of_kill(&rule)), "{profile}");
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn what_only_a_later_run_calls_is_added_to_the_profile() {
    let room = Room::new();
    let place = Place::new(&room);
    let shared = room.directory();
    let volume = format!("--volume={}:/shared", shared.display());
    // The second run makes calls that the first did not: it ends differently where they are denied.
    let line =
        "if [ -e /shared/a ]; then mkdir /shared/b || [ -e /shared/b ]; else touch /shared/a; fi";
    let ended = place.record(Engine::Docker, &[&volume], EXACT, line);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("the profile lacked 1 call: mkdir")
            || ended.stderr.contains(", mkdir"),
        "{}",
        ended.stderr
    );
    assert!(place.runs().len() >= 2);
    assert!(place.runs().iter().any(|run| names(run).contains("mkdir")));
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_that_ends_differently_under_its_profile_is_a_finding() {
    let room = Room::new();
    let place = Place::new(&room);
    let volume = format!("--volume={}:/shared", room.directory().display());
    let line = "[ ! -e /shared/a ] && touch /shared/a";
    let ended = place.record(Engine::Docker, &[&volume], EXACT, line);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let said = "ended with status 1, and with status 0 without";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_that_does_not_start_is_an_error() {
    let room = Room::new();
    let place = Place::new(&room);
    let arguments = [
        "container",
        "run",
        "--engine",
        "docker",
        "-n",
        "app",
        "--",
        "--network=no-such",
        "no-such-image",
    ];
    let ended = place
        .spawn(Engine::Docker, &arguments.map(str::to_owned))
        .wait(&room);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    let said = "no program of the container was executed (docker ended with status 125)";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert!(!place.directory.join("recordings/app.json").exists());
}
