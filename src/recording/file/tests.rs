use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::recording::{Name, Run, RunBuilder, RunId};

fn name() -> Name {
    "app".parse().unwrap()
}

fn run() -> Run {
    RunBuilder::start("/bin/app".into(), "test").finish(None, false)
}

/// Adds a run as the record verb does.
fn add(path: &Path, run: Run) -> Result<Recording, FileError> {
    update(&FilePlace::find(path)?, Earlier::Keep, |old| match old {
        Some(old) => old.merge(Recording::of(name(), run)),
        None => Ok(Recording::of(name(), run)),
    })
}

/// The whole chain of an error, as the user sees it, with the directory taken out.
fn said(error: &FileError, directory: &tempfile::TempDir) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |e| e.source());
    let text = causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    text.replace(&*directory.path().to_string_lossy(), "DIR")
}

/// The names of all files of a directory.
fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

#[test]
fn a_run_is_added_to_those_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recordings/deep/app.json");
    let (first, second) = (run(), run());
    add(&path, first.clone()).unwrap();
    let added = add(&path, second.clone()).unwrap();
    let expect = BTreeMap::from([first, second].map(|run| (run.id, run)));
    assert_eq!(added.runs, expect);
    assert_eq!(Recording::load(&path).unwrap(), added);
    assert_eq!(files(path.parent().unwrap()), ["app.json"]);
}

#[test]
fn content_that_can_not_be_read_back_replaces_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.json");
    add(&path, run()).unwrap();
    let old = fs::read(&path).unwrap();
    let mut bad = run();
    bad.exit = Some(crate::event::Exit::Code(256));
    let error = add(&path, bad.clone()).unwrap_err();
    assert!(
        matches!(
            error,
            FileError::NotReadable {
                source: Some(_),
                ..
            }
        ),
        "{error}"
    );
    Recording::of(name(), bad).save(&path).unwrap_err();
    assert_eq!(fs::read(&path).unwrap(), old);
    assert_eq!(files(directory.path()), ["app.json"]);
}

#[test]
fn what_is_no_recording_is_refused_and_left_untouched() {
    let directory = tempfile::tempdir().unwrap();
    let check = |bytes: &[u8], expect: &str| {
        let path = directory.path().join("app.json");
        fs::write(&path, bytes).unwrap();
        let error = add(&path, run()).unwrap_err();
        assert_eq!(said(&error, &directory), expect);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(files(directory.path()), ["app.json"]);
    };
    check(b"", "DIR/app.json is empty");
    check(
        b"{\"schema\": 1,",
        "DIR/app.json:1:13: the file ends too early: EOF while parsing a value",
    );
    check(
        b"{\"schema\": 7, \"runs\": {}}",
        "DIR/app.json: its schema is 7, and this sc-record reads up to 3: a newer sc-record wrote it",
    );
    let other = Recording::of("other".parse().unwrap(), run()).render();
    check(
        &other,
        "can't add to DIR/app.json: they are recordings of different workloads: other and app",
    );
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error = add(directory.path(), run()).unwrap_err();
    assert_eq!(said(&error, &directory), "DIR is not a regular file");
    let error = add(Path::new("/dev/null"), run()).unwrap_err();
    assert_eq!(error.to_string(), "/dev/null is not a regular file");
    let error = Recording::load(directory.path()).unwrap_err();
    assert_eq!(
        said(&error, &directory),
        "can't read DIR: Is a directory (os error 21)"
    );
    let error = Recording::load(Path::new("/dev/zero")).unwrap_err();
    assert_eq!(error.to_string(), "/dev/zero is a device, not a recording");
    let error = Recording::load(&directory.path().join("none")).unwrap_err();
    assert_eq!(
        said(&error, &directory),
        "can't read DIR/none: No such file or directory (os error 2)"
    );
}

