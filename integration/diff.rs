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
fn profiles_with_the_same_meaning_do_not_differ() {
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
fn formats_differ_only_in_their_text() {
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
fn a_recording_compared_with_a_profile_counts_as_its_generated_profile() {
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
fn an_error_names_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    profile(&folder.join("a.json"), &json!([allow(&["read"])]));
    std::fs::write(folder.join("broken.json"), "{\"schema\": 1, \"runs\": [\n").unwrap();
    recording(&folder.join("empty.json"), &[]);
    let check = |args: &str, expected: &str| {
        let output = sc_record(folder, args);
        assert_eq!(output.status.code(), Some(2), "{args}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(expected), "{stderr}");
        assert!(output.stdout.is_empty());
    };
    check("diff a.json absent.json", "can't read absent.json");
    check(
        "diff a.json broken.json",
        "broken.json:2:0: the file ends too early",
    );
    check(
        "diff a.json empty.json",
        "no profile can be generated from the recording of app: no run was recorded",
    );
    check("diff a.json", "");
}

#[apply(test)]
fn the_differences_that_make_it_fail_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, calls) in [
        ("a", &["read"][..]),
        ("b", &["read", "personality"]),
        ("c", &["read", "mount"]),
    ] {
        profile(&folder.join(format!("{name}.json")), &json!([allow(calls)]));
        recording(&folder.join(format!("{name}-r.json")), &[run(1, calls)]);
    }
    let check = |a: &str, b: &str, fail_on: &str, status: i32| {
        for line in [
            format!("diff {a}.json {b}.json --fail-on {fail_on}"),
            format!("diff {a}-r.json {b}-r.json --fail-on {fail_on}"),
        ] {
            let (text, code) = report(folder, &line);
            assert_eq!(code, status, "{line}: {text}");
            // Differences that don't make it fail are still reported.
            assert!(text.contains("->") || a == b, "{text}");
        }
    };
    check("a", "b", "any", 1);
    check("a", "b", "wider", 1);
    check("a", "b", "narrower", 0);
    check("b", "a", "wider", 0);
    check("b", "a", "narrower", 1);
    check("b", "a", "wider,narrower", 1);
    // personality is in the class memory, mount in escape; narrower differences are no risk.
    check("a", "b", "risk=escape", 0);
    check("a", "b", "risk=memory", 1);
    check("a", "b", "risk=ordinary", 1);
    check("a", "c", "risk=escape", 1);
    check("a", "c", "risk=kernel-wide", 0);
    check("c", "a", "risk=ordinary", 0);
    check("a", "a", "any,wider,narrower,risk=ordinary", 0);
    let wrong = sc_record(folder, "diff a.json b.json --fail-on risk=high");
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(
        said.contains("risk classes are kernel-wide, escape"),
        "{said}"
    );
}

#[apply(test)]
fn a_wider_default_and_an_added_architecture_are_risks_too() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    profile(&folder.join("a.json"), &json!([allow(&["read"])]));
    let mut wider: Value =
        serde_json::from_slice(&std::fs::read(folder.join("a.json")).unwrap()).unwrap();
    wider["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    write(&folder.join("arch.json"), &wider);
    wider["defaultAction"] = json!("SCMP_ACT_LOG");
    wider.as_object_mut().unwrap().remove("defaultErrnoRet");
    write(&folder.join("default.json"), &wider);
    assert_eq!(
        report(
            folder,
            "diff a.json arch.json --fail-on risk=attack-surface"
        )
        .1,
        1
    );
    assert_eq!(
        report(folder, "diff a.json arch.json --fail-on risk=escape").1,
        0
    );
    assert_eq!(
        report(
            folder,
            "diff a.json default.json --fail-on risk=kernel-wide"
        )
        .1,
        1
    );
}

#[apply(test)]
fn the_output_of_convert_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The format of seccompiler has the workload's name as a key: those of recordings are names too.
    for name in ["git", "runs", "schema"] {
        std::fs::copy(
            repository().join("profiles/git.json"),
            folder.join(format!("{name}.json")),
        )
        .unwrap();
        for format in sc_record::format::Format::ALL {
            let line = format!("convert {name}.json -f {format} --lossy -q -o converted");
            assert!(sc_record(folder, &line).status.success(), "{line}");
            let output = sc_record(folder, &format!("diff {name}.json converted"));
            assert!(output.stderr.is_empty(), "{format} {name}: {output:?}");
        }
    }
}

#[apply(test)]
fn recordings_are_compared_by_the_calls_of_chosen_executables() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut with_client = run(1, &["read", "connect"]);
    with_client["syscalls"]["x86_64"]["connect"]["executables"] = json!(["/bin/client"]);
    recording(&folder.join("a.json"), &[with_client]);
    recording(&folder.join("b.json"), &[run(1, &["read"])]);
    assert_eq!(report(folder, "diff a.json b.json").1, 1);
    assert_eq!(report(folder, "diff a.json b.json --exe app").1, 0);
    profile(&folder.join("p.json"), &json!([allow(&["read"])]));
    assert_eq!(
        report(folder, "diff p.json a.json --policy exact --exe app").1,
        0
    );
}
