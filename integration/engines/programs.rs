//! Real programs in containers of each engine: the ways of recording them must agree, and the programs then work under their
//! profiles, which refuse other calls.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use super::hook::{Configured, annotation};
use super::table::Table;
use super::{NAMES, allowed};
use crate::containers::{Agent, field, names};
use crate::static_program;
use crate::support::container::{ALL, Container, Program, Start};
use crate::support::engines::Engine;
use crate::support::process::Room;
use crate::support::recorder::{PROGRAM, Run};

type Names = BTreeSet<String>;

/// How often what depends on timing is tried.
const ROUNDS: usize = 8;

/// What one way has recorded of a program, in all its runs.
struct Way {
    name: &'static str,
    record: fn(&Room, Start, &Program) -> Recorded,
    calls: Names,
    not_observed: Names,
    recordings: Vec<PathBuf>,
}

#[derive(Default)]
struct Recorded {
    calls: Names,
    not_observed: Names,
    recording: Option<PathBuf>,
}

/// `sc-record` is the first process of the container, and traces the program.
fn inside(room: &Room, start: Start, program: &Program) -> Recorded {
    let mut container = Container::new(room, start, program);
    room.copy(static_program::program(), &container.work.join("sc-record"));
    let wrapper = "/work/sc-record -q --args -r /work/inside.json -o none --";
    container.wrapper = wrapper.split(' ').map(str::to_owned).collect();
    container.run().unwrap();
    let recording = container.work.join("inside.json");
    let file: Value = serde_json::from_slice(&std::fs::read(&recording).unwrap()).unwrap();
    let run = Run(file["runs"][0].clone());
    assert_eq!(run.incomplete_because(), [""; 0]);
    Recorded {
        calls: names(&run),
        recording: Some(recording),
        ..Recorded::default()
    }
}

fn agent(room: &Room, start: Start, program: &Program) -> Recorded {
    for _ in 0..ROUNDS {
        let agent = Agent::start_with(room, &["--args"]);
        let mut container = Container::new(room, start, program);
        container.profile = Some(agent.profile(room, &["-n", "app", "--runtime", start.runtime()]));
        let ran = container.run();
        if let Err(error) = &ran {
            eprintln!("{error}");
        }
        let run = agent.runs("app", 1).remove(0);
        let recording = agent.file("recordings", "app");
        agent.interrupt(room);
        // Under runc 1.1, the signal of a child can make a call of the shell fail, which the run says.
        let is_interrupted = |why: &String| why.contains("handlers without SA_RESTART");
        if ran.is_err()
            && start.runtime() == "runc"
            && run.incomplete_because().iter().any(is_interrupted)
        {
            continue;
        }
        ran.unwrap();
        return Recorded {
            calls: names(&run),
            not_observed: field(&run, "not_observed"),
            recording: Some(recording),
        };
    }
    panic!("signals made {} fail {ROUNDS} times", program.name);
}

/// Its profile has the runtime's calls too.
fn hook(room: &Room, start: Start, program: &Program) -> Recorded {
    let _configured = Configured::new(room);
    let mut container = Container::new(room, start, program);
    let profile = container.work.join("hook.json");
    let of = annotation(&format!("of:{}", profile.display()));
    container.options.push(of);
    container.run().unwrap();
    Recorded {
        calls: allowed(&profile),
        ..Recorded::default()
    }
}

fn ways(start: Start, program: &Program) -> Vec<Way> {
    let way = |name, record| Way {
        name,
        record,
        calls: Names::new(),
        not_observed: Names::new(),
        recordings: Vec::new(),
    };
    let mut ways = vec![way("inside", inside)];
    // Signals of children interrupt the shell's open(2) of fifos before the agent takes it.
    let is_interrupted = program.name == "sqlite3";
    // Docker drops `listenerPath`.
    if start != Start::By(Engine::Docker) && !is_interrupted {
        ways.push(way("agent", agent));
    }
    if let Start::By(Engine::PodmanRunc | Engine::PodmanCrun) = start {
        ways.push(way("hook", hook));
    }
    ways
}

impl Way {
    fn record(&mut self, room: &Room, start: Start, program: &Program) {
        let recorded = (self.record)(room, start, program);
        self.calls.extend(recorded.calls);
        self.not_observed.extend(recorded.not_observed);
        self.recordings.extend(recorded.recording);
    }

