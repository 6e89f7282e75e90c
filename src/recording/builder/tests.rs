mod histories;

use std::fmt::Write;

use super::*;
use crate::recording::ArgumentValues;
use crate::syscall::Arch;

fn call(task: i32, nr: i32) -> Event {
    Event::Syscall {
        task: Task(task),
        syscall: Syscall {
            arch: Arch::X86_64,
            nr,
        },
        site: None,
    }
}

const READ: i32 = 0;
const WRITE: i32 = 1;
const EXECVE: i32 = 59;

fn exec(task: i32, executable: &str) -> Event {
    Event::Exec {
        task: Task(task),
        executable: executable.into(),
    }
}

fn fork(parent: i32, child: i32) -> Event {
    Event::Fork {
        parent: Task(parent),
        child: Task(child),
    }
}

fn exit(task: i32) -> Event {
    Event::Exit { task: Task(task) }
}

fn lost(count: Option<u64>, why: &str) -> Event {
    Event::Lost {
        count,
        why: why.to_owned(),
    }
}

fn clock(secs: u64) -> Event {
    Event::Clock {
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(secs),
    }
}

fn build(events: impl IntoIterator<Item = Event>) -> Run {
    let mut builder = RunBuilder::start("./app".into(), "test");
    events.into_iter().for_each(|event| builder.event(event));
    builder.finish(None, false)
}

/// What doesn't depend on the time: the number of tasks, then each call with its count and executables.
fn summary(run: &Run) -> String {
    let mut text = format!("{} tasks", run.tasks.unwrap());
    for (syscall, tally) in &run.syscalls {
        write!(text, "; {syscall} {}", tally.count).unwrap();
        for executable in &tally.executables {
            write!(text, " {}", executable.display()).unwrap();
        }
    }
    text
}

/// Events in short: `1 read` is a call, `1 /sh` an exec, `1+2` a fork, `1-` an exit.
fn events(text: &str) -> Vec<Event> {
    let id = |text: &str| text.parse().unwrap();
    let event = |text: &str| match (text.split_once(' '), text.split_once('+')) {
        (Some((task, path)), _) if path.starts_with('/') => exec(id(task), path),
        (Some((task, name)), _) => {
            let syscall = Syscall::parse(Arch::X86_64, name).unwrap();
            call(id(task), syscall.nr)
        }
        (None, Some((parent, child))) => fork(id(parent), id(child)),
        (None, None) => exit(id(text.strip_suffix('-').unwrap())),
    };
    let events = text.split(", ").filter(|text| !text.is_empty());
    events.map(event).collect()
}

fn check(text: &str, expect: &str) {
    assert_eq!(summary(&build(events(text))), expect, "{text}");
}

#[test]
fn calls_are_credited_to_what_their_task_executes() {
    check("", "0 tasks");
    check("1 read, 1 read", "1 tasks; read 2 ./app");
    let expect = "1 tasks; read 1 /bin/app; execve 1 /bin/app";
    check("1 execve, 1 /bin/app, 1 read", expect);
    check(
        "1 execve, 1 /bin/sh, 1 read, 1+2, 2 read, 2 execve, 2 /bin/cat, 2 write, 1 write",
        "2 tasks; read 2 /bin/sh; write 2 /bin/cat /bin/sh; execve 2 /bin/sh",
    );
    let expect = "1 tasks; read 3 /a /b";
    check("1 /a, 1 read, 1 /b, 1 read, 1 /a, 1 read", expect);
}

#[test]
fn processes_that_run_already_bring_their_executables() {
    check(
        "1 /bin/server, 2 /bin/helper, 2 read, 1 write",
        "2 tasks; read 1 /bin/helper; write 1 /bin/server",
    );
}

