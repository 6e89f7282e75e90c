//! `sc-record check`: recordings, runs and real programs against profiles.

mod junit;
mod live;
mod real;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::recordings::{allow, profile, recording, report, run, sc_record};

/// A profile with every kind of rule, and a recording that doesn't fit it.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = [
        run(
            1,
            &["read", "openat", "socket", "clone3", "#9999", "personality"],
        ),
        run(2, &["read", "mount", "x86:open"]),
    ];
    runs[1]["complete"] = json!(false);
    runs[1]["incomplete_because"] = json!(["the recorder was interrupted"]);
    recording(&folder.path().join("recordings/app.json"), &runs);
    profile(
        &folder.path().join("profiles/app.json"),
        &json!([
            allow(&["read", "ptrace", "exit_group", "write"]),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["socket", "ioctl"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
            {"names": ["personality"], "action": "SCMP_ACT_LOG"},
        ]),
    );
    folder
}

const CHECK: &str = "check profiles/app.json recordings/app.json";

#[apply(test)]
fn recordings_are_reported_for_people() {
    let folder = workspace();
    let (text, status) = report(folder.path(), CHECK);
    insta::assert_snapshot!(text);
    assert_eq!(status, 1);
    let (text, status) = report(folder.path(), &format!("{CHECK} -q"));
    assert_eq!((text.as_str(), status), ("", 1));
}

#[apply(test)]
fn recordings_are_reported_as_json() {
    let folder = workspace();
    let (text, status) = report(
        folder.path(),
        &format!("{CHECK} --json --strict --tolerate mount"),
    );
    let value: Value = serde_json::from_str(&text).unwrap();
    insta::assert_snapshot!(format!("{value:#}"));
    assert_eq!(status, 1);
    // It is one line.
    assert_eq!(text.lines().count(), 1);
}

#[apply(test)]
fn recordings_are_reported_as_annotations() {
    let folder = workspace();
    let (text, status) = report(folder.path(), &format!("{CHECK} --github"));
    insta::assert_snapshot!(text);
    assert_eq!(status, 1);
    // The line numbers are those of the file.
    let profile = fs::read_to_string(folder.path().join("profiles/app.json")).unwrap();
    for annotation in text.lines().filter(|line| line.contains("is not used")) {
        let (_, line) = annotation.split_once("line=").unwrap();
        let (line, rest) = line.split_once(',').unwrap();
        let name = rest
            .strip_prefix("title=")
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        let line: usize = line.parse().unwrap();
        let of_file = profile.lines().nth(line - 1).unwrap();
        assert_eq!(of_file.trim().trim_end_matches(','), format!("{name:?}"));
    }
}

#[apply(test)]
fn recordings_are_reported_as_junit() {
    let folder = workspace();
    let (_, status) = report(
        folder.path(),
        &format!("{CHECK} -q --junit report/junit.xml"),
    );
    assert_eq!(status, 1);
    let xml = fs::read_to_string(folder.path().join("report/junit.xml")).unwrap();
    insta::assert_snapshot!(xml);
}

#[apply(test)]
fn a_report_can_go_to_a_file() {
    let folder = workspace();
    let (printed, _) = report(folder.path(), &format!("{CHECK} --json"));
    let (nothing, status) = report(folder.path(), &format!("{CHECK} --json --report out.json"));
    assert_eq!((nothing.as_str(), status), ("", 1));
    let written = fs::read_to_string(folder.path().join("out.json")).unwrap();
    assert_eq!(written, printed);
}

#[apply(test)]
#[needs(program("patch"), program("git"))]
fn a_patch_applies_with_patch_and_git_and_update_and_all_make_the_same() {
    let applied = |how: &[&str]| {
        let folder = workspace();
        let (json, _) = report(folder.path(), &format!("{CHECK} --json --remove-unused"));
        let json: Value = serde_json::from_str(&json).unwrap();
        fs::write(
            folder.path().join("p.patch"),
            json["patch"].as_str().unwrap(),
        )
        .unwrap();
        let output = Command::new(how[0])
            .args(&how[1..])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{how:?}: {said}");
        fs::read_to_string(folder.path().join("profiles/app.json")).unwrap()
    };
    let by_patch = applied(&["patch", "-p1", "-i", "p.patch"]);
    assert_eq!(applied(&["git", "apply", "p.patch"]), by_patch);
    assert_eq!(
        applied(&["patch", "-p0", "-i", "p.patch", "profiles/app.json"]),
        by_patch
    );

    let folder = workspace();
    let file = folder.path().join("profiles/app.json");
    let (text, status) = report(folder.path(), &format!("{CHECK} --remove-unused --update"));
    assert!(
        text.ends_with("sc-record: profiles/app.json is updated\n"),
        "{text}"
    );
    // A number without a name, a denial and an incomplete run remain.
    assert_eq!(status, 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), by_patch);
    insta::assert_snapshot!(by_patch);

    // Options tolerate the rest.
    let (text, status) = report(
        folder.path(),
        &format!("{CHECK} --tolerate clone3,#9999 --allow-incomplete"),
    );
    assert_eq!(status, 0, "{text}");
    assert_eq!(fs::read_to_string(&file).unwrap(), by_patch);
}

