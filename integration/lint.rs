//! `sc-record lint`, as users call it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::recordings::{
    allow, profile, recording, report, repository, run, sc_record, write,
};

/// A profile with a fault of most kinds.
fn faulty(folder: &Path) {
    write(
        &folder.join("faulty.json"),
        &json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "flags": [],
            "syscalls": [
                allow(&["read", "write", "exit", "mouunt", "cachestat", "mount"]),
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                    {"index": 0, "value": 38, "op": "SCMP_CMP_NE"}, {"index": 0, "value": 40, "op": "SCMP_CMP_NE"},
                ]},
                {"names": ["read"], "action": "SCMP_ACT_KILL_PROCESS"},
                {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO"},
            ],
        }),
    );
}

#[apply(test)]
fn every_finding_has_its_place_its_rule_and_a_fix() {
    let folder = tempfile::tempdir().unwrap();
    faulty(folder.path());
    let (text, status) = report(
        folder.path(),
        "lint faulty.json --target containerd --libseccomp 2.5.4",
    );
    insta::assert_snapshot!(text);
    assert_eq!(status, 1);
    let (json, _) = report(
        folder.path(),
        "lint faulty.json --target containerd --libseccomp 2.5.4 --json",
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    let unknown = json["findings"].as_array().unwrap().iter();
    let unknown: Vec<&Value> = unknown
        .filter(|finding| finding["rule"] == "SCR003")
        .collect();
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0]["places"][0]["place"], "syscalls[0].names[3]");
    let text = std::fs::read_to_string(folder.path().join("faulty.json")).unwrap();
    let line = usize::try_from(unknown[0]["line"].as_u64().unwrap()).unwrap();
    assert!(text.lines().nth(line - 1).unwrap().contains("mouunt"));
}

#[apply(test)]
fn a_rule_can_be_left_out_and_notes_are_no_findings() {
    let folder = tempfile::tempdir().unwrap();
    let calls = "capget capset chdir close execve exit exit_group faccessat2 fstat fstatfs futex getcwd getdents64 getppid \
                 newfstatat openat prctl read setgid setgroups setuid write";
    let mut calls: Vec<&str> = calls.split_whitespace().collect();
    let path = folder.path().join("a.json");
    // Newer calls, such as runc's faccessat2 (439), would get EPERM.
    let probes = [
        "clone3",
        "close_range",
        "copy_file_range",
        "openat2",
        "preadv2",
        "pwritev2",
        "renameat2",
        "rseq",
        "statx",
    ];
    let enosys = json!({"names": probes, "action": "SCMP_ACT_ERRNO", "errnoRet": 38});
    profile(&path, &json!([allow(&calls), enosys]));
    let (text, status) = report(folder.path(), "lint a.json --libseccomp 2.5.4");
    assert_eq!(
        text,
        "1 profile for runc with libseccomp 2.5.4: 0 errors, 0 warnings, 0 notes\n"
    );
    assert_eq!(status, 0);
    calls.push("mount");
    profile(&path, &json!([allow(&calls), enosys]));
    let (text, status) = report(folder.path(), "lint a.json --libseccomp 2.5.4");
    assert!(
        text.contains("note: mount: ") && text.contains("[SCR009 risky-call]"),
        "{text}"
    );
    assert_eq!(status, 0);
    calls.push("mouunt");
    profile(&path, &json!([allow(&calls), enosys]));
    assert_eq!(report(folder.path(), "lint a.json --libseccomp 2.5.4").1, 1);
    for name in [
        "SCR003",
        "unknown-call",
        "scr009,SCR003",
        "risky-call,unknown-call",
    ] {
        let args = format!("lint a.json --libseccomp 2.5.4 --allow {name}");
        assert_eq!(report(folder.path(), &args).1, 0);
    }
    let output = sc_record(folder.path(), "lint a.json --allow SCR999");
    assert_eq!(output.status.code(), Some(2));
    let output = sc_record(folder.path(), "lint a.json --target lxc");
    assert_eq!(output.status.code(), Some(2));
    let output = sc_record(folder.path(), "lint absent.json");
    assert_eq!(output.status.code(), Some(2));
}

#[apply(test)]
fn a_recording_shows_excess_and_missing_calls() {
    let folder = tempfile::tempdir().unwrap();
    faulty(folder.path());
    recording(&folder.path().join("r.json"), &[run(1, &["read", "futex"])]);
    let args = "lint faulty.json --libseccomp 2.6.0 --target crun --recording r.json";
    let (text, _) = report(folder.path(), args);
    assert!(
        text.contains("no run of app made a call of x86 [SCR031"),
        "{text}"
    );
    assert!(
        text.contains("recorded, but denied: x86_64 futex [SCR040"),
        "{text}"
    );
}

