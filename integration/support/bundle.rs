//! Containers of the low-level runtimes, without an engine and without an image.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::process::{Ended, Room};

/// An OCI bundle with busybox, and a runtime to run it.
pub(crate) struct Bundle<'a> {
    room: &'a Room,
    runtime: &'static str,
    pub(crate) directory: PathBuf,
    pub(crate) id: String,
    pub(crate) no_new_privileges: bool,
    pub(crate) annotations: Value,
}

impl<'a> Bundle<'a> {
    pub(crate) fn new(room: &'a Room, runtime: &'static str) -> Bundle<'a> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory = room.directory();
        let files = directory.join("rootfs");
        for directory in ["bin", "proc", "dev", "tmp"] {
            std::fs::create_dir_all(files.join(directory)).unwrap();
        }
        let busybox = files.join("bin/busybox");
        std::fs::copy("/bin/busybox", &busybox).unwrap();
        std::fs::set_permissions(&busybox, Permissions::from_mode(0o755)).unwrap();
        for program in ["sh", "cat", "ls", "mkdir", "unshare", "sleep", "true"] {
            symlink("busybox", files.join("bin").join(program)).unwrap();
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Bundle {
            room,
            runtime,
            directory,
            id: format!("{runtime}-of-the-tests-{}-{number}", std::process::id()),
            no_new_privileges: true,
            annotations: json!({}),
        }
    }

    /// Its root directory.
    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// Runs a shell command in it, under a profile.
    pub(crate) fn run(&self, profile: &Path, line: &str) -> Ended {
        // Other processes of the room keep running.
        self.room
            .spawn(&mut self.command(profile, line))
            .wait(self.room)
    }

    /// The command that runs a shell command in it, under a profile.
    pub(crate) fn command(&self, profile: &Path, line: &str) -> Command {
        self.start(&self.config(Some(profile), line))
    }

    /// The configuration of a container that runs a shell command under a profile, if any.
    pub(crate) fn config(&self, profile: Option<&Path>, line: &str) -> Value {
        let profile: Option<Value> =
            profile.map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
        // Without CAP_SYS_ADMIN, the kernel itself would refuse unshare(2).
        let capabilities = json!(["CAP_SYS_ADMIN"]);
        let namespaces = ["pid", "mount", "ipc", "uts", "network"];
        json!({
            "ociVersion": "1.0.2",
            "root": {"path": "rootfs"},
            "annotations": self.annotations,
            "process": {
                "args": ["/bin/sh", "-c", line],
                "cwd": "/",
                "env": ["PATH=/bin"],
                "user": {"uid": 0, "gid": 0},
                "noNewPrivileges": self.no_new_privileges,
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
        })
    }

    /// The command that runs a container of this configuration.
    pub(crate) fn start(&self, config: &Value) -> Command {
        std::fs::write(self.directory.join("config.json"), config.to_string()).unwrap();
        let mut command = self.runtime();
        command
            .args(["run", "--bundle"])
            .arg(&self.directory)
            .arg(&self.id);
        command
    }

    /// Its init, once its program runs.
    pub(crate) fn init(&self, room: &Room) -> Option<i32> {
        let ended = room
            .spawn(self.runtime().args(["state", &self.id]))
            .wait(room);
        let state: Value = serde_json::from_str(&ended.stdout).ok()?;
        let pid = i32::try_from(state["pid"].as_i64()?).ok()?;
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        program.ends_with("busybox").then_some(pid)
    }

    /// The runtime, without a verb yet.
    pub(crate) fn runtime(&self) -> Command {
        // crun needs a single cgroup hierarchy: v2, as on current machines.
        let unified =
            "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", unified, "sh", self.runtime, "--root"])
            .arg(self.room.path().join("state"));
        command
    }
}
