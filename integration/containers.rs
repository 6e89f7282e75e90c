//! Recordings of the agent, with containers of real runtimes.

pub(crate) mod baseline;
mod ends;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::bundle::Bundle;
use crate::support::process::{Room, Running, until};
use crate::support::programs::workload;
use crate::support::recorder::{Files, PROGRAM, Run};

/// A listening agent.
pub(crate) struct Agent {
    running: Running,
    socket: PathBuf,
    /// The directory for recordings and profiles.
    directory: PathBuf,
    errors: PathBuf,
}

impl Agent {
    pub(crate) fn start(room: &Room) -> Agent {
        Agent::start_with(room, &[])
    }

    pub(crate) fn start_with(room: &Room, options: &[&str]) -> Agent {
        Agent::start_at(room, room.fresh("s"), room.directory(), options)
    }

    fn start_at(room: &Room, socket: PathBuf, directory: PathBuf, options: &[&str]) -> Agent {
        let (output, errors) = (room.fresh("o"), room.fresh("e"));
        let mut command = Command::new(PROGRAM);
        command.current_dir(&directory).arg("agent");
        command.args(["--policy", "exact", "--socket"]).arg(&socket);
        command.args(options);
        let file = |path: &Path| File::create(path).unwrap();
        let running = room.spawn_on(&mut command, Stdio::null(), file(&output), file(&errors));
        let agent = Agent {
            running,
            socket,
            directory,
            errors,
        };
        until("the agent to listen", || {
            agent.errors().contains("listening at")
        });
        agent
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).unwrap()
    }

    /// The profile for containers to record.
    pub(crate) fn profile(&self, room: &Room, options: &[&str]) -> PathBuf {
        let profile = room.fresh("p");
        let mut print = Command::new(PROGRAM);
        print.args(["agent", "--print-profile", "--socket"]);
        print.arg(&self.socket).args(options);
        let ended = room.spawn(print.arg("-o").arg(&profile)).wait(room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        profile
    }

    pub(crate) fn file(&self, kind: &str, name: &str) -> PathBuf {
        self.directory.join(kind).join(format!("{name}.json"))
    }

    /// The runs of a name, once there are this many.
    pub(crate) fn runs(&self, name: &str, number: usize) -> Vec<Run> {
        let path = self.file("recordings", name);
        let runs = || {
            let text = std::fs::read(&path).unwrap_or_default();
            let file: Value = serde_json::from_slice(&text).unwrap_or_default();
            file["runs"].as_array().cloned().unwrap_or_default()
        };
        until("the containers to be recorded", || runs().len() >= number);
        let runs = runs();
        assert_eq!(runs.len(), number);
        runs.into_iter().map(Run).collect()
    }

    /// Its memory without the pages of files, in KiB. Those of its program come and go with the memory that the machine has left.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.pid()));
        let status = status.unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    }

    /// Ends it as Ctrl-C does, and returns its messages.
    pub(crate) fn interrupt(self, room: &Room) -> String {
        let (code, said) = self.end(room);
        assert_eq!(code, 0, "{said}");
        said
    }

    fn end(self, room: &Room) -> (i32, String) {
        self.running.signal(Signal::SIGINT);
        let errors = self.errors.clone();
        let ended = self.running.wait(room);
        assert!(!self.socket.exists());
        (ended.code(), std::fs::read_to_string(errors).unwrap())
    }
}

/// Runs a shell command in a container.
fn run(bundle: &Bundle<'_>, profile: &Path, line: &str) -> (i32, String, String) {
    let ended = bundle.run(profile, line);
    (ended.code(), ended.stdout, ended.stderr)
}

/// Why a run is incomplete, but for signals: the agent can be busy, so SIGCHLD, which shells handle without `SA_RESTART`, can come
/// before a call is taken.
fn because_but_for_signals(run: &Run) -> Vec<String> {
    let mut because = run.incomplete_because();
    because.retain(|why| !why.contains("signals interrupted calls before"));
    because
}

fn is_whole_but_for_signals(run: &Run) {
    assert_eq!(because_but_for_signals(run), [""; 0], "{}", run.0);
}

pub(crate) fn names(run: &Run) -> BTreeSet<String> {
    run.calls().keys().map(ToString::to_string).collect()
}

