//! `sc-record import`, as users call it, on the output of real programs.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use sc_record::event::Exit;
use sc_record::recording::{Recording, Run};
use sc_record::syscall::Arch;

use crate::support::process::Room;
use crate::support::{Calls, programs, recorder, strace};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/fixtures");

/// Runs `sc-record import` with these arguments in a directory. `{}` is the directory of the fixtures.
fn import(directory: &Path, args: &str, stdin: &[u8]) -> Output {
    let args = args
        .split_whitespace()
        .map(|arg| arg.replace("{}", FIXTURES));
    let mut child = Command::new(recorder::PROGRAM)
        .arg("import")
        .args(args)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that doesn't read stdin has closed it.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The only run of a recording.
fn only_run(path: &Path) -> Run {
    let recording = Recording::load(path).unwrap();
    assert_eq!(recording.runs.len(), 1);
    recording.runs.into_values().next().unwrap()
}

fn calls(run: &Run) -> Calls {
    (run.syscalls.iter())
        .map(|(call, tally)| (*call, tally.count))
        .collect()
}

/// A message of logger(1), written to a file as by rsyslogd: it keeps the tag, but neither the sender nor the facility.
#[apply(test)]
fn a_record_that_a_user_logs_as_the_kernel_is_not_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let socket = directory.join("dev-log");
    let daemon = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let record = "audit: type=1326 audit(1795304771.029:15): auid=0 uid=0 gid=0 ses=1 pid=27025 comm=\"x\" \
                  exe=\"/opt/x\" sig=0 arch=c000003e syscall=246 compat=0 ip=0x7f272a032829 code=0x7ffc0000";
    let mut logger = Command::new("logger");
    logger.arg("-u").arg(&socket);
    logger.args(["-t", "kernel", "-p", "kern.notice", record]);
    assert!(logger.status().unwrap().success());
    let mut datagram = [0; 2048];
    let length = daemon.recv(&mut datagram).unwrap();
    let datagram = text(&datagram[..length]);
    // <13>Nov 26 12:26:13 kernel: …
    let (_, sent) = datagram.split_once('>').unwrap();
    let (time, message) = sent.split_at("Nov 26 12:26:13".len());
    let line = format!("{time} host{message}\n");
    assert!(line.contains(" host kernel: audit: type=1326 "), "{line}");
    fs::remove_file(&socket).unwrap();

    let output = import(directory, "audit -n x -", line.as_bytes());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = text(&output.stderr);
    let expected =
        "error: 1 seccomp record, but only in lines that any user can write (logger -t kernel)\n";
    assert!(said.contains(expected), "{said}");
    assert!(said.contains("--trust-syslog"), "{said}");
    let output = import(directory, "audit -n x --trust-syslog -", line.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[apply(test)]
fn a_log_of_auditd_becomes_a_run_and_a_profile() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let exe = [
        "--exe",
        "/opt/fixture/logged32",
        "--allowed-only",
        "--skip-unnamed",
    ]
    .join(" ");
    let output = import(
        directory,
        &format!("audit {{}}/audit/auditd.log {exe}"),
        b"",
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.starts_with("sc-record: 9 records of seccomp (14 more were not selected) in 25 lines; 2 records of other types\n"), "{said}");
    assert!(said.contains("INCOMPLETE, calls may be missing: a saved log can't prove that no records are missing\n"), "{said}");

    let run = only_run(&directory.join("recordings/logged32.json"));
    assert_eq!(run.backend, "audit");
    assert_eq!(run.program, Path::new("/opt/fixture/logged32"));
    assert_eq!((run.exit, run.tasks), (None, Some(2)));
    assert_eq!(run.labels["source"], format!("{FIXTURES}/audit/auditd.log"));
    assert_eq!(
        format!("{:.3}", jiff::Timestamp::try_from(run.started).unwrap()),
        "2026-11-21T23:46:11.033Z"
    );
    let names: Vec<_> = run
        .syscalls
        .keys()
        .map(|call| format!("{} {call}", call.arch))
        .collect();
    assert_eq!(
        names,
        [
            "x86 #-5",
            "x86 execve",
            "x86 getppid",
            "x86 openat",
            "x86 #100000"
        ]
    );
    let profile = fs::read_to_string(directory.join("profiles/logged32.json")).unwrap();
    assert!(
        profile.contains("\"SCMP_ARCH_X86\"") && profile.contains("\"openat\""),
        "{profile}"
    );

    // Again, from stdin, compressed, into the same recording.
    let log = fs::read(format!("{FIXTURES}/audit/auditd.log")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&log).unwrap();
    let output = import(
        directory,
        &format!("audit - {exe} -q"),
        &encoder.finish().unwrap(),
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let recording = Recording::load(&directory.join("recordings/logged32.json")).unwrap();
    assert_eq!(recording.runs.len(), 2);
}

#[apply(test)]
fn an_import_without_a_run_is_an_error_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let check = |args: &str, stdin: &[u8], expected: &str| {
        let output = import(directory, args, stdin);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(expected), "{args}: {said}");
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0, "{args}");
    };
    check(
        "audit -n x -",
        b"one\ntwo\n",
        "error: no seccomp record (type 1326) in 2 lines\n  hint: ",
    );
    check(
        "audit -n x --pid 1 {}/audit/auditd.log",
        b"",
        "error: 23 seccomp records, but none matches\n",
    );
    check(
        "audit {}/audit/auditd.log",
        b"",
        "error: these are records of 3 executables (/opt/fixture/logged, ",
    );
    check(
        "audit -n x {}/audit/nosuch",
        b"",
        "nosuch: No such file or directory",
    );
    check("audit -n x {}", b"", "fixtures: is a directory");
    check("audit -n x - -", b"", "stdin can be read only once");
    check(
        "audit -n x -",
        b"BZh9",
        "error: - is compressed; import the output of `bzcat -`",
    );
    check(
        "strace -n x -",
        b"hello\n",
        "-:1: not a line of strace's: hello\n",
    );
    check(
        "strace -n x -",
        b"hello\n",
        "error: no system call in 1 line\n  hint: ",
    );
    check(
        "strace {}/strace/c.txt",
        b"",
        "error: the program is unknown: ",
    );
    check("strace --arch vax -n x -", b"", "known are x86_64, x86, ");
    check(
        "audit --json -o - {}/audit/auditd.log",
        b"",
        "can't both be written to stdout",
    );
}

