//! Real programs, each driven by its script in `real/`. They behave the same natively, while recorded and under the
//! profile of the recording; strace sees the same calls; and the profile refuses calls that were not recorded.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use sc_record::event::Exit;
use sc_record::recording::Recording;
use sc_record::syscall::{Arch, Syscall};

use crate::support::process::Room;
use crate::support::recorder::{self, Files};
use crate::support::strace;

/// A script of `real/`, and facts about its calls.
struct Program {
    script: &'static str,
    /// Calls that depend on timing, so that only one side may see them, and why.
    varies: &'static [(&'static str, &'static str)],
}

/// How often both sides may run a program until they have seen the same calls: some calls depend on timing.
const ROUNDS: usize = 5;

/// The output of `programs/inject.c` without a profile, for any user: no result is EPERM.
const INJECTED: &str = "mount: EFAULT\nunshare: done\nsetns: EBADF\nptrace: done\n";
const REFUSED: &str = "mount: EPERM\nunshare: EPERM\nsetns: EPERM\nptrace: EPERM\n";

/// The kernel enters `restart_syscall(2)` for a sleeping call that a stop interrupted. strace stops tasks at other
/// points than the recorder, so either may be the only one to see it. Policy `safe` always allows it.
const RESTART: (&str, &str) = (
    "restart_syscall",
    "comes of a stop during a sleep: whose stop, is chance",
);

/// The wget of busybox waits for more of an answer only if that hasn't come by the time that it reads: under strace, on a slow
/// machine, it has come each time. Newer ABIs have only ppoll(2).
const WGET: &[(&str, &str)] = &[
    ("poll", "comes of an answer that wget has to wait for"),
    ("ppoll", "comes of an answer that wget has to wait for"),
];

macro_rules! programs {
    ($($test:ident: $script:literal $varies:expr, $($need:expr),*;)*) => {
        $(
            #[apply(test)]
            #[needs(program("strace") $(, $need)*)]
            fn $test() {
                check(&Program { script: $script, varies: $varies });
            }
        )*
    };
}

programs! {
    a_shell_test_suite: "shell" &[],;
    git: "git" &[], program("git");
    sqlite3: "sqlite3" &[], program("sqlite3");
    python3: "python3" &[RESTART], program("python3");
    nginx_under_curl: "nginx" &[RESTART], program("nginx"), program("curl");
    redis_under_its_benchmark: "redis" &[RESTART], program("redis-server"), program("redis-benchmark");
    gcc: "gcc" &[], program("objdump");
    busybox_linked_statically: "busybox" WGET, program("busybox");
    a_go_program: "go" &[RESTART], go();
    a_32_bit_program: "x86" &[], architecture("x86_64"), compat();
    int_0x80: "int80" &[], architecture("x86_64");
}

/// The profile of recordings of two machines runs on each: the recording of the other machine is a committed one.
#[apply(test)]
#[needs(program("busybox"))]
fn a_profile_of_two_machines() {
    let other = match Arch::NATIVE {
        Arch::Aarch64 => "recordings/busybox.json",
        _ => "integration/fixtures/aarch64/busybox.json",
    };
    let program = Program {
        script: "busybox",
        varies: &[],
    };
    let room = Room::new();
    let recorded = Files::new(&room);
    let native = room.run(&mut script(&room, &program).as_command());
    let mut command = recorded.command(&["-q", "--policy", "exact"]);
    let ended = room.run(command.args(script(&room, &program).arguments()));
    assert_eq!(
        (ended.code(), &ended.stdout),
        (0, &native.stdout),
        "{}",
        ended.stderr
    );
    let both = room.fresh("p");
    let mut generate = Command::new(recorder::PROGRAM);
    generate.args(["generate", "-q", "-o"]).arg(&both);
    let ended = room.run(generate.arg(&recorded.recording).arg(top().join(other)));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let profile = std::fs::read_to_string(&both).unwrap();
    for arch in ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"] {
        assert!(profile.contains(arch), "{profile}");
    }
    let ended = room.run(under(&both).args(script(&room, &program).arguments()));
    assert_eq!(
        (ended.code(), &ended.stdout),
        (0, &native.stdout),
        "{}",
        ended.stderr
    );
    refuses_injected_calls(&room, &both);
}