#[apply(test)]
fn an_update_changes_only_the_lines_that_it_must() {
    let folder = tempfile::tempdir().unwrap();
    recording(
        &folder.path().join("r.json"),
        &[run(1, &["read", "futex", "openat"])],
    );
    // An unusual layout and order, and no newline at the end.
    let text = "{ \"syscalls\": [\n    { \"action\": \"SCMP_ACT_ALLOW\",\n      \"names\": [ \"read\",\n                 \"exit\" ] }\n  ],\n  \
                \"defaultAction\":   \"SCMP_ACT_KILL_PROCESS\"}";
    let file = folder.path().join("p.json");
    fs::write(&file, text).unwrap();
    let (said, status) = report(folder.path(), "check p.json r.json --update");
    assert_eq!(status, 0, "{said}");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        text.replace(
            "\"exit\" ]",
            "\"exit\",\n                 \"futex\",\n                 \"openat\" ]"
        )
    );
    assert_eq!(report(folder.path(), "check p.json r.json").1, 0);
}

#[apply(test)]
fn unused_names_fail_only_on_request() {
    let folder = tempfile::tempdir().unwrap();
    recording(&folder.path().join("r.json"), &[run(1, &["read"])]);
    let rules = json!([allow(&["read", "exit", "mount"])]);
    profile(&folder.path().join("p.json"), &rules);
    let (text, status) = report(folder.path(), "check p.json r.json");
    assert_eq!(status, 0);
    assert!(
        text.contains("allowed but never called (1): mount\n"),
        "{text}"
    );
    assert!(
        text.contains("never called, but policy allows them (1): exit\n"),
        "{text}"
    );
    assert_eq!(report(folder.path(), "check p.json r.json --strict").1, 1);
    let exact = "check p.json r.json --policy exact";
    let (text, _) = report(folder.path(), exact);
    assert!(
        text.contains("allowed but never called (2): exit, mount\n"),
        "{text}"
    );
    let update = "check p.json r.json --strict --remove-unused --update";
    assert_eq!(report(folder.path(), update).1, 0);
    assert_eq!(report(folder.path(), "check p.json r.json --strict").1, 0);
    let profile: Value =
        serde_json::from_slice(&fs::read(folder.path().join("p.json")).unwrap()).unwrap();
    assert_eq!(profile["syscalls"], json!([allow(&["read", "exit"])]));
}

#[apply(test)]
fn inputs_that_can_t_be_checked_are_errors() {
    let folder = workspace();
    let check = |args: &str, expect: &str| {
        let output = sc_record(folder.path(), args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args}: {stderr}");
        assert!(stderr.contains(expect), "{args}: {stderr}");
    };
    fs::write(folder.path().join("bad.json"), "{").unwrap();
    check("check profiles/app.json", "RECORDING");
    check(
        "check none.json recordings/app.json",
        "can't read none.json",
    );
    check("check bad.json recordings/app.json", "bad.json: line 1");
    check("check profiles/app.json bad.json", "bad.json");
    check("check profiles/app.json -- none/such", "none/such");
    check(
        "check profiles/app.json r.json -- ls",
        "cannot be used with",
    );
    check(
        "check profiles/app.json r.json --json --github",
        "cannot be used with",
    );
    check(
        "check profiles/app.json recordings/app.json --any-status",
        "--any-status and --recording need CMD",
    );
    let wide = json!([{"names": ["lseek"], "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 1, "value": 1_u64 << 40, "op": "SCMP_CMP_GT"}]}]);
    let mut value: Value =
        serde_json::from_slice(&fs::read(folder.path().join("profiles/app.json")).unwrap())
            .unwrap();
    value["syscalls"] = wide;
    value["architectures"] = json!(["SCMP_ARCH_X86"]);
    fs::write(folder.path().join("wide.json"), value.to_string()).unwrap();
    check(
        "check wide.json recordings/app.json",
        "too wide for the 32-bit arguments of x86",
    );
}

#[apply(test)]
fn the_committed_profiles_allow_the_committed_recordings() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in fs::read_dir(top.join("profiles")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // The measured calls of runtimes.
        if name == "baselines" {
            continue;
        }
        let (text, status) = report(
            top,
            &format!("check --strict profiles/{name} recordings/{name}"),
        );
        assert_eq!(status, 0, "{name}: {text}");
    }
}

/// Counts of folded runs are lower bounds: they keep none.
#[apply(test)]
fn counts_of_folded_runs_are_lower_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<_> = (1..5)
        .map(|number| run(number, &["read", "mount"]))
        .collect();
    recording(&folder.path().join("r.json"), &runs);
    profile(&folder.path().join("p.json"), &json!([allow(&["read"])]));
    let (text, _) = report(folder.path(), "check p.json r.json");
    assert!(text.contains("    8 calls, by /bin/app"), "{text}");
    let merge = sc_record(folder.path(), "merge --compact -q r.json -o f.json");
    assert!(merge.status.success(), "{merge:?}");
    let (text, _) = report(folder.path(), "check p.json f.json");
    // Twice in the run that is whole, at least once in each of the others.
    assert!(text.contains("    at least 5 calls, by /bin/app"), "{text}");
    let (json, _) = report(folder.path(), "check p.json f.json --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["denied"][0]["count_exact"], false);
}