#[apply(test)]
fn the_summary_as_json_goes_to_stdout_alone() {
    let directory = tempfile::tempdir().unwrap();
    let output = import(
        directory.path(),
        "strace -q --json -o none -r none --assume-complete {}/strace/single.log",
        b"",
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["calls"], 18);
    assert_eq!(summary["complete"], true);
}

/// Programs with constant calls, of one ABI and of several.
const PROGRAMS: &[&str] = &[
    "posix_spawn",
    "clone_vm",
    "exec_kinds",
    "exec_from_thread",
    "exec_failures",
    "m32",
    "int80",
    "odd_numbers",
];

/// Imports strace's output.
fn import_strace(room: &Room, args: &str) -> Run {
    let directory = room.directory();
    let args = format!("strace --assume-complete -n x -r x.json -o none {args}");
    let output = import(&directory, &args, b"");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    only_run(&directory.join("x.json"))
}

#[apply(test)]
#[needs(program("strace"), compat())]
fn an_import_of_strace_sees_what_the_witness_sees_in_the_same_log() {
    let room = Room::new();
    for program in PROGRAMS {
        let log = room.fresh("s");
        let mut command = Command::new("strace");
        strace::arguments(&mut command, &log);
        let ended = room.run(command.arg(programs::workload(program)));
        let run = import_strace(&room, log.to_str().unwrap());
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        assert_eq!(calls(&run), strace::calls(&text), "{program}");
        assert_eq!(run.incomplete_because.iter().next(), None, "{program}");
        assert_eq!(
            run.exit.map(Exit::shell_status),
            Some(ended.code()),
            "{program}"
        );
    }
}

#[apply(test)]
#[needs(program("strace"), compat())]
fn an_import_of_strace_equals_a_recording() {
    let room = Room::new();
    for program in PROGRAMS {
        let path = programs::workload(program);
        let files = recorder::Files::new(&room);
        let options = ["-q", "--skip-unnamed"];
        room.run(files.command(&options).arg(&path));
        let recorded = only_run(&files.recording);

        let logs = room.directory();
        let mut command = Command::new("strace");
        command
            .args(["-ff", "-n", "-o"])
            .arg(logs.join("s"))
            .arg("--");
        room.run(command.arg(&path));
        let of_ff: Vec<_> = fs::read_dir(&logs)
            .unwrap()
            .map(|file| file.unwrap().path().display().to_string())
            .collect();
        let imported = import_strace(&room, &of_ff.join(" "));
        let set = |run: &Run| run.syscalls.keys().copied().collect::<Vec<_>>();
        assert_eq!(set(&imported), set(&recorded), "{program}");
    }
}

#[apply(test)]
#[needs(program("strace"), compat())]
fn the_abi_of_a_32_bit_program_is_found_out_where_strace_does_not_say_it() {
    let room = Room::new();
    let log = room.fresh("s");
    let mut command = Command::new("strace");
    command.args(["-f", "-o"]).arg(&log).arg("--");
    room.run(command.arg(programs::workload("m32")));
    let text = fs::read_to_string(&log).unwrap();
    assert!(!text.contains("32 bit mode"), "{text}");
    let run = import_strace(&room, log.to_str().unwrap());
    let native: Vec<_> = run
        .syscalls
        .keys()
        .filter(|call| call.arch == Arch::X86_64)
        .map(ToString::to_string)
        .collect();
    assert_eq!(native, ["execve"]);
}

#[apply(test)]
#[needs(program("strace"))]
fn every_name_of_strace_is_that_of_its_number() {
    let room = Room::new();
    let log = room.fresh("s");
    let mut command = Command::new("strace");
    // -i: for a number without a name, the width of the instruction pointer shows the ABI.
    command.args(["-n", "-i", "-o"]).arg(&log).arg("--");
    let ended = room.run(command.arg(programs::workload("every_number")));
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    let run = import_strace(&room, log.to_str().unwrap());
    for arch in [Arch::X86_64, Arch::X32, Arch::X86] {
        let of_arch: Vec<_> = (run.syscalls.keys())
            .filter(|call| call.arch == arch)
            .map(|call| call.nr)
            .collect();
        let not_called = |nr: &i32| arch == Arch::X86_64 && matches!(nr, 335 | 336);
        let called: Vec<_> = (0..480).filter(|nr| !not_called(nr)).collect();
        assert_eq!(of_arch, called, "{arch}");
    }
    assert_eq!(run.incomplete_because.iter().next(), None);
}

#[apply(test)]
fn records_are_selected_by_a_time_on_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let check = |options: &str, code: i32, expected: &str| {
        let args = format!("audit {{}}/audit/auditd.log -n x --skip-unnamed {options}");
        let output = import(directory.path(), &args, b"");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{options}: {said}");
        assert!(said.contains(expected), "{options}: {said}");
    };
    check("--since 2026-11-21T23:46:11Z", 0, "records of seccomp in");
    check("--until 2026-11-21T23:46:11Z", 2, "but none matches");
    check("--since 2036-01-01T00:00:00", 2, "but none matches");
    check("--since yesterday", 2, "--since");
}
