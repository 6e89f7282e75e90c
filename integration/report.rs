//! `sc-record report`, as users call it, and its pages in a browser.

use std::fs;
use std::path::Path;
use std::process::Command;

use sc_record::escape;
use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use crate::support::needs::PYTHON_PACKAGES;
use crate::support::recordings::{
    allow, profile, recording, report, repository, run, sc_record, write,
};

/// What would run, be loaded or be shown wrongly if it weren't escaped.
const HOSTILE: &str = "<script>pwned=1</script><img src=x onerror=pwned=1> \u{1b}[31m \u{202e}\u{2066} @user #1 http://x \
                       '\"`|*_ </script><!-- ]]> javascript:pwned=1";

fn tally(executables: &[&str]) -> Value {
    json!({"count": 2, "first_ms": 1, "executables": executables})
}

/// A recording of three tests, one of which mounted something.
fn three_tests(folder: &Path) {
    let mut runs = [
        run(1, &["read@1", "openat@2", "exit_group@800"]),
        run(2, &["read@1", "exit_group@800", "socket@3"]),
        run(3, &["read@1", "openat@5", "exit_group@800"]),
    ];
    for (run, test) in runs.iter_mut().zip(["login", "download", "upload"]) {
        run["labels"] = json!({"test": test, "commit": "abc"});
        run["syscalls"]["x86_64"]["read"]["count"] = json!(900);
        if let Some(openat) = run["syscalls"]["x86_64"].get_mut("openat") {
            openat["executables"] = json!(["/bin/server"]);
        }
    }
    runs[1]["syscalls"]["x86_64"]["connect"] = tally(&["/bin/client"]);
    runs[2]["syscalls"]["x86_64"]["mount"] = tally(&["/bin/client", "/bin/server"]);
    runs[1]["syscalls"]["x86_64"]["socket"]["args"] = json!({"0": {"0x2": tally(&["/bin/app"])}});
    for run in &mut runs {
        run["aggregated"] = json!(false);
    }
    let all = json!({"schema": 2, "name": "app", "runs": runs});
    write(&folder.join("recordings/app.json"), &all);
    let mut names = vec!["read", "openat", "exit_group", "exit", "socket", "connect"];
    profile(&folder.join("profiles/app.json"), &json!([allow(&names)]));
    names.retain(|name| *name != "socket");
    names.push("ptrace");
    profile(&folder.join("old.json"), &json!([allow(&names)]));
}

#[apply(test)]
fn a_comment_says_what_a_reviewer_needs() {
    let folder = tempfile::tempdir().unwrap();
    three_tests(folder.path());
    let line = "report recordings/app.json --markdown --against old.json --libseccomp 2.5.4";
    let (text, status) = report(folder.path(), line);
    assert_eq!(status, 0);
    insta::assert_snapshot!(text);
}

#[apply(test)]
fn the_profile_is_the_one_beside_the_recording_or_what_generate_writes() {
    let folder = tempfile::tempdir().unwrap();
    three_tests(folder.path());
    let of = |line: &str| report(folder.path(), line).0;
    let beside = of("report recordings/app.json");
    assert!(beside.contains("<p>profiles/app.json, and 3 runs by sc-record</p>"));
    assert!(beside.contains("does not allow 1 recorded call: mount"));
    let given = of("report recordings/app.json old.json");
    assert!(given.contains("does not allow 2 recorded calls: mount, socket"));
    fs::remove_file(folder.path().join("profiles/app.json")).unwrap();
    let generated = of("report recordings/app.json --policy exact");
    assert!(
        generated
            .contains("the profile that generate --policy exact writes allows every recorded call")
    );
    // Written to a file, it is the same.
    let (nothing, _) = report(
        folder.path(),
        "report recordings/app.json --policy exact -o out/report.html",
    );
    assert_eq!(nothing, "");
    let written = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert_eq!(written, generated);
}

