//! What a recording knows of an executable holds for its later images, as of many short processes. Patched and unpatched recordings
//! agree in all but counts, which are lower bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::chown;
use std::path::Path;

use crate::support::process::{Room, set_mode};
use crate::support::programs;
use crate::support::recorder::{Files, Run};

/// What a recording says about each call.
#[derive(Debug, PartialEq, Eq)]
struct Tally {
    count: u64,
    executables: BTreeSet<String>,
}

fn tallies(run: &Run) -> BTreeMap<String, Tally> {
    let mut all = BTreeMap::new();
    for (arch, calls) in run.0["syscalls"].as_object().unwrap() {
        for (name, call) in calls.as_object().unwrap() {
            let paths = call["executables"].as_array().unwrap();
            let tally = Tally {
                count: call["count"].as_u64().unwrap(),
                executables: paths
                    .iter()
                    .map(|path| path.as_str().unwrap().to_owned())
                    .collect(),
            };
            all.insert(format!("{arch}/{name}"), tally);
        }
    }
    all
}

/// A shell script in a directory of its own, with paths of workloads as `$1`, `$2` and so on. `varies`: calls that not every run makes as often.
struct Script<'a> {
    text: &'a str,
    programs: &'a [&'a str],
    varies: &'a [&'a str],
}

impl Script<'_> {
    fn run(&self, room: &Room, files: &Files, options: &[&str], when: &str) -> (String, Run) {
        let place = room.directory();
        let mut command = files.command(&[&["--quiet"], options].concat());
        command.env("SC_RECORD_TEST_FAST_PATH", when);
        command.args(["sh", "-c", &format!("cd \"$0\" || exit; {}", self.text)]);
        command.arg(&place);
        command.args(self.programs.iter().map(|name| programs::workload(name)));
        let ended = room.run(&mut command);
        assert_eq!(ended.code(), 0, "{options:?} {when}: {}", ended.stderr);
        let run = files.run();
        assert_eq!(run.incomplete_because(), [""; 0], "{options:?} {when}");
        // The paths of the place are those of every run.
        let here = place.to_str().unwrap();
        let run = Run(serde_json::from_str(&run.0.to_string().replace(here, "HERE")).unwrap());
        (ended.stdout.replace(here, "HERE"), run)
    }

    /// Compares recordings. Returns them: without changes, and with the usual ones.
    fn check(&self) -> (Run, Run) {
        let room = Room::new();
        let (stdout, unpatched) = self.run(&room, &Files::new(&room), &["--no-patch"], "");
        let expected = tallies(&unpatched);
        let varies = |call: &str| {
            let name = call.split('/').next_back().unwrap();
            self.varies.contains(&name)
        };
        let mut usual = None;
        for when in ["", "at once", "at random"] {
            let (patched_stdout, patched) = self.run(&room, &Files::new(&room), &["--patch"], when);
            assert_eq!(patched_stdout, stdout, "{when}");
            assert_eq!(patched.0["tasks"], unpatched.0["tasks"], "{when}");
            assert_eq!(
                patched.0["executables"], unpatched.0["executables"],
                "{when}"
            );
            let found = tallies(&patched);
            let of = |all: &BTreeMap<String, Tally>| -> Vec<_> {
                let all = all.iter().filter(|(call, _)| !varies(call));
                all.map(|(call, of)| (call.clone(), of.executables.clone()))
                    .collect()
            };
            assert_eq!(of(&found), of(&expected), "{when}");
            // A signal makes clone restart.
            let counted = |call: &str| !varies(call) && !call.ends_with("/clone");
            for (call, tally) in found.iter().filter(|(call, _)| counted(call)) {
                let most = expected[call].count;
                assert!(
                    (1..=most).contains(&tally.count),
                    "{when}: {call}: {tally:?}, {most}"
                );
            }
            usual.get_or_insert(patched);
        }
        (unpatched, usual.unwrap())
    }
}

/// What a traced shell does depends on when its children end.
const SHELL: &[&str] = &["wait4", "rt_sigreturn", "restart_syscall", "futex"];

fn check(text: &str, programs: &[&str]) -> (Run, Run) {
    let script = Script {
        text,
        programs,
        varies: SHELL,
    };
    script.check()
}