#[apply(test)]
fn conditions_are_lost_on_readers_of_plain_oci() {
    let folder = tempfile::tempdir().unwrap();
    write(
        &folder.path().join("docker.json"),
        &json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}],
            "syscalls": [
                allow(&["read", "exit", "exit_group"]),
                {"names": ["bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_BPF"]}},
            ],
        }),
    );
    let found = |target: &str| {
        let args = format!("lint docker.json --target {target} --json --libseccomp 2.6.0");
        let (json, _) = report(folder.path(), &args);
        let json: Value = serde_json::from_str(&json).unwrap();
        let findings = json["findings"].as_array().unwrap().iter();
        let findings = findings.filter(|finding| finding["rule"] == "SCR034");
        findings
            .flat_map(|finding| finding["places"].as_array().unwrap())
            .map(|part| part["place"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("docker"), Vec::<String>::new());
    assert_eq!(found("podman"), Vec::<String>::new());
    for target in ["containerd", "kubernetes", "runc", "crun", "systemd"] {
        assert_eq!(
            found(target),
            ["archMap", "syscalls[1].includes"],
            "{target}"
        );
    }
}

/// The schema of OASIS, from the crate serde-sarif.
fn sarif_schema() -> PathBuf {
    let metadata = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--offline",
            "--locked",
            // The packages of other platforms weren't downloaded.
            "--filter-platform",
            &format!("{}-unknown-linux-gnu", std::env::consts::ARCH),
            "--manifest-path",
        ])
        .arg(repository().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        metadata.status.success(),
        "{}",
        String::from_utf8_lossy(&metadata.stderr)
    );
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let sarif = packages
        .iter()
        .find(|package| package["name"] == "serde-sarif")
        .unwrap();
    let manifest = Path::new(sarif["manifest_path"].as_str().unwrap());
    manifest.parent().unwrap().join("src/schema.json")
}

#[apply(test)]
fn sarif_is_valid_by_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    faulty(folder.path());
    let (text, status) = report(folder.path(), "lint faulty.json --libseccomp 2.5.4 --sarif");
    assert_eq!(status, 1);
    let log: Value = serde_json::from_str(&text).unwrap();

    let schema: Value = serde_json::from_slice(&std::fs::read(sarif_schema()).unwrap()).unwrap();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("sarif.json", schema).unwrap();
    let mut schemas = boon::Schemas::new();
    let schema = compiler.compile("sarif.json", &mut schemas).unwrap();
    if let Err(error) = schemas.validate(&log, schema) {
        panic!("{error:#}");
    }
    // The schema rejects an invalid file.
    let mut broken = log.clone();
    broken["runs"][0]["results"][0]["level"] = json!("grave");
    assert!(schemas.validate(&broken, schema).is_err());

    // The report can be parsed.
    let read: serde_sarif::sarif::Sarif = serde_json::from_value(log.clone()).unwrap();
    let results = read.runs[0].results.as_ref().unwrap();
    let (json, _) = report(folder.path(), "lint faulty.json --libseccomp 2.5.4 --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(results.len(), findings.len());
    for (result, finding) in log["runs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .zip(findings)
    {
        assert_eq!(result["ruleId"], finding["rule"]);
        let region = &result["locations"][0]["physicalLocation"]["region"];
        assert_eq!(region["startLine"], finding["line"]);
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        let rules = log["runs"][0]["tool"]["driver"]["rules"]
            .as_array()
            .unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
}

#[apply(test)]
fn the_page_of_rules_is_what_the_program_prints() {
    let (table, _) = report(&repository(), "lint --rules");
    let page = std::fs::read_to_string(repository().join("docs/lint-rules.md")).unwrap();
    assert!(
        page.ends_with(&table),
        "docs/lint-rules.md does not end with what `sc-record lint --rules` prints"
    );
}

#[apply(test)]
fn the_committed_profiles_have_no_errors_except_for_calls_of_containers() {
    // They were recorded outside of containers, so a runtime's own calls aren't in them.
    for entry in std::fs::read_dir(repository().join("profiles")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        // The measured calls of runtimes.
        if file == "baselines" {
            continue;
        }
        let args =
            format!("lint profiles/{file} --recording recordings/{file} --libseccomp 2.6.0 --json");
        let (json, _) = report(&repository(), &args);
        let json: Value = serde_json::from_str(&json).unwrap();
        for finding in json["findings"].as_array().unwrap() {
            assert!(
                finding["severity"] != "error" || finding["rule"] == "SCR002",
                "{file}: {finding}"
            );
        }
    }
}