    /// What it lacks of the program's calls.
    fn lacks(&self, calls: &Names) -> Names {
        // After a stop of the tracer, the kernel resumes a sleep with it.
        let known =
            |name: &&String| self.not_observed.contains(*name) || *name == "restart_syscall";
        calls
            .difference(&self.calls)
            .filter(|name| !known(name))
            .cloned()
            .collect()
    }
}

/// Records in each way until they agree: some calls of servers depend on timing.
fn agree(room: &Room, start: Start, program: &Program, ways: &mut [Way]) {
    let mut lack: Vec<_> = ways
        .iter()
        .map(|way| (way.name, Names::from(["all".to_owned()])))
        .collect();
    for _ in 0..ROUNDS {
        for (way, (_, lacks)) in ways.iter_mut().zip(&lack) {
            if !lacks.is_empty() {
                way.record(room, start, program);
            }
        }
        let with_recordings = ways.iter().filter(|way| !way.recordings.is_empty());
        let calls: Names = with_recordings.flat_map(|way| way.calls.clone()).collect();
        lack = ways
            .iter()
            .map(|way| (way.name, way.lacks(&calls)))
            .collect();
        if lack.iter().all(|(_, lacks)| lacks.is_empty()) {
            return;
        }
    }
    panic!(
        "{} in {start:?}: after {ROUNDS} rounds, these lack {lack:?}",
        program.name
    );
}

/// A profile of the recordings, with the calls of the container's runtime.
#[derive(Clone, Copy)]
struct Generated {
    /// `--args`
    rules: &'static str,
    no_new_privileges: bool,
}

impl Generated {
    fn write(self, room: &Room, start: Start, ways: &[Way]) -> PathBuf {
        let profile = room.fresh("p");
        let mut generate = Command::new(PROGRAM);
        generate.args(["generate", "--runtime", start.runtime(), "-o"]);
        generate.arg(&profile);
        generate.arg(format!("--args={}", self.rules));
        generate.args(self.no_new_privileges.then_some("--no-new-privs"));
        generate.args(recordings(ways));
        // The kernel gives each answer of the profile.
        let mut prove = Command::new(PROGRAM);
        prove.args(["inspect", "--prove"]).arg(&profile);
        for command in [&mut generate, &mut prove] {
            let ended = room.spawn(command).wait(room);
            assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
        }
        profile
    }

    /// A call of any way that the profile lacks.
    fn refused(self, profile: &Path, ways: &[Way]) -> Option<String> {
        let permitted = allowed(profile);
        // Where clone has rules, clone3 answers ENOSYS, and libraries call clone instead.
        let is_permitted = |call: &&String| {
            permitted.contains(*call) || (self.rules == "safe" && *call == "clone3")
        };
        let mut calls = ways.iter().flat_map(|way| &way.calls);
        calls.find(|call| !is_permitted(call)).cloned()
    }

    /// Runs the program under its profile, and then a program whose calls the profile must refuse.
    fn enforce(self, room: &Room, start: Start, program: &Program, ways: &mut [Way]) {
        let mut tries = 6;
        let container = loop {
            let mut container = Container::new(room, start, program);
            container.no_new_privileges = self.no_new_privileges;
            let profile = self.write(room, start, ways);
            let why = if let Some(call) = self.refused(&profile, ways) {
                format!("no recording has {call}")
            } else {
                container.profile = Some(profile);
                match container.run() {
                    Ok(()) => break container,
                    Err(why) => why,
                }
            };
            tries -= 1;
            assert!(tries > 0, "{} in {start:?}: {why}", program.name);
            // No run has made a call that depends on timing.
            eprintln!("{} in {start:?}: {} again: {why}", program.name, self.rules);
            ways[0].record(room, start, program);
        };
        let refused = ["mount", "unshare", "setns", "ptrace"];
        let mut expected = refused.map(|name| format!("{name}: EPERM\n")).concat();
        let mut arguments = vec![];
        if self.rules == "safe" {
            let internet = if program.uses_internet {
                "done"
            } else {
                "EPERM"
            };
            expected += "AF_ALG: EPERM\nclone CLONE_NEWUSER: EPERM\nunshare CLONE_NEWUSER: EPERM\n";
            expected += &format!("AF_INET: {internet}\n");
            arguments.push("arguments");
        }
        let injected = container.inject(&arguments);
        assert_eq!(
            injected.stdout,
            expected,
            "{} in {start:?}, status {}: {}",
            program.name,
            injected.code(),
            injected.stderr
        );
    }
}

