//! `sc-record diff`, as users call it.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::recordings::{
    allow, profile, recording, report, repository, run, sc_record, write,
};

fn two_profiles(folder: &Path) {
    profile(
        &folder.join("a.json"),
        &json!([
            allow(&["read", "personality", "close"]),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        ]),
    );
    write(
        &folder.join("b.json"),
        &json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X86_64"], "flags": [],
            "syscalls": [
                allow(&["close"]),
                allow(&["mount", "read", "write"]),
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 3, "op": "SCMP_CMP_LT"}]},
            ],
        }),
    );
}

#[apply(test)]
fn profiles_differ_by_what_they_mean_the_gravest_first() {
    let folder = tempfile::tempdir().unwrap();
    two_profiles(folder.path());
    let (text, status) = report(folder.path(), "diff a.json b.json");
    insta::assert_snapshot!(text);
    assert_eq!(status, 1);
    let (json, status) = report(folder.path(), "diff a.json b.json --json");
    assert_eq!(status, 1);
    let json: Value = serde_json::from_str(&json).unwrap();
    insta::assert_snapshot!(format!("{json:#}"));
    assert_eq!(
        report(folder.path(), "diff a.json b.json -q"),
        (String::new(), 1)
    );
}

#[apply(test)]
fn what_is_written_otherwise_and_means_the_same_is_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    profile(&folder.join("a.json"), &json!([allow(&["read", "write"])]));
    profile(
        &folder.join("b.json"),
        &json!([allow(&["write"]), {"names": ["mount"], "action": "SCMP_ACT_ERRNO"}, allow(&["read", "write"])]),
    );
    assert_eq!(
        report(folder, "diff a.json b.json"),
        ("a.json and b.json mean the same\n".to_owned(), 0)
    );
}

#[apply(test)]
fn formats_differ_in_how_they_are_written_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = repository().join("profiles/git.json");
    for format in ["docker", "podman", "kubernetes"] {
        let convert = format!("convert {} -f {format} -q -o other", file.display());
        let output = sc_record(folder.path(), &convert);
        assert!(output.status.success(), "{output:?}");
        let (text, status) = report(folder.path(), &format!("diff {} other", file.display()));
        assert!(
            status == 0 || text.contains("architectures"),
            "{format}: {text}"
        );
    }
}

#[apply(test)]
fn recordings_differ_by_their_calls() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    recording(
        &folder.join("a.json"),
        &[run(1, &["read", "close"]), run(2, &["read"])],
    );
    recording(
        &folder.join("b.json"),
        &[
            run(1, &["read", "close"]),
            run(3, &["read", "ptrace", "x86:open"]),
        ],
    );
    recording(&folder.join("c.json"), &[run(4, &["read", "close"])]);
    let (text, status) = report(folder, "diff a.json b.json");
    insta::assert_snapshot!(text);
    assert_eq!(status, 1);
    let (text, _) = report(folder, "diff b.json a.json");
    assert!(text.contains("- x86_64 ptrace"), "{text}");
    // The same calls, in other runs.
    assert_eq!(
        report(folder, "diff a.json c.json"),
        (
            "a.json and c.json have the same calls (1 run added, 2 gone)\n".to_owned(),
            0
        )
    );
    let (json, _) = report(folder, "diff a.json b.json --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["new"][0]["name"], "ptrace");
    assert_eq!(json["new"][0]["executables"], json!(["/bin/app"]));
    assert_eq!(json["new"][1]["arch"], "x86");
    assert_eq!(json["same"], false);
}

#[apply(test)]
fn a_recording_beside_a_profile_is_what_generate_makes_of_it() {
    for name in ["git", "x86", "int80"] {
        let args = format!("diff profiles/{name}.json recordings/{name}.json");
        let (text, status) = report(&repository(), &args);
        assert_eq!(status, 0, "{text}");
        let (text, status) = report(&repository(), &format!("{args} --policy exact"));
        assert_eq!(status, 1);
        assert!(text.contains("narrower  - restart_syscall"), "{text}");
    }
}

#[apply(test)]
fn trouble_is_told_with_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    profile(&folder.join("a.json"), &json!([allow(&["read"])]));
    std::fs::write(folder.join("broken.json"), "{\"schema\": 1,\n").unwrap();
    recording(&folder.join("empty.json"), &[]);
    let check = |args: &str, expected: &str| {
        let output = sc_record(folder, args);
        assert_eq!(output.status.code(), Some(2), "{args}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(expected), "{stderr}");
        assert!(output.stdout.is_empty());
    };
    check("diff a.json absent.json", "cannot read absent.json");
    check(
        "diff a.json broken.json",
        "broken.json:2:0: the file ends too early",
    );
    check(
        "diff a.json empty.json",
        "no profile can be made of the recording of app: no run was recorded",
    );
    check("diff a.json", "");
}
