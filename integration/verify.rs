//! `sc-record verify`: every denial, its effect on the program, and whether the outcome is the same.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use crate::enforce::listen;
use crate::support::machine;
use crate::support::process::{Ended, Room};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// A script of `servers/`, set up for this room.
pub(crate) fn server(room: &Room, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/servers");
    let script = room.fresh(name);
    let place = room.directory();
    let source = source.join(name).with_extension("sh");
    let text = format!("#!/bin/sh\nexec {} {}\n", source.display(), place.display());
    std::fs::write(&script, text).unwrap();
    crate::support::process::set_mode(&script, 0o755);
    script
}

/// A profile in a room, and verifications of commands under it.
struct Under {
    room: Room,
    profile: PathBuf,
}

impl Under {
    fn new(profile: &Value) -> Under {
        let room = Room::new();
        let path = room.path().join("profile.json");
        std::fs::write(&path, profile.to_string()).unwrap();
        Under {
            room,
            profile: path,
        }
    }

    fn command(&self, options: &[&str], command: &[&str]) -> Command {
        let mut line = Command::new(PROGRAM);
        line.arg("verify").args(options).arg(&self.profile);
        line.arg("--").args(command);
        line
    }

    /// The report, and the output of the workload and of `sc-record`.
    fn verify(&self, options: &[&str], command: &[&str]) -> (Ended, Value) {
        let file = self.room.fresh("report");
        let mut line = self.command(&["--json", "-q", "-o", file.to_str().unwrap()], command);
        let rest: Vec<_> = line.get_args().skip(1).map(ToOwned::to_owned).collect();
        line = Command::new(PROGRAM);
        line.arg("verify").args(options).args(rest);
        let ended = self.room.run(&mut line);
        let report = std::fs::read(&file).unwrap_or_else(|_| panic!("{}", ended.stderr));
        (ended, serde_json::from_slice(&report).unwrap())
    }
}

fn allow_all_but(rules: &Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [Arch::NATIVE.oci_name(), machine::COMPAT.oci_name()],
        "syscalls": rules,
    })
}

fn number(name: &str) -> String {
    let call = Syscall::from_name(Arch::NATIVE, name).unwrap();
    call.nr.to_string()
}

/// `ARCH:NAME ACTION COUNT GOT` of each denial, in order.
fn denials(report: &Value) -> Vec<String> {
    let denials = report["run"]["denials"].as_array().unwrap().iter();
    denials
        .map(|denial| {
            let text = |field: &str| denial[field].as_str().unwrap().to_owned();
            let (arch, name, action) = (text("arch"), text("syscall"), text("action"));
            let arch = machine::abi(&arch);
            let action = action.trim_start_matches("SCMP_ACT_");
            format!(
                "{arch}:{name} {action} {} {}",
                denial["count"], denial["got"]
            )
        })
        .collect()
}

/// The workload `calls` with these arguments.
fn calls(arguments: &[&str]) -> Vec<String> {
    let program = programs::workload("calls").to_str().unwrap().to_owned();
    let arguments = programs::calls(arguments);
    std::iter::once(program).chain(arguments).collect()
}

