//! `sc-record convert` and `sc-record inspect`: the tools for which files are written accept and enforce them, and the
//! inspected filters are those that the kernel has.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::process::{Ended, Room, until};
use crate::support::recorder::PROGRAM;

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("profiles")
        .join(name)
}

fn sc_record(room: &Room, arguments: &[&str]) -> Ended {
    room.run(Command::new(PROGRAM).args(arguments))
}

/// Converts a committed profile, and returns the file.
fn converted(room: &Room, profile: &str, format: &str, file: &str) -> PathBuf {
    let path = room.path().join(file);
    let from = committed(profile);
    let ended = sc_record(
        room,
        &[
            "convert",
            from.to_str().unwrap(),
            "-f",
            format,
            "-o",
            path.to_str().unwrap(),
        ],
    );
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    path
}

#[apply(test)]
fn every_committed_profile_is_read_back_from_each_format_that_can_express_it() {
    let room = Room::new();
    for format in [
        "docker",
        "podman",
        "kubernetes",
        "spo",
        "systemd",
        "libseccomp",
        "bpf",
    ] {
        for profile in ["git.json", "shell.json", "x86.json"] {
            let file = converted(&room, profile, format, &format!("{profile}.{format}"));
            let back = sc_record(&room, &["convert", file.to_str().unwrap(), "-f", "oci"]);
            let original = std::fs::read_to_string(committed(profile)).unwrap();
            assert_eq!(back.stdout, original, "{format} {}", back.stderr);
        }
    }
    let snippet = std::fs::read_to_string(room.path().join("git.json.pod.yaml")).unwrap();
    assert!(
        snippet.contains("localhostProfile: profiles/git.json"),
        "{snippet}"
    );
}

#[apply(test)]
fn the_c_of_libseccomp_compiles_and_enforces_the_same() {
    let room = Room::new();
    let source = converted(&room, "shell.json", "libseccomp", "shell.c");
    let program = room.path().join("shell");
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"])
        .arg(&program)
        .arg(&source)
        .arg("-lseccomp");
    let ended = room.run(&mut cc);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    // The same program as sc-record loads.
    let bpf = converted(&room, "shell.json", "bpf", "shell.bpf");
    let export = Command::new(&program).arg("--export-bpf").output().unwrap();
    assert!(export.status.success());
    assert_eq!(export.stdout, std::fs::read(bpf).unwrap());
    // The kernel enforces it.
    let ended = room.run(Command::new(&program).args(["sh", "-c", "echo hello"]));
    assert_eq!(ended.stdout, "hello\n", "{}", ended.stderr);
    let ended = room.run(Command::new(&program).args(["unshare", "-U", "true"]));
    assert!(
        ended.stderr.contains("Operation not permitted"),
        "{}",
        ended.stderr
    );
}

#[apply(test)]
#[needs(program("systemd-analyze"))]
fn systemd_takes_the_drop_in() {
    let room = Room::new();
    let unit = room.path().join("app.service");
    std::fs::write(
        &unit,
        "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/true\n",
    )
    .unwrap();
    let folder = room.path().join("app.service.d");
    std::fs::create_dir(&folder).unwrap();
    converted(&room, "git.json", "systemd", "app.service.d/seccomp.conf");
    let verified = || {
        let mut verify = Command::new("systemd-analyze");
        room.run(verify.arg("verify").arg(&unit)).stderr
    };
    let said = verified();
    assert!(
        !said.contains("seccomp.conf") && !said.contains("SystemCall"),
        "{said}"
    );
    // Settings that restrict arguments.
    let compared = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
        {"names":["read"],"action":"SCMP_ACT_ALLOW"},{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38},
        {"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;
    let profile = room.path().join("clone.json");
    std::fs::write(&profile, compared).unwrap();
    let mut convert = Command::new(PROGRAM);
    convert.args(["convert", "-f", "systemd", "-o"]);
    let file = folder.join("seccomp.conf");
    let ended = room.run(convert.arg(&file).arg(&profile));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("RestrictNamespaces=yes\n"), "{text}");
    let said = verified();
    assert!(!said.contains("seccomp.conf"), "{said}");
    // systemd reads the file: it reports a wrong name.
    std::fs::write(
        folder.join("seccomp.conf"),
        "[Service]\nSystemCallFilter=read no_such_call\n",
    )
    .unwrap();
    let said = verified();
    assert!(said.contains("no_such_call"), "{said}");
}

