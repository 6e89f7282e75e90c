//! `sc-record generate`: the profile of recordings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::recorder::PROGRAM;

/// Runs `sc-record generate`, which must end with this status.
fn generate(folder: &Path, args: &[&str], status: i32) -> Output {
    let mut command = Command::new(PROGRAM);
    command.current_dir(folder).arg("generate").args(args);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    output
}

/// A recording of one run with these calls of `x86_64`, called `name`.json.
fn recording(folder: &Path, name: &str, run: &str, calls: &[&str], incomplete: &[&str]) -> PathBuf {
    recording_on("x86_64", folder, name, run, calls, incomplete)
}

/// The same of another machine.
fn recording_on(
    machine: &str,
    folder: &Path,
    name: &str,
    run: &str,
    calls: &[&str],
    incomplete: &[&str],
) -> PathBuf {
    let call = |call: &&str| {
        let tally = json!({"count": 1, "first_ms": 0, "executables": ["/bin/app"]});
        ((*call).to_owned(), tally)
    };
    let calls: serde_json::Map<String, Value> = calls.iter().map(call).collect();
    let recording = json!({"schema": 1, "name": name, "runs": [{
        "id": format!("01234567-89ab-7def-8123-4567890000{run}"),
        "started": "2025-01-01T00:00:00.000Z", "duration_ms": 1, "tool": "sc-record 0.1.0", "program": "app",
        "labels": {}, "backend": "ptrace", "kernel": "6.18", "machine": machine, "no_new_privs": false,
        "exit": {"code": 0}, "tasks": 1, "complete": incomplete.is_empty(), "incomplete_because": incomplete,
        "syscalls": {machine: calls},
    }]});
    let path = folder.join(format!("{name}-{run}.json"));
    fs::write(&path, format!("{recording:#}\n")).unwrap();
    path
}

fn names(profile: &Path) -> Vec<String> {
    let profile: Value = serde_json::from_slice(&fs::read(profile).unwrap()).unwrap();
    let names = profile["syscalls"][0]["names"].as_array().unwrap();
    names
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[apply(test)]
fn the_profile_of_several_files_is_that_of_their_merged_runs() {
    let folder = tempfile::tempdir().unwrap();
    let a = recording(folder.path(), "app", "0a", &["read", "execve"], &[]);
    let b = recording(folder.path(), "app", "0b", &["write", "read"], &[]);
    let files = [
        a.to_str().unwrap(),
        b.to_str().unwrap(),
        a.to_str().unwrap(),
    ];
    let exact = [&files[..], &["--policy", "exact"]].concat();
    assert_eq!(generate(folder.path(), &exact, 0).stdout, b"");
    let profile = folder.path().join("profiles/app.json");
    assert_eq!(names(&profile), ["execve", "read", "write"]);
    let bytes = fs::read(&profile).unwrap();
    let to_stdout = [&exact[..], &["-o", "-", "-q"]].concat();
    let output = generate(folder.path(), &to_stdout, 0);
    assert_eq!((output.stdout, output.stderr), (bytes, Vec::new()));
    // The order of the files makes no difference.
    let turned = ["--policy", "exact", files[1], files[0], "-o", "turned.json"];
    generate(folder.path(), &turned, 0);
    assert_eq!(
        fs::read(folder.path().join("turned.json")).unwrap(),
        fs::read(&profile).unwrap()
    );
}

#[apply(test)]
fn a_number_without_a_name_fails_unless_it_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), "app", "0a", &["read", "#-5"], &[]);
    let said = stderr(&generate(folder.path(), &["app-0a.json"], 2));
    assert!(
        said.contains("x86_64 number -5, called once by /bin/app"),
        "{said}"
    );
    assert!(said.contains("--skip-unnamed"), "{said}");
    assert!(!folder.path().join("profiles").exists());
    let output = generate(folder.path(), &["app-0a.json", "--skip-unnamed", "-q"], 0);
    assert!(stderr(&output).contains("x86_64 number -5"));
    assert!(names(&folder.path().join("profiles/app.json")).contains(&"read".to_owned()));
}