fn count(run: &Run, call: &str) -> u64 {
    tallies(run)[&format!("x86_64/{call}")].count
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn programs_that_are_executed_often_stop_less() {
    let (unpatched, patched) = check(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
            /bin/true; uname; nice true; mkfifo f; rm f; echo $i | cat; env true; ls /etc >/dev/null
         done",
        &[],
    );
    for call in [
        "brk",
        "access",
        "openat",
        "pread64",
        "set_tid_address",
        "rseq",
    ] {
        let (all, stopped) = (count(&unpatched, call), count(&patched, call));
        assert!(stopped * 2 < all, "{call}: {stopped} of {all} stopped");
    }
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn other_arguments_make_other_calls() {
    // getppid, and at times getuid, getgid, geteuid, sched_get_priority_max and min.
    check(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
            $1 110; $1 110 110 110
            case $i in 6) $1 102 110;; 7) $1 146,1;; 12) $1 110 104 147,1;; 15) $1 thread 110 107;; esac
            [ $i -lt 14 ] || $1 110 108
         done",
        &["calls"],
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn a_call_of_one_executable_is_not_that_of_another() {
    let (run, _) = check(
        "cp $1 a; cp $1 b; cp $1 c
         for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
            ./a 110 146; ./b 110 147; ./a 110; [ $i -lt 10 ] || ./c 146 147; [ $i -lt 12 ] || ./b 146
         done",
        &["calls"],
    );
    let of = |call: &str| tallies(&run)[&format!("x86_64/{call}")].executables.clone();
    assert_eq!(
        of("sched_get_priority_max"),
        ["HERE/a", "HERE/b", "HERE/c"].map(str::to_owned).into()
    );
    assert_eq!(
        of("sched_get_priority_min"),
        ["HERE/b", "HERE/c"].map(str::to_owned).into()
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn one_file_under_several_paths() {
    check(
        "cp $1 a; ln a b; ln -s a c; mkdir d; cp -p a d/a
         for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
            ./a 110; ./c 110 102; ./a 110 104; [ $i -lt 9 ] || ./b 110 102; [ $i -lt 11 ] || d/a 110 107
         done",
        &["calls"],
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn a_file_that_is_replaced_between_two_images() {
    check(
        "cp $1 new; cp $1 a; size=$(stat -c %s a)
         for i in 1 2 3 4 5 6; do ./a 110 102; done
         mv new a; for i in 1 2 3 4 5 6; do ./a 110 104; done
         cp $2 new; mv new a; for i in 1 2 3 4 5 6; do ./a; done
         cat $1 >a; for i in 1 2 3 4 5 6; do ./a 110 107; done
         # The same inode, size and time of modification, with padding that isn't any.
         cp $3 same; truncate -s $size same; touch -d @1000000000 a same
         for i in 1 2 3 4 5 6; do ./a 110; done
         cat same >a; touch -d @1000000000 a; for i in 1 2 3 4 5 6; do ./a >/dev/null; done",
        &["calls", "first_exit", "ids"],
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn a_library_that_is_replaced_between_two_images() {
    check(
        "lib=$(ldd /bin/true | sed -n 's/.*libc.so.6 => \\(.*\\) (.*/\\1/p'); mkdir l; cp $lib l/libc.so.6
         export LD_LIBRARY_PATH=$PWD/l
         for i in 1 2 3 4 5 6; do /bin/true; uname; done
         echo >>l/libc.so.6; for i in 1 2 3 4; do /bin/true; uname; done
         cp $lib n; mv n l/libc.so.6; for i in 1 2 3 4; do /bin/true; uname; done
         unset LD_LIBRARY_PATH; for i in 1 2 3 4; do /bin/true; uname; done",
        &[],
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn chains_of_programs() {
    check(
        "for i in 1 2 3 4 5 6 7 8 9 10; do
            nice -n 1 env taskset 1 sh -c 'exec env $0 110' $1; (exec $1 102; false); (true; exec /bin/true)
            env sh -c 'exec sh -c \"exec $0 104\"' $1
         done; exec $1 107",
        &["calls"],
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn scripts_are_their_interpreters() {
    check(
        "printf '#!/bin/sh\\nexec 3<&0; true\\n' >a; printf '#!/usr/bin/env sh\\numask; /bin/true\\n' >b
         cp $1 i; printf '#!%s/i 110 102\\n' $PWD >c; chmod +x a b c
         for i in 1 2 3 4 5 6 7 8 9 10; do ./a; ./b; ./c; ./i 110; done",
        &["calls"],
    );
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn processes_of_every_kind() {
    let script = Script {
        text: "for i in 1 2 3 4 5 6; do
            for p in \"$@\"; do $p >/dev/null; echo $?; done; (true); (true; /bin/true) | cat; sh -c '/bin/true & /bin/true &' | cat
         done",
        programs: &["vfork_exec", "posix_spawn", "clone_vm", "exec_from_thread", "own_filter_errno", "strict", "leader_exits",
            "sigtrap", "known_calls", "no_new_privs"],
        // As those of the workloads.
        varies: &["wait4", "rt_sigreturn", "restart_syscall", "futex", "pause", "clone", "kill"],
    };
    script.check();
}

#[apply(test)]
#[needs(architecture("x86_64"))]
fn limits_and_layouts_of_the_address_space() {
    check(
        "for i in 1 2 3 4 5 6; do /bin/true; $1 110; done
         (ulimit -v 500000; for i in 1 2 3 4 5 6; do /bin/true; $1 110; done)
         (ulimit -s unlimited; for i in 1 2 3 4 5 6; do /bin/true; $1 110 102; done)
         for i in 1 2 3 4 5 6; do setarch -R /bin/true; setarch -R $1 110; done
         for i in 1 2 3 4 5 6; do setarch -X /bin/true; setarch -X $1 110; done
         for i in 1 2 3 4 5 6; do /bin/true; $1 110; done",
        &["calls"],
    );
}

#[apply(test)]
#[needs(architecture("x86_64"), program("busybox"))]
fn one_static_program_with_many_names() {
    check(
        "for i in 1 2 3 4 5 6 7 8 9 10; do
            busybox true; busybox uname; busybox mkfifo f; busybox rm f; busybox sh -c 'busybox true; true'
            [ $i -lt 8 ] || busybox nice true; [ $i -lt 9 ] || busybox dd if=/dev/zero of=f count=9 2>/dev/null
         done",
        &[],
    );
}

#[apply(test)]
#[needs(architecture("x86_64"), program("/usr/bin/python3"))]
fn programs_with_libraries_of_their_own() {
    check(
        "for i in 1 2 3 4 5; do
            /usr/bin/python3 -ISc 'import math, socket, os; os.getppid()'; /usr/bin/python3 -ISc 'import os; os.getuid()'
         done",
        &[],
    );
}

/// A set-user-ID program has other libraries, environment variables and calls than the same file without that.
#[apply(test)]
#[needs(
    architecture("x86_64"),
    capability(CHOWN),
    capability(SETUID),
    set_user_id()
)]
fn set_user_id_programs() {
    let room = Room::new();
    let programs = ["/usr/bin/id".into(), programs::workload("ids")];
    let all: Vec<_> = (["d", "s"].iter().zip(&programs))
        .flat_map(|(name, program)| {
            [(0o755, "plain"), (0o4755, "set")].map(|(mode, kind)| {
                let copy = room.path().join(format!("{name}-{kind}"));
                room.copy(program, &copy);
                chown(&copy, Some(1), Some(1)).unwrap();
                set_mode(&copy, mode);
                copy.to_str().unwrap().to_owned()
            })
        })
        .collect();
    let text = format!(
        "for i in 1 2 3 4 5 6; do for p in {}; do $p; done; done",
        all.join(" ")
    );
    let (run, _) = check(&text, &[]);
    assert!(all.iter().all(|path| run.0.to_string().contains(path)));
    assert!(all.iter().all(|path| Path::new(path).exists()));
}

/// The time of a call is that of the first one in the run, also if other executables made many before.
#[apply(test)]
#[needs(architecture("x86_64"))]
fn the_time_of_a_first_call_is_kept() {
    let (unpatched, patched) = check(
        "for i in 1 2 3 4 5 6 7 8; do $1 146; done; sleep 0.5; $1 147; for i in 1 2 3; do $1 146 147; done",
        &["calls"],
    );
    for run in [unpatched, patched] {
        let first = |call: &str| {
            run.0["syscalls"]["x86_64"][call]["first_ms"]
                .as_u64()
                .unwrap()
        };
        assert!(
            first("sched_get_priority_max") + 500 <= first("sched_get_priority_min"),
            "{}",
            run.0
        );
    }
}

/// How many calls of each of these names stopped in a Python script, as a complete recording counts them.
fn stops_of_python<const N: usize>(calls: [&str; N], script: &str) -> [u64; N] {
    let room = Room::new();
    let files = Files::new(&room);
    let ended = room.run(files.command(&["-q"]).args(["python3", "-c", script]));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    let tallies = tallies(&run);
    calls.map(|call| tallies[&format!("x86_64/{call}")].count)
}

/// As a database does. The recorder took its own window for code of the workload then.
#[apply(test)]
#[needs(architecture("x86_64"), program("python3"))]
fn calls_stay_known_when_shared_memory_is_attached() {
    const CALLS: u64 = 1000;
    let calls = format!("[os.getppid() for _ in range({CALLS})]");
    let script = format!(
        "import ctypes, os\nlibc = ctypes.CDLL(None)\n{calls}\nmemory = libc.shmget(0, 4096, 0o1600)\n\
         assert libc.shmat(memory, None, 0) != -1 and libc.shmctl(memory, 0, None) == 0\n{calls}"
    );
    let [stopped] = stops_of_python(["getppid"], &script);
    assert!(stopped < CALLS / 2, "{stopped} of {} stopped", 2 * CALLS);
}

/// Go's runtime sends signals to a thread until it has answered: without a stop, thousands, each of which stops.
#[apply(test)]
#[needs(architecture("x86_64"), program("python3"))]
fn tgkill_is_never_made_without_a_stop() {
    const CALLS: u64 = 1000;
    let script = format!(
        "import os, signal, threading\nfor _ in range({CALLS}): os.getppid(), signal.pthread_kill(threading.get_ident(), 0)"
    );
    let [signals, others] = stops_of_python(["tgkill", "getppid"], &script);
    assert_eq!(signals, CALLS);
    assert!(others < CALLS / 2, "{others} of {CALLS} stopped");
}
