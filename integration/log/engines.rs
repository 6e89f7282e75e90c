//! From a container's log to its profile, with the engines that Docker, Podman, containerd and CRI-O start. The
//! container runs under an audit profile, the log becomes an allowlist, and the engine enforces it. A call that was not
//! seen is refused, then recorded, and then works.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::FlockArg;

use super::follow::Follower;
use super::lock;
use crate::support::bundle::Bundle;
use crate::support::process::{Ended, Room};
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
