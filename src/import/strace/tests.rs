use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::{Cursor, Write as _};
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::event::Event;
use crate::import::damage::damaged;
use crate::syscall::Syscall;
use crate::syscall::arguments::call_with_arguments;

const OPTIONS: StraceOptions = StraceOptions {
    native: Arch::X86_64,
    began: SystemTime::UNIX_EPOCH,
    assume_complete: true,
    arguments: false,
};

/// The result of an import: the events of tasks, and how often each call was made.
fn outcome(
    sources: Vec<(&str, Vec<u8>)>,
    options: &StraceOptions,
) -> (String, BTreeMap<Syscall, u64>) {
    let open = |(name, bytes)| ImportSource::new(name, Cursor::new(bytes));
    let sources = sources.into_iter().map(open).collect();
    let mut text = String::new();
    let mut problems = Vec::new();
    let mut counts = BTreeMap::new();
    let mut times = BTreeSet::new();
    let mut sink = |event| {
        let _ = match event {
            Event::Clock { now } => {
                times.insert(now);
                Ok(())
            }
            Event::Exec { task, executable } => {
                writeln!(text, "{task} executes {}", executable.display())
            }
            Event::Fork { parent, child } => writeln!(text, "{parent} makes {child}"),
            Event::Exit { task } => writeln!(text, "{task} ends"),
            Event::Syscall { syscall, .. } => {
                *counts.entry(syscall).or_default() += 1;
                Ok(())
            }
            Event::Calls { syscall, count, .. } | Event::Counted { syscall, count, .. } => {
                *counts.entry(syscall).or_default() += count;
                Ok(())
            }
            Event::Lost { count, why } => writeln!(text, "lost {count:?}: {why}"),
            Event::Outcome { task, outcome } => writeln!(text, "{task} {outcome:?}"),
            Event::Submitted { operation, .. } => writeln!(text, "submitted {operation}"),
            Event::Runtime { syscall, .. } => writeln!(text, "runtime {syscall}"),
            Event::Arguments { syscall, args } => {
                writeln!(text, "{}", call_with_arguments(syscall, &args))
            }
            Event::CountsAreLowerBounds => writeln!(text, "counts are lower bounds"),
        };
    };
    let summary = import_strace(sources, options, &mut sink, &mut |problem| {
        problems.push(problem.to_string());
    });
    for problem in problems {
        let _ = writeln!(text, "{problem}");
    }
    if let (Some(first), Some(last)) = (times.first(), times.last()) {
        let first_text = jiff::Timestamp::try_from(*first).unwrap();
        let _ = writeln!(
            text,
            "{first_text:.3} and {:?} on",
            last.duration_since(*first).unwrap()
        );
    }
    let _ = writeln!(text, "{:?}", summary.unwrap());
    (text, counts)
}

fn shown((text, counts): &(String, BTreeMap<Syscall, u64>)) -> String {
    let mut shown = text.clone();
    let arches: BTreeSet<Arch> = counts.keys().map(|call| call.arch).collect();
    for arch in arches {
        let of = counts.iter().filter(|(call, _)| call.arch == arch);
        let mut of: Vec<_> = of.map(|(call, count)| format!("{call} {count}")).collect();
        of.sort();
        let _ = writeln!(shown, "{arch}: {}", of.join(", "));
    }
    shown
}

fn fixture(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/integration/fixtures/strace");
    std::fs::read(format!("{directory}/{name}")).unwrap()
}

fn of_fixture(name: &str) -> (String, BTreeMap<Syscall, u64>) {
    outcome(vec![(name, fixture(name))], &OPTIONS)
}

const FIXTURES: &[&str] = &[
    "stderr.txt",
    "stderr-32.txt",
    "q.txt",
    "Y-yy.txt",
    "c.txt",
    "c-32.txt",
    "c-U.txt",
    "o.log",
    "o-32.log",
    "n-32.log",
    "n-i-tt-T.log",
    "i.log",
    "r.log",
    "r-t.log",
    "ttt.log",
    "k.log",
    "C.log",
    "v-x-dump.log",
    "unix.log",
    "pidns.log",
    "single.log",
];

#[test]
fn logs_of_every_combination_of_options() {
    for name in FIXTURES {
        insta::assert_snapshot!(name.replace('.', "-"), shown(&of_fixture(name)));
    }
}

const FF: [&str; 4] = ["ff.6455", "ff.6454", "ff.6452", "ff.6453"];

