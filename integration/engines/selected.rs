//! Containers that are selected by what their engine knows, before they exist.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{Place, seen};
use crate::containers::{WORK, field, names};
use crate::support::engines::{Engine, IMAGE};
use crate::support::process::{Room, Running, until};
use crate::support::recorder::PROGRAM;

/// An engine, the place of the recordings, and the recorder that waits for its containers.
struct Waiting<'a> {
    room: &'a Room,
    place: Place<'a>,
    engine: Engine,
    service: Option<Running>,
    socket: String,
}

impl<'a> Waiting<'a> {
    fn new(room: &'a Room, engine: Engine) -> Waiting<'a> {
        let (socket, service) = engine.socket(room);
        Waiting {
            room,
            place: Place::new(room),
            engine,
            service,
            socket,
        }
    }

    /// Starts a recorder.
    fn recorder(&self, options: &[&str]) -> Running {
        let mut command = self.engine.command(PROGRAM);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket));
        command.current_dir(&self.place.directory).args(options);
        self.room.spawn(&mut command)
    }

    /// Starts a recorder, and waits until it records.
    fn ready(&self, options: &[&str]) -> Running {
        let mut recorder = self.recorder(options);
        until("the recorder to count", || {
            recorder.has_ended()
                || recorder
                    .stderr()
                    .contains("counting the calls of containers")
        });
        assert!(!recorder.has_ended(), "{}", recorder.stderr());
        recorder
    }

    /// Runs a container to its end.
    fn run(&self, options: &[&str], name: &str, line: &str) {
        let mut arguments = vec!["run".to_owned()];
        arguments.extend(self.engine.arguments(options, name, line));
        let ended = self.engine.run(self.room, &arguments);
        assert_eq!(ended.code(), 7, "{}", ended.stderr);
    }

    fn end(self) {
        if let Some(service) = self.service {
            service.signal(Signal::SIGTERM);
            service.wait(self.room);
        }
    }
}

/// A container is recorded from its start to its end, and no other.
fn by_name(engine: Engine) {
    let room = Room::new();
    let waiting = Waiting::new(&room, engine);
    let name = waiting.place.name.clone();
    let selector = format!("name={name}");
    let recorder = waiting.ready(&["-n", "app", "--container", &selector]);
    waiting.run(&[], &format!("{name}x"), "sync; (exit 7)");
    waiting.run(&[], &name, WORK);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let runs = waiting.place.runs();
    let [run] = &runs[..] else {
        panic!("{} runs: {}", runs.len(), ended.stderr)
    };
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!(names(run), seen(&room, engine));
    assert!(field(run, "runtime").contains("close"), "{}", run.0);
    waiting.end();
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_of_docker_is_selected_by_its_name_before_it_exists() {
    by_name(Engine::Docker);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_of_podman_is_selected_by_its_name_before_it_exists() {
    by_name(Engine::PodmanRunc);
}

/// Each container with a label gets a recording with its name, also one that runs already.
fn by_label(engine: Engine) {
    let room = Room::new();
    let waiting = Waiting::new(&room, engine);
    let name = waiting.place.name.clone();
    let label = format!("--label=of={name}");
    let [first, second, third, other] = ["a", "b", "c", "d"].map(|end| format!("{name}{end}"));
    let wait = "until [ -e /tmp/go ]; do sleep 0.05; done; (exit 7)";
    let mut detached = vec!["run".to_owned(), "--detach".to_owned()];
    detached.extend(engine.arguments(&[&label], &first, wait));
    assert_eq!(engine.run(&room, &detached).code(), 0);

    let selector = format!("label=of={name}");
    let recorder = waiting.ready(&["--each", "--policy", "exact", "--container", &selector]);
    waiting.run(&[&label], &second, "sync; (exit 7)");
    waiting.run(&[], &other, "sync; (exit 7)");
    waiting.run(&[&label], &third, "chroot / true; (exit 7)");
    // Podman asks for the status of what it executed when it has ended: the container must still be there.
    let touched = engine.run(&room, &["exec", &first, "touch", "/tmp/a"]);
    assert_eq!(touched.code(), 0, "{}", touched.stderr);
    let init = engine
        .run(&room, &["inspect", "-f", "{{.State.Pid}}", &first])
        .stdout;
    fs::write(format!("/proc/{}/root/tmp/go", init.trim()), "").unwrap();
    until("the first container to end", || {
        engine.run(&room, &["inspect", &first]).code() != 0
    });
    recorder.signal(Signal::SIGINT);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);

    let recordings = waiting.place.directory.join("recordings");
    let files = fs::read_dir(&recordings).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // Beside their locks.
    let files: BTreeSet<_> = files
        .filter(|name| name.strip_suffix(".json").is_some())
        .collect();
    let expected = [&first, &second, &third].map(|name| format!("{name}.json"));
    assert_eq!(files, expected.into(), "{}", ended.stderr);
    for (name, calls, not) in [
        (&first, "utimensat", "sync"),
        (&second, "sync", "chroot"),
        (&third, "chroot", "sync"),
    ] {
        let text = fs::read_to_string(recordings.join(format!("{name}.json"))).unwrap();
        let has = |call: &str| text.contains(&format!("\"{call}\":"));
        assert!(has(calls) && !has(not), "{name}: {text}");
    }
    waiting.end();
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn each_container_of_docker_with_a_label_gets_a_recording() {
    by_label(Engine::Docker);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn each_container_of_podman_with_a_label_gets_a_recording() {
    by_label(Engine::PodmanCrun);
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_container_of_an_image_is_recorded_while_a_command_starts_it() {
    let room = Room::new();
    let engine = Engine::Docker;
    let waiting = Waiting::new(&room, engine);
    let image = format!("{}:1", waiting.place.name.to_lowercase());
    assert_eq!(engine.run(&room, &["tag", IMAGE, &image]).code(), 0);
    let selector = format!("image={}", waiting.place.name.to_lowercase());
    let mut arguments = vec!["-n", "app", "--container", &selector, "--", "docker", "run"];
    let run = engine.arguments(&[], &waiting.place.name, WORK);
    arguments.extend(run.iter().map(|argument| {
        if argument == IMAGE {
            image.as_str()
        } else {
            argument.as_str()
        }
    }));
    let ended = waiting.recorder(&arguments).wait(&room);
    assert_eq!(engine.run(&room, &["rmi", &image]).code(), 0);
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (7, "hello\na\n"),
        "{}",
        ended.stderr
    );
    let runs = waiting.place.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!(names(&runs[0]), seen(&room, engine));
}

#[apply(test)]
#[needs(ebpf(), program("dockerd"), program("podman"))]
fn a_selector_that_no_container_has_is_an_error() {
    let room = Room::new();
    let waiting = Waiting::new(&room, Engine::Docker);
    let no = format!("name={}", waiting.place.name);
    let ended = waiting
        .recorder(&["--container", &no, "--", "true"])
        .wait(&room);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    let said = "no such container has run";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);

    // It is also said while the recorder waits.
    let recorder = waiting.ready(&["--container", &no]);
    until("the recorder to warn", || {
        let warning = format!("no container with {no} has run so far");
        recorder.stderr().contains(&warning)
    });
    recorder.signal(Signal::SIGINT);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(ended.stderr.contains(said), "{}", ended.stderr);

    let mut recorder = Command::new(PROGRAM);
    recorder.env(
        "DOCKER_HOST",
        format!("unix://{}", room.fresh("no").display()),
    );
    let ended = room.spawn(recorder.args(["--container", &no])).wait(&room);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(ended.stderr.contains("doesn't answer"), "{}", ended.stderr);
}
