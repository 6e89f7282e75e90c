//! Containers and agents that end before the other does.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Agent, because_but_for_signals, field, names};
use crate::support::bundle::Bundle;
use crate::support::process::{Room, until};
use crate::support::recorder::{PROGRAM, Run};

/// A container that waits for `/tmp/go`.
fn waiting(bundle: &Bundle<'_>, profile: &Path) -> Command {
    let line = "until [ -e /tmp/go ]; do sleep 0.1; done; mkdir /tmp/after; exit 7";
    bundle.command(profile, line)
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("runc"), program("busybox"))]
fn a_container_outlives_a_killed_agent_and_the_next_one_says_what_is_missing() {
    let room = Room::new();
    let agent = Agent::start(&room);
    let bundle = Bundle::new(&room, "runc");
    let profile = agent.profile(&room, &["-n", "app"]);
    let container = room.spawn(&mut waiting(&bundle, &profile));
    until("the container to run", || bundle.init(&room).is_some());
    let journals = || {
        let directory = std::fs::read_dir(agent.directory.join("recordings"));
        let names = directory.into_iter().flatten().flatten();
        let journals = names.filter(|entry| entry.path().extension() == Some("journal".as_ref()));
        let texts = journals.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        texts.collect::<String>()
    };
    until("what was recorded to be in a journal", || {
        journals().contains("\"execve\"")
    });
    agent.running.signal(Signal::SIGKILL);
    agent.running.wait(&room);

    // Without an agent, its calls are still answered.
    let go = || File::create(bundle.root().join("tmp/go")).unwrap();
    let next = Agent::start_at(&room, agent.socket, agent.directory, &[]);
    let of_the_killed = &next.runs("app", 1)[0];
    let why =
        "the recorder was killed: calls of the last second may be missing, and counts are unknown";
    assert_eq!(because_but_for_signals(of_the_killed), [why]);
    assert!(names(of_the_killed).contains("execve"));
    assert!(field(of_the_killed, "runtime").contains("close"));
    assert!(field(of_the_killed, "not_observed").contains("write"));
    until("the next agent to have the container", || {
        next.errors().contains(&bundle.id)
    });
    go();
    let ended = container.wait(&room);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let mut runs = next.runs("app", 2);
    runs.retain(|run| names(run).contains("mkdir"));
    let why = "the agent that recorded the container before has ended";
    assert_eq!(because_but_for_signals(&runs[0]), [why]);
    next.interrupt(&room);
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("crun"), program("busybox"))]
fn a_container_outlives_an_interrupted_agent_whose_run_is_incomplete() {
    let room = Room::new();
    let agent = Agent::start(&room);
    let bundle = Bundle::new(&room, "crun");
    let profile = agent.profile(&room, &["-n", "app"]);
    let container = room.spawn(&mut waiting(&bundle, &profile));
    until("the container to run", || bundle.init(&room).is_some());
    let recording = agent.file("recordings", "app");
    let said = agent.interrupt(&room);
    assert!(
        said.contains("answers for the containers that still run"),
        "{said}"
    );
    let file: Value = serde_json::from_slice(&std::fs::read(recording).unwrap()).unwrap();
    let because = because_but_for_signals(&Run(file["runs"][0].clone()));
    assert_eq!(because.len(), 1, "{because:?}");

    File::create(bundle.root().join("tmp/go")).unwrap();
    let ended = container.wait(&room);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    assert!(bundle.root().join("tmp/after").exists());
    // The keeper ends with the last container.
    room.wait_until_empty(&Command::new("the keeper"));
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("runc"), program("busybox"))]
fn a_container_that_is_killed_in_a_call_is_recorded_and_one_that_never_ran_is_said() {
    let room = Room::new();
    let agent = Agent::start(&room);
    let mut bundle = Bundle::new(&room, "runc");
    bundle.annotations = json!({"org.opencontainers.image.ref.name": "example.org/a/killed:1.2"});
    let profile = agent.profile(&room, &[]);
    // Without a child, whose end would interrupt a call.
    let container = room.spawn(&mut bundle.command(&profile, "exec sleep 1000"));
    // In the call, not before the agent lets it go on.
    until("the container to sleep", || {
        let wchan = |init| std::fs::read_to_string(format!("/proc/{init}/wchan"));
        let wchan = bundle.init(&room).and_then(|init| wchan(init).ok());
        wchan.is_some_and(|place| place.contains("nanosleep"))
    });
    kill(Pid::from_raw(bundle.init(&room).unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(container.wait(&room).code(), 137);
    let runs = agent.runs("killed", 1);
    // Those of runc's Go threads.
    assert_eq!(because_but_for_signals(&runs[0]), [""; 0]);
    assert_eq!(runs[0].0["labels"]["image"], "example.org/a/killed:1.2");

    // Otherwise runc looks for the program before it loads the filter.
    let mut nothing = Bundle::new(&room, "runc");
    nothing.no_new_privileges = false;
    let mut command = nothing.command(&profile, "true");
    std::fs::remove_file(nothing.root().join("bin/busybox")).unwrap();
    assert_ne!(room.spawn(&mut command).wait(&room).code(), 0);
    until("the agent to say so", || {
        let line = format!("container {}: nothing was recorded", nothing.id);
        agent.errors().contains(&line)
    });
    agent.interrupt(&room);
}

#[apply(test)]
fn a_second_agent_does_not_take_the_socket_of_the_first() {
    let room = Room::new();
    let agent = Agent::start(&room);
    let mut second = Command::new(PROGRAM);
    second.args(["agent", "--socket"]).arg(&agent.socket);
    let ended = room.spawn(&mut second).wait(&room);
    assert_eq!(ended.code(), 2);
    assert!(ended.stderr.contains("can't listen at"), "{}", ended.stderr);
    agent.interrupt(&room);
}
