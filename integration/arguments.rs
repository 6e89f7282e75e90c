//! `--args`: rules for arguments, from the recording to the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use sc_record::syscall::Arch;
use sc_record::syscall::arguments::CallArguments;
use serde_json::Value;

use crate::real::built;
use crate::support::kernel::Tracing;
use crate::support::machine;
use crate::support::process::{Ended, Room};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM, Run};

const REFUSED: &str = "Operation not permitted";

/// The profile of three runs that only make a thread and a socket.
fn recorded(room: &Room) -> (Files, PathBuf) {
    let files = Files::new(room);
    let program = programs::workload("arguments");
    for _ in 0..3 {
        let ended = room.run(files.command(&["--args"]).arg(&program));
        assert_eq!(
            (ended.code(), &*ended.stdout),
            (0, "AF_INET ok\n"),
            "{}",
            ended.stderr
        );
    }
    (files, program)
}

fn sc_record(room: &Room, args: &[&str], files: &[&PathBuf]) -> Ended {
    let mut command = Command::new(PROGRAM);
    room.run(command.args(args).args(files))
}

fn profile_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[apply(test)]
fn a_profile_allows_the_arguments_that_were_used_and_what_is_equal_to_them() {
    let room = Room::new();
    let (files, program) = recorded(&room);
    let mut command = Command::new(PROGRAM);
    command
        .arg("run")
        .arg(&files.profile)
        .arg("--")
        .arg(program)
        .arg("try");
    let ended = room.run(&mut command);
    let expected = format!(
        "AF_INET ok\nFIONBIO ok\nTIOCSTI {REFUSED}\nSOCK_CLOEXEC ok\nupper half ok\nAF_ALG {REFUSED}\nSOCK_RAW {REFUSED}\nW+X {REFUSED}\n\
         CLONE_NEWUSER {REFUSED}\n"
    );
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
}

#[apply(test)]
fn the_kernel_gives_each_answer_of_the_rules() {
    let room = Room::new();
    let (files, _) = recorded(&room);
    let proved = sc_record(&room, &["inspect", "--prove"], &[&files.profile]);
    assert_eq!(proved.code(), 0, "{}{}", proved.stdout, proved.stderr);
}

#[apply(test)]
fn without_enough_runs_safe_leaves_arguments_free_and_explain_says_so() {
    let room = Room::new();
    let files = Files::new(&room);
    let program = programs::workload("arguments");
    room.run(files.command(&["--args"]).arg(&program));
    let compared = |args: &[&str]| {
        let args = [&["generate", "-o", "-"], args].concat();
        let profile = profile_of(&sc_record(&room, &args, &[&files.recording]).stdout);
        let rules = profile["syscalls"].as_array().unwrap().clone();
        rules
            .iter()
            .filter(|rule| rule.get("args").is_some())
            .count()
    };
    assert_eq!(compared(&["--args"]), 0);
    assert_eq!(compared(&[]), 0);
    assert!(compared(&["--args=exact"]) > 0);
    let recording = files.recording.to_str().unwrap();
    let explained = sc_record(
        &room,
        &["explain", "--recording", recording],
        &[&files.profile],
    );
    let why = "  socket domain: a rule needs 3 runs with the call, not 1\n";
    assert!(explained.stdout.contains(why), "{}", explained.stdout);
}

#[apply(test)]
fn explain_names_the_values_and_the_rules() {
    let room = Room::new();
    let (files, _) = recorded(&room);
    let recording = files.recording.to_str().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(["explain", "--recording", recording])
        .arg(&files.profile)
        .arg("socket");
    let explained = room.run(&mut command).stdout;
    for line in [
        "socket: SCMP_ACT_ALLOW if domain == AF_INET and type == SOCK_STREAM and protocol == 0x0\n",
        "argument domain: AF_INET 3 times\n",
        "argument type: --args safe allows SOCK_STREAM\n",
    ] {
        assert!(explained.contains(line), "{explained}");
    }
    let all = sc_record(
        &room,
        &["explain", "--recording", recording],
        &[&files.profile],
    )
    .stdout;
    for part in [
        "clone3 answers ENOSYS under --args safe",
        " values of their arguments that have a name (",
    ] {
        assert!(all.contains(part), "{all}");
    }
    assert!(!all.contains("recorded, but not allowed"), "{all}");
}

