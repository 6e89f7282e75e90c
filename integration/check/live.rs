//! Checks that run the workload.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::FlockArg;
use sc_record::syscall::Arch;
use serde_json::{Value, json};

use crate::log::lock;
use crate::support::machine;
use crate::support::process::{Ended, Room};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// The profile of `calls` with these calls.
fn profile_of(room: &Room, calls: &[&str]) -> PathBuf {
    let files = Files::new(room);
    let ended = room.run(
        files
            .command(&["-q"])
            .arg(programs::workload("calls"))
            .args(programs::calls(calls)),
    );
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    files.profile
}

fn check(room: &Room, options: &[&str], profile: &Path, calls: &[&str]) -> Ended {
    let mut command = Command::new(PROGRAM);
    command.arg("check").args(options).arg(profile).arg("--");
    let calls = programs::calls(calls);
    room.run(command.arg(programs::workload("calls")).args(calls))
}

/// The report after the workload's output.
fn json(ended: &Ended) -> Value {
    let last = ended.stdout.lines().next_back();
    serde_json::from_str(last.unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {} {}", ended.stdout, ended.stderr))
}

/// What `calls` prints if each of these succeeds.
fn outcomes(calls: &[&str]) -> String {
    programs::calls(calls).join(" done\n") + " done\n"
}

fn denied(report: &Value) -> Vec<String> {
    let denied = report["denied"].as_array().unwrap().iter();
    let call = |call: &Value| {
        let [arch, name] = ["arch", "syscall"].map(|field| call[field].as_str().unwrap());
        format!("{}:{name}", machine::abi(arch))
    };
    denied.map(call).collect()
}

/// The bytes before an offset in a file: an instruction that makes calls.
fn instruction(caller: &Value) -> [u8; 2] {
    let module = fs::read(caller["module"].as_str().unwrap()).unwrap();
    let offset = caller["offset"].as_str().unwrap().trim_start_matches("0x");
    let offset = usize::from_str_radix(offset, 16).unwrap();
    [module[offset - 2], module[offset - 1]]
}

/// The last bytes of `syscall`, and of `svc #0`.
const SYSCALL: [u8; 2] = match Arch::NATIVE {
    Arch::Aarch64 => [0x00, 0xd4],
    _ => [0x0f, 0x05],
};
const INT80: [u8; 2] = [0xcd, 0x80];

#[apply(test)]
fn a_call_that_would_be_denied_is_made_and_reported_with_its_caller() {
    let room = Room::new();
    // socket(AF_UNIX, SOCK_STREAM) is new, and gettid(2) isn't called again.
    let profile = profile_of(&room, &["getpid", "gettid"]);
    let more = ["getpid", "socket,1,1,0", "socket,1,1,0", "getpid"];
    let ended = check(&room, &["--json"], &profile, &more);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let report = json(&ended);
    // The workload ran unhindered, and stdout has only its output.
    let made = outcomes(&more);
    assert!(
        ended.stdout.starts_with(&format!("{made}{{")),
        "{}",
        ended.stdout
    );
    assert_eq!(denied(&report), ["native:socket"]);
    let finding = &report["denied"][0];
    assert_eq!(finding["count"], 2);
    assert_eq!(finding["answers"], json!(["SCMP_ACT_ERRNO(EPERM)"]));
    let [caller] = &finding["callers"].as_array().unwrap()[..] else {
        panic!("{finding}")
    };
    let program = programs::workload("calls");
    assert_eq!(caller["executable"], json!(program));
    assert_eq!(caller["module"], json!(program));
    assert_eq!(caller["thread"], "calls");
    assert_eq!(caller["pid"], caller["tid"]);
    let args: Vec<_> = (0..3)
        .map(|n| caller["args"][n].as_str().unwrap())
        .collect();
    assert_eq!(args, ["0x1", "0x1", "0x0"]);
    assert_eq!(caller["call"], "socket(AF_UNIX, SOCK_STREAM, 0x0)");
    assert_eq!(instruction(caller), SYSCALL);
    assert!(caller["first_ms"].as_u64().unwrap() <= report["run"]["duration_ms"].as_u64().unwrap());
    assert_eq!(report["run"]["exit"], json!({"code": 0}));
    let stale = report["unused"]["names"].as_array().unwrap().iter();
    let stale = stale.filter(|unused| unused["policy"].is_null());
    let stale: Vec<_> = stale
        .map(|unused| unused["name"].as_str().unwrap())
        .collect();
    assert_eq!(stale, ["gettid"]);
}

#[apply(test)]
fn a_call_of_a_thread_shows_its_process() {
    let room = Room::new();
    let profile = profile_of(&room, &["thread", "getpid"]);
    let ended = check(&room, &["--json"], &profile, &["thread", "socket,1,1,0"]);
    let report = json(&ended);
    let denied = denied(&report);
    // Whether pthread_join(3) sleeps depends on which thread is faster.
    let is_futex = |call: &&String| call.as_str() == "native:futex";
    let others: Vec<&String> = denied.iter().filter(|call| !is_futex(call)).collect();
    assert_eq!(others, ["native:socket"]);
    let socket = denied.iter().position(|call| call == "native:socket");
    let caller = &report["denied"][socket.unwrap()]["callers"][0];
    assert_ne!(caller["pid"], caller["tid"]);
    assert_eq!(instruction(caller), SYSCALL);
}

#[apply(test)]
fn update_makes_the_check_pass_and_the_profile_enforceable() {
    let room = Room::new();
    let profile = profile_of(&room, &["getpid"]);
    let calls = ["getpid", "socket,1,1,0"];
    let ended = check(&room, &["--json"], &profile, &calls);
    assert_eq!(ended.code(), 1);
    assert_eq!(denied(&json(&ended)), ["native:socket"]);
    updated(&room, &profile, &calls);
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn a_call_of_another_abi_is_reported_with_its_instruction_and_added() {
    let room = Room::new();
    let profile = profile_of(&room, &["getpid"]);
    let calls = ["getpid", "int80:20"];
    let ended = check(&room, &["--json"], &profile, &calls);
    let report = json(&ended);
    assert_eq!(ended.code(), 1);
    assert_eq!(denied(&report), ["compat:getpid"]);
    let x86 = &report["denied"][0];
    assert_eq!(x86["because"], "unlisted_architecture");
    assert_eq!(x86["answers"], json!(["SCMP_ACT_KILL_PROCESS"]));
    assert_eq!(instruction(&x86["callers"][0]), INT80);
    updated(&room, &profile, &calls);
}

/// Adds what these calls lack: then they pass a check, and run under the profile.
fn updated(room: &Room, profile: &Path, calls: &[&str]) {
    let ended = check(room, &["-q", "--update"], profile, calls);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    let ended = check(room, &["--strict"], profile, calls);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let mut run = Command::new(PROGRAM);
    run.arg("run").arg(profile).arg("--");
    run.arg(programs::workload("calls"))
        .args(programs::calls(calls));
    let ended = room.run(&mut run);
    assert_eq!(
        (ended.code(), ended.stdout),
        (0, outcomes(calls)),
        "{}",
        ended.stderr
    );
}

#[apply(test)]
#[needs(compat())]
fn a_program_of_32_bits_is_checked_and_added() {
    let room = Room::new();
    let profile = profile_of(&room, &["getpid"]);
    let command = |command: &str, options: &[&str]| {
        let mut line = Command::new(PROGRAM);
        line.arg(command).args(options).arg(&profile).arg("--");
        room.run(line.arg(programs::workload("m32")))
    };
    let ended = command("check", &["--json", "--any-status"]);
    let report = json(&ended);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let denied = denied(&report);
    for call in ["compat:exit_group", "compat:write"] {
        assert!(denied.iter().any(|denied| denied == call), "{denied:?}");
    }
    let compat = report["denied"].as_array().unwrap().iter();
    let mut compat = compat.filter(|call| call["arch"] == machine::COMPAT.name());
    assert!(compat.all(|call| call["because"] == "unlisted_architecture"));

    // Without it, the kernel kills the program at its first call.
    assert_eq!(command("run", &[]).code(), 128 + libc::SIGSYS);
    let ended = command("check", &["-q", "--any-status", "--update"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let ended = command("run", &[]);
    assert_eq!(ended.code(), 5, "{}", ended.stderr);
}

#[apply(test)]
fn conditions_are_judged_by_the_real_arguments() {
    let room = Room::new();
    let profile = profile_of(&room, &["getpid"]);
    let mut value: Value = serde_json::from_slice(&fs::read(&profile).unwrap()).unwrap();
    let rules = value["syscalls"].as_array_mut().unwrap();
    for first in [1, 16] {
        rules.push(json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": first, "op": "SCMP_CMP_EQ"}]}));
    }
    fs::write(&profile, value.to_string()).unwrap();
    let ended = check(&room, &["--json"], &profile, &["getpid", "socket,1,1,0"]);
    let report = json(&ended);
    assert_eq!((ended.code(), denied(&report).len()), (0, 0), "{report}");
    // The rule that no call matched is stale, the other isn't.
    let names = report["unused"]["names"].as_array().unwrap();
    let stale: Vec<_> = (names.iter().filter(|name| name["policy"].is_null()))
        .map(|name| (&name["name"], &name["rule"], &name["conditional"]))
        .collect();
    assert_eq!(stale, [(&json!("socket"), &json!(2), &json!(true))]);

    let ended = check(
        &room,
        &["--json"],
        &profile,
        &["getpid", "socket,1,1,0", "socket,2,1,0"],
    );
    let report = json(&ended);
    assert_eq!(ended.code(), 1);
    assert_eq!(denied(&report), ["native:socket"]);
    let finding = &report["denied"][0];
    assert_eq!(
        (&finding["because"], &finding["count"], &finding["rules"]),
        (&json!("arguments"), &json!(1), &json!([1, 2]))
    );
    assert_eq!(finding["callers"][0]["args"][0], "0x2");
}

#[apply(test)]
fn a_number_without_a_name_is_found_and_can_only_be_tolerated() {
    let room = Room::new();
    let profile = profile_of(&room, &["getpid"]);
    let calls = ["getpid", "100000", "-5"];
    let ended = check(&room, &["--json", "--update"], &profile, &calls);
    let report = json(&ended);
    assert_eq!(ended.code(), 1);
    assert_eq!(denied(&report), ["native:#-5", "native:#100000"]);
    assert_eq!(report["patch"], Value::Null);
    let caller = &report["denied"][0]["callers"][0];
    assert_eq!(instruction(caller), SYSCALL);
    let ended = check(&room, &["--tolerate", "#-5,#100000"], &profile, &calls);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[apply(test)]
fn a_failed_workload_is_reported_and_hides_no_finding() {
    let room = Room::new();
    let files = Files::new(&room);
    let shell = |text: &str| ["/bin/sh", "-c", text].map(str::to_owned);
    let ended = room.run(files.command(&["-q"]).args(shell("exit 0")));
    assert_eq!(ended.code(), 0);
    let check = |options: &[&str], text: &str| {
        let mut command = Command::new(PROGRAM);
        command.arg("check").args(options).arg(&files.profile);
        room.run(command.arg("--").args(shell(text)))
    };
    assert_eq!(check(&[], "exit 0").code(), 0);
    let ended = check(&[], "umask 0; exit 3");
    assert_eq!(ended.code(), 1);
    assert!(
        ended.stderr.contains("  umask is not in the profile"),
        "{}",
        ended.stderr
    );
    let told = "the workload exited with status 3: its later calls are unknown\n";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    let ended = check(&["--json"], "exit 3");
    assert_eq!(ended.code(), 1);
    assert_eq!(json(&ended)["findings"][0]["kind"], "workload");
    assert_eq!(check(&["--any-status"], "exit 3").code(), 0);
    // --quiet still prints these.
    assert_eq!(
        check(&["-q"], "exit 3").stderr,
        format!("sc-record: {told}")
    );
    // A patch doesn't make the run complete.
    assert_eq!(check(&["-q", "--update"], "umask 0; exit 3").code(), 1);
    assert_eq!(check(&["-q"], "umask 0").code(), 0);
}

#[apply(test)]
fn an_incomplete_run_is_never_clean() {
    let room = Room::new();
    let files = Files::new(&room);
    let program = programs::workload("ptrace_traceme");
    room.run(files.command(&["-q"]).arg(&program));
    let check = |options: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("check").args(options).arg(&files.profile);
        room.run(command.arg("--").arg(&program))
    };
    let ended = check(&["--any-status"]);
    assert_eq!(ended.code(), 1);
    let told = "sc-record: INCOMPLETE, calls may be missing: a task called ptrace(2)";
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
    let ended = check(&["--any-status", "--allow-incomplete", "-q"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(ended.stderr.contains(told), "{}", ended.stderr);
}

#[apply(test)]
#[needs(no_privileges())]
fn an_unprivileged_user_can_check() {
    let room = Room::new();
    let profile = profile_of(&room, &["getpid"]);
    let (recorder, calls) = (room.path().join("sc-record"), room.path().join("calls"));
    room.copy(Path::new(PROGRAM), &recorder);
    room.copy(&programs::workload("calls"), &calls);
    let mut command = Room::as_nobody(&recorder);
    command.args(["check", "--json"]).arg(&profile).arg("--");
    let ended = room.run(
        command
            .arg(&calls)
            .args(programs::calls(&["getpid", "socket,1,1,0"])),
    );
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let report = json(&ended);
    assert_eq!(denied(&report), ["native:socket"]);
    let caller = &report["denied"][0]["callers"][0];
    assert_eq!(caller["module"], json!(calls));
    assert_eq!(instruction(caller), SYSCALL);
}

#[apply(test)]
fn without_a_filter_of_its_own_it_finds_the_same() {
    let room = Room::new();
    let profile = profile_of(&room, &["getpid"]);
    for options in [
        &["--json", "--no-filter"][..],
        &["--json", "--until", "exit"],
    ] {
        let ended = check(&room, options, &profile, &["getpid", "socket,1,1,0"]);
        let report = json(&ended);
        assert_eq!(
            (ended.code(), denied(&report)),
            (1, vec!["native:socket".to_owned()])
        );
        assert_eq!(instruction(&report["denied"][0]["callers"][0]), SYSCALL);
    }
}

#[apply(test)]
fn the_run_can_be_kept_and_checked_again_from_its_file() {
    let room = Room::new();
    let profile = profile_of(&room, &["getpid"]);
    let kept = room.path().join("kept.json");
    let options = ["-q", "-r", kept.to_str().unwrap(), "--label", "a=b"];
    let calls = ["getpid", "socket,1,1,0"];
    assert_eq!(check(&room, &options, &profile, &calls).code(), 1);
    assert_eq!(check(&room, &options, &profile, &calls).code(), 1);
    let mut again = Command::new(PROGRAM);
    again.arg("check").arg("--json").arg(&profile).arg(&kept);
    let ended = room.run(&mut again);
    let report = json(&ended);
    assert_eq!(
        (ended.code(), denied(&report)),
        (1, vec!["native:socket".to_owned()])
    );
    assert_eq!(
        (&report["runs"], &report["denied"][0]["count"]),
        (&json!(2), &json!(2))
    );
    let file: Value = serde_json::from_slice(&fs::read(&kept).unwrap()).unwrap();
    assert_eq!(file["runs"][1]["labels"], json!({"a": "b"}));
}

#[apply(test)]
#[needs(audit())]
fn in_log_mode_the_kernel_logs_what_the_profile_lacks() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let profile = profile_of(&room, &["getpid", "gettid"]);
    let (mut calls, mut lacked) = (vec!["getpid", "socket,1,1,0"], vec!["native:socket"]);
    // Only there, a program can make calls of another ABI.
    if Arch::NATIVE == Arch::X86_64 {
        calls.push("int80:20");
        lacked.push("compat:getpid");
    }
    let ended = check(&room, &["--json", "--log-mode"], &profile, &calls);
    let report = json(&ended);
    assert_eq!(denied(&report), lacked, "{}", ended.stderr);
    assert_eq!(report["run"]["backend"], "log");
    assert_eq!(report["run"]["complete"], true, "{report}");
    let caller = &report["denied"][0]["callers"][0];
    assert_eq!(caller["thread"], "calls");
    assert_eq!(caller["executable"], json!(programs::workload("calls")));
    assert!(caller["pid"].is_u64() && caller["ip"].is_string() && caller["args"].is_null());
    // Allowed calls aren't logged, so they are unknown.
    assert!(report["unused"]["unknown_because"].is_string(), "{report}");
    let ended = check(
        &room,
        &["--json", "--log-mode", "--strict", "--update"],
        &profile,
        &calls,
    );
    let report = json(&ended);
    let names = report["unused"]["names"].to_string();
    assert!(
        names.contains("gettid") && !names.contains("\"getpid\""),
        "{names}"
    );
    assert_eq!(ended.code(), 1);
    let ended = check(&room, &["--log-mode"], &profile, &calls);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}