#[test]
fn the_files_of_ff_are_one_trace() {
    let sources = FF.map(|name| (name, fixture(name))).to_vec();
    let one = shown(&outcome(sources, &OPTIONS));
    let gzip = |name| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&fixture(name)).unwrap();
        (format!("{name}.gz"), encoder.finish().unwrap())
    };
    let compressed = FF.map(gzip);
    let sources = compressed
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()));
    assert_eq!(shown(&outcome(sources.collect(), &OPTIONS)), one);
    insta::assert_snapshot!("ff", one);
}

#[test]
fn the_same_calls_are_found_whatever_the_options() {
    let calls = |name: &str| of_fixture(name).1;
    let told = calls("stderr.txt");
    // Numbers and mode messages show every ABI.
    assert_eq!(calls("n-i-tt-T.log"), told);
    let of_32 = calls("n-32.log");
    let native = of_32.keys().filter(|call| call.arch == Arch::X86_64);
    assert_eq!(native.count(), 1);
    // Without them, a call of another ABI counts as the program's own call of that name.
    let getpid = |arch| Syscall::from_name(arch, "getpid").unwrap();
    let mut untold = told.clone();
    untold.remove(&getpid(Arch::X86));
    untold.remove(&getpid(Arch::X32));
    untold.insert(getpid(Arch::X86_64), 3);
    for name in ["o.log", "q.txt"] {
        assert_eq!(calls(name), untold, "{name}");
    }
    // The width of pointers shows the 32-bit ABI, and hides x32.
    untold.insert(getpid(Arch::X86_64), 1);
    untold.insert(getpid(Arch::X86), 2);
    assert_eq!(calls("i.log"), untold);
    // The ABI of a whole program is determined.
    assert_eq!(calls("o-32.log"), calls("stderr-32.txt"));
    // A table has calls that return and have a name.
    let in_table = |call: &Syscall| {
        call.name()
            .is_none_or(|name| !matches!(&*name, "exit" | "exit_group" | "pause"))
            && !matches!(call.nr, -5 | 600 | 100_000)
    };
    let mut table = told;
    table.retain(|call, _| in_table(call));
    assert_eq!(calls("c.txt"), table);
    // The two runs differ in what interrupts sleeping calls.
    assert_eq!(calls("c-U.txt"), table);
    let child = calls("single.log");
    for name in "r.log r-t.log ttt.log k.log C.log v-x-dump.log unix.log Y-yy.txt".split(' ') {
        assert_eq!(calls(name), child, "{name}");
    }
}

/// Asserts the result of a few lines.
fn check(lines: &str, expected: &str) {
    let shown = shown(&outcome(vec![("log", lines.into())], &OPTIONS));
    let (events, _) = shown.split_once("StraceSummary").unwrap();
    let calls = shown.split_once("}\n").unwrap().1;
    assert_eq!(format!("{events}{calls}"), expected, "{lines}");
}

#[test]
fn output_of_the_program_on_the_same_terminal_is_skipped() {
    check(
        "execve(\"/bin/x\", [\"x\"], 0x7ffd /* 1 var */) = 0\n\
         write(1, \"hello\\n\", 6hello\n\
         )                  = 6\n\
         a line of the program's\n\
         prompt> read(0, \"x\", 1)     = 1\n\
         ????( <unfinished ...>\n\
         +++ exited with 0 +++\n",
        "0 executes /bin/x\n\
         0 ends\n\
         lost Some(2): log: lines can't be read\n\
         lost Some(1): log: strace could not read the number of the call (????)\n\
         log:4: not a line of strace's: a line of the program's\n\
         log:5: not a line of strace's: prompt> read(0, \"x\", 1)     = 1\n\
         x86_64: execve 1, write 1\n",
    );
}

#[test]
fn a_thread_that_executes_gets_the_id_of_its_process() {
    check(
        "7 execve(\"/bin/x\", [], 0x7ffd) = 0\n\
         7 clone3({flags=CLONE_THREAD}, 88) = 8\n\
         7 pause( <unfinished ...>\n\
         8 execve(\"/bin/y\", [], 0x7ffd <unfinished ...>\n\
         7 <... pause resumed>) = ?\n\
         7 +++ superseded by execve in pid 8 +++\n\
         7 <... execve resumed>) = 0\n\
         7 exit_group(0) = ?\n\
         7 +++ exited with 0 +++\n",
        "7 executes /bin/x\n7 makes 8\n8 ends\n7 executes /bin/y\n7 ends\n\
         x86_64: clone3 1, execve 2, exit_group 1, pause 1\n",
    );
}

