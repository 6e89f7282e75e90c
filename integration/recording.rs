//! What becomes of the recording's file when a run is recorded.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use sc_record::recording::Recording;

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
    fs::write(directory.join("r.json"), "{\"schema\": 3}").unwrap();
    let output = record(directory, "-r r.json -o none", "touch started");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(
        stderr(&output).contains("a newer sc-record wrote it"),
        "{output:?}"
    );
    assert!(!directory.join("started").exists());
    assert_eq!(
        fs::read(directory.join("r.json")).unwrap(),
        b"{\"schema\": 3}"
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
