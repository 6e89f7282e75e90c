//! Log mode follows containers that others start, by their cgroups.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::fcntl::FlockArg;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::time::TimeSpec;
use nix::time::clock_getcpuclockid;
use nix::unistd::{Pid, mkfifo};

use super::follow::{Follower, flood, logged, made_profile, run_logged, under};
use super::lock;
use super::sources::getppid;
use crate::support::process::{Ended, Room, Running, until};
use crate::support::recorder::{Files, PROGRAM, Run};

/// Why a run of a container is incomplete, but for records of processes that don't belong to it: tests that run meanwhile have
/// calls logged too, and their processes may be gone before it shows where they were.
fn because(run: &Run) -> Vec<String> {
    let mut because = run.incomplete_because();
    because.retain(|why| !why.starts_with("records of processes that ended"));
    because
}

/// Waits until a recorder has taken all events about processes: it then knows where those are that live.
fn until_events_are_taken(recorder: &Running) {
    const NETLINK_CONNECTOR: &str = "11";
    let proc = PathBuf::from(format!("/proc/{}", recorder.pid()));
    let has_socket = |inode: &str| {
        let link = format!("socket:[{inode}]");
        let mut files = std::fs::read_dir(proc.join("fd")).unwrap();
        files.any(|file| {
            std::fs::read_link(file.unwrap().path()).is_ok_and(|to| to.as_os_str() == link.as_str())
        })
    };
    // All threads: one that waits for another's lock has not handled what the other took.
    let waits = || {
        let threads = std::fs::read_dir(proc.join("task")).unwrap();
        let stats: Vec<_> = threads
            .map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")))
            .collect();
        let is = |stat: &std::io::Result<String>, what| {
            stat.as_ref().is_ok_and(|stat| stat.contains(what))
        };
        stats.iter().any(|stat| is(stat, "(containers) S"))
            && stats.iter().all(|stat| is(stat, ") S"))
    };
    until("the recorder to take the events", || {
        // sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
        let sockets = std::fs::read_to_string("/proc/net/netlink").unwrap();
        let fields = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let mut sockets = sockets
            .lines()
            .map(fields)
            .filter(|socket| socket[1] == NETLINK_CONNECTOR && has_socket(&socket[9]));
        let socket = sockets.next().expect("it takes no events");
        socket[4] == "0" && waits()
    });
}

fn fifo(room: &Room) -> PathBuf {
    let fifo = room.fresh("f");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    fifo
}

/// A shell that floods, and lives until it is told through a FIFO to end.
fn until_told(profile: &Path, calls: u32, end: &Path) -> Command {
    let script = format!("{} {calls}; read end <{}; exit 7", flood(), end.display());
    under(profile, &["/bin/sh", "-c", &script])
}

fn end_once_seen(room: &Room, recorder: Running, end: &Path) -> Ended {
    let mut writer = None;
    until("the shell to wait", || {
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(end);
        writer = opened.ok();
        writer.is_some()
    });
    until_events_are_taken(&recorder);
    drop(writer);
    recorder.wait(room)
}

/// The process of a cgroup that executes the flood.
fn flooding(cgroup: &Cgroup) -> Pid {
    let flood = flood();
    let mut found = None;
    until("the flood to run", || {
        let processes = std::fs::read_to_string(cgroup.0.join("cgroup.procs")).unwrap();
        let executes = |process: &&str| {
            std::fs::read_link(format!("/proc/{process}/exe"))
                .is_ok_and(|exe| exe == Path::new(&flood))
        };
        found = processes
            .lines()
            .find(executes)
            .map(|process| process.parse().unwrap());
        found.is_some()
    });
    let process = Pid::from_raw(found.unwrap());
    // The link changes before execve(2) has told of its end, which takes less than this.
    let clock = clock_getcpuclockid(process).unwrap();
    let enough = clock.now().unwrap() + TimeSpec::from_duration(Duration::from_millis(20));
    until("the flood to make calls", || clock.now().unwrap() >= enough);
    process
}

/// A cgroup like that of a container.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(id: &str) -> Cgroup {
        let roots = [
            "/sys/fs/cgroup/pids",
            "/sys/fs/cgroup/unified",
            "/sys/fs/cgroup",
        ];
        let made = roots.iter().find_map(|root| {
            let path = Path::new(root).join(format!("docker-{id}.scope"));
            std::fs::create_dir(&path).ok()?;
            path.join("cgroup.procs").exists().then_some(path)
        });
        Cgroup(made.expect("no cgroup can be made"))
    }
}

impl Cgroup {
    /// The command that enters it and becomes another one.
    fn enter(&self, inside: &Command) -> Command {
        let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", self.0.display());
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &enter, "sh"]).arg(inside.get_program());
        command.args(inside.get_args());
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        until("the cgroup to be empty", || {
            std::fs::remove_dir(&self.0).is_ok()
        });
    }
}

