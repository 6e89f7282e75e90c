//! One program per hard case: it behaves the same natively, under strace and under the recorder, and both see the same
//! calls.

mod checks;
mod row;

use checks::{check, check_ebpf, check_notify};
use row::{Notify, Strace, UnderProfile, Workload};

macro_rules! workloads {
    ($($(#[needs($($need:expr),+)])? $test:ident: $program:literal { $($field:ident: $value:expr),* $(,)? })*) => {
        $(
            #[apply(test)]
            #[needs(program("strace"), workload($program) $($(, $need)+)?)]
            fn $test() {
                check(&Workload { $($field: $value,)* ..Workload::of($program) });
            }
        )*

        /// The same rows, by notifications.
        mod notify {
            use super::*;

            $(
                #[apply(test)]
                #[needs(program("strace"), workload($program) $($(, $need)+)?)]
                fn $test() {
                    check_notify(&Workload { $($field: $value,)* ..Workload::of($program) });
                }
            )*
        }

        /// The same rows, counted in the kernel.
        mod ebpf {
            use super::*;

            $(
                #[apply(test)]
                #[needs(ebpf(), program("strace"), workload($program) $($(, $need)+)?)]
                fn $test() {
                    check_ebpf(&Workload { $($field: $value,)* ..Workload::of($program) });
                }
            )*
        }
    };
}

// The waits of pthread_join and of libc's locks: whether a thread sleeps in futex(2) depends on which thread is first.
// In every workload below, one sleeps at least once.
const FUTEX: &[&str] = &["futex"];

// An ignored SIGCHLD interrupts a traced parent, unlike an untraced one, and the wait restarts.
const WAIT: &[&str] = &["wait4"];

// A stop makes poll(2) go on by restart_syscall(2), and ppoll(2), which libc calls where there is no poll(2), start again.
const RESTARTS: u64 = if cfg!(target_arch = "aarch64") { 3 } else { 4 };

// What the notify backend says of rows that it doesn't see wholly: a filter of the workload whose answer outranks
// USER_NOTIF (ERRNO, TRAP, KILL) or is outranked by it (TRACE), PR_GET_SECCOMP, and strict mode.
const INTERRUPTED: &str = "signals interrupted calls before";
const OWN_FILTER: &str = "seccomp filter of its own";
const STRICT: &str = "strict mode";

workloads! {
    a_program_that_ends_at_once: "first_exit" { exit: 42, tasks: Some(1), certain: &[("native/execve", 1), ("native/exit_group", 1)] }
    a_program_without_libc: "nolibc" {
        exit: 33,
        certain: &[("native/execve", 1), ("native/write", 1), ("native/exit", 1)],
    }
    fork_storm: "fork_storm" {
        exit: 3,
        // As WAIT; a signal makes fork restart too.
        varies: &["clone", "wait4"],
        tasks: Some(231),
        certain: &[("native/getppid", 160), ("native/set_robust_list", 231), ("native/exit_group", 231)],
    }
    two_hundred_threads: "threads_200" { tasks: Some(201), varies: FUTEX, certain: &[("native/getppid", 2000), ("native/exit", 200)] }
    vfork_and_exec: "vfork_exec" { tasks: Some(21), certain: &[("native/vfork", 20), ("native/sched_get_priority_max", 10)] }
    posix_spawn: "posix_spawn" { tasks: Some(7), certain: &[("native/sched_get_priority_max", 5), ("native/execve", 7)] }
    clone_with_shared_memory: "clone_vm" { tasks: Some(4), certain: &[("native/sched_get_priority_max", 3)] }
    clone_untraced: "clone_untraced" {
        certain: &[
            ("native/sched_get_priority_max", 1),
            ("native/sched_get_priority_min", 1),
            ("native/sched_getscheduler", 1),
            ("native/exit", 2),
            ("native/exit_group", 2),
        ],
        strace: Strace::Misses,
    }
    clone3_of_process_and_thread: "clone3" { certain: &[("native/clone3", 4), ("native/exit", 1)] }
    clone3_arguments_of_every_size: "clone3_arguments" {
        varies: WAIT,
        certain: &[("native/clone3", 54), ("native/sched_get_priority_max", 14), ("native/exit_group", 15)],
        // One child is untraced.
        strace: Strace::Misses,
    }
    rare_clone_flags: "clone_flags" {
        varies: WAIT,
        certain: &[("native/getpriority", 1), ("native/sched_get_priority_min", 1)],
    }
    exec_from_a_thread: "exec_from_thread" {
        exit: 9,
        // The last pause may not be reached before the exec.
        varies: &["pause"],
        certain: &[("native/execve", 2), ("native/sched_get_priority_max", 1)],
    }
    exec_by_two_threads_at_once: "exec_race" {
        // The loser may die before its call.
        varies: &["execve"],
    }
    exit_group_while_others_are_in_calls: "exit_group_race" {
        // Each thread is killed at any point; exit_group may come before the main thread pauses. For a task that died
        // before strace could read its call, strace shows another task's call, such as exit_group.
        varies: &["getppid", "read", "pause", "exit_group"],
        tasks: Some(161),
    }
    leader_exits_first: "leader_exits" { exit: 17, certain: &[("native/exit", 1), ("native/sched_get_priority_min", 1)] }
    signal_storm: "signal_storm" {
        notify: Notify::MayMiss(INTERRUPTED),
        // The number of signals depends on the elapsed time; calls restart after each.
        varies: &["read", "wait4", "clock_nanosleep", "rt_sigreturn", "getppid"],
    }
    real_time_signals: "rt_signals" { certain: &[("native/rt_sigqueueinfo", 105), ("native/rt_sigtimedwait", 2)] }
    stop_and_continue_while_asleep: "stop_cont" { varies: WAIT, certain: &[("native/restart_syscall", RESTARTS)] }
    stop_of_a_child_just_born: "stop_newborn" {
        // A child that ended before the SIGSTOP is neither waited for twice nor continued.
        varies: &["wait4", "kill"],
        certain: &[("native/sched_get_priority_max", 40)],
    }
    stop_of_a_process_with_threads: "stop_threads" {
        notify: Notify::MayMiss(INTERRUPTED),
        // SIGCHLD can interrupt the last read of a traced parent, which restarts.
        varies: &["sched_yield", "read"],
        certain: &[("native/kill", 5)] }
    waits_see_stops_and_continues: "wait_semantics" { varies: &["wait4", "waitid"] }
    sigchld_tells_each_step: "sigchld_order" {
        // Continued and exited may arrive as one signal.
        varies: &["rt_sigsuspend", "rt_sigreturn"],
    }
    vfork_child_is_killed: "vfork_killed" { certain: &[("native/vfork", 11), ("native/clone", 1)] }
    sigtrap_of_the_workload: "sigtrap" { certain: &[("native/rt_sigreturn", 4)] }
    parent_death_signal: "pdeathsig" { varies: WAIT }
    process_groups_and_sessions: "sessions" { varies: WAIT }
    thread_is_cancelled: "pthread_cancel" { varies: FUTEX }
    thread_with_musl_is_cancelled: "musl_cancel" { varies: FUTEX }
    thread_of_a_static_program_with_musl_is_cancelled: "musl_cancel_static" { varies: FUTEX }
    orphaned_daemon: "daemon" { args: &["{file}"], exit: 4, certain: &[("native/sched_get_priority_max", 1)] }
    killed_by_a_timer_after_exec: "killed_after_exec" { exit: 142, certain: &[("native/pause", 1)] }
    what_needs_no_new_privs: "no_new_privs" {
        notify: Notify::Disturbs(0, OWN_FILTER),

        varies: &["futex", "wait4"],
        certain: &[("native/sched_get_priority_max", 7)],
        // `run` sets no_new_privs.
        under_profile: UnderProfile::Ends(0),
    }
    own_filter_answers_errno_by_prctl: "own_filter_errno" {
        notify: Notify::Misses(OWN_FILTER),
        args: &["prctl"],
        varies: FUTEX,
        certain: &[("native/sched_get_priority_max", 5)],
    }
    own_filter_answers_errno_by_seccomp: "own_filter_errno" {
        notify: Notify::Misses(OWN_FILTER),
        args: &["seccomp"],
        varies: FUTEX,
        certain: &[("native/sched_get_priority_max", 5), ("native/seccomp", 1)],
    }
    own_filter_kills: "own_filter_kill" {
        notify: Notify::Misses(OWN_FILTER),
        certain: &[
            ("native/sched_get_priority_max", 1),
            ("native/sched_get_priority_min", 1),
            ("native/sched_getscheduler", 2),
            ("native/tkill", 1),
        ],
    }
    own_filter_traps: "own_filter_trap" {
        notify: Notify::Misses(OWN_FILTER),
        certain: &[("native/sched_get_priority_max", 1), ("native/rt_sigreturn", 1)] }
    own_filter_answers_trace: "own_filter_trace" {
        notify: Notify::Disturbs(0, OWN_FILTER),
        certain: &[("native/sched_get_priority_max", 3)] }
    kill_of_the_own_group_comes_once: "counts_signals" {
        certain: &[("native/kill", 22), ("native/rt_sigreturn", 22)],
        // strace is in the group.
        strace: Strace::Disturbs,
    }
    kill_of_the_own_group: "kill_group" { exit: 143 }
    ignored_signals_interrupt_nothing: "ignored_signals" {
        // It looks at the states of its children until they sleep.
        varies: &["openat", "read", "close"],
        certain: &[("native/epoll_wait", 3), ("native/semtimedop", 1), ("native/kill", 81)],
        // Under strace, calls end with EINTR.
        strace: Strace::Disturbs,
    }
    own_filter_forges_messages: "own_filter_forges" {
        notify: Notify::Disturbs(0, OWN_FILTER),
        certain: &[("native/sched_get_priority_max", 80)] }
    ignored_signals_end_no_timed_call: "timed_calls" {
        // Under strace, calls end with EINTR.
        strace: Strace::Disturbs,
        certain: &[
            ("native/epoll_wait", 2),
            ("native/epoll_pwait", 1),
            ("native/recvfrom", 1),
            ("native/io_uring_enter", 1),
        ],
    }
    ignored_signals_end_no_timed_call_of_32_bits: "timed_calls_32" {
        strace: Strace::Disturbs,
        certain: &[("compat/epoll_wait", 2), ("compat/io_uring_enter", 1)],
    }
    a_signal_that_another_thread_takes_ends_no_timed_call: "woken_threads" {
        // Under strace, calls end with EINTR.
        strace: Strace::Disturbs,
        certain: &[("native/epoll_wait", 44), ("native/rt_sigtimedwait", 33), ("native/recvfrom", 33)],
    }
    a_call_whose_instruction_is_overwritten: "rewritten_call" {
        varies: FUTEX,
        certain: &[("native/epoll_wait", 1), ("native/sched_get_priority_min", 1)],
    }
    own_filters_stack: "own_filter_log" {
        notify: Notify::Misses(OWN_FILTER),
        certain: &[("native/seccomp", 8), ("native/sched_get_priority_max", 2)] }
    strict_mode_by_prctl: "strict" {
        notify: Notify::Disturbs(0, STRICT),
        args: &["prctl"],
        // A task with a filter can't enter strict mode: EINVAL.
        under_profile: UnderProfile::Ends(0),
        certain: &[("native/read", 1), ("native/exit", 1), ("native/sched_get_priority_max", 1)],
    }
    strict_mode_of_a_thread: "strict_thread" {
        notify: Notify::Disturbs(4, STRICT),
        exit: 4,
        certain: &[("native/sched_get_priority_max", 1), ("native/sched_get_priority_min", 1), ("native/exit", 1)],
    }
    strict_mode_of_threads_that_call_clone3_by_int_0x80: "strict_clone3" {
        notify: Notify::Disturbs(0, STRICT),
        exit: 4,
        // A task with a filter can't enter strict mode: EINVAL.
        under_profile: UnderProfile::Ends(0),
        certain: &[("x86/clone3", 2), ("x86_64/prctl", 2), ("x86_64/sched_get_priority_min", 1), ("x86_64/write", 1)],
        // clone3 has the same number in both ABIs, and strace takes it for that of x86-64.
        strace: Strace::Disturbs,
    }
    strict_mode_by_seccomp: "strict" {
        notify: Notify::Disturbs(0, STRICT),
        args: &["seccomp"],
        // A task with a filter can't enter strict mode: EINVAL.
        under_profile: UnderProfile::Ends(0),
        certain: &[("native/seccomp", 2), ("native/exit", 1), ("native/sched_get_priority_max", 1)],
    }
    own_filter_for_all_threads: "tsync" {
        notify: Notify::Misses(OWN_FILTER),
        args: &["errno"],
        varies: FUTEX,
        certain: &[("native/sched_get_priority_max", 2)],
    }
    own_filter_for_all_threads_while_one_waits_in_vfork: "vfork_tsync" {
        notify: Notify::Misses(OWN_FILTER),
        varies: FUTEX,
        certain: &[("native/sched_get_priority_max", 1), ("native/sched_get_priority_min", 1)],
    }
    own_filter_for_all_threads_answers_trace: "tsync" {
        notify: Notify::Disturbs(0, OWN_FILTER),

        args: &["trace"],
        varies: FUTEX,
        certain: &[("native/sched_get_priority_max", 2)],
    }
    own_listener: "user_notif" {
        notify: Notify::Disturbs(99, "EBUSY"),

        certain: &[("native/sched_get_priority_max", 2), ("native/sched_get_priority_min", 1), ("native/ioctl", 6)],
    }
    syscall_user_dispatch: "syscall_user_dispatch" { certain: &[("native/sched_get_priority_min", 1)] }
    #[needs(architecture("aarch64"))]
    numbers_that_name_no_call_of_aarch64: "odd_numbers" {
        // As below.
        under_profile: UnderProfile::Ends(0),
        certain: &[
            ("native/#1073741863", 1),
            ("native/#1073841824", 1),
            ("native/#-5", 1),
            ("native/#100000", 1),
            ("native/#-1", 1),
            ("native/#2147483647", 1),
        ],
    }
    #[needs(architecture("x86_64"))]
    numbers_that_name_no_call: "odd_numbers" {
        // Numbers without a name can't be in a profile: EPERM instead of ENOSYS.
        under_profile: UnderProfile::Ends(0),
        certain: &[
            ("x32/getpid", 1),
            ("x32/#100000", 1),
            ("x86_64/#-5", 1),
            ("x86_64/#100000", 1),
            ("x86_64/#-1", 1),
            ("x32/#1073741823", 1),
        ],
    }
    vsyscall_page: "vsyscall" {
        certain: &[("x86_64/gettimeofday", 1), ("x86_64/time", 1), ("x86_64/getcpu", 1)],
        // Its calls run seccomp, but make no PTRACE_SYSCALL stop.
        needs_filter: true,
        strace: Strace::Misses,
    }
    not_dumpable: "non_dumpable" {
        certain: &[("native/sched_get_priority_max", 1), ("native/sched_get_priority_min", 1)],
    }
    namespaces: "namespaces" { varies: WAIT, certain: &[("native/sched_get_priority_max", 2), ("native/unshare", 1)] }
    inits_of_namespaces_crash: "init_crashes" {
        notify: Notify::Misses(OWN_FILTER),
        certain: &[("native/unshare", 7), ("native/clone", 14), ("native/sched_get_priority_max", 1)],
        // It never ends under strace: the init faults repeatedly.
        strace: Strace::Disturbs,
    }
    chroot: "chroot" { args: &["{jail}", "/nolibc"], exit: 33, certain: &[("native/chroot", 1), ("native/execve", 2)] }
    exec_fails: "exec_failures" { args: &["{dir}"], certain: &[("native/execve", 9)] }
    kinds_of_exec: "exec_kinds" {
        args: &["{dir}"],
        certain: &[("native/execveat", 3), ("native/execve", 3), ("native/sched_get_priority_max", 5)],
    }
    int_0x80_from_a_64_bit_program: "int80" {
        exit: 6,
        // As above: it requires ENOSYS.
        under_profile: UnderProfile::Ends(99),
        certain: &[
            ("x86/getpid", 1),
            ("x86/write", 1),
            ("x86/fork", 1),
            ("x86/exit", 1),
            ("x86/exit_group", 1),
            ("x86/#9999", 1),
            ("x86/#-7", 1),
            ("x86_64/sched_get_priority_max", 1),
        ],
    }
    int_0x80_with_junk_above_its_arguments: "int80_wide" {
        notify: Notify::Misses(OWN_FILTER),
        certain: &[
            ("x86/clone3", 1),
            ("x86/prctl", 1),
            ("x86_64/sched_get_priority_max", 1),
            ("x86_64/sched_get_priority_min", 1),
            ("x86_64/exit_group", 2),
        ],
        // strace reads the wrong clone_args, and the child escapes; clone3 has the same number in both ABIs.
        strace: Strace::Disturbs,
    }
    #[needs(compat(), architecture("x86_64"))]
    a_32_bit_program: "m32" {
        exit: 5,
        certain: &[
            ("x86_64/execve", 1),
            ("x86_64/sched_get_priority_min", 1),
            ("x86/sched_get_priority_max", 1),
            ("x86/exit_group", 2),
        ],
    }
    #[needs(compat(), architecture("aarch64"))]
    an_arm_program: "m32" {
        exit: 5,
        certain: &[
            ("native/execve", 1),
            ("compat/sched_get_priority_min", 1),
            ("compat/sched_get_priority_max", 1),
            ("compat/sigreturn", 1),
            ("compat/exit_group", 2),
        ],
    }
    #[needs(compat())]
    a_32_bit_program_that_execs_a_64_bit_one: "m32" {
        args: &["{nolibc}"],
        exit: 33,
        certain: &[("native/execve", 1), ("compat/execve", 1), ("native/write", 1), ("native/exit", 1)],
    }
    #[needs(compat(), architecture("aarch64"))]
    an_aarch64_program_that_execs_an_arm_one: "run_it" {
        args: &["{m32}"],
        exit: 5,
        certain: &[("native/execve", 2), ("compat/sched_get_priority_max", 1), ("compat/sched_get_priority_min", 1)],
    }
    #[needs(compat(), architecture("x86_64"))]
    a_64_bit_program_that_execs_a_32_bit_one: "run_it" {
        args: &["{m32}"],
        exit: 5,
        certain: &[("x86_64/execve", 2), ("x86/sched_get_priority_max", 1), ("x86_64/sched_get_priority_min", 1)],
    }
    known_calls_with_all_registers_and_numbers: "known_calls" {
        args: &["registers"],
        certain: &[
            ("x86_64/sched_get_priority_max", 1),
            ("x86_64/sched_get_priority_min", 1),
            ("x86_64/#-5", 100),
            ("x86_64/#100000", 100),
            ("x86_64/#511", 100),
            ("x32/getppid", 100),
        ],
        // As above, numbers without a name.
        under_profile: UnderProfile::Ends(99),
    }
    jumps_to_known_calls_with_other_numbers: "known_calls" {
        args: &["jumps"],
        // Natively there is nothing to jump to.
        varies: &["read"],
        certain: &[("x86_64/sched_get_priority_max", 1), ("x86_64/sched_get_priority_min", 1)],
    }
    memory_behind_known_calls_changes: "known_calls" {
        args: &["maps"],
        varies: &["read", "wait4"],
        certain: &[("x86_64/sched_get_priority_max", 1), ("x86_64/sched_get_priority_min", 1)],
    }
    memory_behind_known_calls_is_taken_from_threads: "known_calls" {
        args: &["taken"],
        // As above; a thread calls until it is told to stop, and may be waited for.
        varies: &["read", "getppid", "futex", "restart_syscall"],
        tasks: Some(3),
        certain: &[("x86_64/sched_get_priority_min", 1)],
    }
    signals_during_known_calls: "known_calls" {
        args: &["handlers"],
        // The number of signals depends on the elapsed time; calls restart after each.
        varies: &["rt_sigreturn", "read", "write", "futex", "clone3"],
        tasks: Some(7),
    }
    own_filter_traps_known_calls: "known_calls" {
        notify: Notify::Misses(OWN_FILTER),
        args: &["filter"],
        certain: &[("x86_64/getuid", 200), ("x86_64/rt_sigreturn", 100)],
    }
    known_calls_of_a_part_of_the_code: "known_calls" { args: &["dispatch"], varies: &["read"] }
    known_calls_of_tasks_that_share_memory: "known_calls" {
        args: &["tasks"],
        varies: WAIT,
        tasks: Some(16),
        certain: &[("x86_64/sched_get_priority_max", 5), ("x86_64/sched_get_priority_min", 5)],
    }
    sleeps_that_are_known_calls: "known_calls" { args: &["sleeps"], varies: &["wait4", "restart_syscall", "nanosleep"] }
    code_of_known_calls_moves: "known_code" {
        args: &["moved"],
        certain: &[("x86_64/mremap", 4), ("x86_64/sched_get_priority_max", 100)],
    }
    pages_of_known_calls_are_discarded: "known_code" { args: &["discarded"], certain: &[("x86_64/sched_get_priority_max", 1)] }
    a_library_with_known_calls_goes: "known_code" { args: &["unloaded"], certain: &[("x86_64/sched_get_priority_min", 5)] }
    data_is_where_known_calls_were: "known_code" { args: &["replaced"], varies: WAIT, certain: &[("x86_64/sched_getscheduler", 8)] }
    known_calls_under_a_memory_limit: "known_code" { args: &["limited"], varies: &["mmap"] }
    known_calls_where_no_memory_becomes_code: "known_code" {
        args: &["mdwe"],
        varies: WAIT,
        certain: &[("x86_64/sched_get_priority_max", 1)],
    }
    known_calls_are_stepped_through: "known_code" { args: &["stepped"] }
    signals_while_known_calls_sleep: "known_signals" {
        // A signal can come before the kernel says what the call is.
        notify: Notify::MayMiss(INTERRUPTED),
        args: &["asleep"],
        // A child looks at the state of its parent until that sleeps.
        varies: &["openat", "read", "close", "wait4"],
        tasks: Some(17),
        certain: &[("native/rt_sigreturn", 20), ("native/kill", 20), ("native/sched_get_priority_max", 1)],
    }
    ignored_signals_while_known_calls_sleep: "known_signals" {
        notify: Notify::MayMiss(INTERRUPTED),
        args: &["undisturbed"],
        // As above.
        varies: &["openat", "read", "close", "wait4"],
        tasks: Some(6),
        // Under strace, calls end with EINTR.
        strace: Strace::Disturbs,
        certain: &[("x86_64/rt_sigreturn", 5), ("x86_64/kill", 20), ("x86_64/sched_get_priority_max", 1)],
    }
    #[needs(breakpoints())]
    signals_at_each_instruction_of_known_calls: "known_steps" {
        notify: Notify::MayMiss(INTERRUPTED),
        // A child continues its parent until it is killed; signals restart calls.
        varies: &["kill", "nanosleep", "clock_nanosleep", "restart_syscall", "rt_sigreturn", "read", "wait4"],
        tasks: Some(6),
        // It shows SIGSTOP and SIGCONT in another order.
        strace: Strace::Disturbs,
        certain: &[("x86_64/sched_get_priority_max", 1), ("x86_64/sched_get_priority_min", 1)],
    }
    a_timer_ends_a_call_that_becomes_known: "known_signals" {
        notify: Notify::MayMiss(INTERRUPTED),
        args: &["timed"],
        certain: &[("native/nanosleep", 8), ("native/rt_sigreturn", 1)],
    }
    threads_without_signals_make_calls_that_become_known: "known_signals" {
        args: &["without"],
        // The C library locks.
        varies: &["futex", "madvise", "munmap", "mmap", "mprotect", "rt_sigprocmask", "wait4"],
        tasks: Some(16),
        certain: &[("native/umask", 360), ("native/getsid", 360)],
    }
    known_calls_under_every_action_of_reporting_signals: "known_signals" {
        args: &["reports"],
        varies: WAIT,
        certain: &[("native/execve", 4), ("native/rt_sigreturn", 2)],
    }
    killed_while_calls_become_known: "known_signals" {
        args: &["killed"],
        // Children make calls until they are killed, by two threads.
        varies: &["getppid", "getuid", "geteuid", "close", "rseq", "set_robust_list", "rt_sigprocmask", "wait4", "read"],
        tasks: Some(201),
        certain: &[("native/execve", 101), ("native/kill", 100), ("native/sched_get_priority_max", 1)],
        // For a task that died before strace could read its call, it shows another task's.
        strace: Strace::Disturbs,
    }
    known_calls_of_a_static_program: "known_signals_static" {
        args: &["reports"],
        varies: WAIT,
        certain: &[("native/execve", 4), ("native/rt_sigreturn", 2)],
    }
    known_calls_of_a_static_program_at_any_address: "known_signals_static_pie" {
        args: &["reports"],
        varies: WAIT,
        certain: &[("native/execve", 4), ("native/rt_sigreturn", 2)],
    }
    an_exception_leaves_a_known_call: "throws" {
        // As above.
        notify: Notify::MayMiss(INTERRUPTED),
        varies: &["openat", "read", "close", "wait4"],
        tasks: Some(11),
        certain: &[("native/kill", 10)],
    }
    known_calls_of_a_program_that_checks_its_memory: "sanitized" {
        // A thread looks at the states of the others until they sleep.
        varies: &["openat", "read", "close", "futex", "wait4"],
        tasks: Some(3),
        certain: &[("native/sched_get_priority_max", 1), ("native/sched_get_priority_min", 1)],
    }
    known_calls_of_a_program_that_looks_for_races: "sanitized_thread" {
        // A thread of the sanitizer sleeps again and again, and begins late perhaps.
        varies: &[
            "openat", "read", "close", "futex", "wait4", "nanosleep", "gettimeofday", "rt_sigprocmask", "set_robust_list", "rseq",
        ],
        certain: &[("native/sched_get_priority_max", 1), ("native/sched_get_priority_min", 1)],
    }
    code_where_known_calls_are_made: "known_places" {
        args: &["window"],
        // It starts again where the kernel put a library at these addresses.
        varies: &["execve", "read", "wait4"],
        certain: &[("x86_64/alarm", 1), ("x86_64/sched_get_priority_min", 1), ("x86_64/sched_getscheduler", 1)],
    }
    code_is_mapped_where_known_calls_are_made_beside_a_thread: "known_places" {
        args: &["beside"],
        // A thread calls until it is told to stop, and may be waited for.
        varies: &["getppid", "futex"],
        tasks: Some(2),
        certain: &[("x86_64/sched_get_priority_max", 1), ("x86_64/sched_get_priority_min", 1)],
    }
    memory_where_known_calls_are_made_is_written_through_files: "known_places" {
        args: &["files"],
        // As above.
        varies: &["execve", "read", "wait4"],
        certain: &[
            ("x86_64/sched_get_priority_max", 3),
            ("x86_64/sched_get_priority_min", 4),
            ("x86_64/sched_getscheduler", 1),
        ],
    }
    memory_where_known_calls_are_made_is_filled_by_faults: "known_places" {
        args: &["faults"],
        // As above; its own memory, if nothing is there.
        varies: &["execve", "read", "mmap", "ioctl"],
        certain: &[("x86_64/sched_get_priority_max", 1)],
    }
    memory_where_known_calls_are_made_is_filled_by_faults_of_the_device: "known_places" {
        args: &["device"],
        // As above; its own memory, if nothing is there.
        varies: &["execve", "read", "mmap", "ioctl"],
        certain: &[("x86_64/sched_get_priority_max", 1)],
    }
    known_calls_of_code_that_is_written: "known_places" {
        args: &["written"],
        certain: &[("x86_64/sched_get_priority_max", 1), ("x86_64/sched_get_priority_min", 1), ("x86_64/sched_getscheduler", 1)],
    }
    known_calls_that_are_jumped_to: "known_places" {
        args: &["jumped-to"],
        certain: &[("x86_64/sched_get_priority_max", 1), ("x86_64/sched_get_priority_min", 1), ("x86_64/sched_getscheduler", 1)],
    }
    known_calls_under_a_filter_that_denies_code: "known_places" {
        notify: Notify::Misses(OWN_FILTER),
        args: &["denied"],
        varies: WAIT,
        certain: &[("x86_64/sched_get_priority_max", 1), ("x86_64/sched_get_priority_min", 1)],
    }
    fork_while_calls_become_known: "known_code" {
        args: &["forks"],
        // Its threads make calls until it is done; SIGCHLD makes clone restart.
        varies: &[
            "access", "chdir", "clone", "close", "dup", "futex", "getegid", "geteuid", "getgid", "getpgrp", "getpid",
            "getppid", "getsid", "gettid", "getuid", "madvise", "rmdir", "sched_yield", "umask", "wait4",
        ],
        certain: &[("x86_64/sched_getscheduler", 168)],
    }
    shells_in_shells: "/bin/sh" {
        args: &["-c", "[ $1 -gt 0 ] || exit 9; sh -c \"$0\" \"$0\" $(($1 - 1)); echo up $1 $?; exit $1",
            "[ $1 -gt 0 ] || exit 9; sh -c \"$0\" \"$0\" $(($1 - 1)); echo up $1 $?; exit $1", "12"],
        exit: 12,
        certain: &[("native/execve", 13)],
    }
}
