//! A workload without the recorder and with each backend: the same behaviour, and the calls that its row states.

use std::process::Command;

use sc_record::syscall::Syscall;

use super::row::{Notify, Strace, UnderProfile, Workload};
use crate::support::process::{Ended, Room};
use crate::support::{Calls, machine, recorder, strace};

/// The behaviour of a workload without the recorder.
struct Natively<'a> {
    workload: &'a Workload,
    stdout: String,
    /// By strace, where that is a witness.
    calls: Calls,
}

impl Natively<'_> {
    fn of<'a>(workload: &'a Workload, room: &Room) -> Natively<'a> {
        machine::load_libraries_at_the_same_addresses();
        if workload.program == "known_places" {
            // It would start again where a random address is that of a window.
            machine::use_no_random_addresses();
        }
        let command = workload.command(room);
        let ended = room.run(Command::new(&command[0]).args(&command[1..]));
        let mut natively = Natively {
            workload,
            stdout: ended.stdout.clone(),
            calls: Calls::new(),
        };
        natively.behaves("natively", &ended);
        if workload.strace != Strace::Disturbs {
            let (ended, seen) = strace::run(room, &workload.command(room));
            natively.behaves("under strace", &ended);
            natively.calls = seen;
        }
        natively
    }

    fn behaves(&self, how: &str, ended: &Ended) {
        assert_eq!(
            (ended.code(), ended.stdout.as_str()),
            (self.workload.exit, self.stdout.as_str()),
            "{how}: {}",
            ended.stderr
        );
    }

    fn called(&self, how: &str, run: &recorder::Run) {
        let differences = self.workload.differences(&self.calls, &run.calls());
        assert!(
            differences.is_empty(),
            "{how}: other calls than were made:\n{}",
            differences.join("\n")
        );
    }
}

pub(super) fn check_ebpf(workload: &Workload) {
    let room = Room::new();
    let natively = Natively::of(workload, &room);
    let (ended, files) = record_with("ebpf", workload, &room);
    natively.behaves("counted", &ended);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    check_calls(workload, natively, &run);
}

pub(super) fn check_notify(workload: &Workload) {
    let room = Room::new();
    let natively = Natively::of(workload, &room);
    let (ended, files) = record_with("notify", workload, &room);
    let run = files.run();
    let words = match workload.notify {
        Notify::Sees => {
            natively.behaves("notified", &ended);
            assert_eq!(run.incomplete_because(), [""; 0]);
            return check_calls(workload, natively, &run);
        }
        Notify::MayMiss(_) if run.incomplete_because().is_empty() => {
            natively.behaves("notified", &ended);
            return check_calls(workload, natively, &run);
        }
        Notify::Misses(words) | Notify::MayMiss(words) => {
            natively.behaves("notified", &ended);
            words
        }
        Notify::Disturbs(code, words) => {
            assert_eq!(ended.code(), code, "{}", ended.stderr);
            words
        }
    };
    let why = run.incomplete_because();
    assert!(why.iter().any(|why| why.contains(words)), "{why:?}");
}

fn record_with(backend: &str, workload: &Workload, room: &Room) -> (Ended, recorder::Files) {
    let options = [
        "--quiet",
        "--no-patch",
        "--policy",
        "exact",
        "--skip-unnamed",
    ];
    let options = [&options[..], &["--backend", backend]].concat();
    recorder::record(room, &options, &workload.command(room))
}

fn check_calls(workload: &Workload, mut natively: Natively<'_>, run: &recorder::Run) {
    // It slows the workload so little that a wait may not be needed, as it always is under strace, or the reverse.
    let mut calls = run.calls();
    let varies = |call: &Syscall| workload.varies(*call);
    calls.retain(|call, _| !varies(call));
    natively.calls.retain(|call, _| !varies(call));
    let differences = workload.differences(&natively.calls, &calls);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// With calls that are made without a stop, the same behaviour, and the same calls of the same programs.
fn check_fast_path(natively: &Natively, room: &Room, when: &str, unpatched: &recorder::Run) {
    let how = format!("with the fast path {when}");
    let workload = natively.workload;
    let files = recorder::Files::new(room);
    let mut command = files.command(&["--quiet", "--patch", "--policy", "exact", "--skip-unnamed"]);
    command.env("SC_RECORD_TEST_FAST_PATH", when);
    let ended = room.run(command.args(workload.command(room)));
    natively.behaves(&how, &ended);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0], "{how}");
    assert_eq!(
        workload.tasks.and(run.0["tasks"].as_u64()),
        workload.tasks,
        "tasks, {how}"
    );
    let varies = |call: &Syscall| workload.varies(*call);
    // Of several programs, not all may make a call whose number varies.
    let callers = |run: &recorder::Run| -> Vec<_> {
        let callers = run.callers().into_iter();
        callers
            .map(|(call, by)| (call, if varies(&call) { Vec::new() } else { by }))
            .collect()
    };
    assert_eq!(callers(&run), callers(unpatched), "{how}");
}

pub(super) fn check(workload: &Workload) {
    let room = Room::new();
    let natively = Natively::of(workload, &room);
    let mut profile = None;
    for (how, stops) in [
        ("recorded", "--no-patch"),
        ("recorded without a filter", "--no-filter"),
    ] {
        let command = workload.command(&room);
        let options = ["--policy", "exact", "--skip-unnamed", stops];
        let (ended, files) = recorder::record(&room, &options, &command);
        natively.behaves(how, &ended);
        let run = files.run();
        if stops == "--no-filter" && workload.needs_filter {
            let [why] = &run.incomplete_because()[..] else {
                panic!("{how}: {:?}", run.incomplete_because());
            };
            assert!(why.contains("seen only by the recording filter"), "{why}");
            continue;
        }
        assert_eq!(run.incomplete_because(), [""; 0], "{how}");
        if let Some(tasks) = workload.tasks {
            assert_eq!(run.0["tasks"].as_u64(), Some(tasks), "tasks, {how}");
        }
        natively.called(how, &run);
        if profile.is_none() {
            let rounds = std::env::var("SC_RECORD_TEST_ROUNDS").ok();
            let rounds = rounds.map_or(1, |rounds| rounds.parse().unwrap());
            let at_random = std::iter::repeat_n("at random", rounds);
            let mut all = vec!["", "at once"];
            all.extend(at_random);
            if cfg!(not(target_arch = "x86_64")) {
                // Here it has no effect at any time.
                all.truncate(1);
            }
            for when in all {
                check_fast_path(&natively, &room, when, &run);
            }
        }
        profile.get_or_insert(files.profile);
    }

    let command = workload.command(&room);
    let mut enforced = Command::new(recorder::PROGRAM);
    enforced
        .arg("run")
        .arg(profile.unwrap())
        .arg("--")
        .args(&command);
    let ended = room.run(&mut enforced);
    match workload.under_profile {
        UnderProfile::Same => natively.behaves("under its profile", &ended),
        UnderProfile::Ends(code) => assert_eq!(ended.code(), code, "under its profile"),
    }
}
