//! The backend that counts in the kernel. Which calls it sees of the hard cases is in `workloads.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use sc_record::syscall::{Arch, Syscall};

use crate::support::process::{Room, Running, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM, Run};

const OPTIONS: &[&str] = &["-q", "--backend", "ebpf", "--policy", "exact"];

fn count(run: &Run, name: &str) -> u64 {
    let syscall = Syscall::from_name(Arch::X86_64, name).unwrap();
    run.calls().get(&syscall).copied().unwrap_or(0)
}

fn shell(room: &Room, script: &str) -> (Files, Run, String) {
    let files = Files::new(room);
    let ended = room.run(files.command(OPTIONS).args(["/bin/sh", "-c", script]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    (files, run, ended.stdout)
}

/// A process that waits for a file, makes two calls that nothing else here makes, and waits for another file.
fn caller(room: &Room) -> (Running, PathBuf, PathBuf) {
    let (go, stop) = (room.fresh("go"), room.fresh("stop"));
    let wait = |file: &PathBuf| format!("until [ -e {} ]; do sleep 0.02; done", file.display());
    let script = format!("{}; chroot /; nice true; {}", wait(&go), wait(&stop));
    let running = room.spawn(Command::new("/bin/sh").args(["-c", &script]));
    (running, go, stop)
}

/// Starts a recording of running processes, and waits until it counts.
fn start(room: &Room, files: &Files, target: &[&str]) -> Running {
    let mut recorder = Command::new(PROGRAM);
    recorder.args(["--backend", "ebpf", "--progress", "never"]);
    recorder.arg("-r").arg(&files.recording);
    recorder.arg("-o").arg(&files.profile).args(target);
    let recorder = room.spawn(&mut recorder);
    until("the recorder to count", || {
        recorder.stderr().contains("counting the calls")
    });
    recorder
}

#[apply(test)]
#[needs(ebpf())]
fn nothing_about_the_workload_changes() {
    let room = Room::new();
    let script = "grep -E '^(Seccomp|NoNewPrivs|TracerPid|Seccomp_filters)' /proc/self/status";
    let (_, _, printed) = shell(&room, script);
    let natively = room.run(Command::new("/bin/sh").args(["-c", script]));
    assert_eq!(printed, natively.stdout);
    assert!(printed.contains("TracerPid:\t0\n"), "{printed}");
}

#[apply(test)]
#[needs(ebpf(), program("strace"))]
fn a_tracer_works_inside() {
    let room = Room::new();
    let (_, run, _) = shell(&room, "strace -f -o /dev/null /bin/true");
    assert!(count(&run, "ptrace") > 0);
}

#[apply(test)]
#[needs(ebpf())]
fn executables_have_the_paths_that_proc_shows() {
    let room = Room::new();
    let directory = room.directory();
    let deep = directory.join("a/b".repeat(20));
    fs::create_dir_all(&deep).unwrap();
    let program = deep.join("program with a space");
    room.copy(&programs::workload("nolibc"), &program);
    let link = directory.join("link");
    std::os::unix::fs::symlink(&program, &link).unwrap();
    let files = Files::new(&room);
    let ended = room.run(files.command(OPTIONS).arg(&link));
    assert_eq!(ended.code(), 33, "{}", ended.stderr);
    let run = files.run();
    // The execve(2) that starts the command included.
    for (name, call) in run.0["syscalls"]["x86_64"].as_object().unwrap() {
        assert_eq!(call["executables"], serde_json::json!([program]), "{name}");
    }
}

/// 500 short processes per second for two seconds, or for `SC_RECORD_TEST_SECONDS`.
fn paced(room: &Room, backend: &str, command: fn(&Path) -> Command) -> (u64, Run) {
    let seconds = std::env::var("SC_RECORD_TEST_SECONDS").map_or(2, |text| text.parse().unwrap());
    let recorder = room.path().join("sc-record");
    room.copy(Path::new(PROGRAM), &recorder);
    let processes: u64 = 500 * seconds;
    let script = format!(
        "import os, time\nstart = time.monotonic()\nfor n in range({processes}):\n    \
         time.sleep(max(0, start + n / 500 - time.monotonic()))\n    \
         os.waitpid(os.posix_spawn('/bin/true', ['true'], {{}}), 0)"
    );
    let files = Files::new(room);
    std::os::unix::fs::chown(files.recording.parent().unwrap(), Some(65534), None).ok();
    let mut command = command(&recorder);
    files.arguments(
        &mut command,
        &["-q", "--policy", "exact", "--backend", backend],
    );
    let ended = room.run(command.args(["/usr/bin/python3", "-c", &script]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    (processes, run)
}

#[apply(test)]
#[needs(ebpf())]
fn five_hundred_processes_a_second_lose_nothing() {
    let room = Room::new();
    for backend in ["ebpf", "notify", "ptrace"] {
        let (processes, run) = paced(&room, backend, |recorder| Command::new(recorder));
        assert_eq!(count(&run, "execve"), processes + 1, "{backend}");
        assert_eq!(count(&run, "exit_group"), processes + 1, "{backend}");
    }
}

#[apply(test)]
#[needs(no_privileges())]
fn five_hundred_processes_a_second_lose_nothing_without_privileges() {
    let room = Room::new();
    for backend in ["notify", "ptrace"] {
        let (processes, run) = paced(&room, backend, |recorder| Room::as_nobody(recorder));
        assert_eq!(count(&run, "execve"), processes + 1, "{backend}");
        assert_eq!(count(&run, "exit_group"), processes + 1, "{backend}");
    }
}

#[apply(test)]
#[needs(ebpf())]
fn short_processes_are_all_counted() {
    let room = Room::new();
    let script = "i=0; while [ $i -lt 1500 ]; do /bin/true & i=$((i+1)); done; wait";
    let (_, run, _) = shell(&room, script);
    assert_eq!(count(&run, "execve"), 1501);
    assert_eq!(count(&run, "exit_group"), 1501);
}

#[apply(test)]
#[needs(ebpf())]
fn two_recordings_side_by_side_do_not_mix() {
    let room = Room::new();
    let recordings: Vec<(Files, Running)> = ["chroot_it", "nice_it"]
        .map(|which| {
            let files = Files::new(&room);
            let call = if which == "chroot_it" {
                "chroot /"
            } else {
                "nice -n 1"
            };
            let script = format!("for i in 1 2 3 4 5 6 7 8; do {call} /bin/true; sleep 0.05; done");
            let running = room.spawn(files.command(OPTIONS).args(["/bin/sh", "-c", &script]));
            (files, running)
        })
        .into();
    let counts = recordings.into_iter().map(|(files, running)| {
        let ended = running.wait(&room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let run = files.run();
        (count(&run, "chroot"), count(&run, "setpriority"))
    });
    assert_eq!(counts.collect::<Vec<_>>(), [(8, 0), (0, 8)]);
}

#[apply(test)]
#[needs(ebpf())]
fn a_daemon_is_recorded_to_its_end() {
    let room = Room::new();
    let file = room.fresh("f");
    let files = Files::new(&room);
    let daemon = programs::workload("daemon");
    let ended = room.run(files.command(OPTIONS).arg(daemon).arg(&file));
    assert_eq!(ended.code(), 4, "{}", ended.stderr);
    assert_eq!(count(&files.run(), "sched_get_priority_max"), 1);

    let files = Files::new(&room);
    let options = [OPTIONS, &["--until", "exit"]].concat();
    let script = "(sleep 0.5; chroot / true) & exit 3";
    let ended = room.run(files.command(&options).args(["/bin/sh", "-c", script]));
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    assert_eq!(count(&files.run(), "chroot"), 0);
}

#[apply(test)]
#[needs(ebpf())]
fn a_running_process_is_recorded_with_its_descendants() {
    let room = Room::new();
    let (running, go, stop) = caller(&room);
    let files = Files::new(&room);
    let recorder = start(&room, &files, &["-p", &running.pid().to_string()]);
    fs::write(go, "").unwrap();
    fs::write(stop, "").unwrap();
    assert_eq!(running.wait(&room).code(), 0);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!((count(&run, "chroot"), count(&run, "setpriority")), (1, 1));
}

#[apply(test)]
#[needs(ebpf())]
fn a_killed_recorder_leaves_the_workload_at_work() {
    let room = Room::new();
    let (go, done) = (room.fresh("go"), room.fresh("done"));
    let script = format!(
        "until [ -e {} ]; do sleep 0.02; done; /bin/true && echo done >{}",
        go.display(),
        done.display()
    );
    let files = Files::new(&room);
    let recorder = room.spawn(files.command(OPTIONS).args(["/bin/sh", "-c", &script]));
    let children = format!("/proc/{0}/task/{0}/children", recorder.pid());
    until("the workload to run", || {
        let children = fs::read_to_string(&children).unwrap_or_default();
        let child = children.split_whitespace().next().unwrap_or("none");
        fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|comm| comm == "sh\n")
    });
    let loaded = || {
        // One of another recorder can be gone by the time that it is asked for.
        let programs = aya::programs::loaded_programs().flatten();
        let mut ids = programs.map(|program| program.id()).collect::<Vec<_>>();
        ids.sort_unstable();
        ids
    };
    let with = loaded();
    recorder.signal(Signal::SIGKILL);
    fs::write(&go, "").unwrap();
    until("the workload to end", || {
        fs::read_to_string(&done).is_ok_and(|text| text == "done\n")
    });
    drop(recorder.wait(&room));
    // Other tests can have programs loaded: ids are not used again.
    until("the kernel to drop the programs", || {
        let left = loaded();
        with.iter().filter(|id| !left.contains(id)).count() >= 7
    });
}

/// What the verifier follows is most of the time until a recording begins.
#[apply(test)]
#[needs(ebpf())]
fn the_verifier_has_little_to_follow() {
    const MANY: u32 = 30_000;
    let room = Room::new();
    let (running, go, stop) = caller(&room);
    let files = Files::new(&room);
    let recorder = start(&room, &files, &["-p", &running.pid().to_string()]);
    // Those of other tests may be among them: they are the same.
    let followed = |name: &str| {
        let programs = aya::programs::loaded_programs().map(Result::unwrap);
        let mut named = programs.filter(|program| program.name_as_str() == Some(name));
        named.find_map(|program| program.verified_instruction_count())
    };
    for program in ["executed", "forked", "begin"] {
        // Linux 5.16 tells it.
        let count = followed(program).unwrap_or_default();
        assert!(count < MANY, "{program}: {count}");
    }
    fs::write(go, "").unwrap();
    fs::write(stop, "").unwrap();
    assert_eq!(running.wait(&room).code(), 0);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

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
    let script = format!(
        "echo $$ >{}; chroot / true",
        cgroup.0.join("cgroup.procs").display()
    );
    let entering = room.spawn(Command::new("/bin/sh").args(["-c", &script]));
    let ended = entering.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    fs::write(&go, "").unwrap();
    fs::write(&stop, "").unwrap();
    assert_eq!(member.wait(&room).code(), 0);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!((count(&run, "chroot"), count(&run, "setpriority")), (2, 1));
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

/// The recorder's message as nobody with these capabilities.
fn as_nobody_with(capabilities: &str) -> (i32, String) {
    let room = Room::new();
    let recorder = room.path().join("sc-record");
    room.copy(Path::new(PROGRAM), &recorder);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    if !capabilities.is_empty() {
        command.arg(format!("--inh-caps={capabilities}"));
        command.arg(format!("--ambient-caps={capabilities}"));
    }
    command
        .arg(&recorder)
        .args(["--backend", "ebpf", "-r", "none", "-o", "none", "/bin/true"]);
    let ended = room.run(&mut command);
    (ended.code(), ended.stderr)
}

#[apply(test)]
#[needs(ebpf(), capability(SETUID), capability(SETPCAP))]
fn missing_capabilities_are_named() {
    for (has, missing) in [
        ("", "CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN)"),
        ("+bpf", "CAP_PERFMON (or CAP_SYS_ADMIN)"),
        ("+perfmon", "CAP_BPF (or CAP_SYS_ADMIN)"),
    ] {
        let (code, stderr) = as_nobody_with(has);
        assert_eq!(code, 125, "{has}: {stderr}");
        let expected = format!("loading eBPF programs needs {missing}, which is missing");
        assert!(stderr.contains(&expected), "{has}: {stderr}");
    }
    for enough in ["+bpf,+perfmon", "+sys_admin"] {
        let (code, stderr) = as_nobody_with(enough);
        assert_eq!(code, 0, "{enough}: {stderr}");
    }
}

#[apply(test)]
#[needs(ebpf())]
fn where_the_programs_cannot_be_loaded_auto_takes_the_next_backend() {
    let room = Room::new();
    // A filter that lets the probe pass, which creates a map (0), and refuses to load programs (5).
    let profile = room.path().join("no-programs.json");
    let rule = r#"{"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}]}"#;
    let text = format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#);
    fs::write(&profile, text).unwrap();
    let (running, go, stop) = caller(&room);
    let files = Files::new(&room);
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg(&profile).arg("--").arg(PROGRAM);
    command
        .args(["--progress", "never", "-r"])
        .arg(&files.recording);
    command.args(["-o", "none", "-p", &running.pid().to_string()]);
    let recorder = room.spawn(&mut command);
    let tracer = format!("/proc/{}/status", running.pid());
    until("another backend to record", || {
        !fs::read_to_string(&tracer)
            .unwrap()
            .contains("TracerPid:\t0\n")
    });
    fs::write(go, "").unwrap();
    fs::write(stop, "").unwrap();
    assert_eq!(running.wait(&room).code(), 0);
    let ended = recorder.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let warning = "warning: ebpf failed to start, trying the next backend";
    assert!(ended.stderr.contains(warning), "{}", ended.stderr);
    assert_eq!(count(&files.run(), "chroot"), 1);
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
    let script = format!(
        "echo $$ >{}; exec {}",
        below.join("cgroup.procs").display(),
        threads.display()
    );
    // The others in the room run on.
    let entering = room.spawn(Command::new("/bin/sh").args(["-c", &script]));
    let ended = entering.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);

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
fn start_all(room: &Room, directory: &Path, options: &[&str]) -> Running {
    let program = directory.join("machine-recorder");
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
    let all = start_all(&room, &directory, &["--per", "cgroup"]);
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
    let recorder = start_all(&room, &directory, &[]);
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
        file["runs"][0]["syscalls"]["x86_64"]["write"]["count"].clone()
    };
    assert_eq!(
        (writes("machine-one"), writes("machine-two")),
        (2.into(), 1.into())
    );
    assert!(!directory.join("recordings/machine-recorder.json").exists());
}

#[apply(test)]
#[needs(ebpf(), io_uring())]
fn operations_of_io_uring_are_recorded_and_explained() {
    let room = Room::new();
    let files = Files::new(&room);
    let program = programs::workload("io_workers");
    let script = format!("echo x | {}", program.display());
    let options = ["--backend", "ebpf"];
    let ended = room.run(files.command(&options).args(["/bin/sh", "-c", &script]));
    let run = files.run();
    // One by io_uring_enter(2), one that a kernel thread submits.
    assert!(
        run.0["io_uring"]["IORING_OP_READ"].as_u64().unwrap() >= 1,
        "{}",
        run.0
    );
    assert!(
        ended.stderr.contains("io_uring carried out IORING_OP_"),
        "{}",
        ended.stderr
    );
    let check = |arguments: &[&str], expected: &str| {
        let mut command = Command::new(PROGRAM);
        command
            .args(&arguments[..1])
            .arg(&files.profile)
            .args(&arguments[1..]);
        let ended = room.run(command.arg("--recording").arg(&files.recording));
        assert!(ended.stdout.contains(expected), "{}", ended.stdout);
    };
    check(
        &["lint"],
        "io_uring_setup is allowed, and the workload submitted IORING_OP_",
    );
    check(
        &["explain", "io_uring_setup"],
        "which the workload submitted, go past seccomp",
    );

    // Other backends see that it is used.
    for backend in ["ptrace", "notify"] {
        let files = Files::new(&room);
        let ended = room.run(
            files
                .command(&["--backend", backend])
                .args(["/bin/sh", "-c", &script]),
        );
        assert!(
            ended.stderr.contains("io_uring was used"),
            "{backend}: {}",
            ended.stderr
        );
    }
}
