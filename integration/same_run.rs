//! Workloads whose runs always differ: the kernel counts the calls of the same run that is recorded.

use sc_record::syscall::{Arch, Syscall};

use crate::support::kernel::Tracing;
use crate::support::machine;
use crate::support::process::Room;
use crate::support::programs;
use crate::support::recorder::Files;

/// The recorder records at least as many calls as the kernel entered; more only of those before which a task may be
/// killed.
fn check(options: &[&str], command: &[&str], may_be_killed: &[&'static str]) {
    let may_be_killed = may_be_killed.iter();
    let may_be_killed: Vec<_> =
        (may_be_killed.map(|name| machine::name(Arch::NATIVE, name))).collect();
    let room = Room::new();
    let tracing = Tracing::new(&room).unwrap();
    let files = Files::new(&room);
    let mut recorder = files.command(options);
    for part in command {
        match part.strip_prefix("workloads/") {
            Some(name) => recorder.arg(programs::workload(name)),
            None => recorder.arg(part),
        };
    }
    let (ended, counted) = tracing.run(&room, &recorder);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0], "{}", ended.stderr);
    assert!(counted.len() > 2, "the witness saw nothing");
    let mut rest = run.calls();
    let mut differences = Vec::new();
    for (nr, count) in counted {
        // arm64's kernel shows a call whose task was killed at its beginning as no call.
        if nr == -1 && cfg!(target_arch = "aarch64") && !may_be_killed.is_empty() {
            continue;
        }
        let syscall = Syscall {
            arch: Arch::NATIVE,
            nr,
        };
        let found = rest.remove(&syscall).unwrap_or(0);
        let killed = may_be_killed.contains(&syscall.to_string().as_str());
        if found < count || found > count && !killed {
            differences.push(format!(
                "{syscall}: {count} in the kernel, {found} recorded"
            ));
        }
    }
    rest.retain(|syscall, _| !may_be_killed.contains(&syscall.to_string().as_str()));
    assert!(
        differences.is_empty() && rest.is_empty(),
        "{}; only recorded: {rest:?}",
        differences.join(", ")
    );
}

/// With the recording filter, and without it.
fn check_both(command: &[&str], may_be_killed: &[&'static str]) {
    check(&["--no-patch"], command, may_be_killed);
    check(&["--no-filter"], command, may_be_killed);
}

#[apply(test)]
#[needs(tracepoints())]
fn not_a_call_of_a_fork_storm_is_missing() {
    check_both(&["workloads/fork_storm"], &[]);
}

#[apply(test)]
#[needs(tracepoints())]
fn not_a_call_of_two_hundred_threads_is_missing() {
    check_both(&["workloads/threads_200"], &[]);
}

#[apply(test)]
#[needs(tracepoints())]
fn not_a_call_in_a_storm_of_signals_is_missing() {
    check_both(&["workloads/signal_storm"], &[]);
}

#[apply(test)]
#[needs(tracepoints())]
fn not_a_call_is_missing_where_tasks_are_killed() {
    check_both(
        &["workloads/exit_group_race"],
        &["getppid", "read", "pause", "exit_group"],
    );
    check_both(&["workloads/exec_race"], &["execve"]);
    check_both(&["workloads/stop_newborn"], &[]);
}

#[apply(test)]
#[needs(tracepoints(), program("make"))]
fn not_a_call_of_a_parallel_build_is_missing() {
    let room = Room::new();
    let project = room.directory();
    let write = |name: &str, text: &str| std::fs::write(project.join(name), text).unwrap();
    for i in 0..4 {
        write(
            &format!("f{i}.c"),
            &format!("int f{i}(void) {{ return {i}; }}\n"),
        );
    }
    write("main.c", "int main(void) { return 0; }\n");
    write(
        "Makefile",
        "OBJECTS = f0.o f1.o f2.o f3.o main.o\nprogram: $(OBJECTS)\n\tcc -o $@ $(OBJECTS)\n%.o: %.c\n\tcc -c $< -o $@\n",
    );
    check(
        &["--no-patch"],
        &["make", "-s", "-j4", "-C", project.to_str().unwrap()],
        &[],
    );
    assert!(project.join("program").exists());
}
