//! Workloads that work against the recorder: a run is complete only if nothing is missing.

use std::path::PathBuf;
use std::process::Command;

use sc_record::syscall::{Arch, Syscall};

use crate::support::process::Room;
use crate::support::recorder::{self, Files, PROGRAM};
use crate::support::recordings::repository;
use crate::support::{Calls, programs};

fn distinct(calls: &Calls) -> u64 {
    let syscall = Syscall::from_name(Arch::NATIVE, "sched_get_priority_max").unwrap();
    calls.get(&syscall).copied().unwrap_or(0)
}

#[apply(test)]
fn flags_that_change_let_no_child_escape() {
    for arguments in [&["1"][..], &["30"], &["1", "int80"], &["30", "int80"]] {
        for options in [&[][..], &["--no-filter"], &["--until", "exit"]] {
            let room = Room::new();
            let mut command = vec![programs::workload("changing_flags")];
            command.extend(arguments.iter().map(PathBuf::from));
            let (ended, files) = recorder::record(&room, options, &command);
            assert_eq!(ended.code(), 0, "{options:?}: {}", ended.stderr);
            let run = files.run();
            assert_eq!(
                run.incomplete_because(),
                [""; 0],
                "{options:?} {arguments:?}"
            );
            assert_eq!(distinct(&run.calls()), 300, "{options:?} {arguments:?}");
        }
    }
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), program("unshare"))]
fn a_workload_that_hides_proc_hides_no_call() {
    let room = Room::new();
    let files = Files::new(&room);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--", PROGRAM]);
    files.arguments(&mut command, &["-q"]);
    command.arg(programs::workload("hides_proc"));
    let ended = room.run(&mut command);
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (0, "refused: 13\n"),
        "{}",
        ended.stderr
    );
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!(distinct(&run.calls()), 1);
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), workload("init_escapes"))]
fn an_init_that_crashes_does_not_escape() {
    for options in [&[][..], &["--no-filter"], &["--until", "exit"]] {
        let room = Room::new();
        let program = programs::workload("init_escapes");
        let (ended, files) = recorder::record(&room, options, &[program]);
        assert_eq!(ended.code(), 0, "{options:?}: {}", ended.stderr);
        let run = files.run();
        let went_on = ended.stdout.trim().parse::<u64>().unwrap();
        assert_eq!(run.incomplete_because(), [""; 0], "{options:?}");
        assert_eq!(distinct(&run.calls()), went_on, "{options:?}");
    }
}

#[apply(test)]
fn a_panic_of_the_recorder_does_not_end_the_workload() {
    for options in [&["-q"][..], &["-q", "--no-filter"]] {
        let room = Room::new();
        let files = Files::new(&room);
        let mut command = Command::new("env");
        command.args(["SC_RECORD_TEST_PANIC=sched_get_priority_max", PROGRAM]);
        files.arguments(&mut command, options);
        command.arg(programs::workload("clone3_arguments"));
        let ended = room.run(&mut command);
        let native = room.run(&mut Command::new(programs::workload("clone3_arguments")));
        assert_eq!(
            (ended.code(), ended.stdout),
            (0, native.stdout),
            "{}",
            ended.stderr
        );
        let run = files.run();
        let [why] = &run.incomplete_because()[..] else {
            panic!("{:?}", run.incomplete_because());
        };
        assert!(why.contains("src/backend/ptrace/engine/"), "{why}");
        let clone3 = Syscall::from_name(Arch::NATIVE, "clone3").unwrap();
        assert_eq!(run.calls().get(&clone3), Some(&54), "after the panic");
    }
}

#[apply(test)]
#[needs(workload("vsyscall"))]
fn calls_of_the_vsyscall_page_that_a_profile_allows_fail_no_verification() {
    let room = Room::new();
    let program = programs::workload("vsyscall");
    let (ended, files) = recorder::record(
        &room,
        &["--policy", "exact"],
        std::slice::from_ref(&program),
    );
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let mut verify = Command::new(PROGRAM);
    verify
        .arg("verify")
        .arg(&files.profile)
        .arg("--")
        .arg(program);
    let ended = room.run(&mut verify);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
}

/// Each random program knows which calls it makes (`fuzz/workloads/`), and how often: counts can be lower if known calls don't stop.
fn random_workloads_are_counted_whole(mode: &str) {
    let room = Room::new();
    let mut command = Command::new("python3");
    command.arg(repository().join("fuzz/workloads/run.py"));
    command.arg(format!("--mode={mode}"));
    let ended = room.run(command.args(["--sc-record", PROGRAM, "1", "120"]));
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    assert!(
        ended.stdout.contains("120 runs, 0 with findings"),
        "{}",
        ended.stdout
    );
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), architecture("x86_64"), program("python3"))]
fn random_workloads_are_counted_whole_by_the_filter() {
    random_workloads_are_counted_whole("--no-patch");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), architecture("x86_64"), program("python3"))]
fn random_workloads_have_all_calls_when_known_ones_do_not_stop() {
    random_workloads_are_counted_whole("default");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), architecture("x86_64"), program("python3"))]
fn random_workloads_are_counted_whole_without_a_filter() {
    random_workloads_are_counted_whole("--no-filter");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), architecture("x86_64"), program("python3"))]
fn random_workloads_are_counted_whole_until_the_command_exits() {
    random_workloads_are_counted_whole("--until exit");
}

#[apply(test)]
#[needs(ebpf(), architecture("x86_64"), program("python3"))]
fn random_workloads_are_counted_whole_in_the_kernel() {
    random_workloads_are_counted_whole("--backend ebpf");
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), architecture("x86_64"), program("python3"))]
fn random_workloads_are_counted_whole_by_answers() {
    random_workloads_are_counted_whole("--backend notify");
}