#[apply(test)]
fn incomplete_runs_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), "app", "0a", &["read"], &["3 calls lost"]);
    let said = stderr(&generate(folder.path(), &["app-0a.json", "-q"], 0));
    assert!(
        said.contains("calls may be missing: run 01234567-"),
        "{said}"
    );
    assert!(said.contains("3 calls lost"), "{said}");
}

#[apply(test)]
fn workloads_of_different_names_need_a_file_for_their_profile() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), "a", "0a", &["read"], &[]);
    recording(folder.path(), "b", "0b", &["write"], &[]);
    let both = ["a-0a.json", "b-0b.json", "--policy", "exact"];
    assert!(stderr(&generate(folder.path(), &both, 2)).contains("generate -o FILE"));
    generate(folder.path(), &[&both[..], &["-o", "ab.json"]].concat(), 0);
    assert_eq!(names(&folder.path().join("ab.json")), ["read", "write"]);
}

#[apply(test)]
fn the_summary_as_json_gives_every_addition_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), "app", "0a", &["openat"], &[]);
    let args = [
        "app-0a.json",
        "--policy",
        "portable",
        "--enosys-probes",
        "--json",
    ];
    let output = generate(folder.path(), &args, 0);
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let added = summary["added"].as_array().unwrap();
    let open = added.iter().find(|added| added["name"] == "open").unwrap();
    assert_eq!(open["for"], json!(["openat"]));
    assert_eq!(open["arch"], "x86_64");
    assert!(open["why"].as_str().unwrap().contains("glibc"));
    assert!(summary["enosys"].to_string().contains("clone3"));
    assert_eq!(summary["profile"], "profiles/app.json");
    generate(folder.path(), &["app-0a.json", "--json", "-o", "-"], 2);
}

/// The runtime's faccessat2(2) has a higher number than clone3(2): runc would answer EPERM to that.
#[apply(test)]
fn libc_falls_back_from_newer_calls_under_a_profile_for_a_container_runtime() {
    let folder = tempfile::tempdir().unwrap();
    recording(folder.path(), "app", "0a", &["openat"], &[]);
    let refused = |options: &[&str]| {
        let args = [&["app-0a.json", "-o", "app.json"], options].concat();
        generate(folder.path(), &args, 0);
        let profile = fs::read(folder.path().join("app.json")).unwrap();
        let profile: Value = serde_json::from_slice(&profile).unwrap();
        let rules = profile["syscalls"].as_array().unwrap().iter();
        let enosys = rules.filter(|rule| rule["errnoRet"] == 38);
        let names = enosys.flat_map(|rule| rule["names"].as_array().unwrap());
        let names: Vec<String> = names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect();
        names
    };
    assert_eq!(refused(&[]), [""; 0]);
    for runtime in ["docker", "podman"] {
        let names = refused(&["--runtime", runtime]);
        for name in ["clone3", "statx", "openat2"] {
            assert!(names.iter().any(|refused| refused == name), "{names:?}");
        }
        let mut lint = Command::new(PROGRAM);
        lint.args(["lint", "--target", runtime, "app.json"]);
        let found = lint.current_dir(folder.path()).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        assert!(!found.contains("SCR005"), "{found}");
    }
}

/// A recording of a service, its client and a shell.
fn with_client(folder: &Path) -> PathBuf {
    let tally = |by: &[&str]| json!({"count": 2, "first_ms": 0, "executables": by});
    let (server, client, shell) = ("/usr/sbin/server", "/usr/bin/client", "/usr/bin/dash");
    let calls = json!({"x86_64": {
        "accept4": tally(&[server]), "connect": tally(&[client]), "read": tally(&[client, server, shell]),
        "execve": tally(&[shell]), "setsid": tally(&["/opt/server"]), "futex": tally(&[]),
    }});
    let path = recording(folder, "app", "0a", &["read"], &[]);
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    file["runs"][0]["syscalls"] = calls;
    fs::write(&path, format!("{file:#}\n")).unwrap();
    path
}