#[test]
fn a_child_may_come_before_its_fork() {
    let check = |text: &str, expect| check(&format!("1 /sh, 1+2, 2 /make, {text}"), expect);
    // It runs what its parent runs, not what the workload started with.
    let expect = "3 tasks; read 1 /make; write 1 /make";
    check("3 read, 2+3, 3 write", expect);
    // Even if it has executed something else by then, ...
    let expect = "3 tasks; read 1 /make; write 1 /cc";
    check("3 read, 3 /cc, 2+3, 3 write", expect);
    // ... is gone by then, ...
    check("3 read, 3-, 2+3", "3 tasks; read 1 /make");
    // ... or has a child of its own by then.
    let expect = "4 tasks; read 2 /make; write 1 /make";
    check("4 read, 3 read, 3+4, 2+3, 4 write", expect);
    check("3+4, 2+3, 4 write", "4 tasks; write 1 /make");
    // A fork that is never reported: the workload's own program.
    check("3 read", "3 tasks; read 1 /sh");
    // Events that make no sense are no reason to hang.
    check("3 read, 3+3", "3 tasks; read 1 /sh");
    check("3 read, 4 read, 3+4, 4+3", "4 tasks; read 2 /sh");
}

/// The parent's stop can come late, so that a child which is met first has executed another program by then. The fork
/// must not put it back to its parent's program: that credited `timer_create` of timeout to the shell.
#[test]
fn a_fork_reported_after_its_child_was_met_keeps_the_child_s_program() {
    check(
        "1 /sh, 2 /sh, 2 execve, 2 /timeout, 1+2, 2 write",
        "2 tasks; write 1 /timeout; execve 1 /sh",
    );
}

#[test]
fn an_id_that_is_used_again_is_another_task() {
    check("1 /sh, 1+2, 2 /a, 2-, 1+2, 2 read", "3 tasks; read 1 /sh");
    // The exit was not reported, as that of a thread which vanishes when another one executes.
    let expect = "3 tasks; read 1 /sh; write 1 /a";
    check("1 /sh, 1+2, 2 /a, 2 write, 1+2, 2 read", expect);
}

#[test]
fn a_thread_that_executes_takes_the_id_of_its_leader() {
    let expect = "2 tasks; read 1 /b; execve 1 /a";
    check("1 /a, 1+2, 2 execve, 2-, 1 /b, 1 read", expect);
}

#[test]
fn losses_are_added_up_by_their_reason() {
    let check = |losses: &[(Option<u64>, &str)], expect: &[&str]| {
        let run = build(losses.iter().map(|&(count, why)| lost(count, why)));
        assert_eq!(run.is_complete(), run.incomplete_because.is_empty());
        assert_eq!(reasons(&run), expect);
    };
    check(&[], &[]);
    check(&[(Some(2), "full"), (Some(3), "full")], &["full (5 lost)"]);
    check(&[(None, "gone"), (None, "gone")], &["gone"]);
    check(
        &[(None, "full"), (Some(3), "full"), (None, "b")],
        &["b", "full (at least 3 lost)"],
    );
    let most = "full (18446744073709551615 lost)";
    check(&[(Some(u64::MAX), "full"), (Some(3), "full")], &[most]);
}

fn reasons(run: &Run) -> Vec<&str> {
    run.incomplete_because.iter().map(String::as_str).collect()
}

#[test]
fn what_is_shown_while_it_runs_is_up_to_date() {
    let mut builder = RunBuilder::start("./app".into(), "test");
    let mut shown = Vec::new();
    for event in events("1 read, 1 write, 1 read, 1+2, 2 #-5") {
        builder.event(event);
        let (calls, distinct, tasks) = (builder.calls(), builder.distinct(), builder.tasks());
        let latest = builder.latest_new().unwrap();
        shown.push(format!("{calls} {distinct} {tasks} {latest}"));
    }
    let expect = [
        "1 1 1 read",
        "2 2 1 write",
        "3 2 1 write",
        "3 2 2 write",
        "4 3 2 #-5",
    ];
    assert_eq!(shown, expect);
}

#[test]
fn numbers_at_random_make_the_run_incomplete_not_endless() {
    let calls = i64::try_from(MAX_COUNTERS).unwrap() + 10;
    let run = build((0..calls).map(|nr| call(1, i32::try_from(nr).unwrap())));
    assert_eq!(run.syscalls.len(), MAX_COUNTERS);
    let why = "the workload made more than 65536 different calls (10 lost)";
    assert_eq!(reasons(&run), [why]);
}

#[test]
fn too_many_programs_make_the_run_incomplete_not_endless() {
    let programs = MAX_EXECUTABLES + 10;
    let run = build((0..programs).flat_map(|n| [exec(1, &format!("/{n}")), call(1, READ)]));
    let why =
        "the workload executed more than 16384 different programs: who made some calls is unknown";
    assert_eq!(reasons(&run), [why]);
    let tally = only_tally(run);
    assert_eq!(tally.count, programs as u64);
    assert_eq!(tally.executables.len(), MAX_EXECUTABLES);
}