#[apply(test)]
#[needs(audit())]
fn records_of_a_container_are_followed_by_its_cgroup() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let flood = flood();
    let id = format!("{:064x}", std::process::id());
    let cgroup = Cgroup::new(&id);
    let follower = Follower::start(&room, &["--container", &id]);
    run_logged(&room, &[&flood, "30"]);
    // Short-lived processes, most of which are gone when their records are read.
    let script = format!("for i in 1 2 3 4 5 6 7 8 9 10; do {flood} 10; done; exit 3");
    let inside = logged(&room, &["/bin/sh", "-c", &script]);
    // The follower in the room doesn't end on its own.
    let running = room.spawn(&mut cgroup.enter(&inside));
    let ended = running.wait(&room);
    assert_eq!(ended.code(), 3, "{}", ended.stderr);
    let run = follower.interrupt(&room).run();
    let found = getppid(&run);
    // If a process is gone before its cgroup can be read, its calls may be missing: then the run says so.
    let complete = run.incomplete_because().is_empty();
    assert!(
        found < 130 && (found >= 100 || !complete),
        "{found} {complete}"
    );
}

#[apply(test)]
#[needs(audit())]
fn a_round_without_a_record_shows_that_the_profile_lacks_nothing() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let flood = flood();
    let known = Files::new(&room);
    room.run(known.command(&["-q"]).args([&flood, "1"]));
    let recording = known.recording.to_str().unwrap();
    let audit = made_profile(&room, &["generate", "-q", "--audit", recording]);

    let id = format!("{:064x}", std::process::id());
    let cgroup = Cgroup::new(&id);
    let follow = |options: &[&str], command: &Command| {
        let files = Files::new(&room);
        let mut follow = files.command(&[&["--log-mode", "--container", &id], options].concat());
        follow.arg(command.get_program()).args(command.get_args());
        (room.spawn(&mut follow), files)
    };
    // It lives until it was seen.
    let endless = cgroup.enter(&under(&audit, &[&flood, &i64::MAX.to_string()]));
    let round = |options: &[&str]| {
        let (follower, files) = follow(options, &endless);
        let process = flooding(&cgroup);
        until_events_are_taken(&follower);
        kill(process, Signal::SIGKILL).unwrap();
        (follower.wait(&room), files)
    };
    let assume = ["--assume", known.profile.to_str().unwrap()];
    let (ended, files) = round(&assume);
    assert_eq!(ended.code(), 128 + 9, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("allows every call that was made"),
        "{}",
        ended.stderr
    );
    assert!(!files.recording.exists());

    // Without a word about the profile, nothing shows that it logs.
    let (ended, _) = round(&[]);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(ended.stderr.contains("--assume"), "{}", ended.stderr);
    // Nor does a container that was never there, or has no filter.
    for other in [
        under(&audit, &[&flood, "10"]),
        cgroup.enter(Command::new(&flood).arg("10")),
    ] {
        let ended = follow(&assume, &other).0.wait(&room);
        assert_eq!(ended.code(), 125, "{}", ended.stderr);
    }

    // What the profile lacks is a partial run.
    let log = made_profile(&room, &["log-profile"]);
    let end = fifo(&room);
    let (follower, files) = follow(&assume, &cgroup.enter(&until_told(&log, 10, &end)));
    let ended = end_once_seen(&room, follower, &end);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let run = files.run();
    assert!(getppid(&run) >= 10);
    assert_eq!(because(&run), Vec::<String>::new());
}

#[apply(test)]
#[needs(audit())]
fn a_container_is_followed_from_the_command_that_starts_it() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let id = format!("{:064x}", std::process::id() + 1);
    let cgroup = Cgroup::new(&id);
    let log = made_profile(&room, &["log-profile"]);
    let end = fifo(&room);
    let inside = cgroup.enter(&until_told(&log, 30, &end));
    let files = Files::new(&room);
    let mut follow = files.command(&["--log-mode", "--container", &id, "--policy", "exact"]);
    follow.arg(inside.get_program()).args(inside.get_args());
    let ended = end_once_seen(&room, room.spawn(&mut follow), &end);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let run = files.run();
    // dash itself calls getppid once.
    assert_eq!(getppid(&run), 31);
    assert_eq!(because(&run), Vec::<String>::new());
    assert_eq!(run.0["exit"]["code"], 7, "{}", run.0);
}

