use std::fs;

use proptest::prelude::*;

use super::*;
use crate::event::{Event, Sink, Task};
use crate::recording::{Earlier, RunBuilder, prepare, strategies, update};
use crate::syscall::Arch;

fn name() -> Name {
    "app".parse().unwrap()
}

/// A run with these calls.
fn run(calls: &BTreeSet<Syscall>) -> Run {
    let mut builder = RunBuilder::start("/bin/app".into(), "test");
    for &syscall in calls {
        let task = Task(1);
        builder.event(Event::Syscall {
            task,
            syscall,
            site: None,
        });
    }
    builder.finish(None, false)
}

/// The lines of a run whose calls come in batches.
fn lines(batches: &[BTreeSet<Syscall>]) -> Vec<Vec<u8>> {
    let id = RunId::new();
    let of_batch = |calls| {
        let run = Run { id, ..run(calls) };
        line(&Recording::of(name(), run))
    };
    batches.iter().map(of_batch).collect()
}

fn calls(recording: Option<&Recording>) -> BTreeSet<Syscall> {
    let runs = recording.into_iter().flat_map(|all| all.runs.values());
    runs.flat_map(|run| run.syscalls.keys().copied()).collect()
}

fn batches() -> impl Strategy<Value = Vec<BTreeSet<Syscall>>> {
    let batch = prop::collection::btree_set(strategies::syscall(), 1..5);
    prop::collection::vec(batch, 1..6)
}

proptest! {
    #[test]
    fn a_truncated_journal_has_the_calls_of_its_whole_lines(batches in batches(), at: prop::sample::Index) {
        let lines = lines(&batches);
        let text = lines.concat();
        let length = at.index(text.len() + 1);
        let mut expected = BTreeSet::new();
        let mut end = 0;
        for (line, batch) in lines.iter().zip(&batches) {
            end += line.len();
            if end <= length {
                expected.extend(batch);
            }
        }
        let parsed = parse(&text[..length]);
        prop_assert_eq!(calls(parsed.as_ref()), expected);
        for run in parsed.iter().flat_map(|all| all.runs.values()) {
            prop_assert_eq!(&run.incomplete_because, &BTreeSet::from([KILLED.to_owned()]));
        }
    }

    #[test]
    fn damage_to_a_line_loses_that_line_alone_and_invents_nothing(
        batches in batches(), at: prop::sample::Index, change in 1..=255_u8,
    ) {
        let lines = lines(&batches);
        let mut text = lines.concat();
        let at = at.index(text.len());
        text[at] ^= change;
        let parsed = calls(parse(&text).as_ref());
        let mut start = 0;
        let mut all = BTreeSet::new();
        for (index, (line, batch)) in lines.iter().zip(&batches).enumerate() {
            let end = start + line.len();
            // Without its newline, a line runs into the next.
            let before = start.checked_sub(1).filter(|_| index > 0);
            let is_hit = (start..end).contains(&at) || before == Some(at);
            prop_assert!(is_hit || batch.is_subset(&parsed));
            all.extend(batch);
            start = end;
        }
        prop_assert!(parsed.is_subset(&all));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        prop_assert_eq!(parse(&bytes), None);
    }
}

fn syscall(nr: i32) -> Syscall {
    let arch = Arch::X86_64;
    Syscall { arch, nr }
}

/// The names of the files beside a recording, itself included.
fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Journals a run with calls and one loss until they are on the disk.
fn journalled(place: &FilePlace) -> (Journal, RunBuilder) {
    let labels = BTreeMap::from([("shard".to_owned(), "1".to_owned())]);
    let journal = Journal::start(place, name(), labels).unwrap();
    let mut builder = RunBuilder::start("/bin/app".into(), "test").journalled(&journal);
    for nr in [1, 2, 1] {
        let (task, site) = (Task(1), None);
        let syscall = syscall(nr);
        builder.event(Event::Syscall {
            task,
            syscall,
            site,
        });
    }
    for _ in 0..2 {
        let why = "lost".to_owned();
        builder.event(Event::Lost { count: None, why });
    }
    let directory = place.path().parent().unwrap();
    let is_written = |name: &String| {
        name.ends_with(".journal") && fs::metadata(directory.join(name)).unwrap().len() > 0
    };
    while !files(directory).iter().any(is_written) {
        std::thread::yield_now();
    }
    (journal, builder)
}

#[test]
fn a_journal_is_removed_with_the_end_of_its_run_and_stays_if_the_run_is_not_saved() {
    let directory = tempfile::tempdir().unwrap();
    let place = FilePlace::find(&directory.path().join("app.json")).unwrap();
    let (journal, builder) = journalled(&place);
    let _ = builder.finish(None, false);
    assert!(journal.remove().is_none());
    assert_eq!(files(directory.path()), [""; 0]);

    let (journal, builder) = journalled(&place);
    let run = builder.finish(None, false);
    journal.keep();
    let prepared = prepare(&place, Earlier::Keep).unwrap();
    assert_eq!(prepared.recovered, [run.id]);
    assert_eq!(files(directory.path()), ["app.json"]);
    let recovered = &Recording::load(place.path()).unwrap().runs[&run.id];
    let tallies = recovered.syscalls.keys().copied();
    assert_eq!(tallies.collect::<Vec<_>>(), [syscall(1), syscall(2)]);
    let reasons = BTreeSet::from([KILLED.to_owned(), "lost".to_owned()]);
    assert_eq!(recovered.incomplete_because, reasons);
    assert_eq!(recovered.labels["shard"], "1");
    assert_eq!(recovered.started, run.started);
}

#[test]
fn a_journal_in_use_is_left_alone_and_one_of_a_saved_run_adds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = FilePlace::find(&directory.path().join("app.json")).unwrap();
    let (journal, builder) = journalled(&place);
    let prepared = prepare(&place, Earlier::Keep).unwrap();
    assert_eq!(prepared.recovered, []);
    assert_eq!(files(directory.path()).len(), 1);

    let run = builder.finish(None, false);
    let one = Recording::of(name(), run);
    let saved = update(&place, Earlier::Keep, |_| Ok(one)).unwrap();
    journal.keep();
    let prepared = prepare(&place, Earlier::Keep).unwrap();
    assert_eq!(prepared.recovered, []);
    assert_eq!(prepared.recording, Some(saved));
    assert_eq!(files(directory.path()), ["app.json"]);
}
