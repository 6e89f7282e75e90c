//! Workloads that trace: a task has only one tracer, so they fail under the ptrace backend, which reports why.

use crate::support::process::Room;
use crate::support::{programs, recorder};

/// A workload that traces works natively; while recorded it fails, and the run says why.
fn check(name: &str, native_output: &str, recorded_output: &str) {
    let room = Room::new();
    let program = programs::workload(name);
    let native = room.run(&mut std::process::Command::new(&program));
    assert_eq!((native.code(), native.stdout.as_str()), (0, native_output));

    let (recorded, files) = recorder::record(&room, &[], &[program]);
    assert_eq!(
        (recorded.code(), recorded.stdout.as_str()),
        (3, recorded_output)
    );
    let reasons = files.run().incomplete_because();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    for text in [&reasons[0], &recorded.stderr] {
        assert!(text.contains("ptrace"), "{text}");
        assert!(text.contains("debugger"), "{text}");
    }
    // The call itself is recorded like any other.
    assert!(
        files
            .run()
            .calls()
            .keys()
            .any(|syscall| syscall.to_string() == "ptrace")
    );
}

#[apply(test)]
fn a_workload_that_wants_to_be_traced_is_explained() {
    check("ptrace_traceme", "traced, child 5\n", "refused 1\n");
}

#[apply(test)]
fn a_workload_that_attaches_is_explained() {
    check("ptrace_child", "error 0\n", "error 1\n");
}