#[apply(test)]
#[needs(program("systemd-analyze"), program("python3"))]
fn settings_of_systemd_are_read_as_systemd_enforces_them() {
    const FILTERS: [&str; 2] = [
        "SystemCallFilter=~swapon",
        "SystemCallFilter=@system-service personality",
    ];
    let room = Room::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/systemd.py");
    let tries = |command: &mut Command, settings: &[&str]| {
        let ended = room.run(command.arg(&script).args(settings));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        ended.stdout
    };
    let free = tries(&mut Command::new("python3"), &[]);
    for settings in [
        &["LockPersonality=yes"][..],
        &["RestrictRealtime=yes"],
        &["RestrictAddressFamilies=AF_UNIX AF_INET AF_NETLINK"],
        &["RestrictAddressFamilies=~AF_ALG AF_VSOCK"],
        &[
            "LockPersonality=yes",
            "RestrictRealtime=yes",
            "RestrictAddressFamilies=AF_INET",
        ],
    ] {
        let enforced = tries(&mut Command::new("python3"), settings);
        assert_ne!(enforced, free);
        for filter in FILTERS {
            let lines = [&[filter, "SystemCallErrorNumber=EPERM"], settings].concat();
            let unit = room.fresh("u");
            std::fs::write(&unit, format!("[Service]\n{}\n", lines.join("\n"))).unwrap();
            let mut run = Command::new(PROGRAM);
            run.arg("run").arg(&unit).args(["--", "python3"]);
            assert_eq!(tries(&mut run, &[]), enforced, "{lines:?}");
            // What is read is written again.
            let written = sc_record(&room, &["convert", unit.to_str().unwrap(), "-f", "systemd"]);
            for setting in settings {
                let is_written = written.stdout.lines().any(|line| line == *setting);
                assert!(is_written, "{}{}", written.stdout, written.stderr);
            }
        }
    }
}

#[apply(test)]
fn run_takes_profiles_of_every_format() {
    let room = Room::new();
    for format in [
        "docker",
        "podman",
        "spo",
        "systemd",
        "seccompiler",
        "libseccomp",
        "bpf",
    ] {
        let file = converted(&room, "shell.json", format, &format!("run.{format}"));
        let ended = sc_record(
            &room,
            &[
                "run",
                file.to_str().unwrap(),
                "--",
                "sh",
                "-c",
                "echo hello",
            ],
        );
        assert_eq!(
            (ended.code(), ended.stdout.as_str()),
            (0, "hello\n"),
            "{format}: {}",
            ended.stderr
        );
    }
}

#[apply(test)]
fn inspect_answers_for_a_call_and_its_arguments() {
    let room = Room::new();
    let profile = room.path().join("p.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["openat"],"action":"SCMP_ACT_ALLOW",
            "args":[{"index":2,"value":3,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#,
    )
    .unwrap();
    let ask = |arg: &str| {
        let ended = sc_record(
            &room,
            &[
                "inspect",
                profile.to_str().unwrap(),
                "--call",
                "openat",
                "--arg",
                arg,
                "--json",
            ],
        );
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let answer: Value = serde_json::from_str(&ended.stdout).unwrap();
        answer["action"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask("2=0x80000"), "SCMP_ACT_ALLOW");
    assert_eq!(ask("2=0x80001"), "SCMP_ACT_ERRNO(EPERM)");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN))]
fn the_filters_of_a_process_are_those_that_it_loaded() {
    let room = Room::new();
    let profile = committed("shell.json");
    let mut running = Command::new(PROGRAM)
        .args([
            "run",
            profile.to_str().unwrap(),
            "--",
            "sh",
            "-c",
            "read x; echo $x",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = running.id().to_string();
    let status = format!("/proc/{pid}/status");
    until("it to be the shell that reads", || {
        let status = std::fs::read_to_string(&status).unwrap();
        status.contains("Seccomp:\t2") && status.contains("Name:\tsh\n")
    });
    let ended = sc_record(&room, &["inspect", &pid, "--disassemble", "--json"]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let of_process: Value = serde_json::from_str(&ended.stdout).unwrap();
    let ended = sc_record(
        &room,
        &[
            "inspect",
            profile.to_str().unwrap(),
            "--disassemble",
            "--json",
        ],
    );
    let of_profile: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        of_process["filters"][0]["disassembly"],
        of_profile["filters"][0]["disassembly"]
    );
    assert_eq!(
        of_process["filters"][0]["arches"],
        of_profile["filters"][0]["arches"]
    );
    assert_eq!(of_process["process"]["no_new_privs"], true);
    // The process runs on undisturbed.
    std::io::Write::write_all(running.stdin.as_mut().unwrap(), b"unharmed\n").unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "unharmed\n");
}

#[apply(test)]
fn a_file_of_a_gigabyte_is_refused_at_once() {
    let room = Room::new();
    let file = room.path().join("huge.json");
    let sparse = std::fs::File::create(&file).unwrap();
    sparse.set_len(1 << 30).unwrap();
    let mut command = Command::new("sh");
    // 200 MB of address space.
    command
        .args([
            "-c",
            "ulimit -v 200000; exec \"$@\"",
            "sh",
            PROGRAM,
            "convert",
        ])
        .arg(&file)
        .args(["-F", "oci", "-f", "oci"]);
    let ended = room.run(&mut command);
    assert_eq!(ended.code(), 2, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("is larger than 16777216 bytes"),
        "{}",
        ended.stderr
    );
}
