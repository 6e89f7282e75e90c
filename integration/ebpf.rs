//! The backend that counts in the kernel. Which calls it sees of the hard cases is in `workloads.rs`.

mod cgroups;
mod executables;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use sc_record::syscall::{Arch, Syscall};

use crate::support::machine;
use crate::support::process::{Room, Running, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM, Run};

const OPTIONS: &[&str] = &["-q", "--backend", "ebpf", "--policy", "exact"];

fn count(run: &Run, name: &str) -> u64 {
    let syscall = Syscall::from_name(Arch::NATIVE, name).unwrap();
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
    let script = format!("{}; chroot / true; nice true; {}", wait(&go), wait(&stop));
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
    for (name, call) in run.0["syscalls"][machine::NATIVE].as_object().unwrap() {
        assert_eq!(call["executables"], serde_json::json!([program]), "{name}");
    }
}

#[apply(test)]
#[needs(ebpf())]
fn a_renamed_executable_has_its_new_path() {
    let room = Room::new();
    let directory = room.directory();
    room.copy(&programs::workload("nolibc"), &directory.join("first"));
    let script = "./first; mv first second; ./second; exit 0";
    let files = Files::new(&room);
    let mut command = files.command(OPTIONS);
    command.args(["/bin/sh", "-c", script]);
    let ended = room.run(command.current_dir(&directory));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    let paths = ["first", "second"].map(|name| directory.join(name));
    let call = &run.0["syscalls"][machine::NATIVE]["exit"];
    assert_eq!(call["executables"], serde_json::json!(paths));
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
        &[
            "-q",
            "--no-patch",
            "--policy",
            "exact",
            "--backend",
            backend,
        ],
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
                "chroot / true"
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
    let go = room.fresh("g");
    let script = "(until [ -e $0 ]; do sleep 0.02; done; chroot / true) & exit 3";
    let mut command = files.command(&options);
    let command = command.args(["/bin/sh", "-c", script]).arg(&go);
    let ended = room.spawn(command).wait(&room);
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    fs::write(go, "").unwrap();
    room.wait_until_empty(command);
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
    // One is for the vsyscall page, which is x86-64's.
    let own = if cfg!(target_arch = "x86_64") { 7 } else { 6 };
    // Other tests can have programs loaded: ids are not used again.
    until("the kernel to drop the programs", || {
        let left = loaded();
        with.iter().filter(|id| !left.contains(id)).count() >= own
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
#[needs(ebpf(), capability(SYS_ADMIN))]
fn missing_type_information_is_named() {
    let room = Room::new();
    let mut command = Command::new("unshare");
    let hidden = "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"";
    command.args(["--mount", "sh", "-c", hidden, "sh", PROGRAM]);
    command.args(["--backend", "ebpf", "-r", "none", "-o", "none", "true"]);
    let ended = room.run(&mut command);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    let missing = "the kernel has no type information (BTF, /sys/kernel/btf/vmlinux)";
    assert!(ended.stderr.contains(missing), "{}", ended.stderr);
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
#[needs(ebpf(), io_uring(), tracepoint("io_uring/io_uring_submit_req"))]
fn operations_of_io_uring_are_recorded_and_explained() {
    let room = Room::new();
    let files = Files::new(&room);
    let script = uses_io_uring();
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
}

fn uses_io_uring() -> String {
    format!("echo x | {}", programs::workload("io_workers").display())
}

#[apply(test)]
#[needs(io_uring())]
fn other_backends_say_that_io_uring_was_used() {
    let room = Room::new();
    let script = uses_io_uring();
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
