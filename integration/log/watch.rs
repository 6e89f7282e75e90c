//! `sc-record watch`: the calls of running programs that their profile lacks.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::FlockArg;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::engines::{WAITS, let_go, start};
use super::follow::{made_profile, under};
use super::lock;
use crate::containers::WORK;
use crate::containers::baseline::profile_from_host;
use crate::support::bundle::Bundle;
use crate::support::engines::{Engine, running};
use crate::support::machine::NATIVE;
use crate::support::process::{Ended, Room, Running, until};
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
    let start = format!("getppid ({NATIVE}) denied: {flood}, process ");
    assert!(line.starts_with(&start), "{line}");
    let end = format!("lacks getppid ({NATIVE}): 30 records, 30 denied, by {flood}\n");
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

/// A profile for busybox in containers of a runtime, which lacks sync(2), chroot(2) and kill(2).
fn container_profile(room: &Room, runtime: &'static str) -> PathBuf {
    let line = format!("{WORK}; mkdir /tmp/x; {WAITS}; sleep 0.01; (exit 7)");
    let bundle = Bundle::new(room, runtime);
    profile_from_host(room, &bundle, &["--runtime", runtime], &line)
}

/// The option by which an engine uses the variant of a profile that `watch` needs.
fn option_of(room: &Room, variant: &str, profile: &Path) -> String {
    let made = made_profile(room, &["log-profile", variant, profile.to_str().unwrap()]);
    format!("--security-opt=seccomp={}", made.display())
}

/// Starts to watch containers.
fn watching(room: &Room, socket: &str, options: &[&str], profile: &Path) -> Running {
    let mut command = Command::new(PROGRAM);
    command.env("DOCKER_HOST", format!("unix://{socket}"));
    command.arg("watch").args(options).arg(profile);
    let watch = room.spawn(&mut command);
    until("the watch to begin", || {
        watch.stderr().contains("following audit records")
    });
    watch
}

fn unique(room: &Room) -> String {
    let name = format!("{}x{}", room.fresh("c").display(), std::process::id());
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "")
}

#[apply(test)]
#[needs(audit(), program("dockerd"), program("podman"), program("crun"))]
fn what_the_profile_of_a_container_of_podman_denies_is_reported_while_it_runs() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let engine = Engine::PodmanCrun;
    let profile = container_profile(&room, "crun");
    let option = option_of(&room, "--enforce", &profile);
    let name = unique(&room);
    let mut create = vec!["create".to_owned()];
    create.extend(engine.arguments(&[&option], &name, &format!("sync; {WAITS}")));
    let created = engine.run(&room, &create);
    assert_eq!(created.code(), 0, "{}", created.stderr);
    let id = created.stdout.trim();

    let watch = watching(&room, "none", &["--container", id], &profile);
    let started = engine.run(&room, &["start", id]);
    assert_eq!(started.code(), 0, "{}", started.stderr);
    until("the drift to be reported", || {
        (watch.stdout()).starts_with("sync (x86_64) denied: /bin/busybox, process ")
    });
    assert_eq!(running(engine, &room, &name), id);
    assert!(logs_denials(&room, engine, id));
    let_go(engine, &room, id);
    watch.signal(Signal::SIGINT);
    let ended = watch.wait(&room);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    let end = "lacks sync (x86_64): 1 record, 1 denied, by /bin/busybox\n";
    assert!(ended.stderr.contains(end), "{}", ended.stderr);
}

#[apply(test)]
#[needs(audit(), program("dockerd"), program("podman"), program("runc"))]
fn containers_of_docker_with_a_label_are_watched_and_no_others() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let engine = Engine::Docker;
    let profile = container_profile(&room, "runc");
    let option = option_of(&room, "--assume", &profile);
    let name = unique(&room);
    let label = format!("--label=of={name}");
    let [early, other, late] = ["a", "b", "c"].map(|end| format!("{name}{end}"));
    let early_line = format!("{WAITS}; sync");
    let early_id = start(&room, &[&option, &label], &early, &early_line);

    let (socket, _) = engine.socket(&room);
    let selector = format!("label=of={name}");
    let watch = watching(
        &room,
        &socket,
        &["--json", "--container", &selector],
        &profile,
    );
    for (options, name, line) in [
        (&[option.as_str()][..], &other, "kill -0 $$"),
        (&[&option, &label], &late, "chroot / true"),
    ] {
        let id = start(&room, options, name, &format!("{line}; {WAITS}"));
        let_go(engine, &room, &id);
    }
    let_go(engine, &room, &early_id);
    watch.signal(Signal::SIGINT);
    let ended = watch.wait(&room);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let lines = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let drift = lines.filter(|line| line["event"] == "drift");
    let drift: Vec<_> = drift
        .map(|line| {
            [&line["syscall"], &line["container"]].map(|text| text.as_str().unwrap().to_owned())
        })
        .collect();
    let expected = [["chroot", &late], ["sync", &early]];
    assert_eq!(drift, expected, "{}", ended.stderr);
}