fn only_tally(run: Run) -> Tally {
    assert_eq!(run.syscalls.len(), 1);
    run.syscalls.into_values().next().unwrap()
}

#[test]
fn any_number_of_children_that_are_met_before_their_fork_is_credited() {
    let children = 2..2 + i32::try_from(2 * MAX_EXECUTABLES).unwrap();
    let start = [exec(1, "/sh"), exec(1, "/make")];
    let events = children.flat_map(|child| [call(child, READ), fork(1, child), exit(child)]);
    assert_eq!(
        summary(&build(start.into_iter().chain(events))),
        "32769 tasks; read 32768 /make"
    );
}

#[test]
fn reasons_are_bounded() {
    let run = build((0..1000).map(|n| lost(Some(2), &format!("reason {n}"))));
    assert_eq!(run.incomplete_because.len(), MAX_REASONS + 1);
    let last = format!(
        "there are more than 256 reasons ({} lost)",
        2 * (1000 - 256)
    );
    assert!(reasons(&run).contains(&&*last), "{:?}", reasons(&run));
}

#[test]
fn a_run_of_the_past_has_the_times_of_its_clock_in_any_order() {
    let mut builder = RunBuilder::of_the_past("audit");
    for event in [
        clock(1000),
        exec(7, "/bin/a"),
        call(7, 0),
        clock(1010),
        call(7, 1),
        clock(990),
        call(7, 0),
        Event::Calls {
            task: Task(8),
            syscall: Syscall {
                arch: Arch::X86_64,
                nr: 2,
            },
            count: 5,
        },
    ] {
        builder.event(event);
    }
    assert_eq!(builder.calls(), 8);
    let run = builder.finish(None, false);
    assert_eq!(
        run.started,
        SystemTime::UNIX_EPOCH + Duration::from_secs(990)
    );
    assert_eq!(run.duration, Duration::from_secs(20));
    assert_eq!(run.program, PathBuf::from("/bin/a"));
    assert_eq!((run.kernel.as_str(), run.machine.as_str()), ("", ""));
    let tallies: Vec<_> = run.syscalls.values().collect();
    let firsts: Vec<_> = tallies.iter().map(|t| (t.count, t.first_ms)).collect();
    assert_eq!(firsts, [(2, Some(0)), (1, Some(20_000)), (5, Some(0))]);
}

#[test]
fn a_program_that_nothing_is_known_of_has_no_name() {
    let mut builder = RunBuilder::of_the_past("strace");
    builder.event(call(0, 0));
    let run = builder.finish(None, false);
    let executables = run.syscalls.values().map(|tally| tally.executables.len());
    assert_eq!(executables.collect::<Vec<_>>(), [0]);
    // Its times are unknown too.
    assert_eq!(run.duration, Duration::ZERO);
    assert_eq!(only_tally(run).first_ms, None);
}

#[test]
fn aggregated_counts_have_neither_tasks_nor_order() {
    let counted = |nr, executable: Option<&str>, count, first| Event::Counted {
        syscall: Syscall {
            arch: Arch::X86_64,
            nr,
        },
        executable: executable.map(|path| Path::new(path).into()),
        count,
        first,
        args: None,
    };
    let start = SystemTime::now();
    let after = |ms| Some(start + Duration::from_millis(ms));
    let run = build([
        counted(READ, Some("/a"), 3, after(5000)),
        counted(READ, Some("/b"), 2, after(3000)),
        counted(READ, None, 4, None),
        counted(WRITE, None, u64::MAX, None),
        counted(WRITE, None, 1, None),
        // Before the run: a clock that was set back.
        counted(EXECVE, Some("/b"), 1, Some(start - Duration::from_secs(9))),
    ]);
    assert!(run.aggregated);
    assert_eq!(run.tasks, None);
    let tallies: Vec<_> = run.syscalls.values().collect();
    let [read, write, execve] = tallies[..] else {
        panic!("{tallies:?}");
    };
    let both = BTreeSet::from(["/a".into(), "/b".into()]);
    assert_eq!((read.count, &read.executables), (9, &both));
    let first = read.first_ms.unwrap();
    assert!((2000..=3000).contains(&first), "{first}");
    assert_eq!((write.count, write.first_ms), (u64::MAX, None));
    assert!(write.executables.is_empty());
    assert_eq!(execve.first_ms, Some(0));
}

