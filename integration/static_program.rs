//! The program of `make static`, inside of containers whose images have no libc for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::bundle::Bundle;
use crate::support::engines::{Engine, IMAGE};
use crate::support::process::{Ended, Room};
use crate::support::recorder::PROGRAM;

/// Builds it, without optimization.
pub(crate) fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut build = Command::new("make");
        build
            .args(["static", "STATIC_PROFILE=dev"])
            .current_dir(root);
        let made = build.output().unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        root.join("target/static/sc-record")
    })
}

/// Runs it in a container of Docker, with more options of `docker run`.
fn in_docker(room: &Room, options: &[&str], image: &str, args: &[&str]) -> Ended {
    let volume = format!("{}:/sc-record:ro", program().display());
    let mut all = vec!["run", "--rm", "--network", "none", "-v", &volume];
    all.extend(options);
    all.extend([image, "/sc-record"]);
    all.extend(args);
    Engine::Docker.run(room, &all)
}

/// The names that a profile on stdout allows.
fn allowed(ended: &Ended) -> Vec<String> {
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let start = ended
        .stdout
        .find('{')
        .unwrap_or_else(|| panic!("no profile: {}", ended.stderr));
    let profile: Value = serde_json::from_str(&ended.stdout[start..]).unwrap();
    let rules = profile["syscalls"].as_array().unwrap().iter();
    let names = rules.flat_map(|rule| rule["names"].as_array().unwrap());
    names
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

const RECORD: [&str; 6] = ["-r", "none", "-o", "-", "--policy", "exact"];

#[apply(test)]
#[needs(program("dockerd"), program("busybox"))]
fn it_records_in_a_container_under_dockers_default_profile() {
    let room = Room::new();
    let work = ["--", "sh", "-c", "mkdir /dev/shm/a"];
    for options in [
        &[][..],
        &[
            "--cap-drop",
            "ALL",
            "--security-opt",
            "no-new-privileges",
            "--user",
            "65534",
        ],
    ] {
        let ended = in_docker(&room, options, IMAGE, &[&RECORD, &work[..]].concat());
        let names = allowed(&ended);
        assert!(
            names.iter().any(|name| name.starts_with("mkdir")),
            "{names:?}"
        );
    }

    // In an image without any file.
    let mut import = Engine::Docker.command("sh");
    import.args([
        "-c",
        "tar -c -T /dev/null | docker import - sc-record-empty",
    ]);
    let imported = room.spawn(&mut import).wait(&room);
    assert_eq!(imported.code(), 0, "{}", imported.stderr);
    let itself = ["--", "/sc-record", "--version"];
    let ended = in_docker(
        &room,
        &[],
        "sc-record-empty",
        &[&RECORD, &itself[..]].concat(),
    );
    assert!(allowed(&ended).contains(&"execve".to_owned()));
}

#[apply(test)]
#[needs(program("dockerd"), program("runc"), program("busybox"))]
fn it_names_the_right_that_a_container_lacks() {
    let room = Room::new();
    let profile = room.fresh("p");
    let refused = r#"{"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;
    std::fs::write(&profile, refused).unwrap();
    let option = format!("seccomp={}", profile.display());
    let args = [&RECORD[..], &["--", "true"]].concat();
    let ended = in_docker(&room, &["--security-opt", &option], IMAGE, &args);
    // Another backend records instead.
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("--cap-add SYS_PTRACE"),
        "{}",
        ended.stderr
    );
}

#[apply(test)]
#[needs(program("runc"), program("busybox"), cgroups())]
fn it_records_in_a_container_of_runc_under_dockers_default_profile() {
    let room = Room::new();
    let bundle = Bundle::new(&room, "runc");
    room.copy(program(), &bundle.root().join("sc-record"));
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/fixtures/published");
    let profile = room.fresh("p");
    let mut convert = Command::new(PROGRAM);
    convert.args(["convert", "-q", "-f", "oci", "--for-caps", "none", "-o"]);
    convert
        .arg(&profile)
        .arg(fixtures.join("docker/default.json"));
    let converted = room.spawn(&mut convert).wait(&room);
    assert_eq!(converted.code(), 0, "{}", converted.stderr);
    let line = format!("/sc-record {} -- ls /", RECORD.join(" "));
    let names = allowed(&bundle.run(&profile, &line));
    assert!(names.contains(&"execve".to_owned()), "{names:?}");
}