#[test]
fn a_fresh_start_keeps_the_old_file_beside_the_new() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.json");
    let fresh = |run| {
        update(&FilePlace::find(&path)?, Earlier::SetAside, |old| {
            assert_eq!(old, None);
            Ok(Recording::of(name(), run))
        })
    };
    fresh(run()).unwrap();
    assert_eq!(files(directory.path()), ["app.json"]);
    // Whatever it was: even what is no recording can be left behind.
    fs::write(&path, "not a recording").unwrap();
    let new = fresh(run()).unwrap();
    assert_eq!(files(directory.path()), ["app.json", "app.json.bak"]);
    let backup = fs::read_to_string(directory.path().join("app.json.bak")).unwrap();
    assert_eq!(backup, "not a recording");
    assert_eq!(Recording::load(&path).unwrap(), new);
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.json");
    let old = add(&path, run()).unwrap();
    let mut large = run();
    large.argv = Some(vec!["x".repeat(4 << 20).into()]);
    let error = add(&path, large.clone()).unwrap_err();
    let expect = "DIR/app.json would be larger than 4194304 bytes";
    assert_eq!(said(&error, &directory), expect);
    let error = Recording::of(name(), large).save(&path).unwrap_err();
    assert_eq!(said(&error, &directory), expect);
    assert_eq!(Recording::load(&path).unwrap(), old);
    assert_eq!(files(directory.path()), ["app.json"]);
}

#[test]
fn eight_writers_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.json");
    let mut ids: Vec<RunId> = thread::scope(|scope| {
        let writer = || -> Vec<RunId> {
            (0..20)
                .map(|_| {
                    let run = run();
                    let id = run.id;
                    add(&path, run).unwrap();
                    id
                })
                .collect()
        };
        let writers: Vec<_> = (0..8).map(|_| scope.spawn(writer)).collect();
        let ids = writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap());
        ids.collect()
    });
    ids.sort();
    let recording = Recording::load(&path).unwrap();
    assert_eq!(recording.runs.into_keys().collect::<Vec<_>>(), ids);
    assert_eq!(ids.len(), 160);
    assert_eq!(files(directory.path()), ["app.json"]);
}

/// Names the file that [`child_that_adds_runs_until_it_is_killed`] adds to.
const CHILD_PATH: &str = "SC_RECORD_TEST_FILE";

#[test]
fn child_that_adds_runs_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_PATH) else {
        return;
    };
    loop {
        add(Path::new(&path), run()).unwrap();
    }
}

#[test]
fn a_writer_that_is_killed_leaves_a_whole_file_and_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.json");
    let mut earlier = add(&path, run()).unwrap();
    for round in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "recording::file::tests::child_that_adds_runs_until_it_is_killed",
            ])
            .env(CHILD_PATH, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while Recording::load(&path).unwrap() == earlier {
            assert!(Instant::now() < deadline, "the child writes nothing");
        }
        // At another point of its loop in each round.
        thread::sleep(Duration::from_micros(round * 237));
        child.kill().unwrap();
        child.wait().unwrap();
        let now = Recording::load(&path).unwrap();
        assert!(earlier.runs.keys().all(|id| now.runs.contains_key(id)));
        // A lock that was left behind stops nobody, and is gone afterwards.
        earlier = add(&path, run()).unwrap();
        assert_eq!(earlier.runs.len(), now.runs.len() + 1);
        assert!(!files(directory.path()).contains(&".app.json.lock".to_owned()));
    }
}

#[test]
fn a_link_stays_a_link_and_the_mode_stays_the_mode() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("elsewhere/real.json");
    let link = directory.path().join("app.json");
    symlink("elsewhere/real.json", &link).unwrap();
    add(&link, run()).unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
    let owner = nix::unistd::geteuid().is_root().then_some(12345);
    std::os::unix::fs::chown(&target, owner, owner).unwrap();
    let added = add(&link, run()).unwrap();
    assert_eq!(
        fs::read_link(&link).unwrap(),
        Path::new("elsewhere/real.json")
    );
    assert_eq!(Recording::load(&target).unwrap(), added);
    let metadata = fs::metadata(&target).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o640);
    if let Some(owner) = owner {
        assert_eq!((metadata.uid(), metadata.gid()), (owner, owner));
    }
}

#[test]
fn a_new_file_has_the_mode_that_the_umask_leaves() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.json");
    let plain = directory.path().join("plain");
    fs::write(&plain, "").unwrap();
    add(&path, run()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode();
    assert_eq!(mode(&path), mode(&plain));
}
