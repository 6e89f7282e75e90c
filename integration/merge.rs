//! `sc-record merge`, as users call it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sc_record::recording::{Folded, Recording, Run, RunBuilder};

use crate::support::recordings;

fn run() -> Run {
    RunBuilder::start("/bin/app".into(), "test").finish(None, false)
}

/// Writes a recording into a directory.
fn recording(directory: &Path, file: &str, name: &str, runs: &[&Run]) -> PathBuf {
    let path = directory.join(file);
    let recording = Recording {
        name: name.parse().unwrap(),
        runs: runs.iter().map(|run| (run.id, (*run).clone())).collect(),
        folded: Folded::default(),
    };
    recording.save(&path).unwrap();
    path
}

/// Runs `sc-record merge` with these arguments in a directory.
fn merge(directory: &Path, args: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sc-record"))
        .arg("merge")
        .args(args.split_whitespace())
        .current_dir(directory)
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[apply(test)]
fn shards_in_any_order_give_the_same_bytes_and_stay_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let runs = [run(), run(), run()];
    let a = recording(directory, "a.json", "app", &[&runs[0], &runs[1]]);
    let b = recording(directory, "b.json", "app", &[&runs[1], &runs[2]]);
    let before = [fs::read(&a).unwrap(), fs::read(&b).unwrap()];

    let forth = merge(directory, "a.json b.json -o out/forth.json");
    assert!(forth.status.success(), "{forth:?}");
    assert_eq!(
        stderr(&forth),
        "sc-record: app: 3 runs from 2 files, 0 incomplete\n"
    );
    assert!(forth.stdout.is_empty());
    let back = merge(directory, "-q b.json a.json a.json");
    assert!(back.status.success() && back.stderr.is_empty(), "{back:?}");

    assert_eq!(
        fs::read(directory.join("out/forth.json")).unwrap(),
        back.stdout
    );
    assert_eq!(Recording::parse(&back.stdout).unwrap().runs.len(), 3);
    assert_eq!([fs::read(&a).unwrap(), fs::read(&b).unwrap()], before);
    assert_eq!(fs::read_dir(directory).unwrap().count(), 3);
}

#[apply(test)]
fn the_output_may_be_an_input() {
    let directory = tempfile::tempdir().unwrap();
    let runs = [run(), run()];
    let a = recording(directory.path(), "a.json", "app", &[&runs[0]]);
    recording(directory.path(), "b.json", "app", &[&runs[1]]);
    let output = merge(directory.path(), "a.json b.json -o a.json --json");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{\"folded\":0,\"incomplete\":0,\"inputs\":2,\"name\":\"app\",\"runs\":2}\n"
    );
    assert!(output.stderr.is_empty());
    assert_eq!(Recording::load(&a).unwrap().runs.len(), 2);
}

#[apply(test)]
fn incompatible_inputs_are_named_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let run = run();
    let mut changed = run.clone();
    changed.tasks = Some(9);
    recording(directory, "a.json", "app", &[&run]);
    recording(directory, "other.json", "other", &[&self::run()]);
    recording(directory, "changed.json", "app", &[&changed]);
    fs::write(directory.join("broken.json"), "{\"schema\": 1,\n").unwrap();
    fs::write(directory.join("newer.json"), "{\"schema\": 4}\n").unwrap();
    fs::write(directory.join("conflict.json"), "{\n<<<<<<< HEAD\n").unwrap();

    let check = |args: &str, expect: &str| {
        let output = merge(directory, args);
        let id = run.id.to_string();
        let stderr = stderr(&output).replace(&id, "ID");
        let shown = stderr.split(" at 2").next().unwrap_or_default();
        assert_eq!(shown.trim_end(), expect, "{args}");
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        assert!(!directory.join("out.json").exists());
    };
    check(
        "a.json other.json -o out.json",
        "sc-record: error: can't merge a.json and other.json: \
         they are recordings of different workloads: app and other\n  \
         hint: merge -n NAME gives them one name; generate -o FILE writes one profile for both",
    );
    check(
        "a.json changed.json -o out.json",
        "sc-record: error: can't merge a.json and changed.json: run ID of /bin/app",
    );
    check(
        "a.json broken.json -o out.json",
        "sc-record: error: broken.json:2:0: the file ends too early: EOF while parsing a value",
    );
    check(
        "newer.json",
        "sc-record: error: newer.json: its schema is 4, and this sc-record reads up to 3: a newer sc-record wrote it\n  \
         hint: use a newer sc-record",
    );
    check(
        "conflict.json",
        "sc-record: error: conflict.json:2: a merge conflict is unresolved\n  \
         hint: merge both sides: git show :2:./conflict.json >ours; git show :3:./conflict.json >theirs; \
         sc-record merge ours theirs -o conflict.json",
    );
    check(
        "absent.json -o out.json",
        "sc-record: error: can't read absent.json: No such file or directory (os error 2)",
    );
    check(
        "a.json --json",
        "sc-record: error: --json and the recording can't both go to stdout: use -o FILE",
    );

    let renamed = merge(directory, "a.json other.json -n both -o out.json");
    assert_eq!(
        stderr(&renamed),
        "sc-record: both: 2 runs from 2 files, 0 incomplete\n"
    );
}

#[apply(test)]
fn compaction_keeps_the_stats_and_adds_no_run_twice() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut runs: Vec<_> = (1..=60)
        .map(|number| recordings::run(number, &["read", "write@20", "close@600"]))
        .collect();
    runs[3] = recordings::run(4, &["read", "openat@40"]);
    runs[9] = recordings::run(10, &["read", "x86:open@1"]);
    recordings::recording(&folder.join("all.json"), &runs);
    recordings::recording(&folder.join("some.json"), &runs[20..40]);
    let stats = |file: &str| recordings::report(folder, &format!("stats --json {file}"));
    let before = stats("all.json");

    let output = merge(folder, "all.json --compact -o all.json");
    assert_eq!(
        stderr(&output),
        "sc-record: app: 60 runs (57 folded) from 1 file, 0 incomplete\n"
    );
    assert_eq!(stats("all.json"), before);
    let compacted = fs::read(folder.join("all.json")).unwrap();
    assert!(compacted.len() < 6000, "{}", compacted.len());

    // The output already has the runs of the older copy.
    let output = merge(folder, "all.json some.json --compact -o all.json --json");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{\"folded\":57,\"incomplete\":0,\"inputs\":2,\"name\":\"app\",\"runs\":60}\n"
    );
    assert_eq!(fs::read(folder.join("all.json")).unwrap(), compacted);
    recordings::sc_record(folder, "generate -q all.json -o app.json");
    let explained = recordings::report(folder, "explain app.json read --recording all.json").0;
    assert!(
        explained.contains("recorded at least 6 times in 60 runs"),
        "{explained}"
    );
}

#[apply(test)]
#[needs(program("bash"))]
fn a_closed_pipe_ends_it_quietly() {
    let directory = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (0..400).map(|_| run()).collect();
    let all: Vec<_> = runs.iter().collect();
    recording(directory.path(), "a.json", "app", &all);
    // More than a pipe holds. bash reports the status of each command.
    let script = format!(
        "{} merge a.json | head -c 1; echo \" ${{PIPESTATUS[0]}}\"",
        env!("CARGO_BIN_EXE_sc-record")
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{ 141\n");
    assert_eq!(stderr(&output), "");
}