#[apply(test)]
fn trouble_is_told() {
    let folder = tempfile::tempdir().unwrap();
    recording(&folder.path().join("empty.json"), &[]);
    profile(
        &folder.path().join("profile.json"),
        &json!([allow(&["read"])]),
    );
    for (line, says) in [
        ("report empty.json", "has no runs"),
        ("report profile.json", "profile.json is a profile"),
        ("report missing.json", "missing.json"),
    ] {
        let output = sc_record(folder.path(), line);
        assert_eq!(output.status.code(), Some(2), "{line}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.contains(says), "{line}: {stderr}");
    }
}

#[apply(test)]
fn every_committed_recording_has_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = fs::read_dir(repository().join("recordings")).unwrap();
    let mut seen = 0;
    for file in recordings {
        let path = file.unwrap().path();
        let calls = fs::read_to_string(&path).unwrap();
        let calls: Value = serde_json::from_str(&calls).unwrap();
        let (page, status) = report(folder.path(), &format!("report {}", path.display()));
        assert_eq!(status, 0, "{}", path.display());
        for name in calls["runs"][0]["syscalls"]["x86_64"]
            .as_object()
            .unwrap()
            .keys()
        {
            assert!(
                page.contains(&format!("id=\"call-{name}\"")),
                "{name} of {}",
                path.display()
            );
        }
        let (comment, _) = report(
            folder.path(),
            &format!("report --markdown {}", path.display()),
        );
        assert!(comment.chars().count() < 65_536 && comment.starts_with("### System calls of"));
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}

/// Texts from outside wherever a recording or a profile can have them.
fn hostile(folder: &Path) {
    let mut run = run(1, &["read", "socket"]);
    run["syscalls"]["x86_64"]["read"]["executables"] = json!([HOSTILE, format!("/bin/{HOSTILE}")]);
    run["syscalls"]["x86_64"]["#4242"] = tally(&[HOSTILE]);
    for field in ["program", "backend", "kernel", "machine", "tool"] {
        run[field] = json!(HOSTILE);
    }
    run["labels"] = json!({HOSTILE: HOSTILE});
    run["complete"] = json!(false);
    run["incomplete_because"] = json!([HOSTILE]);
    // A profile with others is refused.
    let name = HOSTILE.replace(|character| !escape::is_plain(&String::from(character)), "");
    let path = folder.join("hostile.json");
    recording(&path, &[run]);
    profile(
        &folder.join("hostile-profile.json"),
        &json!([allow(&["read", &name])]),
    );
}

#[apply(test)]
fn hostile_text_stays_text_in_a_comment() {
    let folder = tempfile::tempdir().unwrap();
    hostile(folder.path());
    let (text, _) = report(
        folder.path(),
        "report hostile.json hostile-profile.json --markdown",
    );
    assert!(
        text.contains("&lt;script&gt;pwned=1&lt;/script&gt;&lt;img src=x"),
        "{text}"
    );
    // What has a meaning to GitHub is escaped, and apart from the comment's own elements there are none.
    let foreign = text
        .replace("<details><summary>", "")
        .replace("</summary>", "")
        .replace("</details>", "");
    assert!(
        !foreign.contains(['<', '\u{1b}', '\u{202e}', '\u{2066}']),
        "{foreign}"
    );
    assert!(
        !text.contains("@user") && !text.contains("http://") && !text.contains(" #1"),
        "{text}"
    );
    // No cell has ended early: every row of a table has its seven cells.
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    assert!(
        rows.clone().count() > 3 && rows.clone().all(|line| cells(line) == 8),
        "{text}"
    );
}

/// 400 calls in some runs, each of a test of its own.
fn big(folder: &Path, runs: u32) {
    let names = |arch: Arch| (0..460).filter_map(move |nr| Syscall { arch, nr }.name());
    let of_x86_64: Vec<String> = names(Arch::X86_64).map(Into::into).collect();
    let mut of_x86: Vec<String> = names(Arch::X86).map(Into::into).collect();
    of_x86.retain(|name| !of_x86_64.contains(name));
    of_x86.truncate(400_usize.saturating_sub(of_x86_64.len()));
    let all = |names: &[String], number: u32| -> Value {
        let some = names
            .iter()
            .enumerate()
            .filter(|(index, _)| number % 7 != u32::try_from(index % 11).unwrap() || number == 3);
        some.map(|(_, name)| {
            (
                name.clone(),
                tally(&[
                    "/opt/application/releases/2025-01-01T00:00:00/bin/app",
                    "/usr/lib/x86_64-linux-gnu/python3/python",
                ]),
            )
        })
        .collect()
    };
    let runs = (1..=runs).map(|number| {
        let mut run = run(number, &[]);
        run["labels"] = json!({"test": format!("tests/test_{number}.py::test_{number}")});
        run["started"] = json!("2025-01-01T00:00:00.000Z");
        run["syscalls"] = json!({"x86_64": all(&of_x86_64, number), "x86": all(&of_x86, number)});
        run
    });
    let path = folder.join("big.json");
    let recording = json!({"schema": 1, "name": "app", "runs": runs.collect::<Vec<_>>()});
    fs::write(&path, recording.to_string()).unwrap();
}

#[apply(test)]
fn a_comment_is_never_too_long() {
    let folder = tempfile::tempdir().unwrap();
    big(folder.path(), 20);
    let (text, _) = report(folder.path(), "report big.json --markdown");
    let length = text.chars().count();
    assert!((60_000..65_536).contains(&length), "{length}");
    assert!(text.contains("Left out, since a comment has a limit"));
    assert_eq!(
        text.matches("<details>").count(),
        text.matches("</details>").count()
    );
}

#[apply(test)]
#[needs(browser(), architecture("x86_64"))]
fn readers_can_use_the_page_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    three_tests(folder);
    hostile(folder);
    big(folder, 1000);
    // A program whose code can be read.
    let recording = folder.join("recordings/app.json");
    let text = fs::read_to_string(&recording).unwrap();
    fs::write(&recording, text.replace("/bin/app", "/bin/true")).unwrap();
    for line in [
        "report recordings/app.json --reach --against old.json --libseccomp 2.5.4 -o report.html",
        "report hostile.json hostile-profile.json -o hostile.html",
        "report big.json -o big.html",
    ] {
        assert_eq!(report(folder, line).1, 0, "{line}");
    }
    let mut browser = Command::new("python3");
    browser.arg(repository().join("integration/report/browser.py"));
    browser
        .args(["report.html", "hostile.html", "big.html"])
        .current_dir(folder);
    let output = browser.env("PYTHONPATH", PYTHON_PACKAGES).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let checked = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{checked}{stderr}");
    assert_eq!(checked.lines().count(), 8, "{checked}");
}

