//! From a container's log to its profile, with the engines that Docker, Podman, containerd and CRI-O start. The
//! container runs under an audit profile, the log becomes an allowlist, and the engine enforces it. A call that was not
//! seen is refused, then recorded, and then works.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::FlockArg;

use nix::sys::signal::Signal;

use super::follow::{Follower, made_profile};
use super::lock;
use crate::support::bundle::Bundle;
use crate::support::engines::{Engine, running};
use crate::support::process::{Ended, Room, Running, until};
use crate::support::recorder::PROGRAM;

/// A container, and its recording.
struct Container<'a> {
    room: &'a Room,
    bundle: Bundle<'a>,
}

impl<'a> Container<'a> {
    fn new(room: &'a Room, engine: &'static str) -> Container<'a> {
        let bundle = Bundle::new(room, engine);
        Container { room, bundle }
    }

    fn run(&self, profile: &Path, line: &str) -> Ended {
        self.bundle.run(profile, line)
    }

    /// The profile under which a command works, and its output. The threads of an engine written in Go make varying
    /// calls before the command starts, so the command is recorded many times, and again if that was not enough.
    fn enough(&self, audit: &Path, recording: &Path, line: &str) -> (PathBuf, String) {
        for _ in 0..4 {
            self.record(audit, recording, line);
            let profile = self.room.fresh("p");
            self.generate(recording, &profile, &[]);
            let ended = self.run(&profile, line);
            if ended.code() == 7 {
                return (profile, ended.stdout);
            }
        }
        panic!("{line} does not work under the profile of what it called");
    }

    /// Whether a command ends like this under a profile at least once: see above.
    fn can_end(&self, profile: &Path, line: &str, ends: impl Fn(&Ended) -> bool) -> bool {
        (0..4).any(|_| ends(&self.run(profile, line)))
    }

    /// Adds the logged calls of a command to a recording.
    fn record(&self, audit: &Path, recording: &Path, line: &str) {
        let follower = Follower::start(self.room, &["--container", &self.bundle.id]);
        for _ in 0..6 {
            let ended = self.run(audit, line);
            assert_eq!(ended.code(), 7, "{line}: {}", ended.stderr);
        }
        let files = follower.interrupt(self.room);
        let mut merge = Command::new(PROGRAM);
        merge.args(["merge", "-q", "-n", "container", "-o"]);
        merge.arg(recording).arg(&files.recording);
        if recording.exists() {
            merge.arg(recording);
        }
        assert_eq!(self.room.run(&mut merge).code(), 0);
    }

    fn generate(&self, recording: &Path, profile: &Path, options: &[&str]) {
        let mut generate = Command::new(PROGRAM);
        generate.args(["generate", "-q"]).args(options);
        generate.arg("-o").arg(profile).arg(recording);
        assert_eq!(self.room.run(&mut generate).code(), 0);
    }
}

const WORK: &str = "mkdir -p /tmp/a; echo hello >/tmp/a/b; cat /tmp/a/b; ls /tmp; (exit 7)";
const UNSHARE: &str = "unshare -m true && exit 7";

fn round_trip(engine: &'static str) {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let container = Container::new(&room, engine);
    let (audit, recording) = (room.fresh("p"), room.fresh("r"));
    let mut log_profile = Command::new(PROGRAM);
    room.run(log_profile.args(["log-profile", "-o"]).arg(&audit));

    let (profile, stdout) = container.enough(&audit, &recording, WORK);
    assert_eq!(stdout, "hello\na\n");

    let refused = |ended: &Ended| {
        assert_ne!(ended.code(), 7);
        ended
            .stderr
            .contains("unshare(0x20000): Operation not permitted")
    };
    assert!(container.can_end(&profile, UNSHARE, refused));

    container.generate(&recording, &audit, &["--audit"]);
    let (profile, _) = container.enough(&audit, &recording, UNSHARE);
    assert!(container.can_end(&profile, WORK, |ended| ended.code() == 7));
}

#[apply(test)]
#[needs(audit(), program("runc"), program("busybox"))]
fn a_container_of_runc_comes_from_its_log_to_its_profile() {
    round_trip("runc");
}

#[apply(test)]
#[needs(audit(), program("crun"), program("busybox"))]
fn a_container_of_crun_comes_from_its_log_to_its_profile() {
    round_trip("crun");
}

/// Waits until the file is there.
pub(super) const WAITS: &str = "until [ -e /tmp/x ]; do sleep 0.05; done";

/// Starts a container of Docker that runs a shell command.
pub(super) fn start(room: &Room, options: &[&str], name: &str, line: &str) -> String {
    let mut arguments = vec!["run".to_owned(), "--detach".to_owned()];
    arguments.extend(Engine::Docker.arguments(options, name, line));
    let started = Engine::Docker.run(room, &arguments);
    assert_eq!(started.code(), 0, "{}", started.stderr);
    running(Engine::Docker, room, name)
}

/// Ends a container that [`WAITS`].
pub(super) fn let_go(engine: Engine, room: &Room, id: &str) {
    let inspect = ["inspect", "--format", "{{.State.Pid}}", id];
    let init = engine.run(room, &inspect).stdout;
    fs::write(format!("/proc/{}/root/tmp/x", init.trim()), "").unwrap();
    until("the container to be removed", || {
        engine.run(room, &["inspect", id]).code() != 0
    });
}

/// Starts to follow records in a directory.
fn follow(room: &Room, directory: &Path, options: &[&str]) -> Running {
    let (socket, _) = Engine::Docker.socket(room);
    let mut command = Command::new(PROGRAM);
    command.env("DOCKER_HOST", format!("unix://{socket}"));
    let mut recorder = room.spawn(command.current_dir(directory).args(options));
    until("the recorder to follow", || {
        recorder.has_ended() || recorder.stderr().contains("following audit records")
    });
    assert!(!recorder.has_ended(), "{}", recorder.stderr());
    recorder
}

#[apply(test)]
#[needs(audit(), program("dockerd"), program("podman"))]
fn each_container_of_docker_with_a_label_gets_a_recording_of_its_records() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let directory = room.directory();
    let log = made_profile(&room, &["log-profile"]);
    let log = format!("--security-opt=seccomp={}", log.display());
    let unique = directory.display().to_string() + &std::process::id().to_string();
    let unique = unique.replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let label = format!("--label=of={unique}");
    let names = ["a", "b", "c"].map(|end| format!("{unique}{end}"));
    let selector = format!("label=of={unique}");
    let recorder = follow(
        &room,
        &directory,
        &["--log-mode", "--each", "--container", &selector],
    );
    for (name, line, options) in [
        (&names[0], "umask 7", &[log.as_str(), &label][..]),
        (&names[1], "kill -0 $$", &[&log, &label]),
        (&names[2], "umask 7", &[&log]),
    ] {
        let id = start(&room, options, name, &format!("{line}; {WAITS}"));
        let_go(Engine::Docker, &room, &id);
    }
    recorder.signal(Signal::SIGINT);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let files = fs::read_dir(directory.join("recordings")).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<_> = files
        .filter(|name| name.strip_suffix(".json").is_some())
        .collect();
    let expected = [&names[0], &names[1]].map(|name| format!("{name}.json"));
    assert_eq!(files, expected.clone().into(), "{}", ended.stderr);
    for (file, call, not) in [
        (&expected[0], "umask", "kill"),
        (&expected[1], "kill", "umask"),
    ] {
        let text = fs::read_to_string(directory.join("recordings").join(file)).unwrap();
        let has = |call: &str| text.contains(&format!("\"{call}\":"));
        assert!(has(call) && !has(not), "{file}: {text}");
    }
}
