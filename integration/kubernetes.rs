//! Profiles for Kubernetes, with the CRI that the kubelet uses: a profile comes from a recording to a pod.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::bundle::Bundle;
use crate::support::containerd::Containerd;
use crate::support::process::Room;
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