fn verify_calls(under: &Under, arguments: &[&str]) -> (Ended, Value) {
    let command = calls(arguments);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    under.verify(&[], &command)
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn every_action_is_reported() {
    let rule =
        |name: &str, action: &str| json!({"names": [name], "action": format!("SCMP_ACT_{action}")});
    let under = Under::new(&allow_all_but(&json!([
        {"names": ["getpgrp"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
        rule("getppid", "ERRNO"),
        rule("getuid", "LOG"),
        rule("getgid", "TRAP"),
        rule("geteuid", "TRACE"),
        rule("getegid", "KILL_THREAD"),
        rule("sched_yield", "KILL_PROCESS"),
    ])));
    let (ended, report) = verify_calls(
        &under,
        &[
            "handle", "getppid", "getpgrp", "getppid", "getuid", "getgid", "geteuid", "int80:64",
            "getsid",
        ],
    );
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert_eq!(
        denials(&report),
        [
            r#"native:getppid ERRNO(EPERM) 2 {"EPERM":2}"#,
            r#"native:getpgrp ERRNO(77) 1 {"EBADFD":1}"#,
            r#"native:getuid LOG 1 {"success":1}"#,
            r#"native:getgid TRAP 1 {"SIGSYS":1}"#,
            r#"native:geteuid TRACE(1) 1 {"ENOSYS":1}"#,
            r#"compat:getppid ERRNO(EPERM) 1 {"EPERM":1}"#,
        ]
        .map(|line| line.replace("ERRNO(77)", "ERRNO(EBADFD)"))
    );
    let first = &report["run"]["denials"][0];
    assert_eq!(first["thread"], "calls");
    assert_eq!(
        first["executable"],
        programs::workload("calls").to_str().unwrap()
    );
    let code = first["code"].as_str().unwrap();
    assert!(code.contains("/calls+0x"), "{code}");
    assert_eq!(first["said_by"], "rule");
    assert_eq!(report["run"]["same_result"], true);

    // A killed thread, and a killed process.
    let (ended, report) = verify_calls(&under, &["thread", "getegid"]);
    assert_eq!(
        denials(&report),
        [r#"native:getegid KILL_THREAD 1 {"killed by SIGSYS":1}"#]
    );
    assert_eq!(ended.stdout, "the first thread lives\n");
    let (ended, report) = verify_calls(&under, &["sched_yield"]);
    assert_eq!(
        denials(&report),
        [r#"native:sched_yield KILL_PROCESS 1 {"killed by SIGSYS":1}"#]
    );
    assert_eq!(report["run"]["result"], "killed by SIGSYS");
    assert_eq!(report["run"]["same_result"], false);
    assert_eq!(ended.code(), 1);
    // Without a handler.
    let (_, report) = verify_calls(&under, &["getgid"]);
    assert_eq!(denials(&report), [r#"native:getgid TRAP 1 {"SIGSYS":1}"#]);
}

#[apply(test)]
fn an_error_of_the_kernel_itself_is_not_a_denial() {
    let under = Under::new(&allow_all_but(&json!([
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 9},
    ])));
    // The kernel itself answers close(-1) with EBADF.
    let (_, report) = verify_calls(&under, &["getppid", "close,4294967295"]);
    assert_eq!(
        denials(&report),
        [r#"native:getppid ERRNO(EBADF) 1 {"EBADF":1}"#]
    );
}

#[apply(test)]
fn a_listener_is_notified_and_its_answer_is_reported() {
    let mut profile = allow_all_but(&json!([{"names": ["getppid"], "action": "SCMP_ACT_NOTIFY"}]));
    let under = Under::new(&profile);
    let socket = under.room.path().join("listener");
    profile["listenerPath"] = json!(socket);
    std::fs::write(&under.profile, profile.to_string()).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let answers = std::thread::spawn(move || {
        let (_, fd) = listen(&listener);
        let request = libseccomp::ScmpNotifReq::receive(fd).unwrap();
        let flags = libseccomp::ScmpNotifRespFlags::empty();
        let answer = libseccomp::ScmpNotifResp::new_error(request.id, -libc::EXDEV, flags);
        answer.respond(fd).unwrap();
    });
    let (ended, report) = verify_calls(&under, &["getppid"]);
    answers.join().unwrap();
    assert_eq!(denials(&report), [r#"native:getppid NOTIFY 1 {"EXDEV":1}"#]);
    assert!(ended.stdout.ends_with("errno 18\n"), "{}", ended.stdout);
    assert_eq!(report["run"]["same_result"], true);
}

#[apply(test)]
fn denials_of_all_descendants_are_reported_with_their_programs() {
    let room = Room::new();
    let files = Files::new(&room);
    let script = "true; ls / >/dev/null; (setsid cat /etc/passwd >/dev/null); exit 0";
    let command = ["sh", "-c", script];
    let ended = room.run(files.command(&["-q"]).args(command));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let text = std::fs::read_to_string(&files.profile).unwrap();
    let mut profile: Value = serde_json::from_str(&text).unwrap();

    let under = Under::new(&profile);
    let (ended, report) = under.verify(&["--compare", "stdout,stderr"], &command);
    assert_eq!(ended.code(), 0, "{report:#}");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    assert_eq!(report["clean"], true);

    let names = profile["syscalls"][0]["names"].as_array_mut().unwrap();
    names.retain(|name| name != "fadvise64" && name != "getdents64");
    let under = Under::new(&profile);
    let (ended, report) = under.verify(&["--compare", "stderr"], &command);
    assert_eq!(ended.code(), 1);
    let by: Vec<_> = (report["run"]["denials"].as_array().unwrap().iter())
        .map(|denial| format!("{} by {}", denial["syscall"], denial["executable"]))
        .collect();
    let expected = [("getdents64", "/bin/ls"), ("fadvise64", "/bin/cat")];
    let expected = expected.map(|(call, program)| {
        let program = std::fs::canonicalize(program).unwrap();
        format!(r#""{call}" by "{}""#, program.display())
    });
    assert_eq!(by, expected);
    // The workload's own message is printed and reported.
    assert!(
        ended.stderr.contains("reading directory '/'"),
        "{}",
        ended.stderr
    );
    let differs = report["run"]["differs"].as_str().unwrap();
    assert!(differs.contains("stderr differs in line 1"), "{differs}");
    assert_eq!(report["run"]["result"], "exit 0");
}

/// Removes one call from a server's profile: exactly that denial is found, with its effect on the workload.
fn check_server(name: &str, call: &str, executable: &str, symptom: &str) {
    let room = Room::new();
    let script = server(&room, name);
    let files = Files::new(&room);
    let ended = room.run(files.command(&["-q"]).arg(&script));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let text = std::fs::read_to_string(&files.profile).unwrap();
    let mut profile: Value = serde_json::from_str(&text).unwrap();
    let names = profile["syscalls"][0]["names"].as_array_mut().unwrap();
    names.retain(|name| name != call);

    let under = Under::new(&profile);
    let (ended, report) = under.verify(&[], &[script.to_str().unwrap()]);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let denials = report["run"]["denials"].as_array().unwrap();
    let [denial] = denials.as_slice() else {
        panic!("not one: {report:#}");
    };
    assert_eq!(denial["syscall"], call);
    assert_eq!(denial["action"], "SCMP_ACT_ERRNO(EPERM)");
    assert_eq!(denial["said_by"], "default");
    assert_eq!(denial["got"], json!({"EPERM": 1}));
    let by = denial["executable"].as_str().unwrap();
    assert!(by.contains(executable), "{by}");
    let code = denial["code"].as_str().unwrap();
    assert!(code.contains("libc.so.6+0x"), "{code}");
    assert_eq!(report["run"]["same_result"], false);
    let differs = report["run"]["differs"].as_str().unwrap();
    assert!(differs.contains(symptom), "{differs}");
}

#[apply(test)]
#[needs(program("nginx"), program("curl"))]
fn nginx_without_sendfile() {
    check_server(
        "nginx",
        "sendfile",
        "nginx",
        "sendfile() failed (1: Operation not permitted)",
    );
}

#[apply(test)]
#[needs(program("redis-server"), program("redis-cli"))]
fn redis_without_listen() {
    check_server("redis", "listen", "redis", "exit 1 instead of exit 0");
}

#[apply(test)]
fn injected_calls_are_stopped_or_not() {
    let mut profile =
        allow_all_but(&json!([{"names": ["setns", "read"], "action": "SCMP_ACT_ALLOW"}]));
    profile["defaultAction"] = json!("SCMP_ACT_ERRNO");
    let under = Under::new(&profile);
    let run = |names: &str| {
        let mut line = Command::new(PROGRAM);
        line.args(["verify", "--inject", names]).arg(&under.profile);
        under.room.run(&mut line)
    };
    let (native, compat) = (machine::NATIVE, machine::COMPAT);
    let stopped = |by_process: &str| {
        format!("stopped (the filter answers SCMP_ACT_ERRNO(EPERM); the process {by_process})\n")
    };
    // A process of aarch64 can't make calls of arm.
    let of_compat = stopped(match Arch::NATIVE {
        Arch::X86_64 => "got EPERM",
        _ => "did not make it: this program can't make calls of that ABI",
    });
    let ended = run("mount,unshare");
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let expected = ["mount", "unshare"].map(|name| {
        let stopped = stopped("got EPERM");
        format!("{name}: {stopped}{compat}:{name}: {of_compat}")
    });
    assert_eq!(ended.stdout, expected.concat());
    let ended = run(&format!("{native}:setns,{compat}:mount"));
    assert_eq!(ended.code(), 1);
    assert_eq!(
        ended.stdout,
        format!(
            "setns: LET THROUGH (the filter answers SCMP_ACT_ALLOW; the process got EBADF)\n{compat}:mount: {of_compat}"
        )
    );
    let ended = run("frobnicate");
    assert_eq!(ended.code(), 2);
    let unknown = format!("--inject frobnicate: not a system call of {native}, {compat}");
    assert!(ended.stderr.contains(&unknown), "{}", ended.stderr);
}

#[apply(test)]
fn a_command_that_can_not_start_is_an_error() {
    let under = Under::new(&json!({"defaultAction": "SCMP_ACT_ERRNO"}));
    let ended = under
        .room
        .run(&mut under.command(&["--no-baseline"], &["true"]));
    assert_eq!(ended.code(), 2);
    assert!(
        ended.stderr.contains("no command can be started under it"),
        "{}",
        ended.stderr
    );
    let ended = under.room.run(&mut under.command(&[], &["./none"]));
    assert_eq!(ended.code(), 2);
}

#[apply(test)]
fn the_report_is_on_stderr_and_the_output_is_the_workloads() {
    let under = Under::new(&allow_all_but(&json!([
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO"},
    ])));
    let command = calls(&["getppid", "getuid"]);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let ended = (under.room).run(&mut under.command(&["--compare", "stdout"], &command));
    assert_eq!(ended.code(), 1);
    let expected = format!("{} errno 1\n{} done\n", number("getppid"), number("getuid"));
    assert_eq!(ended.stdout, expected);
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(
        lines[0],
        "sc-record: running once without the profile (skip with --no-baseline)"
    );
    assert_eq!(
        lines[1],
        "denied: getppid (SCMP_ACT_ERRNO(EPERM), a rule), once; the program got EPERM"
    );
    let program = programs::workload("calls");
    assert!(lines[2].starts_with(&format!("  by {} (thread calls) at ", program.display())));
    assert!(lines[4].ends_with("profile.json denied 1 call"));
    assert_eq!(
        lines[5],
        "the outcome differs from the run without the profile: stdout differs in line 1"
    );
}

/// The loaded filter and the report use the same profile, however its conditions are resolved.
#[apply(test)]
fn conditions_of_dockers_dialect_are_resolved_as_asked_for() {
    let profile = allow_all_but(&json!([{
        "names": ["umask"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]},
    }]));
    let under = Under::new(&profile);
    let command = ["/bin/sh", "-c", "umask"];
    let check = |caps, status| {
        let ended = under
            .room
            .run(&mut under.command(&["-q", "--for-caps", caps], &command));
        assert_eq!(ended.code(), status, "{caps}: {}", ended.stderr);
        assert_eq!(
            ended.stderr.contains("denied: umask"),
            status == 1,
            "{}",
            ended.stderr
        );
    };
    check("none", 1);
    check("CAP_SYS_ADMIN", 0);
}
