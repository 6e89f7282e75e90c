//! The program of `make static`, inside of containers whose images have no libc for it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::bundle::Bundle;
use crate::support::engines::{Engine, IMAGE};
use crate::support::process::{Ended, Room};
use crate::support::programs;
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

/// Gives Docker an image with these files.
fn import(room: &Room, tree: &Path, image: &str) {
    let mut import = Engine::Docker.command("sh");
    import.args(["-c", "tar -C \"$1\" -c . | docker import - \"$2\"", "sh"]);
    let imported = room.spawn(import.arg(tree).arg(image)).wait(room);
    assert_eq!(imported.code(), 0, "{}", imported.stderr);
}

/// The options of containers with the fewest rights.
const UNPRIVILEGED: [&str; 7] = [
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
    "--user",
    "65534",
    "--read-only",
];

#[apply(test)]
#[needs(program("dockerd"), program("busybox"))]
fn it_records_in_a_container_under_dockers_default_profile() {
    let room = Room::new();
    let work = ["--", "sh", "-c", "mkdir /dev/shm/a"];
    for options in [&[][..], &UNPRIVILEGED] {
        let ended = in_docker(&room, options, IMAGE, &[&RECORD, &work[..]].concat());
        let names = allowed(&ended);
        assert!(
            names.iter().any(|name| name.starts_with("mkdir")),
            "{names:?}"
        );
    }

    // In an image without any file.
    import(&room, &room.directory(), "sc-record-empty");
    let itself = ["--", "/sc-record", "--version"];
    let ended = in_docker(
        &room,
        &[],
        "sc-record-empty",
        &[&RECORD, &itself[..]].concat(),
    );
    assert!(allowed(&ended).contains(&"execve".to_owned()));
}

/// Records a workload in an image with nothing but this program and its libraries, as outside of containers.
fn records_in_an_image_of(workload: &str, libraries: &str, image: &str) {
    let room = Room::new();
    let tree = room.directory();
    room.copy(&programs::workload(workload), &tree.join("app"));
    let mut copy = Command::new("sh");
    copy.args(["-ec", &format!("cp -L --parents {libraries} ."), "sh"]);
    let copied = room.run(copy.arg(tree.join("app")).current_dir(&tree));
    assert_eq!(copied.code(), 0, "{}", copied.stderr);
    import(&room, &tree, image);

    // futex(2) depends on timing. Docker's profile lacks clone3(2), and the image a cache of libraries, which is unmapped.
    let names = |ended: &Ended| {
        let names = allowed(ended).into_iter();
        let varies = ["futex", "clone", "clone3", "munmap"];
        names
            .filter(|name| !varies.contains(&name.as_str()))
            .collect::<Vec<_>>()
    };
    let mut outside = Command::new(program());
    let outside = names(&room.run(outside.args(RECORD).arg("--").arg(tree.join("app"))));
    assert!(
        outside.contains(&"tgkill".to_owned()) || outside.contains(&"tkill".to_owned()),
        "{outside:?}"
    );
    for options in [&[][..], &UNPRIVILEGED] {
        let arguments = [&RECORD[..], &["--", "/app"]].concat();
        let inside = in_docker(&room, options, image, &arguments);
        assert_eq!(names(&inside), outside, "{}", inside.stderr);
    }
    let plain = in_docker(&room, &[], image, &["--", "/app"]);
    assert_eq!(plain.code(), 0, "{}", plain.stderr);
    let said = "recording recordings/app.json, profile profiles/app.json";
    assert!(plain.stderr.contains(said), "{}", plain.stderr);
}

#[apply(test)]
#[needs(program("dockerd"), workload("musl_cancel"), program("busybox"))]
fn it_records_in_an_image_with_musl() {
    records_in_an_image_of("musl_cancel", "/lib/ld-musl-*", "sc-record-musl");
}

#[apply(test)]
#[needs(program("dockerd"), program("busybox"))]
fn it_records_in_an_image_with_glibc_and_without_a_shell() {
    // pthread_cancel(3) loads libgcc_s, which is beside libc.
    let libraries = "$(ldd \"$1\" | grep -o '/[^ ]*' | sed -n 'p; s/c.so.6/gcc_s.so.1/p')";
    records_in_an_image_of("pthread_cancel", libraries, "sc-record-glibc");
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