#[apply(test)]
fn dangerous_values_are_warned_about_with_their_cve() {
    let room = Room::new();
    let files = Files::new(&room);
    let program = programs::workload("arguments");
    room.run(files.command(&["--args"]).arg(&program).arg("try"));
    let generated = sc_record(&room, &["generate", "-o", "none"], &[&files.recording]);
    for warning in [
        "dangerous: socket(AF_ALG, …) reaches the kernel's crypto code without privileges (CVE-2026-31431)\n",
        "dangerous: mmap(…, PROT_WRITE|PROT_EXEC, …) makes memory that is writable and executable\n",
        "dangerous: clone(SIGCHLD|CLONE_NEWUSER, …) gives all capabilities in a new user namespace (CVE-2022-0185)\n",
    ] {
        assert!(generated.stderr.contains(warning), "{}", generated.stderr);
    }
}

#[apply(test)]
fn log_mode_says_that_it_sees_no_arguments() {
    let room = Room::new();
    let files = Files::new(&room);
    let ended = room.run(files.command(&["--args", "--log-mode"]).arg("true"));
    assert_eq!(ended.code(), 125);
    let why = "log mode can't record arguments";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

#[apply(test)]
fn flags_of_files_are_recorded_on_request() {
    let room = Room::new();
    for (options, recorded) in [(&["--args"][..], false), (&["--args", "--all-args"], true)] {
        let files = Files::new(&room);
        room.run(files.command(options).arg("true"));
        let openat = &files.run().0["syscalls"][machine::NATIVE]["openat"];
        assert_eq!(openat["args"].is_object(), recorded, "{openat}");
    }
}

/// How often each value of each argument was recorded, by call and argument.
type Values = BTreeMap<String, BTreeMap<String, u64>>;

fn values_in(run: &Run, arch: &str) -> Values {
    let calls = run.0["syscalls"][arch].as_object().unwrap();
    let arguments = calls.iter().flat_map(|(name, call)| {
        let arguments = call["args"].as_object().into_iter().flatten();
        arguments.map(move |(register, values)| (format!("{name} {register}"), values))
    });
    let counts = arguments.map(|(argument, values)| {
        let values = values.as_object().unwrap().iter();
        let counts = values.map(|(value, seen)| (value.clone(), seen["count"].as_u64().unwrap()));
        (argument, counts.collect())
    });
    counts.collect()
}

/// Those of a program that needs no privileges.
fn values(room: &Room, backend: &str) -> Values {
    let files = Files::new(room);
    let mut command = files.command(&["--args", "-b", backend]);
    let program = programs::workload("arguments");
    let ended = room.run(command.arg(program).arg("try"));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let mut values = values_in(&files.run(), machine::NATIVE);
    // Its thread may end before it waits for it.
    values.remove("futex 1");
    values
}

/// With `--patch`, calls whose arguments are recorded stop each time.
#[apply(test)]
#[needs(architecture("x86_64"))]
fn known_calls_have_all_their_arguments() {
    let room = Room::new();
    let script = "import fcntl, os\nfor n in range(300):\n    os.getppid()\n    \
         fcntl.fcntl(0, fcntl.F_GETFL if n % 3 else fcntl.F_GETLEASE)";
    let files = Files::new(&room);
    let mut command = files.command(&["--args", "--patch"]);
    command.env("SC_RECORD_TEST_FAST_PATH", "at once");
    let ended = room.run(command.args(["/usr/bin/python3", "-I", "-c", script]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    let count = |call: &str| run.0["syscalls"]["x86_64"][call]["count"].as_u64();
    assert!(count("getppid") < Some(300), "no call was patched");
    let operations = &values_in(&run, "x86_64")["fcntl 1"];
    let (flags, lease) = (libc::F_GETFL, libc::F_GETLEASE);
    for (operation, times) in [(flags, 200), (lease, 100)] {
        assert_eq!(operations[&format!("{operation:#x}")], times);
    }
    assert_eq!(count("fcntl"), Some(operations.values().sum()));
}

/// With `--patch`, mmap(2) is known for data only.
#[apply(test)]
fn mappings_of_code_stop_each_time() {
    let room = Room::new();
    for (protection, stops) in [("READ", false), ("READ | mmap.PROT_EXEC", true)] {
        let script = format!(
            "import mmap\nfor n in range(300):\n    \
             mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_{protection}).close()"
        );
        let files = Files::new(&room);
        let mut command = files.command(&["--patch"]);
        command.env("SC_RECORD_TEST_FAST_PATH", "at once");
        let ended = room.run(command.args(["/usr/bin/python3", "-I", "-c", &script]));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let count = &files.run().0["syscalls"]["x86_64"]["mmap"]["count"];
        assert_eq!(count.as_u64() >= Some(300), stops, "{protection}: {count}");
    }
}

/// strace's decoders know the arguments of each ABI.
#[apply(test)]
#[needs(architecture("x86_64"), program("strace"), compat())]
fn a_32_bit_program_has_the_arguments_that_strace_shows() {
    let room = Room::new();
    let program = built(&["x86"]).join("x86");
    let files = Files::new(&room);
    let mut command = files.command(&["--args"]);
    let ended = room.run(command.arg(&program).arg(room.directory()));
    assert_eq!(ended.code(), 9, "{}", ended.stderr);

    let log = room.fresh("s");
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&log).arg("--");
    let ended = room.run(command.arg(&program).arg(room.directory()));
    assert_eq!(ended.code(), 9, "{}", ended.stderr);
    let imported = Files::new(&room);
    let mut command = Command::new(PROGRAM);
    command.args(["import", "strace", "--args", "--assume-complete"]);
    command.args(["-n", "x", "-o", "none", "-r"]);
    let ended = room.run(command.arg(&imported.recording).arg(&log));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);

    let sets = |files: &Files| -> BTreeMap<String, BTreeSet<String>> {
        let values = values_in(&files.run(), "x86").into_iter();
        values
            .map(|(argument, values)| (argument, values.into_keys().collect()))
            .collect()
    };
    // strace shows the calls inside of socketcall(2) and ipc(2) instead.
    let (recorded, shown) = (sets(&files), sets(&imported));
    assert!(recorded.contains_key("socketcall 0") && recorded.contains_key("ipc 0"));
    for argument in [
        "clock_nanosleep 0",
        "clone 0",
        "clone3 0",
        "epoll_ctl 1",
        "fcntl64 1",
        "kill 1",
        "madvise 2",
        "mmap2 2",
        "mprotect 2",
        "prlimit64 1",
        "tgkill 2",
    ] {
        assert_eq!(recorded[argument], shown[argument], "{argument}");
    }
}

/// The kernel itself says which arguments its calls have, and of which type.
#[apply(test)]
#[needs(tracepoints())]
fn the_table_has_the_registers_and_widths_of_the_kernel() {
    let room = Room::new();
    let tracing = Tracing::new(&room).unwrap_or_else(|what| panic!("{what}"));
    let mut compared = 0;
    for call in CallArguments::all()
        .iter()
        .filter(|call| !call.is_in_memory())
    {
        for name in call.names {
            // Those of other ABIs are not there.
            let Some(types) = tracing.types_of_arguments(name) else {
                continue;
            };
            assert_eq!(types.len(), usize::from(call.arity), "{name}: {types:?}");
            for (register, argument) in call.registers(name, Arch::NATIVE) {
                let kind = &types[usize::from(register)];
                assert!(!kind.contains('*'), "{name}: {kind}");
                let width = if kind.contains("long") { 64 } else { 32 };
                assert_eq!(argument.width, width, "{name}: {kind}");
                compared += 1;
            }
        }
    }
    assert!(compared > 50, "{compared}");
}

#[apply(test)]
fn notifications_have_the_same_arguments() {
    let room = Room::new();
    assert_eq!(values(&room, "notify"), values(&room, "ptrace"));
}

#[apply(test)]
#[needs(ebpf())]
fn the_kernel_counts_the_same_arguments() {
    let room = Room::new();
    let of_ptrace = values(&room, "ptrace");
    assert!(of_ptrace.contains_key("clone 0") && of_ptrace.contains_key("socket 2"));
    assert_eq!(values(&room, "ebpf"), of_ptrace);
}

/// Calls that a filter refuses never reach the entry that is traced.
#[apply(test)]
#[needs(ebpf())]
fn the_kernel_counts_the_arguments_of_refused_calls() {
    let (room, other) = (Room::new(), Room::new());
    let (learnt, program) = recorded(&room);
    let files = Files::new(&other);
    let mut command = files.command(&["--args", "-b", "ebpf"]);
    command.args([PROGRAM, "run"]).arg(&learnt.profile);
    command.arg("--").arg(program);
    let ended = other.run(command.arg("try"));
    let refused = format!("AF_ALG {REFUSED}\n");
    assert!(ended.stdout.contains(&refused), "{}", ended.stderr);
    let socket = &files.run().0["syscalls"][machine::NATIVE]["socket"]["args"];
    assert_eq!(socket["0"]["0x26"]["count"], 1, "{socket}");
    assert_eq!(socket["1"]["0x3"]["count"], 1, "{socket}");
}

/// Beyond 64 values an argument has "many", and other calls keep theirs.
#[apply(test)]
#[needs(ebpf())]
fn a_call_with_ever_new_values_leaves_the_others_theirs() {
    let room = Room::new();
    let script = "import fcntl, socket\nsocket.socket()\nfor n in range(70000):\n    \
         try: fcntl.ioctl(0, 0x7e000000 + n)\n    except OSError: pass";
    let files = Files::new(&room);
    let mut command = files.command(&["--args", "-b", "ebpf"]);
    let ended = room.run(command.args(["/usr/bin/python3", "-c", script]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    let calls = &run.0["syscalls"][machine::NATIVE];
    assert!(calls["ioctl"]["count"].as_u64().unwrap() >= 70_000);
    let requests = calls["ioctl"]["args"].get("1").unwrap();
    assert!(requests.is_null(), "{requests}");
    let socket = &calls["socket"]["args"]["0"];
    assert_eq!(socket["0x2"]["count"], 1, "{socket}");
}

/// A recording of one run that also tries what the others don't do.
fn tried(room: &Room, program: &PathBuf) -> PathBuf {
    let files = Files::new(room);
    room.run(files.command(&["--args"]).arg(program).arg("try"));
    files.recording
}

#[apply(test)]
fn check_names_the_recorded_values_that_are_denied_and_a_patch_allows_only_these() {
    let (room, other) = (Room::new(), Room::new());
    let (files, program) = recorded(&room);
    let recording = tried(&other, &program);
    let check = |options: &[&str]| {
        let args = [&["check"], options].concat();
        sc_record(&room, &args, &[&files.profile, &recording])
    };
    let found = check(&[]);
    let shown = &found.stdout;
    assert_eq!(found.code(), 1, "{shown}");
    for finding in [
        "  socket(AF_ALG, …), socket(…, SOCK_RAW, …)",
        "  mmap(…, PROT_WRITE|PROT_EXEC, …) is allowed with other arguments only",
        "  clone(SIGCHLD|CLONE_NEWUSER, …) is allowed with other arguments only",
        "  ioctl(…, TIOCSTI, …) is allowed with other arguments only",
    ] {
        assert!(shown.contains(finding), "{finding}: {shown}");
    }
    let updated = check(&["--update"]);
    assert_eq!(updated.code(), 0, "{}{}", updated.stdout, updated.stderr);
    let again = check(&["--strict"]);
    assert!(
        again.stdout.contains("allows every system call that"),
        "{}",
        again.stdout
    );
    let injected = inject(&room, &files, "socket:AF_VSOCK,ioctl:TIOCLINUX");
    assert_eq!(injected.0, 0, "{}", injected.1);
}

#[apply(test)]
fn check_of_a_run_patches_the_arguments_that_it_had() {
    let room = Room::new();
    let (files, program) = recorded(&room);
    let mut command = Command::new(PROGRAM);
    command
        .args(["check", "--update", "--any-status"])
        .arg(&files.profile)
        .arg("--")
        .arg(program)
        .arg("try");
    let ended = room.run(&mut command);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    let (status, said) = inject(&room, &files, "socket:AF_ALG");
    assert_eq!(status, 1, "{said}");
    let (status, said) = inject(&room, &files, "socket:AF_VSOCK,ioctl:TIOCLINUX");
    assert_eq!(status, 0, "{said}");
}

#[apply(test)]
fn stats_say_which_arguments_have_all_their_values() {
    let (room, other) = (Room::new(), Room::new());
    let (files, program) = recorded(&room);
    let stats = sc_record(&room, &["stats"], &[&files.recording]).stdout;
    assert!(stats.contains("\narguments: "), "{stats}");
    assert!(!stats.contains("socket domain"), "{stats}");
    let recording = tried(&other, &program);
    let both = [&files.recording, &recording];
    let stats = sc_record(&room, &["stats"], &both).stdout;
    let line = format!(
        "  {}:socket domain: 1 of the values came from a single run (of 4), so new ones are likely; 0.2 new values expected in the next run\n",
        std::env::consts::ARCH
    );
    assert!(stats.contains(&line), "{stats}");
    let json = profile_of(&sc_record(&room, &["stats", "--json"], &both).stdout);
    let arguments = json["arguments"].as_array().unwrap();
    let domain = arguments.iter().find(|one| one["argument"] == "domain");
    let domain = domain.unwrap();
    assert_eq!(
        (&domain["values"], &domain["in_one_run"]),
        (&2.into(), &1.into()),
        "{domain}"
    );
}

#[apply(test)]
fn minimize_removes_rules_for_values_that_a_program_can_do_without() {
    let room = Room::new();
    let (files, program) = recorded(&room);
    let smaller = room.fresh("smaller.json");
    let mut command = Command::new(PROGRAM);
    command.args(["minimize", "--only", "ioctl,socket", "--write"]);
    command.arg(&smaller).arg(&files.profile).arg("--");
    let ended = room.run(command.arg(&program));
    assert_eq!(ended.code(), 1, "{}{}", ended.stdout, ended.stderr);
    let stdout = &ended.stdout;
    let (dispensable, needed) = stdout.split_once("needed: the outcome without it").unwrap();
    assert!(dispensable.contains("TIOCGWINSZ)"), "{stdout}");
    assert!(
        needed.contains("  socket(domain == AF_INET, type == SOCK_STREAM, "),
        "{stdout}"
    );
    let names = |profile: &PathBuf| {
        let rules = profile_of(&std::fs::read_to_string(profile).unwrap())["syscalls"].take();
        let rules = rules.as_array().unwrap().iter();
        let names = rules.flat_map(|rule| rule["names"].as_array().unwrap().clone());
        names
            .filter(|name| name == "ioctl" || name == "socket")
            .count()
    };
    assert!(names(&smaller) < names(&files.profile));
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg(&smaller).arg("--").arg(program);
    let ended = room.run(&mut command);
    assert_eq!(ended.stdout, "AF_INET ok\n", "{}", ended.stderr);
}

/// The status and the output of verify --inject.
fn inject(room: &Room, files: &Files, calls: &str) -> (i32, String) {
    let ended = sc_record(room, &["verify", "--inject", calls], &[&files.profile]);
    (ended.code(), ended.stdout + &ended.stderr)
}

#[apply(test)]
fn verify_injects_a_value_of_an_argument() {
    let room = Room::new();
    let (files, _) = recorded(&room);
    let inject = |calls| inject(&room, &files, calls);
    let (status, said) = inject(
        "socket:AF_ALG,x86_64:socket:type=SOCK_RAW,clone:CLONE_NEWUSER,mmap:PROT_WRITE|PROT_EXEC",
    );
    assert_eq!(status, 0, "{said}");
    for line in [
        "socket(AF_ALG, …): stopped",
        "socket(…, SOCK_RAW, …): stopped",
        "clone(CLONE_NEWUSER, …): stopped",
    ] {
        assert!(said.contains(line), "{said}");
    }
    let (status, said) = inject("socket:AF_INET");
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("socket(AF_INET, …): LET THROUGH"), "{said}");
    for (wrong, why) in [
        (
            "socket:AF_NONE",
            "no argument of socket has the value AF_NONE",
        ),
        ("read:1", "no argument of read carries a choice"),
        (
            "clone3:CLONE_NEWUSER",
            "no argument of clone3 carries a choice",
        ),
    ] {
        let (status, said) = inject(wrong);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(why), "{said}");
    }
}
