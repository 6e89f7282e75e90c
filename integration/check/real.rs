//! The configuration of a real program changes, so its profile goes stale; check finds this, and an update fixes it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::process::{Ended, Room};
use crate::support::recorder::{Files, PROGRAM};

/// How often to update a profile until it has every call that depends on timing.
const ROUNDS: usize = 5;

/// A program whose configuration changes, and the call that the change needs.
struct Change {
    script: &'static str,
    more: &'static [&'static str],
    needs: &'static str,
    /// Whether the program fails if the call is refused.
    noticed: bool,
    by: &'static str,
}

#[apply(test)]
#[needs(program("nginx"), program("curl"))]
fn nginx_with_a_priority_for_its_workers() {
    round(&Change {
        script: "nginx",
        more: &["worker_priority 5;"],
        needs: "setpriority",
        noticed: true,
        by: "nginx",
    });
}

#[apply(test)]
#[needs(program("redis-server"), program("redis-benchmark"))]
fn redis_on_chosen_cpus() {
    round(&Change {
        script: "redis",
        more: &["--server_cpulist", "0"],
        needs: "sched_setaffinity",
        // It then runs on all CPUs, without a message.
        noticed: false,
        by: "redis",
    });
}

fn round(change: &Change) {
    let room = Room::new();
    let files = Files::new(&room);
    let script = format!("integration/real/{}.sh", change.script);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let sc_record = |args: &[&str], more: &[&str]| -> Ended {
        let mut command = Command::new(PROGRAM);
        command.args(args).arg(&files.profile).arg("--");
        room.run(command.arg(&script).args(more))
    };

    // The committed profile, with the additional calls of this machine.
    let committed = format!("profiles/{}.json", change.script);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(committed);
    room.copy(&committed, &files.profile);
    settle(&|args| sc_record(args, &[]));
    let before = std::fs::read_to_string(&files.profile).unwrap();
    assert!(!before.contains(&format!("{:?}", change.needs)), "{before}");

    // The configuration changes: the check fails, and names the call and its caller.
    let ended = sc_record(&["check", "--json"], change.more);
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    let report: Value = serde_json::from_str(ended.stdout.lines().next_back().unwrap()).unwrap();
    let denied = report["denied"].as_array().unwrap();
    let needed = denied.iter().find(|call| call["syscall"] == change.needs);
    let needed = needed.unwrap_or_else(|| panic!("{} is not in {denied:?}", change.needs));
    let caller = &needed["callers"][0];
    let executable = caller["executable"].as_str().unwrap();
    assert!(executable.contains(change.by), "{caller}");
    assert!(
        caller["module"].as_str().unwrap().contains("libc.so"),
        "{caller}"
    );
    assert_eq!(report["run"]["complete"], true, "{report}");
    // Under the stale profile, the workload does fail.
    let ended = sc_record(&["run"], change.more);
    let trouble = ended.code() != 0 || ended.stdout.contains("not ok");
    assert_eq!(trouble, change.noticed, "{}", ended.stdout);

    // The update fixes it.
    settle(&|args| sc_record(args, change.more));
    let ended = sc_record(&["run"], change.more);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    assert!(!ended.stdout.contains("not ok"), "{}", ended.stdout);
}

/// Updates until a check is clean.
fn settle(check: &dyn Fn(&[&str]) -> Ended) {
    let mut said = String::new();
    for _ in 0..ROUNDS {
        let ended = check(&["check"]);
        if ended.code() == 0 {
            return;
        }
        said = ended.stderr;
        let ended = check(&["check", "--update"]);
        assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    }
    panic!("not clean after {ROUNDS} rounds: {said}");
}
