//! Recordings of cgroups, containers and the whole machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::{caller, count, start};
use crate::support::machine;
use crate::support::process::{Room, Running, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// A directory of the hierarchy of version 2, or of one of version 1.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Cgroup {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let of = |kind: &str| {
            let mut mounts = mounts.lines().map(|line| line.split(' '));
            mounts.find_map(|mut fields| {
                let at = fields.nth(1)?;
                (fields.next() == Some(kind)).then(|| PathBuf::from(at))
            })
        };
        let root = of("cgroup2").or_else(|| of("cgroup")).unwrap();
        let directory = root.join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        Cgroup(directory)
    }

    fn name(&self) -> &str {
        self.0.file_name().unwrap().to_str().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its processes are the room's, and end with that.
        until("the cgroup to be empty", || fs::remove_dir(&self.0).is_ok());
    }
}

#[apply(test)]
#[needs(ebpf(), cgroups())]
fn a_container_is_what_its_cgroup_holds_and_nothing_else() {
    let cgroup = Cgroup::new("sc-record-test");
    let room = Room::new();
    let (member, go, stop) = caller(&room);
    let (other, other_go, other_stop) = caller(&room);
    fs::write(cgroup.0.join("cgroup.procs"), member.pid().to_string()).unwrap();
    let files = Files::new(&room);
    let recorder = start(&room, &files, &["--container", cgroup.name()]);

    fs::write(&other_go, "").unwrap();
    fs::write(&other_stop, "").unwrap();
    assert_eq!(other.wait(&room).code(), 0);
    // One that enters it later.
    run_in(&room, &cgroup.0, "chroot / true");
    fs::write(&go, "").unwrap();
    fs::write(&stop, "").unwrap();
    assert_eq!(member.wait(&room).code(), 0);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!((count(&run, "chroot"), count(&run, "setpriority")), (2, 1));
}

/// A program under a filter forks while the recording begins: its child is of the container, and no runtime that enters it.
#[apply(test)]
#[needs(ebpf(), cgroups())]
fn who_is_forked_while_the_recording_begins_is_no_runtime() {
    let cgroup = Cgroup::new("sc-record-forks");
    let room = Room::new();
    let (allows, stop) = (room.fresh("p"), room.fresh("stop"));
    fs::write(&allows, r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
    let script = format!(
        "echo $$ >{}; until [ -e {} ]; do (:); done",
        cgroup.0.join("cgroup.procs").display(),
        stop.display()
    );
    let mut filtered = Command::new(PROGRAM);
    filtered.arg("run").arg(&allows);
    let filtered = room.spawn(filtered.args(["--", "/bin/sh", "-c", &script]));
    let procs = cgroup.0.join("cgroup.procs");
    until("the program to enter the cgroup", || {
        !fs::read_to_string(&procs).unwrap().is_empty()
    });
    let files = Files::new(&room);
    let recorder = start(&room, &files, &["--container", cgroup.name()]);
    fs::write(&stop, "").unwrap();
    assert_eq!(filtered.wait(&room).code(), 0);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.0.get("runtime"), None, "{}", run.0);
    assert!(count(&run, "exit_group") > 0, "{}", run.0);
}

