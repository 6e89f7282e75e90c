//! Log mode: audit records show the same calls as ptrace, and a run that may lack some is incomplete.
//!
//! Tests that change the kernel's settings run alone and change them back.

mod audit_profile;
mod containers;
mod engines;
mod follow;
mod lifecycle;
mod logs;
mod sources;
mod watch;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use nix::fcntl::{Flock, FlockArg};
use sc_record::syscall::Syscall;

use crate::support::process::Room;
use crate::support::recorder::Files;
use crate::support::{programs, recorder};

/// Tests that only record share the lock; a test that changes the kernel's settings holds it alone, among all test
/// processes on this machine.
pub(crate) fn lock(how: FlockArg) -> Flock<File> {
    // This is the same file in every chroot and container with the machine's devices, just as the kernel's settings are
    // the same.
    let file = File::open("/dev/kmsg").unwrap();
    Flock::lock(file, how).map_err(|(_, error)| error).unwrap()
}

fn calls(files: &Files) -> BTreeSet<Syscall> {
    files.run().calls().into_keys().collect()
}

fn command(room: &Room, program: &str, args: &[&str]) -> Vec<PathBuf> {
    let mut command = vec![if program.starts_with('/') {
        PathBuf::from(program)
    } else {
        programs::workload(program)
    }];
    for &argument in args {
        command.push(match argument {
            "{dir}" => room.directory(),
            "{file}" => room.fresh("f"),
            "{jail}" => {
                let jail = room.directory();
                room.copy(&programs::workload("nolibc"), &jail.join("nolibc"));
                jail
            }
            "{m32}" => programs::workload("m32"),
            _ => PathBuf::from(argument),
        });
    }
    command
}

const QUIET: &[&str] = &["-q", "--policy", "exact", "--skip-unnamed"];

/// The calls that both backends record of a workload, which ends in the same way under both; and why the log backend's
/// run is incomplete.
fn record_both(program: &str, args: &[&str]) -> [(BTreeSet<Syscall>, Vec<String>); 2] {
    let room = Room::new();
    let (by_ptrace, ptrace) = recorder::record(&room, QUIET, &command(&room, program, args));
    let options = [QUIET, &["--log-mode", "--source", "netlink"]].concat();
    let (by_log, log) = recorder::record(&room, &options, &command(&room, program, args));
    assert_eq!(by_ptrace.code(), by_log.code(), "{}", by_log.stderr);
    [ptrace, log].map(|files| (calls(&files), files.run().incomplete_because()))
}

fn same(program: &str, args: &[&str]) {
    let [(ptrace, _), (log, because)] = record_both(program, args);
    assert!(because.is_empty(), "{because:?}");
    let show = |calls: &BTreeSet<Syscall>, others: &BTreeSet<Syscall>| -> Vec<String> {
        let only = calls.difference(others);
        only.map(|call| format!("{}/{call}", call.arch)).collect()
    };
    assert_eq!(
        (show(&ptrace, &log), show(&log, &ptrace)),
        (Vec::new(), Vec::new()),
        "only by ptrace, only by log"
    );
}

/// Calls that the workload's own filter refuses are not logged, and strict mode fails: the run says so.
fn own_filter(program: &str, args: &[&str]) {
    let [(ptrace, _), (log, because)] = record_both(program, args);
    assert!(
        because
            .iter()
            .any(|why| why.contains("its own seccomp filter")),
        "{because:?}"
    );
    if program != "strict" && program != "strict_thread" {
        assert!(log.is_subset(&ptrace), "{:?}", log.difference(&ptrace));
    }
}

macro_rules! workloads {
    ($($(#[needs($need:expr)])? $test:ident: $check:ident($program:literal $(, $arg:literal)*);)*) => {
        $(
            #[apply(test)]
            #[needs(audit(), workload($program) $(, $need)?)]
            fn $test() {
                let _others_record_too = lock(FlockArg::LockShared);
                $check($program, &[$($arg),*]);
            }
        )*
    };
}

workloads! {
    a_program_that_ends_at_once: same("first_exit");
    a_program_without_libc: same("nolibc");
    fork_storm: same("fork_storm");
    two_hundred_threads: same("threads_200");
    vfork_and_exec: same("vfork_exec");
    posix_spawn: same("posix_spawn");
    clone_with_shared_memory: same("clone_vm");
    clone_untraced: same("clone_untraced");
    clone3_of_process_and_thread: same("clone3");
    rare_clone_flags: same("clone_flags");
    exec_by_two_threads_at_once: same("exec_race");
    exit_group_while_others_are_in_calls: same("exit_group_race");
    leader_exits_first: same("leader_exits");
    signal_storm: same("signal_storm");
    real_time_signals: same("rt_signals");
    stop_and_continue_while_asleep: same("stop_cont");
    stop_of_a_child_just_born: same("stop_newborn");
    stop_of_a_process_with_threads: same("stop_threads");
    waits_see_stops_and_continues: same("wait_semantics");
    vfork_child_is_killed: same("vfork_killed");
    sigtrap_of_the_workload: same("sigtrap");
    parent_death_signal: same("pdeathsig");
    process_groups_and_sessions: same("sessions");
    thread_is_cancelled: same("pthread_cancel");
    orphaned_daemon: same("daemon", "{file}");
    killed_by_a_timer_after_exec: same("killed_after_exec");
    kill_of_the_own_group_comes_once: same("counts_signals");
    kill_of_the_own_group: same("kill_group");
    ignored_signals_interrupt_nothing: same("ignored_signals");
    syscall_user_dispatch: same("syscall_user_dispatch");
    numbers_that_name_no_call: same("odd_numbers");
    vsyscall_page: same("vsyscall");
    not_dumpable: same("non_dumpable");
    namespaces: same("namespaces");
    chroot: same("chroot", "{jail}", "/nolibc");
    exec_fails: same("exec_failures", "{dir}");
    kinds_of_exec: same("exec_kinds", "{dir}");
    int_0x80_from_a_64_bit_program: same("int80");
    #[needs(compat())]
    a_32_bit_program: same("m32");
    #[needs(compat())]
    a_64_bit_program_that_execs_a_32_bit_one: same("run_it", "{m32}");
    shells_in_shells: same("/bin/sh", "-c", "sh -c 'sh -c true; echo $(echo x | cat)'; exit 3");
    own_filter_answers_errno_by_prctl: own_filter("own_filter_errno", "prctl");
    own_filter_answers_errno_by_seccomp: own_filter("own_filter_errno", "seccomp");
    own_filter_kills: own_filter("own_filter_kill");
    own_filter_traps: own_filter("own_filter_trap");
    own_filter_answers_trace: own_filter("own_filter_trace");
    own_filters_stack: own_filter("own_filter_log");
    own_filter_for_all_threads: own_filter("tsync", "errno");
    own_listener: own_filter("user_notif");
    strict_mode_by_prctl: own_filter("strict", "prctl");
    strict_mode_by_seccomp: own_filter("strict", "seccomp");
}