#[test]
fn aggregated_counts_beside_tasks_keep_them() {
    let events = [
        exec(1, "/a"),
        call(1, READ),
        Event::Counted {
            syscall: Syscall {
                arch: Arch::X86_64,
                nr: READ,
            },
            executable: None,
            count: 2,
            first: None,
            args: None,
        },
    ];
    let run = build(events);
    assert!(run.aggregated && !build([call(1, READ)]).aggregated);
    assert_eq!(summary(&run), "1 tasks; read 3 /a");
}

/// 18,000 numbers and long paths made a file of 305 MB, which was too large to be read.
#[test]
fn a_run_with_many_numbers_by_long_paths_can_be_read_back() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let mut builder = RunBuilder::start("./app".into(), "test");
    for program in 0..4_u8 {
        let path = [b"/".as_slice(), &[0xff; 4000], &[b'0' + program]].concat();
        let executable = OsStr::from_bytes(&path).into();
        builder.event(Event::Exec {
            task: Task(1),
            executable,
        });
        (0..18_000).for_each(|nr| builder.event(call(1, nr)));
    }
    let run = builder.finish(None, false);
    assert_eq!(run.syscalls.len(), 18_000);
    let without_programs = |tally: &Tally| tally.count == 4 && tally.executables.is_empty();
    assert!(run.syscalls.values().all(without_programs));
    let why = "the programs that made the calls are too many to be written";
    assert_eq!(reasons(&run), [why]);
    let recording = crate::recording::Recording::of("app".parse().unwrap(), run);
    let text = recording.content(Path::new("r.json")).unwrap();
    assert_eq!(crate::recording::Recording::parse(&text), Ok(recording));
}

/// `socket` with this domain.
fn socket(task: i32, domain: u64) -> [Event; 2] {
    let syscall = Syscall {
        arch: Arch::X86_64,
        nr: 41,
    };
    // The upper half of an int can hold anything.
    let args = [0xdead_0000_0000 | domain, 1, 0, 0, 0, 0];
    [call(task, 41), Event::Arguments { syscall, args }]
}

fn domains(run: &Run) -> Option<&ArgumentValues> {
    let syscall = Syscall {
        arch: Arch::X86_64,
        nr: 41,
    };
    run.syscalls[&syscall].args.get(&0)
}

#[test]
fn the_values_of_arguments_have_their_counts_and_executables() {
    let events = [exec(1, "/bin/a"), fork(1, 2), exec(2, "/bin/b")];
    let calls = [socket(1, 2), socket(2, 2), socket(1, 10)];
    let run = build(events.into_iter().chain(calls.into_iter().flatten()));
    let Some(ArgumentValues::Each(values)) = domains(&run) else {
        panic!("{run:?}")
    };
    let shown: Vec<_> = (values.iter())
        .map(|(value, tally)| (*value, tally.count, tally.executables.len()))
        .collect();
    assert_eq!(shown, [(2, 2, 2), (10, 1, 1)]);
}

#[test]
fn too_many_values_are_many() {
    for (values, many) in [(64, false), (65, true)] {
        let calls = (0..values).flat_map(|domain| socket(1, domain));
        let run = build([exec(1, "/bin/a")].into_iter().chain(calls));
        assert_eq!(domains(&run) == Some(&ArgumentValues::Many), many);
    }
}

#[test]
fn values_of_some_of_the_calls_only_are_not_kept() {
    let calls = socket(1, 2).into_iter().chain([call(1, 41)]);
    let run = build([exec(1, "/bin/a")].into_iter().chain(calls));
    assert_eq!(domains(&run), None);
}

#[test]
fn a_value_is_credited_to_the_parent_s_executable_once_it_is_known() {
    let early = socket(2, 2).into_iter().chain([fork(1, 2)]);
    let run = build([exec(1, "/bin/a")].into_iter().chain(early));
    let Some(ArgumentValues::Each(values)) = domains(&run) else {
        panic!("{run:?}")
    };
    assert_eq!(values[&2].executables, BTreeSet::from(["/bin/a".into()]));
}