/// The names of a field of calls.
pub(crate) fn field(run: &Run, field: &str) -> BTreeSet<String> {
    let of_arch = &run.0[field]["x86_64"];
    let keys = of_arch
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys().cloned());
    let items = of_arch.as_array().into_iter().flatten();
    let items = items.map(|name| name.as_str().unwrap().to_owned());
    keys.chain(items).collect()
}

pub(crate) const WORK: &str =
    "mkdir -p /tmp/a; echo hello >/tmp/a/b; cat /tmp/a/b; ls /tmp; (exit 7)";

/// The calls of the same program outside of a container, recorded by the ptrace backend.
pub(crate) fn seen_by_ptrace(
    room: &Room,
    bundle: &Bundle<'_>,
    environment: &[&str],
) -> BTreeSet<String> {
    let files = Files::new(room);
    let files_of_it = bundle.root().display().to_string();
    let line = WORK.replace("/tmp", &room.directory().display().to_string());
    let mut record = files.command(&["-q", "--policy", "exact"]);
    record.args(["env", "-i", &format!("PATH={files_of_it}/bin")]);
    record
        .args(environment)
        .arg(format!("{files_of_it}/bin/sh"));
    record.args(["-c", &line]);
    let ended = room.spawn(&mut record).wait(room);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    // Only those of busybox, not of the shell that starts it.
    let busybox = format!("{files_of_it}/bin/busybox");
    let run = files.run();
    let calls = run.0["syscalls"]["x86_64"].as_object().unwrap();
    let by_busybox = calls.iter().filter(|(_, tally)| {
        let mut executables = tally["executables"].as_array().unwrap().iter();
        executables.any(|path| path == busybox.as_str())
    });
    by_busybox.map(|(name, _)| name.clone()).collect()
}

fn round_trip(runtime: &'static str, no_new_privileges: bool) {
    let room = Room::new();
    let agent = Agent::start(&room);
    let mut bundle = Bundle::new(&room, runtime);
    bundle.no_new_privileges = no_new_privileges;
    let recording_profile = agent.profile(&room, &["-n", "app", "--runtime", runtime]);
    // Under runc, whose filter lacks WAIT_KILLABLE_RECV, the shell's SIGCHLD can interrupt a call, and the run then says so.
    let tries = if runtime == "runc" { 10 } else { 1 };
    let complete = (1..=tries).find_map(|number| {
        let (code, stdout, stderr) = run(&bundle, &recording_profile, WORK);
        assert_eq!((code, stdout.as_str()), (7, "hello\na\n"), "{stderr}");
        let latest = agent.runs("app", number).pop()?;
        is_whole_but_for_signals(&latest);
        latest.incomplete_because().is_empty().then_some(latest)
    });
    let recorded = &complete.unwrap();
    assert_eq!(recorded.0["no_new_privs"], no_new_privileges);
    assert_eq!(recorded.0["program"], "/bin/busybox");
    assert_eq!(recorded.0["tasks"], 4);
    let labels = json!({"name": "app", "container": bundle.id, "runtime": runtime});
    assert_eq!(recorded.0["labels"], labels);

    let not_observed = field(recorded, "not_observed");
    let expected: &[&str] = match runtime {
        "runc" => &["futex", "rt_sigreturn", "write"],
        _ => &[],
    };
    assert!(not_observed.iter().eq(expected));
    let seen: BTreeSet<_> = &seen_by_ptrace(&room, &bundle, &[]) - &not_observed;
    assert_eq!(names(recorded), seen);

    let of_runtime = field(recorded, "runtime");
    assert!(
        of_runtime.contains("close") || of_runtime.contains("munmap"),
        "{of_runtime:?}"
    );
    let drops_privileges = ["setgroups", "setresuid"]
        .iter()
        .any(|&name| of_runtime.contains(name));
    assert_eq!(drops_privileges, !no_new_privileges, "{of_runtime:?}");

    // The threads of runc make varying calls before the program starts.
    let profile = agent.file("profiles", "app");
    let works = (0..6).any(|_| {
        run(&bundle, &recording_profile, WORK);
        let (code, stdout, _) = run(&bundle, &profile, WORK);
        code == 7 && stdout == "hello\na\n"
    });
    assert!(works, "{}", run(&bundle, &profile, WORK).2);
    let is_refused = (0..6).any(|_| {
        let (code, _, stderr) = run(&bundle, &profile, "unshare -m true && exit 7");
        code != 7 && stderr.contains("unshare(0x20000): Operation not permitted")
    });
    assert!(is_refused);

    let said = agent.interrupt(&room);
    let line = "not observed, so the profile allows it: futex, rt_sigreturn, write";
    assert_eq!(said.contains(line), runtime == "runc", "{said}");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("crun"), program("busybox"))]