/// Runs a command of the shell in a cgroup. Other processes in the room run on.
fn run_in(room: &Room, cgroup: &Path, command: &str) {
    let script = format!(
        "echo $$ >{}; {command}",
        cgroup.join("cgroup.procs").display()
    );
    let entering = room.spawn(Command::new("/bin/sh").args(["-c", &script]));
    let ended = entering.wait(room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[apply(test)]
#[needs(ebpf())]
fn a_container_that_is_not_there_is_an_error() {
    let room = Room::new();
    let mut recorder = Command::new(PROGRAM);
    recorder.args(["--backend", "ebpf", "--container", "no-such-container"]);
    let ended = room.run(&mut recorder);
    assert_eq!(ended.code(), 125);
    assert!(
        ended
            .stderr
            .contains("there is no cgroup *no-such-container*"),
        "{}",
        ended.stderr
    );
}

#[apply(test)]
#[needs(ebpf(), cgroups())]
fn a_cgroup_is_recorded_with_those_below_it_until_tasks_leave() {
    let cgroup = Cgroup::new("sc-record-scope");
    let below = cgroup.0.join("below");
    fs::create_dir(&below).unwrap();
    let room = Room::new();
    let (member, go, stop) = caller(&room);
    fs::write(below.join("cgroup.procs"), member.pid().to_string()).unwrap();
    let (leaver, leaver_go, leaver_stop) = caller(&room);
    fs::write(cgroup.0.join("cgroup.procs"), leaver.pid().to_string()).unwrap();
    let files = Files::new(&room);
    let recorder = start(&room, &files, &["--cgroup", cgroup.0.to_str().unwrap()]);

    let outside = cgroup.0.parent().unwrap().join("cgroup.procs");
    fs::write(&outside, leaver.pid().to_string()).unwrap();
    fs::write(&leaver_go, "").unwrap();
    fs::write(&leaver_stop, "").unwrap();
    assert_eq!(leaver.wait(&room).code(), 0);

    let threads = programs::workload("threads_200");
    run_in(&room, &below, &format!("exec {}", threads.display()));

    fs::write(&go, "").unwrap();
    fs::write(&stop, "").unwrap();
    assert_eq!(member.wait(&room).code(), 0);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!((count(&run, "chroot"), count(&run, "setpriority")), (1, 1));
    // Those of the threads.
    assert_eq!(count(&run, "exit"), 200);
    fs::remove_dir(below).unwrap();
}

/// Starts a recording of the whole machine in a directory, and waits until it counts.
/// The recorder has a name of its own in each test, since they record one another.
fn start_all(room: &Room, directory: &Path, name: &str, options: &[&str]) -> Running {
    let program = directory.join(name);
    room.copy(Path::new(PROGRAM), &program);
    let mut recorder = Command::new(program);
    recorder.args(["--all", "--backend", "ebpf", "--progress", "never"]);
    recorder.arg("--skip-unnamed").args(options);
    let recorder = room.spawn(recorder.current_dir(directory));
    until("the recorder to count", || {
        recorder.stderr().contains("counting the calls")
    });
    recorder
}

#[apply(test)]
#[needs(ebpf(), cgroups_of_version_2())]
fn cgroups_side_by_side_do_not_mix() {
    let outer = Cgroup::new("sc-record-outer");
    let inner = Cgroup(outer.0.join("inner"));
    fs::create_dir(&inner.0).unwrap();
    let other = Cgroup::new("sc-record-other");
    let room = Room::new();
    let directory = room.directory();
    let all = start_all(&room, &directory, "cgroup-recorder", &["--per", "cgroup"]);
    let callers = [
        (&outer.0, "nice true"),
        (&inner.0, "chroot / true"),
        (&other.0, "chroot / true; chroot / true"),
    ];
    let callers = callers.map(|(cgroup, calls)| {
        let go = room.fresh("go");
        let script = format!(
            "until [ -e {} ]; do sleep 0.02; done; {calls}",
            go.display()
        );
        let running = room.spawn(Command::new("/bin/sh").args(["-c", &script]));
        fs::write(cgroup.join("cgroup.procs"), running.pid().to_string()).unwrap();
        (running, go)
    });
    let scopes = [&outer.0, &inner.0, &other.0].map(|cgroup| {
        let files = Files::new(&room);
        let recorder = start(&room, &files, &["--cgroup", cgroup.to_str().unwrap()]);
        (files, recorder)
    });
    for (caller, go) in callers {
        fs::write(go, "").unwrap();
        assert_eq!(caller.wait(&room).code(), 0);
    }

    let calls = |files: &Files| {
        let run = files.run();
        (count(&run, "setpriority"), count(&run, "chroot"))
    };
    let of_scopes = scopes.map(|(files, recorder)| {
        let ended = recorder.wait(&room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        calls(&files)
    });
    // The outer one with the one below it.
    assert_eq!(of_scopes, [(1, 1), (0, 1), (0, 2)]);

    all.signal(Signal::SIGINT);
    let ended = all.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let names = [
        outer.name().to_owned(),
        format!("{}-inner", outer.name()),
        other.name().to_owned(),
    ];
    let of_each = names.map(|name| {
        // The hierarchy may be mounted below its root.
        let files = fs::read_dir(directory.join("recordings")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        let end = format!("{name}.json");
        let recording = files.find(|file| file.to_str().unwrap().ends_with(&end));
        calls(&Files {
            recording: recording.expect(&ended.stderr),
            profile: PathBuf::new(),
        })
    });
    assert_eq!(of_each, [(1, 0), (0, 1), (0, 2)]);
}

#[apply(test)]
#[needs(ebpf())]
fn the_whole_machine_has_a_recording_for_each_executable() {
    let room = Room::new();
    let directory = room.directory();
    let (one, two) = (directory.join("machine-one"), directory.join("machine-two"));
    room.copy(&programs::workload("nolibc"), &one);
    room.copy(&programs::workload("nolibc"), &two);
    let recorder = start_all(&room, &directory, "machine-recorder", &[]);
    for program in [&one, &one, &two] {
        let running = room.spawn(&mut Command::new(program));
        assert_eq!(running.wait(&room).code(), 33);
    }
    recorder.signal(Signal::SIGINT);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let writes = |name: &str| {
        let recording = directory.join(format!("recordings/{name}.json"));
        let text = fs::read_to_string(recording).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        file["runs"][0]["syscalls"][machine::NATIVE]["write"]["count"].clone()
    };
    assert_eq!(
        (writes("machine-one"), writes("machine-two")),
        (2.into(), 1.into())
    );
    assert!(!directory.join("recordings/machine-recorder.json").exists());
}

/// The maps of the kernel have room for 32,768 cgroups, and for the calls of 180 containers like these.
#[apply(test)]
#[needs(architecture("x86_64"), ebpf(), cgroups(), program("unshare"))]
fn containers_that_have_ended_leave_room_for_others() {
    const CGROUPS: u32 = 34_000;
    const CONTAINERS: u32 = 250;
    let parent = Cgroup::new("sc-record-many");
    let room = Room::new();
    let directory = room.directory();
    let mut recorder = Command::new(PROGRAM);
    recorder.args(["--each", "--backend", "ebpf", "--progress", "never"]);
    recorder.arg("--skip-unnamed").current_dir(&directory);
    let recorder = room.spawn(&mut recorder);
    until("the recorder to count", || {
        recorder.stderr().contains("counting the calls")
    });
    let program = programs::workload("every_number");
    // A program in a mount namespace of its own is that of a container.
    let runs = format!("exec unshare --mount {}", program.display());
    let id = |number: u32| format!("{number:012x}{:052x}", std::process::id());
    for number in 0..CGROUPS {
        let cgroup = parent.0.join(id(number));
        fs::create_dir(&cgroup).unwrap();
        if number % (CGROUPS / CONTAINERS) == 0 {
            let (runs, status) = match number {
                0 => ("exec nice true", 0),
                _ => (runs.as_str(), 3),
            };
            let procs = cgroup.join("cgroup.procs");
            let script = format!("echo $$ >{}; {runs}", procs.display());
            let running = room.spawn(Command::new("/bin/sh").args(["-c", &script]));
            assert_eq!(running.wait(&room).code(), status);
        }
        until("the cgroup to be empty", || fs::remove_dir(&cgroup).is_ok());
    }
    recorder.signal(Signal::SIGINT);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = |number: u32| {
        let name = format!("{}.json", &id(number)[..12]);
        let files = Files {
            recording: directory.join("recordings").join(name),
            profile: PathBuf::new(),
        };
        files.run()
    };
    let first = run(0);
    assert_eq!(
        (count(&first, "setpriority"), count(&first, "chroot")),
        (1, 0)
    );
    for number in (0..CGROUPS)
        .step_by((CGROUPS / CONTAINERS) as usize)
        .skip(1)
    {
        let run = run(number);
        assert_eq!(run.incomplete_because(), [""; 0]);
        assert_eq!((count(&run, "setpriority"), count(&run, "chroot")), (1, 1));
    }
}
