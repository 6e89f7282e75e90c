//! Killed recorders: new calls are in a journal, which the next recorder adds.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use sc_record::recording::Recording;

use crate::support::process::Room;
use crate::support::programs;
use crate::support::recorder::Files;

mod power_loss;

/// The names of the files beside a recording, itself included.
fn beside(recording: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(recording.parent().unwrap()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// Kills a recorder after this time, and returns how many calls its journal had to contain, and did.
fn kill_one(program: &Path, after: Duration) -> usize {
    let room = Room::new();
    let files = Files::new(&room);
    let mut command = files.command(&["-q", "--skip-unnamed", "-n", "app", "--label", "shard=1"]);
    let running = room.spawn(command.arg(program));
    room.until("a call", || !running.stdout().is_empty());
    std::thread::sleep(after);
    let now = now();
    running.signal(Signal::SIGKILL);
    let killed = running.wait(&room);
    assert_eq!(killed.code(), 128 + 9);
    room.wait_until_empty(&command);

    let next = room.run(
        files
            .command(&["-q", "--skip-unnamed", "-n", "app"])
            .arg("true"),
    );
    assert_eq!(next.code(), 0, "{}", next.stderr);
    let left = ["recording.json", "profile.json"].map(str::to_owned);
    assert_eq!(beside(&files.recording), BTreeSet::from(left));
    let recording = Recording::load(&files.recording).unwrap();
    let found = assert_journalled(&killed.stdout, now, &recording);
    if found > 0 {
        let run = recording.runs.values().next().unwrap();
        assert_eq!(run.labels["shard"], "1");
    }
    found
}

/// The time of [`programs::workload`] `new_calls`.
fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}

/// Checks that the first run of a recording has all calls that `new_calls` made a second before `end`, and returns how many.
fn assert_journalled(printed: &str, end: Duration, recording: &Recording) -> usize {
    let old_enough = (printed.lines())
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(nr, ms)| Some((nr.parse::<i32>().ok()?, ms.parse::<u64>().ok()?)))
        .filter(|(_, ms)| Duration::from_millis(*ms) + Duration::from_secs(1) <= end);
    let known: BTreeSet<i32> = old_enough.map(|(nr, _)| nr).collect();
    if known.is_empty() {
        return 0;
    }
    assert_eq!(recording.runs.len(), 2);
    let run = recording.runs.values().next().unwrap();
    let reason = run.incomplete_because.first().unwrap();
    assert!(reason.starts_with("the recorder was killed"), "{reason}");
    let journalled: BTreeSet<i32> = run.syscalls.keys().map(|syscall| syscall.nr).collect();
    let missing: Vec<_> = known.difference(&journalled).collect();
    assert!(missing.is_empty(), "{missing:?} of {known:?}");
    known.len()
}

#[apply(test)]
fn calls_older_than_a_second_survive_forty_kills_at_random_moments() {
    /// How many recorders run at the same time.
    const AT_ONCE: u64 = 8;
    let program = programs::workload("new_calls");
    let seed = u64::from(std::process::id());
    let mut found = 0;
    for round in 0..40 / AT_ONCE {
        let kills = (0..AT_ONCE).map(|kill| {
            // Each time another moment of the 250 ms between two writes, mostly after the first second.
            let random = (seed + round * AT_ONCE + kill).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
            Duration::from_millis(900 + random % 1_500)
        });
        found += std::thread::scope(|scope| {
            let program = &program;
            let kills: Vec<_> = kills
                .map(|after| scope.spawn(move || kill_one(program, after)))
                .collect();
            let found = kills.into_iter().map(|kill| kill.join().unwrap());
            found.sum::<usize>()
        });
    }
    assert!(found > 0);
}

#[apply(test)]
fn no_journal_is_left_after_a_run_and_none_is_made_for_a_short_one() {
    let room = Room::new();
    // A short run has none that the workload could see. On a busy machine, one can be longer than a second.
    let mut files = Files::new(&room);
    room.until("a short run", || {
        files = Files::new(&room);
        let listing = files.recording.parent().unwrap();
        let begun = Instant::now();
        let mut command = files.command(&["-q", "--skip-unnamed", "-n", "app"]);
        let ended = room.run(command.args(["ls", "-A"]).arg(listing));
        let is_short = begun.elapsed() < Duration::from_secs(1);
        assert!(!is_short || ended.stdout.is_empty(), "{}", ended.stdout);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        is_short
    });
    let mut command = files.command(&["-q", "--skip-unnamed", "-n", "app"]);
    let running = room.spawn(command.arg(programs::workload("new_calls")));
    room.until("a journal", || {
        let is_journal = |name: &String| name.ends_with(".journal");
        beside(&files.recording).iter().any(is_journal)
    });
    // It is passed on to the workload, which ends.
    running.signal(Signal::SIGTERM);
    running.wait(&room);
    let left = ["recording.json", "profile.json"].map(str::to_owned);
    assert_eq!(beside(&files.recording), BTreeSet::from(left));
    assert_eq!(Recording::load(&files.recording).unwrap().runs.len(), 2);
}