#[apply(test)]
fn the_profile_of_one_executable_has_none_of_the_calls_that_only_others_made() {
    let folder = tempfile::tempdir().unwrap();
    with_client(folder.path());
    let made = |options: &[&str]| {
        let line = [&["app-0a.json", "--policy", "exact", "-q"], options].concat();
        let said = stderr(&generate(folder.path(), &line, 0));
        // The caller of futex is unknown.
        assert!(
            said.contains("these calls stay, since no executable is recorded for them: futex"),
            "{said}"
        );
        names(&folder.path().join("profiles/app.json"))
    };
    assert_eq!(
        made(&["--exe", "/usr/sbin/server"]),
        ["accept4", "futex", "read"]
    );
    assert_eq!(
        made(&["--exe", "server"]),
        ["accept4", "futex", "read", "setsid"]
    );
    let both = made(&["--exclude-exe", "client", "--exclude-exe", "dash"]);
    assert_eq!(both, ["accept4", "futex", "read", "setsid"]);
    let less = made(&["--exe", "server", "--exclude-exe", "/opt/server"]);
    assert_eq!(less, ["accept4", "futex", "read"]);
}

#[apply(test)]
fn an_executable_that_made_no_call_is_an_error_with_those_that_did() {
    let folder = tempfile::tempdir().unwrap();
    with_client(folder.path());
    let said = stderr(&generate(
        folder.path(),
        &["app-0a.json", "--exe", "sbin/server"],
        2,
    ));
    assert!(
        said.contains(
            "no call was made by sbin/server; the executables are: /opt/server, /usr/bin/client"
        ),
        "{said}"
    );
    // Excluding an absent executable changes nothing.
    let said = stderr(&generate(
        folder.path(),
        &["app-0a.json", "--exclude-exe", "bash"],
        0,
    ));
    assert!(
        said.contains("warning: the recording of app: no call was made by bash"),
        "{said}"
    );
}

#[apply(test)]
fn calls_of_folded_runs_are_attributed_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = with_client(folder.path());
    let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut second = file["runs"][0].clone();
    second["id"] = json!("01234567-89ab-7def-8123-45678900000b");
    file["runs"].as_array_mut().unwrap().push(second);
    fs::write(&path, file.to_string()).unwrap();
    let merged = Command::new(PROGRAM)
        .current_dir(folder.path())
        .args([
            "merge",
            "-q",
            "--compact",
            "-o",
            "folded.json",
            "app-0a.json",
        ])
        .status();
    assert!(merged.unwrap().success());
    let options = [
        "folded.json",
        "--policy",
        "exact",
        "-q",
        "--exe",
        "client",
        "-o",
        "client.json",
    ];
    generate(folder.path(), &options, 0);
    assert_eq!(
        names(&folder.path().join("client.json")),
        ["connect", "futex", "read"]
    );
}

#[apply(test)]
fn a_rule_of_falco_selects_the_recorded_executables() {
    let folder = tempfile::tempdir().unwrap();
    with_client(folder.path());
    let options = [
        "app-0a.json",
        "-q",
        "-f",
        "falco",
        "-o",
        "-",
        "--exclude-exe",
        "dash",
    ];
    let output = generate(folder.path(), &options, 0);
    let rule = String::from_utf8(output.stdout).unwrap();
    let condition =
        "condition: \"proc.exepath in ('/opt/server', '/usr/bin/client', '/usr/sbin/server')";
    assert!(rule.contains(condition), "{rule}");
    assert!(!rule.contains("proc.name = "), "{rule}");
}

