//! Workloads that trace: a task has only one tracer, so they fail under the ptrace backend, which reports why. And workloads that a
//! debugger looks at when they are dead.

use std::path::Path;
use std::process::Command;

use crate::support::process::Room;
use crate::support::programs;
use crate::support::recorder::Files;

/// A workload that traces works natively; while recorded it fails, and the run says why.
fn check(name: &str, native_output: &str, recorded_output: &str) {
    let room = Room::new();
    let program = programs::workload(name);
    let native = room.run(&mut Command::new(&program));
    assert_eq!((native.code(), native.stdout.as_str()), (0, native_output));
    for options in [&[][..], &["--patch"]] {
        check_recorded(&room, options, &program, recorded_output);
    }
}

fn check_recorded(room: &Room, options: &[&str], program: &Path, recorded_output: &str) {
    let files = Files::new(room);
    let mut command = files.command(options);
    command.env("SC_RECORD_TEST_FAST_PATH", "at once");
    let recorded = room.run(command.arg(program));
    assert_eq!(
        (recorded.code(), recorded.stdout.as_str()),
        (3, recorded_output)
    );
    let reasons = files.run().incomplete_because();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    for text in [&reasons[0], &recorded.stderr] {
        assert!(text.contains("ptrace"), "{text}");
        assert!(text.contains("debugger"), "{text}");
    }
    // The call itself is recorded like any other.
    assert!(
        files
            .run()
            .calls()
            .keys()
            .any(|syscall| syscall.to_string() == "ptrace")
    );
}

#[apply(test)]
fn a_workload_that_wants_to_be_traced_is_explained() {
    check("ptrace_traceme", "traced, child 5\n", "refused 1\n");
}

#[apply(test)]
fn a_workload_that_attaches_is_explained() {
    check("ptrace_child", "error 0\n", "error 1\n");
}

/// What a debugger shows of a program that ended with a core dump: who called whom, and the code of calls.
fn dump(room: &Room, mut command: Command, program: &Path, way: &str) -> Vec<String> {
    let place = room.directory();
    let ended = room.run(command.arg(program).arg(way).current_dir(&place));
    let signal = match way {
        "asleep" => 3,
        "abort" | "threads" => 6,
        _ => 11,
    };
    assert_eq!(ended.code(), 128 + signal, "{}", ended.stderr);
    let names = std::fs::read_dir(&place).unwrap();
    let mut paths = names.map(|entry| entry.unwrap().path());
    let core = paths.find(|path| {
        path.file_name()
            .unwrap()
            .as_encoded_bytes()
            .starts_with(b"core")
    });
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", "thread apply all backtrace"]);
    for function in ["getppid", "getuid", "read", "write", "kill"] {
        gdb.args(["-ex", &format!("x/16xb {function}")]);
    }
    let shown = room.run(gdb.arg(program).arg(core.expect("a core dump")));
    assert!(shown.stdout.contains("in main ("), "{}", shown.stdout);
    // Addresses, ids and the order of threads differ from run to run.
    let mut threads: Vec<_> = shown
        .stdout
        .split("\nThread ")
        .map(without_numbers)
        .collect();
    threads.sort();
    threads
}

fn without_numbers(shown: &str) -> String {
    let is_constant = |line: &&str| !line.contains("LWP") && !line.starts_with("warning:");
    let lines = shown.lines().filter(is_constant);
    let words = lines.map(|line| {
        let words = line.split(' ').filter(|word| {
            let (_, number) = word.rsplit_once('=').unwrap_or(("", word));
            !(number.starts_with("0x") && number.len() > "0x12345678".len())
        });
        words.collect::<Vec<_>>().join(" ")
    });
    words.collect::<Vec<_>>().join("\n")
}

#[apply(test)]
#[needs(program("gdb"), core_files())]
fn a_core_dump_has_the_callers_and_the_code_that_a_debugger_expects() {
    let room = Room::new();
    let program = programs::workload("dumps_core");
    for way in ["asleep", "abort", "threads", "fault"] {
        let native = dump(&room, Command::new("env"), &program, way);
        for options in [&["-q"][..], &["-q", "--patch"]] {
            let mut command = Files::new(&room).command(options);
            command.env("SC_RECORD_TEST_FAST_PATH", "at once");
            let recorded = dump(&room, command, &program, way);
            assert_eq!(recorded, native, "{way}, {options:?}");
        }
    }
}