#[test]
fn a_log_that_ends_early_is_incomplete() {
    check(
        "7 execve(\"/bin/x\", [], 0x7ffd) = 0\n\
         7 vfork() = 8\n\
         8 exit(0) = ?\n\
         8 +++ exited with 0 +++\n\
         7 read(0, <unfinis",
        "7 executes /bin/x\n7 makes 8\n8 ends\n\
         lost None: log ends before 1 of its tasks\n7 ends\n\
         x86_64: execve 1, exit 1, read 1, vfork 1\n",
    );
    check(
        "restart_syscall(<... resuming interrupted poll ...>) = 0\n\
         <... poll resumed>) = 1\n\
         strace: Process 7 detached\n",
        "0 ends\nlost None: log: strace detached from a running process\n\
         x86_64: poll 1, restart_syscall 1\n",
    );
}

#[test]
fn a_call_of_32_bits_is_found_by_its_name_in_a_program_of_64() {
    check(
        "7 execve(\"/bin/x\", [], 0x7ffd) = 0\n\
         7 brk(NULL) = 0x1000\n\
         7 arch_prctl(ARCH_SET_FS, 0x1000) = 0\n\
         7 mmap2(NULL, 1) = 0x1000\n\
         7 getpid() = 7\n\
         7 frobnicate(1) = 7\n",
        "7 executes /bin/x\n7 ends\n\
         lost Some(1): log: lines can't be read\n\
         log:6: frobnicate is not a system call of x86_64\n\
         x86_64: arch_prctl 1, brk 1, execve 1, getpid 1\n\
         x86: mmap2 1\n",
    );
}

#[test]
fn calls_of_a_program_that_forks_are_held_until_its_abi_is_known() {
    check(
        "7 execve(\"/bin/x\", [], 0x7ffd) = 0\n\
         7 brk(NULL) = 0x1000\n\
         7 fork() = 8\n\
         8 getpid() = 8\n\
         8 exit_group(0) = ?\n\
         8 +++ exited with 0 +++\n\
         7 ugetrlimit(RLIMIT_STACK, NULL) = 0\n\
         7 socket(AF_UNIX, SOCK_STREAM, 0) = 3\n\
         7 +++ killed by SIGRT_2 +++\n",
        "7 executes /bin/x\n7 makes 8\n8 ends\n7 ends\n\
         x86_64: execve 1\n\
         x86: brk 1, exit_group 1, fork 1, getpid 1, socket 1, socketcall 1, ugetrlimit 1\n",
    );
}

