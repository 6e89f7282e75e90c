//! The recording's file when a run is added.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use nix::mount::{MsFlags, mount, umount};
use sc_record::recording::Recording;

use crate::support::process::{Room, set_mode};
use crate::support::recorder::PROGRAM;

/// Records `sh -c SCRIPT` with these options in a directory. Temporary files go to that directory too.
fn record(directory: &Path, options: &str, script: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sc-record"))
        .args(options.split_whitespace())
        .args(["--", "sh", "-c", script])
        .current_dir(directory)
        .env("TMPDIR", directory)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[apply(test)]
fn each_run_is_added_and_a_fresh_start_keeps_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let runs = |path: &str| Recording::load(&directory.join(path)).unwrap().runs.len();
    for count in 1..=2 {
        let output = record(directory, "-q -n app --label shard=1", "exit 3");
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert_eq!(runs("recordings/app.json"), count);
    }
    let output = record(directory, "-q -n app --fresh", "exit 0");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(runs("recordings/app.json"), 1);
    assert_eq!(runs("recordings/app.json.bak"), 2);
    assert!(
        output.stdout.is_empty() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[apply(test)]
fn a_recording_that_takes_no_run_is_refused_before_the_workload_starts() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    fs::write(directory.join("r.json"), "{\"schema\": 4}").unwrap();
    let output = record(directory, "-r r.json -o none", "touch started");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(
        stderr(&output).contains("a newer sc-record wrote it"),
        "{output:?}"
    );
    assert!(!directory.join("started").exists());
    assert_eq!(
        fs::read(directory.join("r.json")).unwrap(),
        b"{\"schema\": 4}"
    );
}

#[apply(test)]
fn a_run_whose_recording_breaks_meanwhile_is_kept_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let output = record(directory, "-n app -r r.json -o none", "echo '{' > r.json");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(fs::read(directory.join("r.json")).unwrap(), b"{\n");
    let entries = fs::read_dir(directory).unwrap();
    let kept: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with("r.json"))
        .collect();
    let [kept] = &kept[..] else {
        panic!("{kept:?}")
    };
    assert_eq!(Recording::load(kept).unwrap().runs.len(), 1);
    assert!(
        stderr(&output).contains(&format!("the run is kept in {}", kept.display())),
        "{output:?}"
    );
}

/// The names of the files in a directory.
fn files(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// A file system of 64 KB, mounted until this is dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Small {
        let directory = tempfile::tempdir().unwrap();
        let tmpfs = Some("tmpfs");
        let size = Some("size=64k");
        mount(tmpfs, directory.path(), tmpfs, MsFlags::empty(), size).unwrap();
        Small(directory)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = umount(self.0.path());
    }
}

#[apply(test)]
#[needs(capability(SYS_ADMIN))]
fn a_full_disk_leaves_the_old_file_whole() {
    let small = Small::new();
    let directory = small.0.path();
    let file = directory.join("app.json");
    let record = |options: &str| {
        let output = Command::new(PROGRAM)
            .args(options.split_whitespace())
            .args(["-q", "-o", "none", "-r"])
            .arg(&file)
            .args(["--", "true"])
            .output();
        output.unwrap()
    };
    assert_eq!(record("").status.code(), Some(0));
    let old = fs::read(&file).unwrap();
    let full = fs::write(directory.join("filler"), vec![0; 1 << 20]).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    for options in ["", "--fresh"] {
        let output = record(options);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains("No space left on device"), "{said}");
        assert_eq!(fs::read(&file).unwrap(), old);
        let left = ["app.json", "filler"].map(str::to_owned);
        assert_eq!(files(directory), BTreeSet::from(left));
    }
    fs::remove_file(directory.join("filler")).unwrap();
    assert_eq!(record("").status.code(), Some(0));
    assert_eq!(Recording::load(&file).unwrap().runs.len(), 2);
}

#[apply(test)]
#[needs(no_privileges())]
fn a_read_only_directory_or_file_is_refused() {
    let room = Room::new();
    let recorder = room.path().join("sc-record");
    room.copy(Path::new(PROGRAM), &recorder);
    let directory = room.directory();
    let file = directory.join("app.json");
    let record = || {
        let mut command = Room::as_nobody(&recorder);
        command.args(["-q", "-o", "none", "-r"]).arg(&file);
        room.run(command.args(["--", "true"]))
    };
    assert_eq!(record().code(), 0);
    let old = fs::read(&file).unwrap();
    let refused = || {
        let ended = record();
        let said = format!("can't write {}: Permission denied", file.display());
        assert!(ended.stderr.contains(&said), "{}", ended.stderr);
        assert_eq!(ended.code(), 125, "{}", ended.stderr);
        assert_eq!(fs::read(&file).unwrap(), old);
        assert_eq!(files(&directory), BTreeSet::from(["app.json".to_owned()]));
    };
    set_mode(&directory, 0o555);
    refused();
    set_mode(&directory, 0o777);
    set_mode(&file, 0o444);
    refused();
}