#[apply(test)]
#[needs(audit())]
fn every_container_gets_its_own_recording() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let directory = room.directory();
    let log = made_profile(&room, &["log-profile"]);
    let ids = [2, 3].map(|more| format!("{:012x}{:052x}", std::process::id() + more, 7));
    let cgroups = ids.each_ref().map(|id| Cgroup::new(id));
    let mut follow = Command::new("env");
    follow.arg("-C").arg(&directory).arg(PROGRAM);
    let follower = room.spawn(follow.args(["--log-mode", "--each", "--policy", "exact"]));
    until("the recorder to follow", || {
        follower.stderr().contains("following audit records")
    });
    // Where a process was is known for sure only while it lives.
    let stay = |calls: &str| {
        let done = room.fresh("d");
        let script = format!("{calls} >{}; exec sleep 100", done.display());
        (done, under(&log, &["/bin/sh", "-c", &script]))
    };
    let (done, mut host) = stay("");
    let mut stayed = vec![(done, room.spawn(&mut host))];
    for (cgroup, calls) in cgroups.iter().zip(["10", "20"]) {
        // The processes of a shell end at once.
        let flood = flood();
        let (done, inside) = stay(&format!("{flood} {calls}; {flood} {calls};"));
        stayed.push((done, room.spawn(&mut cgroup.enter(&inside))));
    }
    for (done, _) in &stayed {
        until("the calls to be made", || done.exists());
    }
    follower.signal(Signal::SIGINT);
    let ended = follower.wait(&room);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    for (_, process) in stayed {
        process.signal(Signal::SIGKILL);
        process.wait(&room);
    }
    let recordings = std::fs::read_dir(directory.join("recordings")).unwrap();
    let names = recordings.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| name.strip_suffix(".json").is_some());
    let expected = ids.each_ref().map(|id| format!("{}.json", &id[..12]));
    assert_eq!(names.collect::<BTreeSet<_>>(), expected.clone().into());
    for (name, calls) in expected.iter().zip([20, 40]) {
        let files = Files {
            recording: directory.join("recordings").join(name),
            profile: directory.join("profiles").join(name),
        };
        let run = files.run();
        // dash itself calls getppid once.
        assert_eq!(getppid(&run), calls + 1, "{:?}", run.incomplete_because());
        assert_eq!(because(&run), Vec::<String>::new());
        assert_eq!(run.0["labels"]["container"], name[..12]);
        assert!(files.profile.exists());
    }
}

#[apply(test)]
#[needs(audit())]
fn a_process_of_a_container_that_ended_before_it_was_looked_at_is_not_taken_for_the_hosts() {
    let _alone = lock(FlockArg::LockExclusive);
    for each in [true, false] {
        let room = Room::new();
        let log = made_profile(&room, &["log-profile"]);
        let directory = room.directory();
        let id = format!("{:012x}{:052x}", std::process::id() + 4, 7);
        let cgroup = Cgroup::new(&id);
        let mut follow = Command::new("env");
        follow.arg("-C").arg(&directory).arg(PROGRAM);
        follow.args(["--log-mode", "--policy", "exact"]);
        let follow = if each {
            follow.arg("--each")
        } else {
            let recording = format!("recordings/{}.json", &id[..12]);
            follow.args(["--container", &id, "-o", "none", "-r", &recording])
        };
        let follower = room.spawn(follow);
        until("the recorder to follow", || {
            follower.stderr().contains("following audit records")
        });
        let (ready, go) = (room.fresh("r"), room.fresh("g"));
        // Nothing waits for the process: in the hierarchies of version 1, one that has ended is in the root.
        let script = format!(
            "{flood} 10; >{ready}; until [ -e {go} ]; do sleep 0.02; done; {flood} 20 & exec sleep 100",
            flood = flood(),
            ready = ready.display(),
            go = go.display()
        );
        let shell = room.spawn(&mut cgroup.enter(&under(&log, &["/bin/sh", "-c", &script])));
        until("the shell to run", || ready.exists());
        follower.signal(Signal::SIGSTOP);
        File::create(&go).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", shell.pid());
        until("its last process to have ended", || {
            let children = std::fs::read_to_string(&children).unwrap();
            let mut stats = children
                .split_whitespace()
                .filter_map(|child| std::fs::read_to_string(format!("/proc/{child}/stat")).ok());
            stats.any(|stat| stat.contains("(flood) Z"))
        });
        follower.signal(Signal::SIGCONT);
        follower.signal(Signal::SIGINT);
        let ended = follower.wait(&room);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        shell.signal(Signal::SIGKILL);
        shell.wait(&room);
        let files = Files {
            recording: directory.join(format!("recordings/{}.json", &id[..12])),
            profile: PathBuf::new(),
        };
        let run = files.run();
        // dash itself calls getppid once.
        assert_eq!(getppid(&run), 31, "{:?}", run.incomplete_because());
        assert_eq!(because(&run), Vec::<String>::new());
    }
}
