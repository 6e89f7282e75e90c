//! Containers of real engines, recorded and run under their profiles.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

mod hook;
mod later_runs;
mod programs;
mod rootless;
mod selected;
mod table;
mod ways;

use crate::containers::baseline::profile_from_host;
use crate::containers::{WORK, field, names, seen_by_ptrace};
use crate::support::bundle::Bundle;
use crate::support::container::Start;
use crate::support::engines::{Engine, running};
use crate::support::process::{Ended, Room, Running, until};
use crate::support::recorder::{PROGRAM, Run};

/// A directory in which containers are recorded under a name.
struct Place<'a> {
    room: &'a Room,
    directory: PathBuf,
    name: String,
}

impl<'a> Place<'a> {
    fn new(room: &'a Room) -> Place<'a> {
        let directory = room.directory();
        // Unique among all tests that run at the same time.
        let name = format!("{}x{}", directory.display(), std::process::id());
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "");
        Place {
            room,
            directory,
            name,
        }
    }

    fn spawn(&self, engine: Engine, arguments: &[String]) -> Running {
        let mut command = engine.command(PROGRAM);
        command.current_dir(&self.directory).args(arguments);
        self.room.spawn(&mut command)
    }

    fn record(&self, engine: Engine, options: &[&str], more: &[&str], line: &str) -> Ended {
        let arguments = ["container", "run", "-n", "app", "--engine", engine.client()];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.extend(more.iter().map(ToString::to_string));
        arguments.push("--".to_owned());
        arguments.extend(engine.arguments(options, &self.name, line));
        self.spawn(engine, &arguments).wait(self.room)
    }

    fn runs(&self) -> Vec<Run> {
        let text = fs::read(self.directory.join("recordings/app.json")).unwrap();
        let file: Value = serde_json::from_slice(&text).unwrap();
        let runs = file["runs"].as_array().unwrap().iter();
        runs.map(|run| Run(run.clone())).collect()
    }

    /// Runs a shell command under the profile.
    fn run_under_profile(&self, engine: Engine, options: &[&str], line: &str) -> Ended {
        let profile = self.directory.join("profiles/app.json");
        self.run_under(engine, &profile, options, line)
    }

    fn run_under(&self, engine: Engine, profile: &Path, options: &[&str], line: &str) -> Ended {
        let profile = profile.display();
        let mut arguments = vec!["run".to_owned()];
        arguments.extend(match engine {
            Engine::Ctr => vec![
                "--seccomp".to_owned(),
                format!("--seccomp-profile={profile}"),
            ],
            _ => vec![format!("--security-opt=seccomp={profile}")],
        });
        arguments.extend(engine.arguments(options, &self.name, line));
        engine.run(self.room, &arguments)
    }
}

/// The calls of [`WORK`] as the ptrace backend sees them, in the environment that an engine gives.
fn seen(room: &Room, engine: Engine) -> BTreeSet<String> {
    let environment: &[&str] = match engine {
        Engine::Ctr => &[],
        _ => &["HOSTNAME=x"],
    };
    seen_by_ptrace(room, &Bundle::new(room, "runc"), environment)
}

fn round_trip(engine: Engine, options: &[&str]) {
    let room = Room::new();
    let place = Place::new(&room);
    let ended = place.record(engine, options, EXACT, WORK);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let said = "the container runs under its profile: nothing was denied, and it ended with status 7 again";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    let outputs = ended.stdout.split_inclusive("hello\na\n");
    assert!(outputs.count() >= 2, "{}", ended.stdout);

    let runs = place.runs();
    let seen = seen(&room, engine);
    for run in &runs {
        assert_eq!(run.incomplete_because(), [""; 0]);
        assert_eq!(run.0["program"], "/bin/busybox");
        assert_eq!(names(run), seen);
        assert!(field(run, "runtime").contains("close"), "{}", run.0);
    }

    // The runtime's threads may make other calls each time.
    let is_refused = (0..6).any(|_| {
        let ended = place.run_under_profile(engine, options, "unshare -m true && exit 7");
        ended.code() != 7
            && ended
                .stderr
                .contains("unshare(0x20000): Operation not permitted")
    });
    assert!(is_refused);
}

