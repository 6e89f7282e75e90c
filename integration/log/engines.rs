//! From a container's log to its profile, with the engines that Docker, Podman, containerd and CRI-O start. The
//! container runs under an audit profile, the log becomes an allowlist, and the engine enforces it. A call that was not
//! seen is refused, then recorded, and then works.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::FlockArg;
use serde_json::{Value, json};

use super::follow::Follower;
use super::lock;
use crate::support::process::{Ended, Room};
use crate::support::recorder::PROGRAM;

/// An OCI bundle with busybox, and an engine to run it.
pub(crate) struct Container<'a> {
    room: &'a Room,
    engine: &'static str,
    pub(crate) bundle: PathBuf,
    pub(crate) id: String,
}

impl<'a> Container<'a> {
    pub(crate) fn new(room: &'a Room, engine: &'static str) -> Container<'a> {
        let bundle = room.directory();
        let files = bundle.join("rootfs");
        for directory in ["bin", "proc", "dev", "tmp"] {
            std::fs::create_dir_all(files.join(directory)).unwrap();
        }
        let busybox = files.join("bin/busybox");
        std::fs::copy("/bin/busybox", &busybox).unwrap();
        std::fs::set_permissions(&busybox, Permissions::from_mode(0o755)).unwrap();
        for program in ["sh", "cat", "ls", "mkdir", "unshare"] {
            symlink("busybox", files.join("bin").join(program)).unwrap();
        }
        Container {
            room,
            engine,
            bundle,
            id: format!("{engine}-of-the-tests-{}", std::process::id()),
        }
    }

    /// Runs a shell command in it, under a profile.
    pub(crate) fn run(&self, profile: &Path, line: &str) -> Ended {
        let profile: Value = serde_json::from_slice(&std::fs::read(profile).unwrap()).unwrap();
        // Without CAP_SYS_ADMIN the kernel would refuse unshare(2) by itself.
        let capabilities = json!(["CAP_SYS_ADMIN"]);
        let namespaces = ["pid", "mount", "ipc", "uts", "network"];
        let config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "process": {
                "args": ["/bin/sh", "-c", line],
                "cwd": "/",
                "env": ["PATH=/bin"],
                "user": {"uid": 0, "gid": 0},
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                },
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{}", self.id),
                "namespaces": namespaces.map(|kind| json!({"type": kind})),
                "seccomp": profile,
            },
        });
        std::fs::write(self.bundle.join("config.json"), config.to_string()).unwrap();
        // crun needs a single cgroup hierarchy: v2, as on current machines.
        let unified =
            "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", unified, "sh", self.engine, "--root"])
            .arg(self.room.path().join("state"))
            .args(["run", "--bundle"])
            .arg(&self.bundle)
            .arg(&self.id);
        self.room.run(&mut command)
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
        let follower = Follower::start(self.room, &["--container", &self.id]);
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
