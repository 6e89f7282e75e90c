//! Baselines: a recording of the host and the runtime's calls make a profile for containers.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::{WORK, run};
use crate::support::bundle::Bundle;
use crate::support::process::Room;
use crate::support::recorder::{Files, PROGRAM};

/// A profile of busybox's calls on the host, for a runtime.
pub(crate) fn profile_from_host(
    room: &Room,
    bundle: &Bundle<'_>,
    options: &[&str],
    line: &str,
) -> PathBuf {
    let (files, profile) = (Files::new(room), room.fresh("p"));
    let its_root = bundle.root().display().to_string();
    let line = line.replace("/tmp", &room.directory().display().to_string());
    let mut record = files.command(&["-q", "-n", "host"]);
    record.args(["env", "-i", &format!("PATH={its_root}/bin")]);
    record.args([&format!("{its_root}/bin/sh"), "-c", &line]);
    assert_eq!(room.spawn(&mut record).wait(room).code(), 7);
    let mut generate = Command::new(PROGRAM);
    generate.arg("generate").args(options).arg("-o");
    let ended = room
        .spawn(generate.arg(&profile).arg(&files.recording))
        .wait(room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    profile
}

fn works_with_its_baseline(runtime: &'static str) {
    let room = Room::new();
    let mut bundle = Bundle::new(&room, runtime);
    for no_new_privileges in [true, false] {
        bundle.no_new_privileges = no_new_privileges;
        let mut options = vec!["--runtime", runtime];
        options.extend(no_new_privileges.then_some("--no-new-privs"));
        let profile = profile_from_host(&room, &bundle, &options, WORK);
        for _ in 0..10 {
            let (code, stdout, stderr) = run(&bundle, &profile, WORK);
            assert_eq!((code, stdout.as_str()), (7, "hello\na\n"), "{stderr}");
        }
    }
    // Without the baseline, the runtime can't start the container.
    let alone = profile_from_host(&room, &bundle, &[], WORK);
    assert_ne!(run(&bundle, &alone, WORK).0, 7);

    let profile = profile_from_host(&room, &bundle, &["--runtime", runtime], WORK);
    let mut lint = Command::new(PROGRAM);
    lint.args(["lint", "--target", runtime]).arg(&profile);
    let ended = room.spawn(&mut lint).wait(&room);
    assert!(!ended.stdout.contains("SCR002"), "{}", ended.stdout);
    let mut lint = Command::new(PROGRAM);
    lint.args(["lint", "--target", runtime]).arg(&alone);
    let ended = room.spawn(&mut lint).wait(&room);
    assert!(ended.stdout.contains("SCR002"), "{}", ended.stdout);
    assert!(
        ended.stdout.contains("without no_new_privs"),
        "{}",
        ended.stdout
    );
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("runc"), program("busybox"))]
fn a_recording_of_the_host_and_the_baseline_of_runc_make_a_profile_that_works() {
    works_with_its_baseline("runc");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("crun"), program("busybox"))]
fn a_recording_of_the_host_and_the_baseline_of_crun_make_a_profile_that_works() {
    works_with_its_baseline("crun");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("runc"))]
fn a_baseline_is_measured_until_nothing_new_comes() {
    let room = Room::new();
    let directory = room.directory();
    for options in [&["--no-new-privs"][..], &["--exec", "--no-new-privs"]] {
        let mut baseline = Command::new(PROGRAM);
        baseline.args(["baseline", "--runtime", "runc", "--saturation", "5"]);
        baseline.args(options).arg("-o").arg(&directory);
        let ended = room.spawn(&mut baseline).wait(&room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    files.sort_by_key(std::fs::DirEntry::file_name);
    assert_eq!(files.len(), 2);
    for (file, exec) in files.iter().zip([true, false]) {
        let measured: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        assert_eq!(measured["exec"], exec);
        assert_eq!(measured["no_new_privs"], true);
        assert!(measured["runs"].as_u64().unwrap() >= 5);
        let calls = measured["syscalls"].as_object().unwrap();
        assert!(
            calls.contains_key("close") && !calls.contains_key("capset"),
            "{measured}"
        );
        let not_observed = json!(["futex", "rt_sigreturn", "write"]);
        assert_eq!(measured["not_observed"], not_observed);
    }
}