fn recordings(ways: &[Way]) -> impl Iterator<Item = &PathBuf> {
    ways.iter().flat_map(|way| &way.recordings)
}

/// A cell of the table: the ways that agree.
fn cell(start: Start, program: &Program, no_new_privileges: &[bool]) -> String {
    let room = Room::new();
    let mut ways = ways(start, program);
    agree(&room, start, program, &mut ways);
    for no_new_privileges in no_new_privileges {
        for rules in ["off", "safe"] {
            // Rules need this many runs.
            while rules == "safe" && recordings(&ways).count() < 3 {
                ways[0].record(&room, start, program);
            }
            let profile = Generated {
                rules,
                no_new_privileges: *no_new_privileges,
            };
            profile.enforce(&room, start, program, &mut ways);
        }
    }
    let names = ways.iter().map(|way| {
        let mark = if way.not_observed.is_empty() {
            ""
        } else {
            "\\*"
        };
        format!("{}{mark}", way.name)
    });
    names.collect::<Vec<_>>().join(", ")
}

const TABLE: Table = Table([
    "<!-- programs: written by a test -->\n",
    "<!-- end of programs -->\n",
]);

/// The cells as the page has them.
fn written() -> Vec<Vec<String>> {
    let cells = |line: &str| {
        line.split('|')
            .map(|cell| cell.trim().to_owned())
            .skip(2)
            .take(NAMES.len())
            .collect()
    };
    TABLE.read().lines().skip(2).map(cells).collect()
}

fn write(table: &[Vec<String>]) {
    let heads = NAMES.map(|(name, _)| name).join(" | ");
    let rows = ALL
        .iter()
        .zip(table)
        .map(|(program, cells)| format!("| {} | {} |\n", program.name, cells.join(" | ")));
    TABLE.write(&format!(
        "| | {heads} |\n|{}\n{}",
        " --- |".repeat(NAMES.len() + 1),
        rows.collect::<String>()
    ));
}

/// Each program in one engine, and each engine with two programs at least. `make test-engines` tries all pairs, and writes them.
#[apply(test)]
#[needs(
    ebpf(),
    program("dockerd"),
    program("podman"),
    program("runc"),
    program("crun"),
    program("nginx"),
    program("redis-benchmark"),
    program("curl"),
    program("go"),
    program("objdump"),
    compat(),
    postgres()
)]
fn programs_are_recorded_alike_in_all_ways_and_work_under_their_profiles() {
    // Programs whose pairs are all tried.
    let chosen = std::env::var("SC_RECORD_TEST_ENGINES").unwrap_or_default();
    let has_all = !chosen.is_empty();
    let is_chosen =
        |name| !has_all || chosen == "all" || chosen.split(' ').any(|chosen| chosen == name);
    let mut table = written();
    table.resize(ALL.len(), vec![String::new(); NAMES.len()]);
    // Diagonals, the first of which has each program and each engine.
    for diagonal in 0..if has_all { NAMES.len() } else { 1 } {
        let rows = ALL.iter().enumerate();
        for (row, program) in rows.filter(|(_, program)| is_chosen(program.name)) {
            let column = (row + diagonal) % NAMES.len();
            let (engine, start) = NAMES[column];
            let begun = Instant::now();
            let no_new_privileges = if has_all {
                &[true, false][..]
            } else {
                &[row % 2 == 0]
            };
            let cell = cell(start, program, no_new_privileges);
            let seconds = begun.elapsed().as_secs_f64();
            eprintln!("{} in {engine}: {cell} ({seconds:.1} s)", program.name);
            if has_all && Table::are_written() {
                table[row][column] = cell;
                write(&table);
            } else {
                assert_eq!(
                    table[row][column], cell,
                    "{} in {engine}: make test-engines",
                    program.name
                );
            }
        }
    }
}