/// The children of a process that ran before weren't known once both were gone.
#[apply(test)]
#[needs(audit(), program("dockerd"), program("runc"))]
fn a_short_process_of_a_container_that_ran_before_is_not_missed() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let engine = Engine::Docker;
    let profile = container_profile(&room, "runc");
    let option = option_of(&room, "--assume", &profile);
    let name = unique(&room);
    let id = start(&room, &[&option], &name, &format!("{WAITS}; sync; :"));
    let (socket, _) = engine.socket(&room);
    let selector = format!("name={name}");
    let options = ["--json", "--container", &selector];
    let watch = watching(&room, &socket, &options, &profile);
    watch.signal(Signal::SIGSTOP);
    let_go(engine, &room, &id);
    watch.signal(Signal::SIGCONT);
    watch.signal(Signal::SIGINT);
    let ended = watch.wait(&room);
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains(r#""syscall":"sync""#),
        "{}",
        ended.stdout
    );
}

/// Whether the kernel logs what the filter of a container denies.
fn logs_denials(room: &Room, engine: Engine, id: &str) -> bool {
    let init = ["inspect", "--format", "{{.State.Pid}}", id];
    let init = engine.run(room, &init).stdout;
    let mut inspect = Command::new(PROGRAM);
    let inspected = room
        .spawn(inspect.args(["inspect", init.trim()]))
        .wait(room);
    assert_eq!(inspected.code(), 0, "{}", inspected.stderr);
    inspected.stdout.contains(", logs denials\n")
}

#[apply(test)]
#[needs(audit(), program("dockerd"), program("podman"), program("runc"))]
fn a_docker_that_drops_the_flag_of_a_profile_is_named() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let profile = container_profile(&room, "runc");
    let option = option_of(&room, "--enforce", &profile);
    let name = unique(&room);
    let id = start(&room, &[&option], &name, WAITS);
    let (socket, _) = Engine::Docker.socket(&room);
    let selector = format!("name={name}");
    let watch = watching(&room, &socket, &["--container", &selector], &profile);
    let is_named = watch
        .stderr()
        .contains("drops the flag that has denials logged");
    assert_eq!(
        is_named,
        !logs_denials(&room, Engine::Docker, &id),
        "{}",
        watch.stderr()
    );
    let_go(Engine::Docker, &room, &id);
    watch.signal(Signal::SIGINT);
    let ended = watch.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[apply(test)]
#[needs(audit(), program("dockerd"), program("podman"))]
fn a_watch_of_a_container_that_has_not_run_is_incomplete() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let profile = room.fresh("p");
    let allow = r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#;
    std::fs::write(&profile, allow).unwrap();
    let (socket, _) = Engine::Docker.socket(&room);
    let name = unique(&room);
    for (selector, which) in [
        (
            format!("name={name}"),
            format!("container with name={name}"),
        ),
        (
            name.clone(),
            format!("container with {name} in the name of its cgroup"),
        ),
    ] {
        let watch = watching(&room, &socket, &["--container", &selector], &profile);
        let warning = format!("sc-record: no {which} has run so far\n");
        until("the watch to warn", || watch.stderr().contains(&warning));
        watch.signal(Signal::SIGINT);
        let ended = watch.wait(&room);
        assert_eq!(ended.code(), 2, "{}", ended.stderr);
        let end = format!("INCOMPLETE, calls may be missing: no {which} has run\n");
        assert!(ended.stderr.contains(&end), "{}", ended.stderr);
    }

    // One that has run and ended meanwhile.
    let engine = Engine::Docker;
    for by_id in [false, true] {
        let mut create = vec!["create".to_owned()];
        create.extend(engine.arguments(&[], &name, "true"));
        let created = engine.run(&room, &create);
        assert_eq!(created.code(), 0, "{}", created.stderr);
        let selector = if by_id {
            created.stdout.trim().to_owned()
        } else {
            format!("name={name}")
        };
        let watch = watching(&room, &socket, &["--container", &selector], &profile);
        assert_eq!(engine.run(&room, &["start", "--attach", &name]).code(), 0);
        watch.signal(Signal::SIGINT);
        let ended = watch.wait(&room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
}
