//! Recordings and profiles with content for a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value, json};

/// A run in the form of a recording: the `number`th of a workload, a second after the one before, with these calls. A
/// call is `name` or `arch:name`, optionally followed by `@MS`, the time when it was first seen.
pub(crate) fn run(number: u32, calls: &[&str]) -> Value {
    let mut syscalls = Map::new();
    for call in calls {
        let (call, first_ms) = call.split_once('@').unwrap_or((call, "0"));
        let (arch, name) = call.split_once(':').unwrap_or(("x86_64", call));
        let first_ms: u64 = first_ms.parse().unwrap();
        let tally = json!({"count": 2, "first_ms": first_ms, "executables": ["/bin/app"]});
        let of_arch = syscalls.entry(arch).or_insert_with(|| json!({}));
        of_arch[name] = tally;
    }
    json!({
        "id": format!("01234567-89ab-7def-8123-{:012x}", 0x4567_8900_0000 + u64::from(number)),
        "started": format!("2025-01-01T00:{:02}:{:02}.000Z", number / 60, number % 60),
        "duration_ms": 900, "tool": "sc-record 0.1.0", "program": "app", "labels": {}, "backend": "ptrace",
        "kernel": "6.18", "machine": "x86_64", "no_new_privs": false, "exit": {"code": 0}, "tasks": 1, "complete": true,
        "incomplete_because": [], "syscalls": syscalls,
    })
}

/// Writes a recording of these runs.
pub(crate) fn recording(path: &Path, runs: &[Value]) {
    let recording = json!({"schema": 1, "name": "app", "runs": runs});
    write(path, &recording);
}

/// Writes a profile for `x86_64` that refuses all calls except by its rules.
pub(crate) fn profile(path: &Path, syscalls: &Value) {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": syscalls,
    });
    write(path, &profile);
}

pub(crate) fn write(path: &Path, value: &Value) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("{value:#}\n")).unwrap();
}

/// A rule that allows these calls.
pub(crate) fn allow(names: &[&str]) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ALLOW"})
}

/// Runs `sc-record` with these arguments in a folder.
pub(crate) fn sc_record(folder: &Path, args: &str) -> Output {
    Command::new(super::recorder::PROGRAM)
        .args(args.split_whitespace())
        .current_dir(folder)
        .env_remove("LC_ALL")
        .env_remove("LC_CTYPE")
        .env("LANG", "C.UTF-8")
        .env(
            "XDG_CACHE_HOME",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"),
        )
        .output()
        .unwrap()
}

/// Its stdout and its status. Its stderr must be empty.
pub(crate) fn report(folder: &Path, args: &str) -> (String, i32) {
    let output = sc_record(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "", "{args}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    (stdout, output.status.code().unwrap())
}

/// The root of this repository, where the committed recordings and profiles are.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