fn check(program: &Program) {
    let room = Room::new();
    let native = room.run(&mut script(&room, program).as_command());
    assert_eq!(
        native.code(),
        0,
        "natively: {}{}",
        native.stdout,
        native.stderr
    );

    // Record it, with a stop at each call and without, and run it under strace. All runs of a kind go into one recording.
    let (files, patched_files) = (Files::new(&room), Files::new(&room));
    let (mut recorded, mut witnessed) = (BTreeSet::new(), BTreeSet::new());
    let mut patched = BTreeSet::new();
    let mut unexplained = Vec::new();
    for round in 1..=ROUNDS {
        for (files, options, calls) in [
            (&files, &["-q"][..], &mut recorded),
            (&patched_files, &["-q", "--patch"], &mut patched),
        ] {
            let mut command = files.command(options);
            command.env("SC_RECORD_TEST_FAST_PATH", "at random");
            let ended = room.run(command.args(script(&room, program).arguments()));
            assert_eq!(
                (ended.code(), &ended.stdout),
                (0, &native.stdout),
                "recorded with {options:?}: {}",
                ended.stderr
            );
            let run = files.run();
            assert_eq!(run.incomplete_because(), Vec::<String>::new());
            calls.extend(run.calls().into_keys());
        }

        let (ended, calls) = strace::run(&room, &script(&room, program).arguments());
        assert_eq!(
            (ended.code(), &ended.stdout),
            (0, &native.stdout),
            "under strace: {}",
            ended.stderr
        );
        witnessed.extend(calls.into_keys());
        unexplained = differences(&recorded, &witnessed);
        let of_patched = differences(&patched, &witnessed).into_iter();
        unexplained.extend(of_patched.map(|difference| format!("patched: {difference}")));
        unexplained.retain(|difference| {
            let explained = |(name, _): &(&str, &str)| difference.ends_with(&format!("/{name}"));
            !program.varies.iter().any(explained)
        });
        if unexplained.is_empty() {
            break;
        }
        eprintln!("round {round}: {}", unexplained.join(", "));
    }
    assert!(
        unexplained.is_empty(),
        "in {ROUNDS} rounds: {}",
        unexplained.join(", ")
    );

    // Run it under its profile.
    let ended = room.run(under(&files.profile).args(script(&room, program).arguments()));
    assert_eq!(
        (ended.code(), &ended.stdout),
        (0, &native.stdout),
        "under its profile: {}",
        ended.stderr
    );

    // The profile refuses calls that were not recorded.
    refuses_injected_calls(&room, &files.profile);
}

/// A command for a script, in its own directory and with the programs that were built for it.
struct Script {
    path: PathBuf,
    place: PathBuf,
}

fn script(room: &Room, program: &Program) -> Script {
    let place = room.directory();
    // Programs with the script's name belong to it.
    let of_script = ["go", "x86", "int80"];
    let names = of_script.into_iter().filter(|name| *name == program.script);
    let names: Vec<_> = names.chain(["inject"]).collect();
    symlink(built(&names), place.join("bin")).unwrap();
    Script {
        path: source(&format!("{}.sh", program.script)),
        place,
    }
}

impl Script {
    fn arguments(&self) -> Vec<PathBuf> {
        let place = format!("SC_RECORD_REAL={}", self.place.display());
        vec!["/usr/bin/env".into(), place.into(), self.path.clone()]
    }

    fn as_command(&self) -> Command {
        let mut command = Command::new("/usr/bin/env");
        command.args(&self.arguments()[1..]);
        command
    }
}

fn source(name: &str) -> PathBuf {
    top().join("integration/real").join(name)
}

/// Builds these programs of `real/programs`, and returns their directory.
pub(crate) fn built(names: &[&str]) -> PathBuf {
    static BUILDS: Mutex<()> = Mutex::new(());
    let _one_at_a_time = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("real");
    let built = Command::new("sh")
        .arg(source("programs/build.sh"))
        .args(names)
        .env("SC_RECORD_REAL", &place)
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}(make test installs what is missing)",
        String::from_utf8_lossy(&built.stderr)
    );
    place.join("bin")
}

