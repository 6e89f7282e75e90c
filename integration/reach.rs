//! `sc-record reach`: what programs can call, against what they were seen to call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use itertools::Itertools as _;
use serde_json::{Value, json};

use crate::support::process::Room;
use crate::support::programs::workload;
use crate::support::recorder::{Files, PROGRAM};
use crate::support::recordings::{report, repository, run, sc_record, write};

/// The report as JSON, with the exit status.
fn reach(folder: &Path, args: &str) -> (Value, i32) {
    let (text, status) = report(folder, &format!("reach --json {args}"));
    (serde_json::from_str(&text).unwrap(), status)
}

/// The calls that the first program can make.
fn calls(report: &Value) -> BTreeSet<&str> {
    strings(&report["programs"][0]["calls"])
}

fn strings(list: &Value) -> BTreeSet<&str> {
    strings_in_order(list).into_iter().collect()
}

fn strings_in_order(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|text| text.as_str().unwrap()).collect()
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn a_program_can_make_exactly_the_calls_that_its_code_reaches() {
    let program = workload("reachable");
    let folder = tempfile::tempdir().unwrap();
    let (found, status) = reach(folder.path(), program.to_str().unwrap());
    assert_eq!(status, 0);
    let expected = [
        "getpid",
        "gettid",
        "setsid",
        "x86:getpid",
        "getuid",
        "getgid",
        "geteuid",
        "getegid",
        "getppid",
        "getpgrp",
        "sched_yield",
        "pause",
        "umask",
        "chdir",
        "exit_group",
        // What the kernel adds.
        "execve",
        "restart_syscall",
    ];
    assert_eq!(calls(&found), BTreeSet::from(expected));
    assert_eq!(found["holds"], true, "{found:#}");
    assert!(strings(&found["not_reachable"]).contains("reboot"));
    let possible = found["possible"].as_array().unwrap();
    let way = |name: &str| &possible.iter().find(|one| one["call"] == name).unwrap()["path"];
    // The number is the caller's.
    assert_eq!(way("gettid"), &json!(["_start", "begin", "wrapper"]));
    assert_eq!(way("getgid"), &json!(["_start", "begin", "by_address"]));
}

