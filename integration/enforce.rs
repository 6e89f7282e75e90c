//! `sc-record run`: the kernel's behaviour under a profile.

mod rules;

use std::io::Read;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use sc_record::syscall::{Arch, Syscall};
use serde_json::{Value, json};

use crate::support::process::{Ended, Room};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// The call for which rules are made: it uses only its first argument, and changes nothing.
const SUBJECT: &str = "sched_get_priority_max";
/// An errno that the call does not return.
const MARK: u16 = 77;

/// A profile in a room, and commands under it.
struct Under {
    room: Room,
    profile: PathBuf,
}

impl Under {
    fn new(profile: &Value) -> Under {
        Under::text(&profile.to_string())
    }

    fn text(text: &str) -> Under {
        let room = Room::new();
        let profile = room.path().join("profile.json");
        std::fs::write(&profile, text).unwrap();
        Under { room, profile }
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .arg("run")
            .args(options)
            .arg(&self.profile)
            .arg("--");
        command
    }

    fn run(&self, command: &[&str]) -> Ended {
        self.run_with(&[], command)
    }

    fn run_with(&self, options: &[&str], command: &[&str]) -> Ended {
        self.room.run(self.command(options).args(command))
    }

    /// Makes the calls, and returns the outcome of each.
    fn calls(&self, calls: &[&str]) -> Ended {
        let program = programs::workload("calls");
        let mut command = vec![program.to_str().unwrap()];
        command.extend(calls);
        self.run(&command)
    }
}

fn number(name: &str) -> String {
    Syscall::from_name(Arch::NATIVE, name)
        .unwrap()
        .nr
        .to_string()
}

fn allow_all(rules: &Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})
}

fn said(ended: &Ended) -> String {
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    ended.stdout.replace(&format!("{} ", number(SUBJECT)), "")
}

#[apply(test)]
fn unrecorded_calls_are_refused_with_eperm() {
    let room = Room::new();
    let files = Files::new(&room);
    let program = programs::workload("calls");
    let recorded = room.run(files.command(&["-q"]).arg(&program).arg(number(SUBJECT)));
    assert_eq!(recorded.code(), 0, "{}", recorded.stderr);
    let injected = ["mount", "unshare", "setns", "ptrace"].map(number);
    let ended = room.run(
        Command::new(PROGRAM)
            .arg("run")
            .arg(&files.profile)
            .arg("--")
            .arg(&program)
            .arg(number(SUBJECT))
            .args(&injected),
    );
    let refused = injected.map(|call| format!("{call} errno 1\n")).concat();
    assert_eq!(ended.stdout, format!("{} done\n{refused}", number(SUBJECT)));
}

/// Signals 32 and 33, which glibc uses itself: its `posix_spawn(3)` may ignore them in the child.
const GLIBC: u64 = 0b11 << 31;

#[apply(test)]
fn the_command_has_the_place_of_sc_record() {
    let under = Under::new(&allow_all(&json!([])));
    let mut command = under.command(&[]);
    let running = under
        .room
        .spawn(command.args(["sh", "-c", "echo $$; exit 7"]));
    let pid = running.pid();
    let ended = running.wait(&under.room);
    assert_eq!((ended.code(), ended.stdout), (7, format!("{pid}\n")));
    for signal in [Signal::SIGTERM, Signal::SIGPIPE, Signal::SIGKILL] {
        let kill = format!("kill -{} $$", signal as i32);
        let ended = under.run(&["sh", "-c", &kill]);
        assert_eq!(ended.status.signal(), Some(signal as i32));
    }
    let status = under.run(&["cat", "/proc/self/status"]).stdout;
    assert!(status.contains("Seccomp:\t2\n"), "{status}");
    let native = under
        .room
        .run(Command::new("cat").arg("/proc/self/status"))
        .stdout;
    for key in ["SigBlk:", "SigIgn:", "SigCgt:", "Threads:", "CapEff:"] {
        let value = |status: &str| {
            let mut lines = status.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)).unwrap();
            let value = u64::from_str_radix(value.trim(), 16).unwrap();
            if key.starts_with("Sig") {
                value & !GLIBC
            } else {
                value
            }
        };
        assert_eq!(value(&status), value(&native), "{key}");
    }
    let fds = under.run(&["ls", "/proc/self/fd"]).stdout;
    let native = under.room.run(Command::new("ls").arg("/proc/self/fd"));
    assert_eq!(fds, native.stdout);
}