#[apply(test)]
fn hundreds_of_calls_without_a_name_are_counted_and_not_listed() {
    let folder = tempfile::tempdir().unwrap();
    let calls: Vec<String> = (10_000..10_300)
        .map(|number| format!("#{number}"))
        .collect();
    let named = calls.iter().map(String::as_str);
    let calls: Vec<&str> = named.chain(["read"]).collect();
    recording(folder.path(), "app", "0a", &calls, &[]);
    let output = generate(folder.path(), &["app-0a.json"], 2);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("10004") && !said.contains("10005"), "{said}");
    assert!(
        said.contains("; and 295 more\n  hint: --skip-unnamed"),
        "{said}"
    );
}

/// What a program calls on two machines: each ABI lacks calls of the other.
#[apply(test)]
fn recordings_of_two_machines_give_one_profile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let common = "execve exit exit_group read rt_sigreturn write";
    let calls =
        |own: &'static str| -> Vec<&str> { common.split(' ').chain(own.split(' ')).collect() };
    let (x86, arm) = (calls("dup2 open stat"), calls("dup3 newfstatat openat"));
    recording_on("x86_64", path, "app", "0a", &x86, &[]);
    recording_on("aarch64", path, "app", "0b", &arm, &[]);
    let run = |args: &[&str], status| {
        let mut command = Command::new(PROGRAM);
        let output = command.current_dir(path).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(
        &[
            "merge",
            "-q",
            "app-0a.json",
            "app-0b.json",
            "-o",
            "both.json",
        ],
        0,
    );
    let exact = ["--policy", "exact", "-q"];
    generate(
        path,
        &[&["both.json", "-o", "app.json"], &exact[..]].concat(),
        0,
    );
    let profile: Value = serde_json::from_slice(&fs::read(path.join("app.json")).unwrap()).unwrap();
    assert_eq!(
        profile["architectures"],
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"])
    );
    let mut all: Vec<_> = [x86, arm].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(names(&path.join("app.json")), all);

    // Docker gives a container the ABIs of its own machine.
    generate(
        path,
        &[
            &["both.json", "-o", "docker.json", "-f", "docker"],
            &exact[..],
        ]
        .concat(),
        0,
    );
    let docker: Value =
        serde_json::from_slice(&fs::read(path.join("docker.json")).unwrap()).unwrap();
    assert!(docker.get("architectures").is_none(), "{docker}");
    assert_eq!(
        docker["archMap"],
        json!([
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": []},
        ])
    );
    for (machine, name) in [
        ("amd64", "SCMP_ARCH_X86_64"),
        ("arm64", "SCMP_ARCH_AARCH64"),
    ] {
        let resolved = run(
            &[
                "convert",
                "docker.json",
                "-f",
                "oci",
                "--for-arch",
                machine,
                "-o",
                "-",
            ],
            0,
        );
        let resolved: Value = serde_json::from_str(&resolved).unwrap();
        assert_eq!(resolved["architectures"], json!([name]));
    }

    // A filter of either machine allows its calls: no call of one is lacking on the other.
    let lacking = |file: &str, status| run(&["lint", file, "--target", "crun"], status);
    assert!(!lacking("app.json", 1).contains("SCR013"));
    // The recording of one machine alone isn't enough for both, without the policy that is for that.
    let mut alone = profile.clone();
    alone["syscalls"][0]["names"] = json!(calls("dup2 open stat"));
    fs::write(path.join("alone.json"), alone.to_string()).unwrap();
    let found = lacking("alone.json", 1);
    assert!(
        found.contains("aarch64 has no dup2, and of their kind only dup3"),
        "{found}"
    );
    let portable = [
        "app-0a.json",
        "-o",
        "portable.json",
        "--policy",
        "portable",
        "-q",
    ];
    generate(path, &portable, 0);
    assert!(!names(&path.join("portable.json")).contains(&"epoll_pwait".to_owned()));
    assert!(names(&path.join("portable.json")).contains(&"dup3".to_owned()));
}