fn the_agent_records_the_arguments_of_the_workload_and_not_of_the_runtime() {
    let room = Room::new();
    let agent = Agent::start_with(&room, &["--args"]);
    let bundle = Bundle::new(&room, "crun");
    let recording_profile = agent.profile(&room, &["-n", "app", "--runtime", "crun"]);
    let line = "echo hello >&2; unshare -n true && exit 7";
    for number in 1..=3 {
        let (code, _, stderr) = run(&bundle, &recording_profile, line);
        assert_eq!(code, 7, "{stderr}");
        let latest = agent.runs("app", number).pop().unwrap();
        let unshare = &latest.0["syscalls"]["x86_64"]["unshare"]["args"]["0"];
        assert_eq!(unshare["0x40000000"]["count"], 1, "{}", latest.0);
        assert_eq!(unshare.as_object().unwrap().len(), 1, "{unshare}");
    }
    let profile = agent.file("profiles", "app");
    let latest = agent.runs("app", 3).pop().unwrap();
    agent.interrupt(&room);
    let text = std::fs::read(&profile).unwrap();
    let rules: Value = serde_json::from_slice(&text).unwrap();
    let with_rule = |name: &str| {
        let mut rules = rules["syscalls"].as_array().unwrap().iter();
        rules.any(|rule| {
            let mut names = rule["names"].as_array().unwrap().iter();
            rule["args"].is_array() && names.any(|other| other == name)
        })
    };
    assert!(with_rule("unshare"), "{rules}");
    for name in field(&latest, "runtime") {
        assert!(!with_rule(&name), "{name}: {rules}");
    }
    let (code, _, stderr) = run(&bundle, &profile, line);
    assert_eq!(code, 7, "{stderr}");
    let (_, _, stderr) = run(&bundle, &profile, "unshare -m true");
    let refused = "unshare(0x20000): Operation not permitted";
    assert!(stderr.contains(refused), "{stderr}");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("runc"), program("busybox"))]
fn the_agents_exit_status_says_that_a_recording_could_not_be_written() {
    let room = Room::new();
    let agent = Agent::start(&room);
    let bundle = Bundle::new(&room, "runc");
    let profile = agent.profile(&room, &["-n", "app", "--runtime", "runc"]);
    // In the way of the file.
    std::fs::create_dir_all(agent.file("recordings", "app")).unwrap();
    let (code, _, stderr) = run(&bundle, &profile, "exit 7");
    assert_eq!(code, 7, "{stderr}");
    let (code, said) = agent.end(&room);
    assert!(
        said.contains(&format!("error: container {}", bundle.id)),
        "{said}"
    );
    assert_eq!(code, 2, "{said}");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("runc"), program("busybox"))]