#[apply(test)]
#[needs(program("strace"))]
fn the_only_call_between_the_filter_and_the_command_is_execve() {
    let under = Under::new(&json!({
        "defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}],
    }));
    let trace = under.room.path().join("trace");
    let mut command = Command::new("strace");
    command
        .arg("-f")
        .arg("-o")
        .arg(&trace)
        .arg(PROGRAM)
        .arg("run");
    command.arg(&under.profile).args(["--", "/bin/true"]);
    under.room.run(&mut command);
    let trace = std::fs::read_to_string(trace).unwrap();
    let mut lines = trace
        .lines()
        .map(|line| line.split_once(' ').unwrap().1.trim_start());
    lines
        .by_ref()
        .find(|line| is_load(line))
        .unwrap_or_else(|| panic!("{trace}"));
    let next = lines.next().unwrap();
    assert!(next.starts_with("execve(\"/bin/true\""), "{next}");
    // The loader's first call is not allowed.
    let next = lines.next().unwrap();
    assert!(!next.starts_with("exec"), "{next}");
}

#[apply(test)]
fn commands_that_can_t_be_executed_have_the_status_of_env() {
    let under = Under::new(&allow_all(&json!([])));
    let script = |name: &str, text: &str| {
        let path = under.room.path().join(name);
        std::fs::write(&path, text).unwrap();
        crate::support::process::set_mode(&path, 0o755);
        path.display().to_string()
    };
    let no_interpreter = script("a", "#!/nonexistent/interpreter\n");
    let no_header = script("b", "echo \"$1\" from a shell\n");
    for (command, code) in [
        ("no-such-command-anywhere", 127),
        ("/nonexistent/command", 127),
        ("/", 126),
        ("/etc/passwd", 126),
        (no_interpreter.as_str(), 127),
    ] {
        let ended = under.run(&[command]);
        let native = Command::new("env").arg(command).output().unwrap();
        assert_eq!(ended.code(), code, "{command}: {}", ended.stderr);
        assert_eq!(native.status.code(), Some(code), "{command}");
        assert!(ended.stderr.contains(command), "{}", ended.stderr);
    }
    let ended = under.run(&[&no_header, "words"]);
    assert_eq!(
        (ended.code(), ended.stdout.as_str()),
        (0, "words from a shell\n")
    );
    let ended = Under::text("{\n\"defaultAction\":\n 7}").run(&["true"]);
    assert_eq!(ended.code(), 125);
    assert!(
        ended.stderr.contains("line 3, column 2"),
        "{}",
        ended.stderr
    );
    let no_command = Command::new(PROGRAM).args(["run", "x"]).output().unwrap();
    assert_eq!(no_command.status.code(), Some(125));
}

#[apply(test)]
fn a_profile_that_refuses_execve_is_reported_before_it_is_loaded() {
    let ended = Under::new(&json!({"defaultAction": "SCMP_ACT_ERRNO"})).run(&["true"]);
    assert_eq!(ended.code(), 125);
    assert!(
        ended.stderr.contains("SCMP_ACT_ERRNO(EPERM) to execve"),
        "{}",
        ended.stderr
    );
}