fn differences(recorded: &BTreeSet<Syscall>, witnessed: &BTreeSet<Syscall>) -> Vec<String> {
    let named = |side: &'static str| {
        move |syscall: &Syscall| format!("{side} alone saw {}/{syscall}", syscall.arch)
    };
    let ours = recorded.difference(witnessed).map(named("sc-record"));
    let theirs = witnessed.difference(recorded).map(named("strace"));
    ours.chain(theirs).collect()
}

/// `sc-record run PROFILE --`, without a command yet.
fn under(profile: &Path) -> Command {
    let mut command = Command::new(recorder::PROGRAM);
    command.arg("run").arg(profile).arg("--");
    command
}

fn refuses_injected_calls(room: &Room, profile: &Path) {
    let inject = built(&["inject"]).join("inject");
    let native = room.run(&mut Command::new(&inject));
    assert_eq!(native.stdout, INJECTED);
    // A grandchild is under the filter too.
    let script = ["/bin/sh", "-c", "(\"$0\")", inject.to_str().unwrap()];
    for command in [&script[3..], &script] {
        let ended = room.run(under(profile).args(command));
        assert_eq!(
            (ended.code(), ended.stdout.as_str()),
            (0, REFUSED),
            "{}: {}",
            profile.display(),
            ended.stderr
        );
    }
}

/// The names of the committed recordings.
fn committed(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(top().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    // Skip backups of --fresh.
    names
        .filter(|name| name.rsplit('.').next() == Some("json"))
        .collect()
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[apply(test)]
fn committed_profiles_are_those_of_the_committed_recordings() {
    let room = Room::new();
    let profiles = committed("profiles");
    assert_eq!(profiles, committed("recordings"));
    assert!(!profiles.is_empty());
    for name in profiles {
        let recording = top().join("recordings").join(&name);
        let generate = room.run(
            Command::new(recorder::PROGRAM)
                .args(["generate", "-q", "-o", "-"])
                .arg(&recording),
        );
        assert_eq!(generate.code(), 0, "{name}: {}", generate.stderr);
        let profile = std::fs::read_to_string(top().join("profiles").join(&name)).unwrap();
        assert!(
            generate.stdout == profile,
            "profiles/{name} isn't what its recording gives: run make recordings"
        );
    }
}

#[apply(test)]
fn committed_profiles_refuse_injected_calls() {
    let room = Room::new();
    for name in committed("profiles") {
        refuses_injected_calls(&room, &top().join("profiles").join(name));
    }
}

#[apply(test)]
fn committed_recordings_are_complete_and_hold_no_passing_paths() {
    for name in committed("recordings") {
        let path = top().join("recordings").join(&name);
        let recording = Recording::load(&path).unwrap();
        for run in recording.runs.values() {
            assert!(run.is_complete(), "{name}: {:?}", run.incomplete_because);
            assert_eq!(run.exit, Some(Exit::Code(0)), "{name}");
            for executable in run.syscalls.values().flat_map(|tally| &tally.executables) {
                let stable = ["/usr", "/tmp/sc-record-real"];
                assert!(
                    stable.iter().any(|prefix| executable.starts_with(prefix)),
                    "{name}: {} is the path of one machine or one run",
                    executable.display()
                );
            }
        }
    }
}

/// Once, when a fork event came after the child's exec, the child's calls were credited to the parent's program.
#[apply(test)]
fn committed_recordings_credit_calls_to_the_programs_that_made_them() {
    let made_by = [
        ("shell", "timer_create", "/usr/bin/timeout"),
        ("shell", "setpgid", "/usr/bin/timeout"),
        ("shell", "getpriority", "/usr/bin/nice"),
        ("shell", "getppid", "/usr/bin/dash"),
        ("go", "listen", "/tmp/sc-record-real/bin/go"),
    ];
    for (name, call, program) in made_by {
        let path = top().join(format!("recordings/{name}.json"));
        let recording = Recording::load(&path).unwrap();
        let syscall = Syscall::from_name(Arch::X86_64, call).unwrap();
        let calls = recording.syscalls();
        let executables = &calls[&syscall].executables;
        assert_eq!(
            executables,
            &BTreeSet::from([Path::new(program)]),
            "{name}: {call}"
        );
    }
}