#[apply(test)]
fn a_check_shows_who_made_the_calls_that_a_profile_lacks() {
    let folder = tempfile::tempdir().unwrap();
    profile(
        &folder.path().join("app.json"),
        &json!([allow(&["read", "exit_group"])]),
    );
    let line = "check --html run.html -b ptrace app.json -- /bin/sh -c true";
    let output = sc_record(folder.path(), line);
    assert_eq!(output.status.code(), Some(1));
    let page = fs::read_to_string(folder.path().join("run.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>"));
    let mmap = page.split("id=\"call-mmap\"").nth(1).unwrap();
    let mmap = mmap.split("</tbody>").next().unwrap();
    assert!(
        mmap.contains("not allowed") && mmap.contains("is not in the profile"),
        "{mmap}"
    );
    assert!(mmap.contains("<dt>caller</dt><dd>by /"), "{mmap}");
    assert!(mmap.contains("+0x") && mmap.contains("mmap(0x"), "{mmap}");
    // So can recordings be checked, of which nobody knows call sites.
    three_tests(folder.path());
    let line = "check --html of.html profiles/app.json recordings/app.json";
    assert_eq!(sc_record(folder.path(), line).status.code(), Some(1));
    let page = fs::read_to_string(folder.path().join("of.html")).unwrap();
    assert!(page.contains("does not allow 1 recorded call: mount"));
    assert!(!page.contains("<dt>caller</dt>"));
}
