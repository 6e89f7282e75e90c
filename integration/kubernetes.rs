//! Profiles for Kubernetes, with the CRI that the kubelet uses: a profile comes from a recording to a pod.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::bundle::Bundle;
use crate::support::containerd::Containerd;
use crate::support::process::{Room, until};
use crate::support::recorder::{Files, PROGRAM};

const WORK: &str = "mkdir -p /tmp/a; echo hello >/tmp/a/b; cat /tmp/a/b; ls /tmp; exit 7";

/// Records the work on the host, with the image's busybox, and places its profile below the root of a kubelet. Returns
/// the path that the kubelet hands over: its root, and what the snippet for the pod says.
fn placed_profile(room: &Room, kubelet: &Path) -> PathBuf {
    let files = Files::new(room);
    let bin = Bundle::new(room, "runc").root().join("bin");
    let line = WORK.replace("/tmp", &room.directory().display().to_string());
    let mut record = files.command(&["-q", "-n", "app"]);
    let path = format!("PATH={}", bin.display());
    record.args(["env", "-i", &path]).arg(bin.join("sh"));
    record.args(["-c", &line]);
    assert_eq!(room.spawn(&mut record).wait(room).code(), 7);

    std::fs::create_dir_all(kubelet.join("profiles")).unwrap();
    let placed = kubelet.join("profiles/app.json");
    let sc_record = |args: &[&str], files: [&Path; 2]| {
        let mut command = Command::new(PROGRAM);
        command.args(args).arg("-o").args(files);
        let ended = room.spawn(&mut command).wait(room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    };
    sc_record(
        &["generate", "-q", "--runtime", "runc"],
        [&files.profile, &files.recording],
    );
    sc_record(
        &["convert", "-n", "app", "-f", "kubernetes"],
        [&placed, &files.profile],
    );
    let snippet = std::fs::read_to_string(kubelet.join("profiles/app.pod.yaml")).unwrap();
    let localhost = snippet
        .lines()
        .find_map(|line| line.trim().strip_prefix("localhostProfile: "));
    kubelet.join(localhost.unwrap())
}

#[apply(test)]
#[needs(
    program("containerd"),
    program("runc"),
    program("curl"),
    program("busybox"),
    cgroups()
)]
fn a_localhost_profile_from_convert_is_enforced_by_containerd() {
    let room = Room::new();
    let containerd = Containerd::start(&room);
    let kubelet = room.directory();
    let profile = placed_profile(&room, &kubelet);
    assert!(profile.exists());

    let pod = containerd.run_pod(Some(&profile), WORK).unwrap();
    assert_eq!((pod.code, pod.output.as_str()), (7, "hello\na\n"));

    // chmod(2) wasn't recorded.
    let chmod = "busybox chmod 777 /tmp && exit 7";
    let unconfined = containerd.run_pod(None, chmod).unwrap();
    assert_eq!(unconfined.code, 7, "{}", unconfined.output);
    let confined = containerd.run_pod(Some(&profile), chmod).unwrap();
    assert_eq!(confined.code, 1);
    assert!(
        confined.output.contains("Operation not permitted"),
        "{}",
        confined.output
    );

    let missing = containerd.run_pod(Some(&kubelet.join("profiles/other.json")), WORK);
    assert!(missing.is_err(), "the profile is what counts");
}

#[apply(test)]
#[needs(
    ebpf(),
    program("containerd"),
    program("runc"),
    program("curl"),
    program("busybox"),
    cgroups()
)]
fn the_containers_of_a_pod_are_recorded_by_its_name_and_no_others() {
    let room = Room::new();
    let containerd = Containerd::start(&room);
    let directory = room.directory();
    let mut recorder = Command::new(PROGRAM);
    recorder.args(["--each", "--policy", "exact", "--container"]);
    recorder.arg("pod=tests/recorded");
    recorder.env("CONTAINERD_ADDRESS", containerd.socket());
    let recorder = room.spawn(recorder.current_dir(&directory));
    until("the recorder to count", || {
        recorder
            .stderr()
            .contains("counting the calls of containers")
    });
    for (pod, line) in [
        ("other", "busybox sync; exit 7"),
        ("recorded", "busybox chroot / true; exit 7"),
    ] {
        let ended = containerd.run_pod_named(pod, None, line).unwrap();
        assert_eq!(ended.code, 7, "{}", ended.output);
    }
    recorder.signal(Signal::SIGINT);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let files = std::fs::read_dir(directory.join("recordings")).unwrap();
    let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: Vec<_> = files.filter(|name| name.ends_with("json")).collect();
    assert_eq!(files, ["c.json"], "{}", ended.stderr);
    let files = Files {
        recording: directory.join("recordings/c.json"),
        profile: directory.join("profiles/c.json"),
    };
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    let called = crate::containers::names(&run);
    assert!(called.contains("chroot"), "{called:?}");
    assert!(!called.contains("sync"), "{called:?}");
}