#[apply(test)]
fn unknown_names_are_an_error_with_their_place_unless_ignored() {
    let under = Under::text(
        "{\"defaultAction\": \"SCMP_ACT_ALLOW\",\n \"syscalls\": [{\"action\": \"SCMP_ACT_KILL\", \"names\": [\n  \"ptrace\",\n  \
         \"no_such_call\"\n ]}]}",
    );
    let ended = under.run(&["true"]);
    assert_eq!(ended.code(), 125);
    let place = "profile.json: line 4, column 3: no_such_call is not a system call";
    assert!(ended.stderr.contains(place), "{}", ended.stderr);
    let ended = under.run_with(&["--ignore-unknown"], &["true"]);
    assert_eq!(ended.code(), 0);
    assert!(
        ended.stderr.contains("ignored: no_such_call"),
        "{}",
        ended.stderr
    );
    let ended = under.run_with(&["--ignore-unknown", "-q"], &["true"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
}

#[apply(test)]
fn every_flag_of_this_kernel_is_accepted() {
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC"]),
        json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
        json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]),
    ] {
        let mut profile = allow_all(&json!([]));
        profile["flags"] = flags.clone();
        let ended = Under::new(&profile).run(&["true"]);
        assert_eq!(ended.code(), 0, "{flags}: {}", ended.stderr);
    }
}

/// Whether the call loads a filter: libseccomp probes the kernel's features without one.
fn is_load(line: &str) -> bool {
    line.contains("seccomp(SECCOMP_SET_MODE_FILTER") && line.contains("{len=")
}

/// The flags with which strace sees the filter loaded.
fn flags_of(profile: &Value) -> String {
    let under = Under::new(profile);
    let trace = under.room.path().join("trace");
    let mut command = Command::new("strace");
    command
        .arg("-f")
        .arg("-e")
        .arg("trace=seccomp")
        .arg("-o")
        .arg(&trace);
    command
        .arg(PROGRAM)
        .arg("run")
        .arg(&under.profile)
        .args(["--", "true"]);
    assert_eq!(under.room.run(&mut command).code(), 0);
    let trace = std::fs::read_to_string(trace).unwrap();
    let load = trace.lines().find(|line| is_load(line)).unwrap();
    let (_, rest) = load.split_once("SECCOMP_SET_MODE_FILTER, ").unwrap();
    rest.split(',').next().unwrap().to_owned()
}

#[apply(test)]
#[needs(program("strace"))]
fn absent_flags_mean_spec_allow_and_empty_flags_none() {
    let mut profile = allow_all(&json!([]));
    assert_eq!(flags_of(&profile), "SECCOMP_FILTER_FLAG_SPEC_ALLOW");
    profile["flags"] = json!([]);
    assert_eq!(flags_of(&profile), "0");
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG"]);
    assert_eq!(flags_of(&profile), "SECCOMP_FILTER_FLAG_LOG");
}

const STATUS: [&str; 2] = ["cat", "/proc/self/status"];

fn no_new_privs(ended: &Ended) -> Option<&str> {
    let mut lines = ended.stdout.lines();
    lines.find_map(|line| line.strip_prefix("NoNewPrivs:\t"))
}

#[apply(test)]
fn new_privileges_are_forbidden_unless_requested() {
    let ended = Under::new(&allow_all(&json!([]))).run(&STATUS);
    assert_eq!(no_new_privs(&ended), Some("1"), "{}", ended.stderr);
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), capability(SETUID))]
fn new_privileges_need_the_capability() {
    let under = Under::new(&allow_all(&json!([])));
    let ended = under.run_with(&["--allow-new-privs"], &STATUS);
    assert_eq!(no_new_privs(&ended), Some("0"), "{}", ended.stderr);
    // Without the capability, there is an error.
    let program = under.room.path().join("sc-record");
    under.room.copy(Path::new(PROGRAM), &program);
    let mut command = Room::as_nobody(&program);
    command
        .args(["run", "--allow-new-privs"])
        .arg(&under.profile)
        .arg("true");
    let ended = under.room.run(&mut command);
    assert_eq!(ended.code(), 125);
    assert!(ended.stderr.contains("CAP_SYS_ADMIN"), "{}", ended.stderr);
    let mut command = Room::as_nobody(&program);
    command.arg("run").arg(&under.profile).args(STATUS);
    let ended = under.room.run(&mut command);
    assert_eq!(no_new_privs(&ended), Some("1"), "{}", ended.stderr);
}

