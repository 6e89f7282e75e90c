//! Podman without root. A user namespace has no eBPF, so the hook records by seccomp notifications.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::hook::annotation;
use super::{WAITS, allowed};
use crate::containers::{WORK, seen_by_ptrace};
use crate::support::bundle::Bundle;
use crate::support::process::{Ended, Room, until};
use crate::support::recorder::PROGRAM;

/// Podman of the user nobody, with its files in a directory.
struct Podman<'a> {
    room: &'a Room,
    directory: PathBuf,
    runtime: &'static str,
}

impl<'a> Podman<'a> {
    fn new(room: &'a Room, runtime: &'static str) -> Podman<'a> {
        let directory = room.directory();
        let at = directory.display();
        let containers = format!(
            "[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             hooks_dir = [\"{at}/hooks.d\"]\n"
        );
        fs::write(directory.join("containers.conf"), containers).unwrap();
        fs::write(
            directory.join("storage.conf"),
            "[storage]\ndriver = \"vfs\"\n",
        )
        .unwrap();
        fs::create_dir(directory.join("hooks.d")).unwrap();
        let mut print = Command::new(PROGRAM);
        print.args(["hook", "--print-config", "--podman", "--runtime", runtime]);
        print.args(["--policy", "exact", "-o"]);
        let hook = directory.join("hooks.d/sc-record.json");
        assert_eq!(room.run(print.arg(&hook)).code(), 0);
        let podman = Podman {
            room,
            directory,
            runtime,
        };
        let tree = Bundle::new(room, "runc").root();
        let import = "tar --owner=0 --group=0 -C \"$1\" -c . | podman import -q - image";
        let made = podman.run_as_nobody(&["sh", "-c", import, "sh", tree.to_str().unwrap()]);
        assert_eq!(made.code(), 0, "{}", made.stderr);
        podman
    }

    fn run_as_nobody(&self, arguments: &[&str]) -> Ended {
        // crun refuses to run where both versions of cgroups are mounted. Podman keeps the namespaces of its first process.
        let version_1 =
            "if [ -e /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi; exec \"$@\"";
        let nobody = Room::as_nobody("env");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", version_1, "sh"]);
        command.arg(nobody.get_program()).args(nobody.get_args());
        for (variable, file) in [
            ("CONTAINERS_CONF", "containers.conf"),
            ("CONTAINERS_STORAGE_CONF", "storage.conf"),
            ("HOME", ""),
            ("XDG_RUNTIME_DIR", "run"),
        ] {
            command.arg(format!(
                "{variable}={}",
                self.directory.join(file).display()
            ));
        }
        self.room.spawn(command.args(arguments)).wait(self.room)
    }

    fn podman(&self, arguments: &[&str]) -> Ended {
        self.run_as_nobody(&[&["podman", "--runtime", self.runtime], arguments].concat())
    }

    /// Runs a shell command in a container.
    fn run(&self, options: &[&str], line: &str) -> Ended {
        let run = &["run", "--rm", "--network=none", "--name=it"][..];
        self.podman(&[run, options, &["image", "sh", "-c", line]].concat())
    }

    fn init(&self) -> String {
        let inspect = self.podman(&["inspect", "--format", "{{.State.Pid}}", "it"]);
        inspect.stdout.trim().to_owned()
    }
}

fn records(runtime: &'static str) {
    let room = Room::new();
    let podman = Podman::new(&room, runtime);
    let (profile, base) = (
        podman.directory.join("profile.json"),
        podman.directory.join("base.json"),
    );
    let chroot = "busybox chroot / true && exit 7";
    assert_eq!(podman.run(&[], chroot).code(), 7);

    let of = annotation(&format!("of:{}", profile.display()));
    let ended = podman.run(&[&of], WORK);
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (7, "hello\na\n"),
        "{}",
        ended.stderr
    );
    let names = allowed(&profile);
    let seen = seen_by_ptrace(&room, &Bundle::new(&room, "runc"), &["HOSTNAME=x"]);
    assert!(names.is_superset(&seen), "{names:?} {seen:?}");
    assert!(!names.contains("chroot"), "{names:?}");

    // The threads of runc make varying calls, so the calls of another run are added.
    let under = |profile: &Path, line| {
        let option = format!("--security-opt=seccomp={}", profile.display());
        podman.run(&[&option], line)
    };
    let works = (0..6).any(|_| {
        let ended = under(&profile, WORK);
        fs::copy(&profile, &base).unwrap();
        let both = format!("of:{};if:{}", profile.display(), base.display());
        assert_eq!(podman.run(&[&annotation(&both)], WORK).code(), 7);
        ended.code() == 7 && ended.stdout == "hello\na\n"
    });
    assert!(works);
    let is_refused = (0..6).any(|_| {
        let ended = under(&profile, chroot);
        ended.stderr.contains("Operation not permitted") && ended.code() != 7
    });
    assert!(is_refused);

    // What is executed in the container later is recorded too, and the profile is written when the container ends.
    fs::remove_file(&profile).unwrap();
    let started = podman.run(&[&of, "--detach"], WAITS);
    assert_eq!(started.code(), 0, "{}", started.stderr);
    let executed = podman.podman(&["exec", "it", "busybox", "sync"]);
    assert_eq!(executed.code(), 0, "{}", executed.stderr);
    assert!(!profile.exists());
    fs::write(format!("/proc/{}/root/tmp/go", podman.init()), "").unwrap();
    until("the profile to be written", || profile.exists());
    let names = allowed(&profile);
    assert!(names.contains("sync"), "{names:?}");

    // A container that can't start leaves nothing that keeps others from being recorded.
    let ended = podman.podman(&[
        "run",
        "--rm",
        "--network=none",
        &of,
        "image",
        "no-such-program",
    ]);
    assert_ne!(ended.code(), 0);
    assert_eq!(podman.run(&[&of], "busybox sync; exit 3").code(), 3);
    assert!(allowed(&profile).contains("sync"));
}

#[apply(test)]
#[needs(
    capability(SYS_ADMIN),
    program("podman"),
    program("runc"),
    program("busybox")
)]
fn the_hook_records_containers_of_rootless_podman_with_runc() {
    records("runc");
}

#[apply(test)]
#[needs(
    capability(SYS_ADMIN),
    program("podman"),
    program("crun"),
    program("busybox")
)]
fn the_hook_records_containers_of_rootless_podman_with_crun() {
    records("crun");
}