#[test]
fn a_trace_of_another_machine_is_read_by_its_names() {
    let options = StraceOptions {
        native: Arch::Aarch64,
        assume_complete: false,
        ..OPTIONS
    };
    let lines = "7 execve(\"/bin/x\", [], 0xffff) = 0\n7 mmap(NULL, 1) = 0xffff0000\n7 openat(AT_FDCWD, \"x\") = 3\n";
    insta::assert_snapshot!(shown(&outcome(vec![("log", lines.into())], &options)), @r#"
    7 executes /bin/x
    7 ends
    lost None: the output of strace doesn't show what its options left out
    StraceSummary { lines: 3, calls: 3, broken: 0, exit: None }
    aarch64: execve 1, mmap 1, openat 1
    "#);
}

/// A call of a task, and whether other calls come between its entry and its return.
#[derive(Clone, Debug)]
struct Step {
    task: i32,
    nr: i32,
    args: String,
    split: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let args = prop::sample::select(vec![
        "",
        "3, \"a\\n(= 1) <unfinished\", 4",
        "{a=1, b=[2, 3]}, NULL",
        "\"x) = 7\"",
        "0x7ffc00001111",
    ]);
    let nr = (0..335).prop_filter("must be no fork, exec or end", |nr| !(56..=60).contains(nr));
    let step = (1..5, nr, args, any::<bool>()).prop_map(|(task, nr, args, split)| Step {
        task,
        nr,
        args: args.to_owned(),
        split,
    });
    prop::collection::vec(step, 0..40)
}

/// Writes the steps as strace does with some options.
fn render(steps: &[Step], dress: &Dress) -> String {
    let mut text = String::new();
    let mut open: Vec<(i32, String)> = Vec::new();
    let mut micros = 0;
    let mut lead = |text: &mut String, task: i32, nr: i32| {
        micros += 1017;
        let _ = match dress.pids {
            0 => write!(text, "{task:<5} "),
            1 => write!(text, "[pid {task:>5}] "),
            _ => write!(text, "{task}<a\\76 b> "),
        };
        let _ = match dress.times {
            0 => Ok(()),
            1 => write!(text, "00:00:{:02} ", micros / 1_000_000),
            2 => {
                let (secs, micros) = (micros / 1_000_000, micros % 1_000_000);
                write!(text, "00:00:{secs:02}.{micros:06} ")
            }
            3 => write!(text, "1795307191.{:06} ", micros % 1_000_000),
            4 => write!(text, "{:>6}.{:06} ", 0, 1017),
            _ => write!(text, "00:00:01 (+{:>6}.{:06}) ", 0, 1017),
        };
        if dress.numbers {
            let _ = write!(text, "[{nr:>4}] ");
        }
        if dress.pointers {
            let _ = write!(text, "[00007f0f26ac8ad7] ");
        }
    };
    for step in steps {
        if let Some(at) = open.iter().position(|(task, _)| *task == step.task) {
            let (task, name) = open.remove(at);
            lead(&mut text, task, 0);
            let _ = writeln!(text, "<... {name} resumed>) = 0");
        }
        let call = Syscall {
            arch: Arch::X86_64,
            nr: step.nr,
        };
        let name = call
            .name()
            .map_or_else(|| format!("syscall_{:#x}", step.nr), Into::into);
        lead(&mut text, step.task, step.nr);
        if step.split {
            let _ = writeln!(text, "{name}({} <unfinished ...>", step.args);
            open.push((step.task, name));
        } else {
            let _ = writeln!(text, "{name}({}){:>9} 0 <0.000123>", step.args, "=");
        }
    }
    text
}

#[derive(Clone, Debug)]
struct Dress {
    pids: u8,
    times: u8,
    numbers: bool,
    pointers: bool,
}

proptest! {
    #[test]
    fn the_output_of_strace_with_any_options_is_read_back(
        steps in steps(),
        (pids, times, numbers, pointers) in (0..3_u8, 0..6_u8, any::<bool>(), any::<bool>()),
    ) {
        let dress = Dress { pids, times, numbers, pointers };
        // A first call that shows the ABI.
        let tell = Step { task: 1, nr: 158, args: "ARCH_SET_FS, 0x1".to_owned(), split: false };
        let also = (2..5).map(|task| Step { task, ..tell.clone() });
        let steps: Vec<_> = std::iter::once(tell.clone()).chain(also).chain(steps).collect();
        let mut expected = BTreeMap::new();
        for step in &steps {
            *expected.entry(Syscall { arch: Arch::X86_64, nr: step.nr }).or_default() += 1;
        }
        let text = render(&steps, &dress);
        let (shown, counts) = outcome(vec![("log", text.clone().into())], &OPTIONS);
        prop_assert_eq!(counts, expected, "{}\n{}", shown, text);
        prop_assert!(shown.contains("broken: 0"), "{}", shown);
    }

    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        outcome(vec![("log", bytes)], &OPTIONS);
    }

    #[test]
    fn any_cut_or_change_of_a_log_is_read(bytes in damaged(FIXTURES, fixture)) {
        outcome(vec![("log", bytes)], &OPTIONS);
    }
}

#[test]
fn arguments_are_imported_on_request() {
    let trace = b"execve(\"/bin/app\", [\"app\"], 0x7ffd0d3c2e98 /* 9 vars */) = 0\n\
        brk(NULL) = 0x55d5d5a5e000\n\
        socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 3\n\
        socket(AF_STRANGE, SOCK_STREAM, 0) = 3\n\
        +++ exited with 0 +++\n";
    for (arguments, expected) in [(true, vec![2]), (false, vec![])] {
        let options = StraceOptions {
            arguments,
            ..OPTIONS
        };
        let source = ImportSource::new("trace", Cursor::new(trace.to_vec()));
        let mut domains = Vec::new();
        let mut sink = |event| {
            if let Event::Arguments { args, .. } = event {
                domains.push(args[0]);
            }
        };
        import_strace(vec![source], &options, &mut sink, &mut |_| {}).unwrap();
        assert_eq!(domains, expected);
    }
}