#[apply(test)]
fn notifications_are_answered_by_the_listener_of_the_profile() {
    let socket_of = |room: &Room| room.path().join("listener");
    let mut profile =
        allow_all(&json!([{"names": [SUBJECT, "execve"], "action": "SCMP_ACT_NOTIFY"}]));
    let alone = Under::new(&profile).run(&["true"]);
    assert_eq!(alone.code(), 125);
    assert!(alone.stderr.contains("no listenerPath"), "{}", alone.stderr);

    let under = Under::new(&profile);
    let socket = socket_of(&under.room);
    profile["listenerPath"] = json!(socket);
    profile["listenerMetadata"] = json!("of the test");
    profile["flags"] = json!([
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        "SECCOMP_FILTER_FLAG_TSYNC"
    ]);
    std::fs::write(&under.profile, profile.to_string()).unwrap();
    let nobody_there = under.run(&["true"]);
    assert_eq!(nobody_there.code(), 125);
    assert!(
        nobody_there.stderr.contains("can't connect"),
        "{}",
        nobody_there.stderr
    );

    let listener = UnixListener::bind(&socket).unwrap();
    let mut command = under.command(&[]);
    command
        .arg(programs::workload("calls"))
        .arg(number(SUBJECT));
    let running = under.room.spawn(&mut command);
    let (state, fd) = listen(&listener);
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["pid"], json!(running.pid().as_raw()));
    assert_eq!(state["metadata"], "of the test");
    assert_eq!(state["state"]["pid"], state["pid"]);
    assert!(state["ociVersion"].is_string());
    for _ in 0..2 {
        let request = libseccomp::ScmpNotifReq::receive(fd).unwrap();
        let answer = if request.data.syscall.get_name().unwrap() == "execve" {
            libseccomp::ScmpNotifResp::new_continue(
                request.id,
                libseccomp::ScmpNotifRespFlags::empty(),
            )
        } else {
            let errno = -i32::from(MARK);
            libseccomp::ScmpNotifResp::new_error(
                request.id,
                errno,
                libseccomp::ScmpNotifRespFlags::empty(),
            )
        };
        answer.respond(fd).unwrap();
    }
    let ended = running.wait(&under.room);
    assert_eq!(said(&ended), format!("errno {MARK}\n"));
}

/// Takes the state and the descriptor from one connection.
pub(crate) fn listen(listener: &UnixListener) -> (Value, i32) {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::AsRawFd;
    let (mut stream, _) = listener.accept().unwrap();
    let mut buffer = [0; 64];
    let mut ancillary = nix::cmsg_space!(i32);
    let mut parts = [std::io::IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut parts,
        Some(&mut ancillary),
        MsgFlags::empty(),
    )
    .unwrap();
    let fds = message.cmsgs().unwrap().find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.unwrap()[0];
    let length = message.bytes;
    let mut text = buffer[..length].to_vec();
    stream.read_to_end(&mut text).unwrap();
    (serde_json::from_slice(&text).unwrap(), fd)
}

#[apply(test)]
fn rules_that_libseccomp_never_merges_are_an_error_in_time() {
    let compare = |index: u32, op: &str, value: u32| json!({"index": index, "op": format!("SCMP_CMP_{op}"), "value": value});
    let rules = json!([
        {"names": [SUBJECT], "action": "SCMP_ACT_LOG", "args": [compare(0, "GT", 2), compare(1, "EQ", 3)]},
        {"names": [SUBJECT], "action": "SCMP_ACT_KILL", "args": [compare(0, "GT", 2), compare(2, "NE", 2)]},
    ]);
    let ended = Under::new(&allow_all(&rules)).run(&["true"]);
    // A libseccomp that can is fine too.
    if ended.code() != 0 {
        assert_eq!(ended.code(), 125);
        assert!(ended.stderr.contains("libseccomp"), "{}", ended.stderr);
    }
}

#[apply(test)]
fn a_closed_standard_descriptor_stays_closed() {
    let under = Under::new(&allow_all(&json!([])));
    let mut command = Command::new("sh");
    command.arg("-c").arg("exec \"$@\" <&-").arg("sh");
    command.arg(PROGRAM).arg("run").arg(&under.profile);
    command.args(["sh", "-c", "[ -e /proc/$$/fd/0 ] || echo closed"]);
    command.stdin(Stdio::null());
    assert_eq!(under.room.run(&mut command).stdout, "closed\n");
}