/// Builds `reachable.c` with a macro defined.
fn variant(folder: &Path, name: &str, macro_name: &str) -> PathBuf {
    let program = folder.join(name);
    let source = repository().join("integration/workloads/reachable.c");
    let options = [
        "-O1",
        "-nostdlib",
        "-static",
        "-ffreestanding",
        "-fno-stack-protector",
    ];
    let built = Command::new("cc")
        .args(options)
        .arg(format!("-D{macro_name}"))
        .arg("-o")
        .arg(&program)
        .arg(source)
        .status();
    assert!(built.unwrap().success());
    program
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn a_number_that_is_overwritten_through_an_unknown_stack_pointer_is_not_taken_for_known() {
    let folder = tempfile::tempdir().unwrap();
    variant(folder.path(), "overwritten", "OVERWRITTEN");
    let (found, _) = reach(folder.path(), "./overwritten");
    let unresolved = &found["programs"][0]["unresolved"];
    assert_eq!(unresolved[0]["function"], "overwritten", "{unresolved:#}");
    assert_eq!(found["holds"], false);
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn a_number_that_is_not_known_is_named_and_the_bound_does_not_hold() {
    let folder = tempfile::tempdir().unwrap();
    let program = variant(folder.path(), "unknown", "UNKNOWN");
    let (found, _) = reach(folder.path(), "./unknown");
    assert_eq!(found["holds"], false);
    let unresolved = &found["programs"][0]["unresolved"];
    assert_eq!(unresolved.as_array().unwrap().len(), 1, "{unresolved:#}");
    assert_eq!(unresolved[0]["by"], "begin");
    assert_eq!(unresolved[0]["function"], "wrapper");
    let (words, _) = report(folder.path(), "reach ./unknown");
    assert!(
        words.contains("unknown call: by wrapper, which begin calls (at 0x"),
        "{words}"
    );
    assert!(words.contains("The bound does not hold"), "{words}");
    // Without symbols, the functions are found all the same.
    let stripped = Command::new("strip").arg(&program).status();
    assert!(stripped.unwrap().success());
    let (stripped, _) = reach(folder.path(), "./unknown");
    assert_eq!(calls(&stripped), calls(&found));
    assert_eq!(
        stripped["programs"][0]["unresolved"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[apply(test)]
#[needs(architecture("x86_64"), program("go"))]
fn a_stripped_go_program_has_its_functions_and_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (whole, stripped) = (at("whole/app"), at("stripped/app"));
    for folder in ["whole", "stripped"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    let built = Command::new("sh")
        .arg(repository().join("integration/real/programs/build.sh"))
        .arg("go")
        .env("SC_RECORD_REAL", folder.path())
        .status();
    assert!(built.unwrap().success());
    std::fs::copy(at("bin/go"), &whole).unwrap();
    let strip = Command::new("strip")
        .arg("-o")
        .args([&stripped, &whole])
        .status();
    assert!(strip.unwrap().success());
    let ways = |program: &Path| {
        let (found, _) = reach(folder.path(), program.to_str().unwrap());
        let possible = found["possible"].as_array().unwrap().iter();
        let ways = possible.map(|one| {
            let way = strings_in_order(&one["path"]).join(" -> ");
            // The symbols of functions with the older calling convention end with it.
            (one["call"].to_string(), way.replace(".abi0", ""))
        });
        ways.collect::<BTreeMap<_, _>>()
    };
    let (named, found) = (ways(&whole), ways(&stripped));
    assert!(named.values().any(|way| way.contains(" -> main.main -> ")));
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        named.keys().collect::<Vec<_>>()
    );
    let other = found.iter().find(|(call, way)| named[*call] != **way);
    assert_eq!(other, None);
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn a_bound_is_kept_for_the_same_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cache = folder.join("cache/sc-record/reach");
    let program = folder.join("app");
    std::fs::copy(workload("reachable"), &program).unwrap();
    let calls = || {
        let output = Command::new(PROGRAM)
            .args(["reach", "--json", "./app"])
            .current_dir(folder)
            .env("XDG_CACHE_HOME", folder.join("cache"))
            .output()
            .unwrap();
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        strings(&found["programs"][0]["calls"])
            .into_iter()
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let kept = || {
        let files = std::fs::read_dir(&cache).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        files.collect::<BTreeSet<_>>()
    };
    let all = calls();
    assert!(all.contains("getuid"), "{all:?}");
    let file = kept().into_iter().exactly_one().unwrap();
    // What is kept is taken: a change of it shows.
    let text = std::fs::read_to_string(&file).unwrap();
    let getuid = format!("[\"x86_64\",{},", libc::SYS_getuid);
    assert!(text.contains(&getuid), "{text}");
    let getpgid = format!("[\"x86_64\",{},", libc::SYS_getpgid);
    std::fs::write(&file, text.replace(&getuid, &getpgid)).unwrap();
    assert!(calls().contains("getpgid"));
    // What can't be read is not.
    std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    assert_eq!(calls(), all);
    // The same build ID, but other functions.
    let strip = Command::new("strip").arg(&program).status();
    assert!(strip.unwrap().success());
    assert_eq!(calls(), all);
    assert_eq!(kept().len(), 2);
    // Others could have written it.
    let entries = kept();
    for file in &entries {
        std::fs::write(file, text.replace(&getuid, &getpgid)).unwrap();
    }
    std::fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
    assert_eq!(calls(), all);
}

/// Programs whose calls differ: of many libraries and none, with threads, in C, C++ and Go.
const SAMPLE: [&str; 22] = [
    "awk", "basename", "cat", "cp", "curl", "date", "dd", "df", "find", "gcc", "git", "grep",
    "gzip", "id", "ls", "make", "mktemp", "sed", "sort", "tar", "uname", "xz",
];

#[apply(test)]
#[needs(architecture("x86_64"))]
fn programs_make_no_call_that_their_code_does_not_reach() {
    let installed = SAMPLE.map(|name| Path::new("/usr/bin").join(name));
    let installed: Vec<_> = installed
        .iter()
        .filter(|program| program.exists())
        .collect();
    assert!(installed.len() > 10, "only {installed:?} are installed");
    let room = Room::new();
    let files = Files::new(&room);
    for program in &installed {
        let mut command = files.command(&["--quiet", "--name", "sample"]);
        room.run(command.arg(program).arg("--help"));
    }
    let (found, status) = reach(&room.directory(), files.recording.to_str().unwrap());
    assert_eq!(found["outside"], json!([]));
    assert_eq!(status, 0);
    let compared = found["programs"].as_array().unwrap();
    assert!(compared.len() >= installed.len(), "{compared:#?}");
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn the_recordings_of_real_programs_are_within_their_bounds() {
    let folder = repository();
    let recordings = std::fs::read_dir(folder.join("recordings")).unwrap();
    let recordings = recordings.map(|entry| entry.unwrap().path().display().to_string());
    let (python, others): (Vec<_>, Vec<_>) =
        recordings.partition(|path| path.ends_with("python3.json"));
    // Python's modules make calls of their own.
    let modules = "/usr/lib/python3.11/lib-dynload";
    let modules = std::fs::read_dir(modules).into_iter().flatten();
    let with = modules.map(|entry| format!(" --with {}", entry.unwrap().path().display()));
    let with_modules = python.concat() + &with.collect::<String>();
    for args in [others.join(" "), with_modules] {
        let (found, status) = reach(&folder, &args);
        assert_eq!(found["outside"], json!([]), "{args}");
        assert_eq!(status, 0, "{args}");
        let compared = found["programs"].as_array().unwrap();
        assert!(
            compared.len() > 3,
            "only {} programs are installed",
            compared.len()
        );
    }
}

#[apply(test)]
#[needs(architecture("x86_64"), program("nginx"))]
fn a_server_that_was_only_seen_serving_can_still_reload_and_reopen_its_logs() {
    let folder = tempfile::tempdir().unwrap();
    let mut serving = run(
        1,
        &[
            "execve",
            "epoll_wait",
            "accept4",
            "recvfrom",
            "writev",
            "close",
            "read",
            "openat",
        ],
    );
    for tally in serving["syscalls"]["x86_64"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        tally["executables"] = json!(["/usr/sbin/nginx"]);
    }
    let path = folder.path().join("nginx.json");
    write(
        &path,
        &json!({"schema": 1, "name": "nginx", "runs": [serving]}),
    );
    let (found, status) = reach(folder.path(), "nginx.json");
    assert_eq!(status, 0);
    let possible = found["possible"].as_array().unwrap();
    let calls: BTreeSet<&str> = possible
        .iter()
        .map(|one| one["call"].as_str().unwrap())
        .collect();
    for call in [
        "umask",
        "kill",
        "rename",
        "chown",
        "unlink",
        "setsid",
        "setitimer",
    ] {
        assert!(calls.contains(call), "{call}: {calls:?}");
    }
    assert!(!calls.contains("reboot") && !calls.contains("read"));
    let (words, _) = report(folder.path(), "reach nginx.json");
    assert!(words.contains("ngx_master_process_cycle"), "{words}");
}

/// A recording of `reachable.c` that lacks some of its calls.
fn recorded_in_part(folder: &Path) {
    let mut some = run(1, &["execve", "getpid", "exit_group"]);
    let calls = some["syscalls"]["x86_64"].as_object_mut().unwrap();
    for tally in calls.values_mut() {
        tally["executables"] = json!([workload("reachable")]);
    }
    let recording = json!({"schema": 1, "name": "app", "runs": [some]});
    write(&folder.join("app.json"), &recording);
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn possible_calls_are_allowed_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recorded_in_part(folder);
    let names = |options: &str| {
        let (summary, status) = report(
            folder,
            &format!("generate --policy exact app.json -o p.json --json {options}"),
        );
        assert_eq!(status, 0, "{summary}");
        let summary: Value = serde_json::from_str(&summary).unwrap();
        let all = strings(&summary["syscalls"]).into_iter();
        let all = all.map(str::to_owned).collect::<BTreeSet<_>>();
        let recorded = ["execve", "exit_group", "getpid"].map(str::to_owned);
        let added: BTreeSet<String> = &all - &BTreeSet::from(recorded);
        let reasons = strings(&summary["reachable"]).into_iter();
        assert_eq!(added, reasons.map(str::to_owned).collect());
        let profile = std::fs::read_to_string(folder.join("p.json")).unwrap();
        assert!(
            all.iter()
                .all(|name| profile.contains(&format!("\"{name}\"")))
        );
        added
    };
    assert_eq!(names(""), BTreeSet::new());
    let two = ["getgid", "getuid"].map(str::to_owned);
    assert_eq!(names("--add-reachable getuid,getgid"), BTreeSet::from(two));
    let all = names("--add-reachable all");
    assert!(all.contains("umask") && !all.contains("reboot"), "{all:?}");

    let refused = |option: &str, expected: &str| {
        let output = sc_record(folder, &format!("generate app.json -o none {option}"));
        assert_eq!(output.status.code(), Some(2), "{option}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(expected), "{option}: {stderr}");
    };
    let none = "no recorded program can make such a call, or each was recorded";
    refused("--add-reachable reboot", none);
    refused("--add-reachable getpid", none);
    refused("--add-reachable @no-such", "@no-such is no group");
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn reviews_name_the_calls_that_no_run_has_made() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recorded_in_part(folder);
    let generate = "generate -q --policy exact app.json -o p.json --add-reachable getuid";
    assert_eq!(report(folder, generate).1, 0);
    let json = |args: &str, key: &str| {
        let (text, _) = report(folder, &format!("{args} --json"));
        let all: Value = serde_json::from_str(&text).unwrap();
        all[key].clone()
    };
    let calls = |list: &Value| {
        let list = list.as_array().unwrap().iter();
        list.map(|one| one["call"].as_str().unwrap().to_owned())
            .collect::<BTreeSet<_>>()
    };
    let possible = calls(&json("stats app.json --reach", "possible"));
    assert!(possible.contains("getuid") && possible.contains("getgid"));
    assert!(!possible.contains("getpid"), "{possible:?}");
    let mut denied = possible.clone();
    denied.remove("getuid");
    for verb in [
        "explain p.json --recording app.json",
        "check p.json app.json",
    ] {
        let found = json(&format!("{verb} --reach"), "possible_but_denied");
        assert_eq!(calls(&found), denied, "{verb}");
        assert_eq!(json(verb, "possible_but_denied"), Value::Null, "{verb}");
    }

    let way = "can make it: _start -> begin";
    let words = |args: &str| report(folder, args).0;
    let of_one = words("explain p.json getgid --recording app.json --reach");
    assert!(of_one.contains(way), "{of_one}");
    let of_all = words("explain p.json --recording app.json --reach");
    assert!(of_all.contains(way), "{of_all}");
    let still = format!("{} calls that these programs can still make", denied.len());
    assert!(of_all.contains(&still), "{of_all}");
    assert!(words("check p.json app.json --reach").contains(&still));
    assert!(words("stats app.json --reach").contains("calls that these programs can still make"));

    for format in ["", "--markdown"] {
        let text = words(&format!("report app.json p.json --reach {format}"));
        assert!(text.contains("Possible, but not recorded"), "{text}");
        // Markdown has a backslash before it.
        assert!(text.replace('\\', "").contains("by_address"), "{text}");
        let without = words(&format!("report app.json p.json {format}"));
        assert!(!without.contains("Possible, but not recorded"), "{without}");
    }
    // A later version of the program, as its code shows.
    let mut older: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("app.json")).unwrap()).unwrap();
    let calls = &mut older["runs"][0]["syscalls"]["x86_64"];
    for name in ["getuid", "reboot"] {
        calls[name] = calls["getpid"].clone();
    }
    write(&folder.join("older.json"), &older);
    let both = words("diff older.json app.json --reach");
    let said = |name: &str, what: &str| {
        let line = both.lines().find(|line| line.contains(name)).unwrap();
        assert!(line.ends_with(what), "{line}");
    };
    said("getuid", "; still possible");
    said("reboot", "; no longer possible");
    let still = json("diff older.json app.json --reach", "gone_but_possible");
    assert_eq!(strings(&still), BTreeSet::from(["getuid"]));
    assert_eq!(
        report(folder, "generate -q older.json -o older-p.json").1,
        0
    );
    let stale = json("check older-p.json app.json --reach", "impossible");
    assert_eq!(strings(&stale), BTreeSet::from(["reboot"]));
    let stale = words("check older-p.json app.json --reach");
    assert!(
        stale.contains("the programs can't make 1: reboot"),
        "{stale}"
    );
    for verb in [
        "check p.json app.json",
        "stats app.json",
        "diff older.json app.json",
    ] {
        words(&format!("{verb} --reach --html page.html"));
        let page = std::fs::read_to_string(folder.join("page.html")).unwrap();
        assert!(
            page.contains("Possible, but not recorded"),
            "{verb}: {page}"
        );
        let changes = page.contains("older.json →");
        assert_eq!(changes, verb.starts_with("diff"), "{verb}: {page}");
    }
    let output = sc_record(folder, "diff older.json p.json --html page.html");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("--html needs a recording as p.json"),
        "{stderr}"
    );
}

#[apply(test)]
fn what_is_no_program_is_said() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("script"), "#!/bin/sh -e\ntrue\n").unwrap();
    std::fs::write(
        folder.path().join("broken"),
        b"\x7fELF\x02\x01\x01 and no more",
    )
    .unwrap();
    let check = |args: &str, expected: &str| {
        let output = sc_record(folder.path(), &format!("reach {args}"));
        assert_eq!(output.status.code(), Some(2), "{args}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(expected), "{args}: {stderr}");
    };
    check(
        "./script",
        "is a script, which can make any call that its interpreter can: sc-record reach /bin/sh",
    );
    check("./broken", "cannot analyse");
    check("./nothing", "can't read ./nothing");
    check("no-such-program", "no-such-program: no such command");
}