fn a_container_of_runc_is_recorded_as_ptrace_sees_it_and_runs_under_its_profile() {
    round_trip("runc", true);
    round_trip("runc", false);
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("crun"), program("busybox"))]
fn a_container_of_crun_is_recorded_as_ptrace_sees_it_and_runs_under_its_profile() {
    round_trip("crun", true);
    round_trip("crun", false);
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("runc"), program("busybox"))]
fn a_hundred_containers_at_once_are_a_run_each() {
    let room = Room::new();
    let agent = Agent::start(&room);
    let profile = agent.profile(&room, &["-n", "many"]);
    let bundles: Vec<_> = (0..100).map(|_| Bundle::new(&room, "runc")).collect();
    // All wait for the same file, so that they run at the same time.
    let line = "until [ -e /dev/shm/go ]; do sleep 0.1; done; ls /bin >/dev/null; exit 7";
    let running: Vec<_> = bundles
        .iter()
        .map(|bundle| room.spawn(&mut bundle.command(&profile, line)))
        .collect();
    for bundle in &bundles {
        until("the container to run", || bundle.init(&room).is_some());
    }
    for bundle in &bundles {
        let init = bundle.init(&room).unwrap();
        let shm = format!("/proc/{init}/root/dev/shm");
        std::fs::create_dir_all(&shm).unwrap();
        File::create(format!("{shm}/go")).unwrap();
    }
    for running in running {
        let ended = running.wait(&room);
        assert_eq!(ended.code(), 7, "{}", ended.stderr);
    }
    let runs = agent.runs("many", 100);
    let ids: BTreeSet<_> = runs
        .iter()
        .map(|run| run.0["labels"]["container"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        ids,
        bundles.iter().map(|bundle| bundle.id.clone()).collect()
    );
    for run in &runs {
        is_whole_but_for_signals(run);
        assert!(names(run).contains("getdents64"), "{}", run.0);
        assert!(names(run).contains("exit_group"), "{}", run.0);
    }
    agent.interrupt(&room);
}

/// Without the flag `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, and the agent's care for children's exits, two thirds of the
/// signals or more made a call fail. busybox's shell could then not fork, or waited for ever with all signals blocked.
#[apply(test)]
#[needs(capability(SYS_ADMIN), program("crun"), program("busybox"))]
fn signals_of_children_do_not_interrupt_calls_under_crun() {
    let room = Room::new();
    let bundle = Bundle::new(&room, "crun");
    room.copy(
        &workload("child_signals"),
        &bundle.root().join("bin/child_signals"),
    );
    let agent = Agent::start(&room);
    let profile = agent.profile(&room, &["-n", "app", "--runtime", "crun"]);
    let (code, stdout, stderr) = run(&bundle, &profile, "child_signals");
    assert_eq!(code, 0, "{stderr}");
    let failed: u32 = stdout.trim().parse().unwrap();
    // A busy machine may let a few through.
    assert!(failed < 40, "{failed} of 200");
    let runs = agent.runs("app", 1);
    is_whole_but_for_signals(&runs[0]);
    assert!(runs[0].0["tasks"].as_u64().unwrap() > 200);
    agent.interrupt(&room);
}

/// `SC_RECORD_TEST_PROCESSES=15000` makes it take 30 seconds. The rate has room: it was 1,700.
#[apply(test)]
#[needs(
    capability(SYS_ADMIN),
    program("runc"),
    program("crun"),
    program("busybox")
)]
fn no_process_is_lost_at_500_per_second_and_the_agent_does_not_grow() {
    let rest =
        std::env::var("SC_RECORD_TEST_PROCESSES").map_or(2500_u32, |more| more.parse().unwrap());
    for runtime in ["runc", "crun"] {
        let room = Room::new();
        let agent = Agent::start(&room);
        let bundle = Bundle::new(&room, runtime);
        let profile = agent.profile(&room, &["-n", "app", "--runtime", runtime]);
        let line = "more() { while [ $i -lt $1 ]; do (exit 0); i=$((i + 1)); done; }; i=0; \
            more 1500; mkdir /tmp/a; until [ -e /tmp/go ]; do sleep 0.1; done; more $((1500 + REST)); exit 7";
        let line = line.replace("REST", &rest.to_string());
        let container = room.spawn(&mut bundle.command(&profile, &line));
        until("the first processes", || {
            bundle.root().join("tmp/a").exists()
        });
        let before = agent.memory();
        File::create(bundle.root().join("tmp/go")).unwrap();
        let begun = std::time::Instant::now();
        let ended = container.wait(&room);
        let seconds = begun.elapsed().as_secs_f64();
        assert_eq!((ended.code(), ended.stderr.as_str()), (7, ""));
        let after = agent.memory();
        let runs = agent.runs("app", 1);
        is_whole_but_for_signals(&runs[0]);
        let tasks = runs[0].0["tasks"].as_u64().unwrap();
        let forks: u64 = runs[0].0["syscalls"]["x86_64"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| ["clone", "fork", "vfork"].contains(&name.as_str()))
            .map(|(_, tally)| tally["count"].as_u64().unwrap())
            .sum();
        assert_eq!(tasks, forks + 1);
        assert!(tasks > u64::from(1500 + rest), "{tasks}");
        let rate = f64::from(rest) / seconds;
        eprintln!("{runtime}: {rate:.0} processes per second, {before} KiB, then {after} KiB");
        // Under crun, an exit costs three files of proc(5) more.
        assert!(rate >= 500.0 || runtime == "crun", "{rate} per second");
        assert!(
            after < before + 2048,
            "{runtime}: {before} KiB grew to {after} KiB"
        );
        agent.interrupt(&room);
    }
}