/// Without this capability the kernel itself would refuse unshare(2).
const ADMIN: &str = "--cap-add=SYS_ADMIN";
const EXACT: &[&str] = &["--policy", "exact"];
const NO_NEW_PRIVILEGES: &str = "--security-opt=no-new-privileges";

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_of_docker_is_recorded_and_runs_under_its_profile() {
    round_trip(Engine::Docker, &[ADMIN]);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"), program("runc"))]
fn a_container_of_podman_with_runc_is_recorded_and_runs_under_its_profile() {
    round_trip(Engine::PodmanRunc, &[ADMIN, NO_NEW_PRIVILEGES]);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"), program("crun"))]
fn a_container_of_podman_with_crun_is_recorded_and_runs_under_its_profile() {
    round_trip(Engine::PodmanCrun, &[ADMIN]);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_of_containerd_is_recorded_and_runs_under_its_profile() {
    round_trip(Engine::Ctr, &["--cap-add=CAP_SYS_ADMIN"]);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_recording_of_the_client_says_that_it_is_not_the_container() {
    let room = Room::new();
    let place = Place::new(&room);
    let arguments = [
        "-r",
        "none",
        "-o",
        "none",
        "--",
        "docker",
        "run",
        "--rm",
        "--network=none",
    ];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
    arguments.extend([crate::support::engines::IMAGE, "true"].map(str::to_owned));
    let ended = place.spawn(Engine::Docker, &arguments).wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let said = "warning: docker is recorded, not the container, which is not its child: sc-record container run --engine docker";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);

    let mut arguments = vec![
        "-r".to_owned(),
        "none".to_owned(),
        "-o".to_owned(),
        "none".to_owned(),
    ];
    arguments.extend(["docker", "version"].map(str::to_owned));
    let ended = place.spawn(Engine::Docker, &arguments).wait(&room);
    assert!(!ended.stderr.contains("warning"), "{}", ended.stderr);
}

fn init_of(engine: Engine, room: &Room, container: &str) -> i64 {
    let inspect = ["inspect", "--format", "{{.State.Pid}}", container];
    engine.run(room, &inspect).stdout.trim().parse().unwrap()
}

/// A shell that waits until it may go on.
const WAITS: &str = "until [ -e /tmp/go ]; do sleep 0.05; done";

/// Lets a container with [`WAITS`] go on. What is executed in it can't: an engine can't say how that ended if the container is gone
/// by then.
fn let_go(init: i64) {
    fs::write(format!("/proc/{init}/root/tmp/go"), "").unwrap();
}

/// The first process of a container calls chroot(2), and one that is executed later sync(2).
fn follows(engine: Engine, target: impl Fn(&str, i64) -> Vec<String>) {
    let room = Room::new();
    let place = Place::new(&room);
    let mut start = vec!["run".to_owned(), "--detach".to_owned()];
    let line = format!("{WAITS}; chroot / true");
    start.extend(engine.arguments(&["--cap-add=SYS_CHROOT"], &place.name, &line));
    let started = engine.run(&room, &start);
    assert_eq!(started.code(), 0, "{}", started.stderr);
    let id = running(engine, &room, &place.name);
    let pid = init_of(engine, &room, &id);
    let mut arguments = vec!["-n".to_owned(), "app".to_owned()];
    arguments.extend(target(&id, pid));
    let recorder = place.spawn(engine, &arguments);
    until("the recorder to count", || {
        recorder.stderr().contains("counting the calls")
    });
    let executed = engine.run(&room, &["exec", &id, "sync"]);
    assert_eq!(executed.code(), 0, "{}", executed.stderr);
    let_go(pid);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let runs = place.runs();
    assert_eq!(runs[0].incomplete_because(), [""; 0]);
    let called = names(&runs[0]);
    for name in ["chroot", "sync", "exit_group"] {
        assert!(called.contains(name), "{name}: {called:?}");
    }
    // The runtime's, before it executed the program in the container.
    for name in ["setns", "mount", "pivot_root", "clone3"] {
        assert!(!called.contains(name), "{name}: {called:?}");
    }
    let of_runtime: BTreeSet<_> = field(&runs[0], "runtime");
    assert!(of_runtime.contains("close"), "{of_runtime:?}");
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_running_container_of_docker_is_recorded_with_what_is_executed_in_it() {
    follows(Engine::Docker, |id, _| {
        vec!["--container".to_owned(), id.to_owned()]
    });
    follows(Engine::Docker, |_, pid| {
        vec!["-p".to_owned(), pid.to_string()]
    });
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_running_container_of_podman_is_recorded_with_what_is_executed_in_it() {
    follows(Engine::PodmanRunc, |id, _| {
        vec!["--container".to_owned(), id.to_owned()]
    });
    follows(Engine::PodmanCrun, |_, pid| {
        vec!["-p".to_owned(), pid.to_string()]
    });
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_is_recorded_from_its_start() {
    let room = Room::new();
    let place = Place::new(&room);
    let mut create = vec!["create".to_owned()];
    create.extend(Engine::Docker.arguments(&[], &place.name, WORK));
    let id = Engine::Docker.run(&room, &create).stdout.trim().to_owned();
    let arguments = [
        "-n",
        "app",
        "--container",
        &id,
        "--",
        "docker",
        "start",
        "--attach",
        &id,
    ];
    let ended = place
        .spawn(Engine::Docker, &arguments.map(str::to_owned))
        .wait(&room);
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (7, "hello\na\n"),
        "{}",
        ended.stderr
    );
    let runs = place.runs();
    assert_eq!(names(&runs[0]), seen(&room, Engine::Docker));
}

/// The names that a profile allows.
fn allowed(profile: &Path) -> BTreeSet<String> {
    let text = fs::read(profile).unwrap_or_else(|error| panic!("{}: {error}", profile.display()));
    let profile: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap().iter();
    let allowed = rules.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
    let names = allowed.flat_map(|rule| rule["names"].as_array().unwrap());
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// A profile with the measured calls of a runtime: containers always start, and so do processes in them.
fn is_enough(engine: Engine, profile: &Path) {
    let room = Room::new();
    let place = Place::new(&room);
    let profiles = place.directory.join("profiles");
    fs::create_dir(&profiles).unwrap();
    fs::copy(profile, profiles.join("app.json")).unwrap();
    for _ in 0..5 {
        let ended = place.run_under_profile(engine, &[], WORK);
        assert_eq!(ended.code(), 7, "{}", ended.stderr);
    }
    let line = format!("{WAITS}; (exit 7)");
    let ended = place.run_under_profile(engine, &["--detach"], &line);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let id = running(engine, &room, &place.name);
    for command in ["cat /bin/busybox >/dev/null", "ls /tmp", "echo x >/tmp/x"] {
        let ended = engine.run(&room, &["exec", &id, "sh", "-c", command]);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
    let_go(init_of(engine, &room, &id));
    until("the container to be removed", || {
        engine.run(&room, &["inspect", &id]).code() != 0
    });
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"), program("runc"))]
fn a_recording_of_the_host_works_in_docker_with_the_calls_of_its_runtime() {
    let room = Room::new();
    let bundle = Bundle::new(&room, "runc");
    let line =
        format!("{WORK}; until [ -e /tmp/x ]; do sleep 0.01; echo x >/tmp/x; done; (exit 7)");
    let options = ["--runtime", "docker", "--exec", "--enosys-probes"];
    is_enough(
        Engine::Docker,
        &profile_from_host(&room, &bundle, &options, &line),
    );
    let options = ["--runtime", "podman", "--exec"];
    is_enough(
        Engine::PodmanCrun,
        &profile_from_host(&room, &bundle, &options, &line),
    );
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"), program("runc"))]
fn processes_start_in_a_container_under_a_profile_with_exec() {
    let room = Room::new();
    let place = Place::new(&room);
    let line =
        format!("{WORK}; until [ -e /tmp/x ]; do sleep 0.01; echo x >/tmp/x; done; (exit 7)");
    let ended = place.record(Engine::Docker, &[], &["--exec", "--policy", "safe"], &line);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    is_enough(Engine::Docker, &place.directory.join("profiles/app.json"));
}

/// What starts containers, in the order of the tables.
const NAMES: [(&str, Start); 6] = [
    ("Docker 20.10", Start::By(Engine::Docker)),
    ("Podman 4.3 with runc", Start::By(Engine::PodmanRunc)),
    ("Podman 4.3 with crun", Start::By(Engine::PodmanCrun)),
    ("containerd 1.6 (ctr)", Start::By(Engine::Ctr)),
    ("runc 1.1", Start::Runtime("runc")),
    ("crun 1.8", Start::Runtime("crun")),
];
