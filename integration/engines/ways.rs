//! Each way to record in each engine, compared with ptrace.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::hook::{Configured, annotation};
use super::table::Table;
use super::{EXACT, NAMES, Place, allowed, seen};
use crate::containers::{Agent, WORK, names, seen_by_ptrace};
use crate::support::bundle::Bundle;
use crate::support::container::Start;
use crate::support::engines::{Engine, docker_config};
use crate::support::process::{Room, until};
use crate::support::recorder::PROGRAM;

/// What a way records of [`WORK`].
enum Recorded {
    /// These calls.
    Calls(BTreeSet<String>),
    /// At least these: what the runtime calls is not told apart.
    AtLeast(BTreeSet<String>),
    Impossible(&'static str),
}

type Way = fn(&Room, Start) -> Recorded;

/// The ways to record, in the order of the table.
const WAYS: [(&str, Way); 4] = [
    ("`container run`", by_container_run),
    ("`--container ID -- CMD`", by_container),
    ("`hook`", by_hook),
    ("`agent`", by_agent),
];

fn by_container_run(room: &Room, start: Start) -> Recorded {
    let Start::By(engine) = start else {
        return Recorded::Impossible("–");
    };
    let place = Place::new(room);
    let ended = place.record(engine, &[], EXACT, WORK);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    Recorded::Calls(names(&place.runs()[0]))
}

fn by_container(room: &Room, start: Start) -> Recorded {
    let place = Place::new(room);
    let bundle;
    let mut recorder = match start {
        Start::Runtime(runtime) => {
            bundle = Bundle::new(room, runtime);
            let profile = room.fresh("p");
            fs::write(&profile, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
            let started = bundle.command(&profile, WORK);
            let mut recorder = Command::new(PROGRAM);
            recorder.args(["-n", "app", "--container", &bundle.id, "--"]);
            recorder.arg(started.get_program()).args(started.get_args());
            recorder
        }
        Start::By(Engine::Ctr) => {
            let mut recorder = Engine::Ctr.command(PROGRAM);
            recorder.args(["-n", "app", "--container", &place.name, "--", "ctr", "run"]);
            recorder.arg(format!("--cgroup=/{}", place.name));
            recorder.args(Engine::Ctr.arguments(&[], &place.name, WORK));
            recorder
        }
        Start::By(engine) => {
            let mut create = vec!["create".to_owned()];
            create.extend(engine.arguments(&[], &place.name, WORK));
            let id = engine.run(room, &create).stdout.trim().to_owned();
            let mut recorder = engine.command(PROGRAM);
            recorder.args(["-n", "app", "--container", &id, "--", engine.client()]);
            recorder.args(["start", "--attach", &id]);
            recorder
        }
    };
    let ended = room
        .spawn(recorder.current_dir(&place.directory))
        .wait(room);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    Recorded::Calls(names(&place.runs()[0]))
}

fn by_hook(room: &Room, start: Start) -> Recorded {
    let engine = match start {
        Start::By(engine @ (Engine::PodmanRunc | Engine::PodmanCrun)) => engine,
        Start::By(_) => return Recorded::Impossible("no hooks"),
        // Its configuration is the bundle's, which an engine writes.
        Start::Runtime(_) => return Recorded::Impossible("–"),
    };
    let place = Place::new(room);
    let _configured = Configured::new(room);
    let profile = place.directory.join("app.json");
    let of = annotation(&format!("of:{}", profile.display()));
    let mut arguments = vec!["run".to_owned()];
    arguments.extend(engine.arguments(&[&of], &place.name, WORK));
    let ended = engine.run(room, &arguments);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    Recorded::AtLeast(allowed(&profile))
}

/// Kills the processes in a cgroup.
fn kill_all_in(cgroup: &str) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let cgroups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.parse().ok());
        if let (true, Some(pid)) = (cgroups.contains(cgroup), pid) {
            // It may be gone by now.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn by_agent(room: &Room, start: Start) -> Recorded {
    let agent = Agent::start(room);
    let profile = agent.profile(room, &["-n", "app", "--runtime", start.runtime()]);
    let place = Place::new(room);
    let (code, stderr) = match start {
        Start::Runtime(runtime) => {
            let ended = Bundle::new(room, runtime).run(&profile, WORK);
            (ended.code(), ended.stderr)
        }
        Start::By(Engine::Docker) => {
            // What the runtime gets.
            let mut create = vec!["run".to_owned(), "--detach".to_owned()];
            create.push(format!("--security-opt=seccomp={}", profile.display()));
            create.extend(Engine::Docker.arguments(&[], &place.name, WORK));
            let filter = format!("name={}", place.name);
            let mut client = room.spawn(Engine::Docker.command("docker").args(&create));
            let mut config = None;
            until("docker to write the bundle", || {
                config = docker_config();
                config.is_some()
            });
            let config: Value = serde_json::from_str(&config.unwrap()).unwrap();
            // Its init waits for its first notification, and Docker for the init.
            let cgroup = config["linux"]["cgroupsPath"].as_str().unwrap();
            until("the init to be killed", || {
                kill_all_in(cgroup);
                let format = ["ps", "--all", "--quiet", "--filter", &filter];
                client.has_ended() && Engine::Docker.run(room, &format).stdout.is_empty()
            });
            assert!(config["linux"]["seccomp"]["listenerPath"].is_null());
            agent.interrupt(room);
            return Recorded::Impossible("drops `listenerPath`");
        }
        Start::By(engine) => {
            let ended = place.run_under(engine, &profile, &[], WORK);
            (ended.code(), ended.stderr)
        }
    };
    assert_eq!(code, 7, "{stderr}");
    let recorded = Recorded::Calls(names(&agent.runs("app", 1)[0]));
    agent.interrupt(room);
    recorded
}

const TABLE: Table = Table(["<!-- written by a test -->\n", "<!-- end -->\n"]);

/// The table of docs/containers.md: what each way records of a shell that starts other processes, compared with ptrace.
#[apply(test)]
#[needs(
    ebpf(),
    program("dockerd"),
    program("podman"),
    program("runc"),
    program("crun")
)]
fn the_table_of_engines_and_ways_is_true() {
    let heads: Vec<_> = WAYS.iter().map(|(way, _)| *way).collect();
    let mut table = format!("| | {} |\n|{}\n", heads.join(" | "), " --- |".repeat(5));
    for (name, start) in NAMES {
        let room = Room::new();
        let seen = match start {
            Start::By(engine) => seen(&room, engine),
            Start::Runtime(runtime) => seen_by_ptrace(&room, &Bundle::new(&room, runtime), &[]),
        };
        let cells = WAYS.map(|(way, record)| {
            let (recorded, exactly) = match record(&room, start) {
                Recorded::Impossible(why) => return why.to_owned(),
                Recorded::Calls(calls) => (calls, true),
                Recorded::AtLeast(calls) => (calls, false),
            };
            let more: Vec<_> = recorded.difference(&seen).collect();
            assert!(!exactly || more.is_empty(), "{name} {way}: {more:?}");
            let missing: Vec<_> = seen.difference(&recorded).collect();
            match &missing[..] {
                [] => format!("all {}", seen.len()),
                _ => format!("all but {}", {
                    let names: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
                    names.join(", ")
                }),
            }
        });
        table += &format!("| {name} | {} |\n", cells.join(" | "));
    }
    if Table::are_written() {
        TABLE.write(&table);
    } else {
        assert_eq!(TABLE.read(), table, "INSTA_UPDATE=always writes it");
    }
}
