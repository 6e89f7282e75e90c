//! `sc-record explain`, as users call it.

use serde_json::{Value, json};

use crate::support::recordings::{allow, profile, recording, report, repository, run, sc_record};

/// A profile with names of every origin, and its recording in the default place.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runs = [
        run(1, &["read@7", "openat", "ptrace"]),
        run(2, &["read@3", "futex"]),
    ];
    recording(&folder.path().join("recordings/app.json"), &runs);
    profile(
        &folder.path().join("profiles/app.json"),
        &json!([
            allow(&["read", "openat", "ptrace", "exit_group", "open", "mount"]),
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
        ]),
    );
    folder
}

/// The output without the parts that depend on the tables of this libseccomp.
fn without_totals(text: &str) -> String {
    let lines = text.split_inclusive('\n');
    lines
        .filter(|line| !line.starts_with("x86_64: 7 of "))
        .collect()
}

#[apply(test)]
fn every_name_has_its_origin() {
    let folder = workspace();
    let (text, status) = report(folder.path(), "explain profiles/app.json");
    insta::assert_snapshot!(without_totals(&text));
    assert_eq!(status, 0);
    let given = report(
        folder.path(),
        "explain profiles/app.json --recording recordings/app.json",
    );
    assert_eq!(given, (text.clone(), 0));
    let (json, _) = report(folder.path(), "explain profiles/app.json --json");
    let mut json: Value = serde_json::from_str(&json).unwrap();
    let tight = json.as_object_mut().unwrap().remove("tightness").unwrap();
    insta::assert_snapshot!(format!("{json:#}"));
    assert_eq!(
        (&tight[0]["allowed"], &tight[0]["allowed_by_both"]),
        (&json!(7), &json!(6))
    );
    let number = |field: &str| tight[0][field].as_u64().unwrap();
    assert!(number("by_docker_default") > 300 && number("by_docker_default") < number("all"));
    assert!(number("allowed_values") < number("values"), "{tight}");
    assert!(text.contains("x86_64: 7 of "), "{text}");
}

#[apply(test)]
fn one_call_is_explained_in_full_also_one_that_is_not_allowed() {
    let folder = workspace();
    let told: Vec<_> = [
        "ptrace",
        "open",
        "socket",
        "futex",
        "io_uring_setup",
        "chroot",
    ]
    .iter()
    .map(|name| report(folder.path(), &format!("explain profiles/app.json {name}")).0)
    .collect();
    insta::assert_snapshot!(told.join("\n"));
    let output = sc_record(folder.path(), "explain profiles/app.json mouunt");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("no architecture has a system call \"mouunt\""),
        "{stderr}"
    );
}

#[apply(test)]
fn without_a_recording_it_says_how_to_give_one() {
    let folder = workspace();
    std::fs::rename(
        folder.path().join("recordings"),
        folder.path().join("elsewhere"),
    )
    .unwrap();
    let (text, status) = report(folder.path(), "explain profiles/app.json");
    insta::assert_snapshot!(without_totals(&text));
    assert_eq!(status, 0);
}

#[apply(test)]
fn every_name_of_the_committed_profiles_is_explained_by_their_recordings() {
    for entry in std::fs::read_dir(repository().join("profiles")).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        // The measured calls of runtimes.
        if file == "baselines" {
            continue;
        }
        let (json, _) = report(&repository(), &format!("explain profiles/{file} --json"));
        let json: Value = serde_json::from_str(&json).unwrap();
        for call in json["calls"].as_array().unwrap() {
            for (arch, origin) in call["origins"].as_object().unwrap() {
                assert_ne!(
                    origin["origin"], "unexplained",
                    "{file} {arch} {}",
                    call["name"]
                );
            }
        }
        assert_eq!(json["recorded_but_refused"], json!([]), "{file}");
    }
}

#[apply(test)]
fn only_the_calls_of_the_executables_that_are_asked_for_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut one = run(1, &["read", "write"]);
    one["syscalls"]["x86_64"]["write"]["executables"] = json!(["/bin/client"]);
    recording(&folder.join("recordings/app.json"), &[one]);
    profile(
        &folder.join("profiles/app.json"),
        &json!([allow(&["read", "write"])]),
    );
    let (text, _) = report(folder, "explain profiles/app.json --exe app");
    assert!(text.contains("read   recorded 2 times"), "{text}");
    assert!(text.contains("write  not recorded"), "{text}");
    let alone = sc_record(
        folder,
        "explain profiles/app.json --exclude-exe app -r recordings/app.json write",
    );
    assert!(
        String::from_utf8_lossy(&alone.stdout).contains("by /bin/client"),
        "{alone:?}"
    );
    std::fs::remove_dir_all(folder.join("recordings")).unwrap();
    let without = sc_record(folder, "explain profiles/app.json --exe app");
    let said = String::from_utf8_lossy(&without.stderr);
    assert!(
        said.contains("--exe and --exclude-exe need a recording"),
        "{said}"
    );
    assert_eq!(without.status.code(), Some(2));
}

#[apply(test)]
fn a_call_names_the_tests_that_need_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs = [
        run(1, &["read", "mount"]),
        run(2, &["read"]),
        run(3, &["read", "mount"]),
    ];
    for (run, test) in runs
        .iter_mut()
        .zip(["upload\u{1b}[31m", "login", "download"])
    {
        run["labels"] = json!({"test": test, "machine": "ci"});
    }
    recording(&folder.path().join("recordings/app.json"), &runs);
    profile(
        &folder.path().join("profiles/app.json"),
        &json!([allow(&["read", "mount"])]),
    );
    let of = |name| report(folder.path(), &format!("explain profiles/app.json {name}")).0;
    let mount = of("mount");
    assert!(
        mount.contains("only in runs with test: download, upload\\u{1b}[31m\n"),
        "{mount}"
    );
    // Every run has these.
    assert!(!mount.contains("machine") && !of("read").contains("only in runs"));
    let (json, _) = report(folder.path(), "explain profiles/app.json mount --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["labels"],
        json!({"test": ["download", "upload\u{1b}[31m"]})
    );
}
