//! `sc-record stats`, as users call it.

use serde_json::{Value, json};

use crate::support::recordings::{recording, report, run, sc_record};

#[apply(test)]
fn a_recording_of_many_runs_tells_how_sure_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut runs: Vec<Value> = (1..=10)
        .map(|n| run(n, &["read", "write@20", "close@600"]))
        .collect();
    runs[3] = run(4, &["read", "write@25", "openat@40", "futex"]);
    runs[6] = run(7, &["read", "openat@30", "ptrace@850"]);
    runs[8] = run(9, &["read", "x86:open@1"]);
    recording(&folder.path().join("app.json"), &runs);
    let (text, status) = report(folder.path(), "stats app.json");
    insta::assert_snapshot!(text);
    assert_eq!(status, 0);
    insta::assert_snapshot!(report(folder.path(), "stats app.json --ascii").0);
    let (json, _) = report(folder.path(), "stats app.json --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    // Three calls in one run each, one in two: 9/10 * 3²/(2*1).
    assert_eq!(json["in_one_run"], 3);
    assert_eq!(json["in_two_runs"], 1);
    assert!(
        (json["unseen_chao2"]["estimate"].as_f64().unwrap() - 4.05).abs() < 1e-9,
        "{json}"
    );
    assert_eq!(json["chance_of_new"], json!(0.3));
    assert_eq!(json["last_run_with_new"], 9);
    // CI can set a threshold.
    assert_eq!(report(folder.path(), "stats app.json --fail-above 30").1, 0);
    assert_eq!(
        report(folder.path(), "stats app.json --fail-above 29.9").1,
        1
    );
}

#[apply(test)]
fn shards_count_together() {
    let folder = tempfile::tempdir().unwrap();
    recording(
        &folder.path().join("a.json"),
        &[run(1, &["read"]), run(2, &["read"])],
    );
    recording(
        &folder.path().join("b.json"),
        &[run(2, &["read"]), run(3, &["read", "write"])],
    );
    let (json, _) = report(folder.path(), "stats a.json b.json --json");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["runs"], &json["calls"]), (&json!(3), &json!(2)));
}

#[apply(test)]
fn few_runs_say_what_they_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.json");
    let told = |runs: &[Value]| {
        recording(&path, runs);
        report(folder.path(), "stats app.json").0
    };
    let one = told(&[run(1, &["read", "write@400"])]);
    let two = told(&[run(1, &["read"]), run(2, &["read", "write"])]);
    let sure: Vec<Value> = (1..=6).map(|n| run(n, &["read", "write"])).collect();
    insta::assert_snapshot!([one, two, told(&sure)].join("\n=====\n"));
    // One run can't pass a threshold.
    recording(&path, &[run(1, &["read"])]);
    assert_eq!(
        report(folder.path(), "stats app.json --fail-above 100").1,
        1
    );
    recording(&path, &[]);
    let output = sc_record(folder.path(), "stats app.json");
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("the recording of app has no runs"),
        "{stderr}"
    );
}
