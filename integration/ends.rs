//! How recordings end: by signals, at outputs that nobody reads, on full disks, and many at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use sc_record::recording::{Recording, Run};

use crate::support::process::{Room, Running};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// Ignores the signals that end jobs, and never ends.
const STUBBORN: &str = "trap '' HUP INT QUIT TERM; while :; do sleep 0.05; done";

/// Longer than two signals of one sender count as one.
const PAUSE: Duration = Duration::from_millis(1200);

/// Records a shell script that gets these arguments, and waits until it has created the first.
fn spawn(room: &Room, files: &Files, backend: &str, script: &str, arguments: &[&Path]) -> Running {
    let mut command = files.command(&["-q", "--backend", backend]);
    command.args(["sh", "-c", script]).args(arguments);
    let running = room.spawn(&mut command);
    room.until("the workload to run", || arguments[0].exists());
    running
}

#[apply(test)]
fn a_second_interrupt_or_termination_ends_the_recording() {
    let both = [Signal::SIGINT, Signal::SIGTERM];
    for (first, second) in both
        .iter()
        .flat_map(|first| both.map(|second| (*first, second)))
    {
        let room = Room::new();
        let files = Files::new(&room);
        let (ready, passed_on) = (room.fresh("f"), room.fresh("p"));
        let script =
            format!("({STUBBORN}) & trap '>$1' INT TERM; >$0; while :; do sleep 0.05; done");
        let mut recorder = spawn(&room, &files, "ptrace", &script, &[&ready, &passed_on]);
        recorder.signal(first);
        room.until("the signal to be passed on", || passed_on.exists());
        std::thread::sleep(PAUSE);
        assert!(!recorder.has_ended(), "{first} ends it");
        // Signals don't queue: on a busy machine a second one can come before the recorder has handled the first.
        room.until("the recorder to end", || {
            if !recorder.has_ended() {
                recorder.signal(second);
                std::thread::sleep(PAUSE);
            }
            recorder.has_ended()
        });
        let ended = recorder.wait(&room);
        let what = format!("{first}, {second}: {}", ended.stderr);
        assert_eq!(ended.code(), 128 + second as i32, "{what}");
        let run = files.run();
        assert_eq!(
            run.incomplete_because(),
            ["the recording was interrupted"],
            "{what}"
        );
        assert!(!run.calls().is_empty() && files.profile.exists(), "{what}");
    }
}

/// Once the command is gone, each signal ends the recording of what it left.
fn ends_after_the_command(backend: &str) {
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ] {
        let room = Room::new();
        let files = Files::new(&room);
        let (ready, orphan) = (room.fresh("f"), room.fresh("o"));
        let script = format!("({STUBBORN}) & echo $! >$1; echo $$ >$0.new; mv $0.new $0; exit 4");
        let recorder = spawn(&room, &files, backend, &script, &[&ready, &orphan]);
        let command = fs::read_to_string(&ready).unwrap();
        let of_proc = PathBuf::from(format!("/proc/{}", command.trim()));
        room.until("the command to end", || !of_proc.exists());
        // Until the recorder knows it.
        std::thread::sleep(PAUSE);
        recorder.signal(signal);
        let ended = recorder.wait(&room);
        assert_eq!(ended.code(), 4, "{signal}: {}", ended.stderr);
        let run = files.run();
        assert_eq!(run.0["exit"]["code"].as_u64(), Some(4), "{signal}");
        assert_eq!(
            run.incomplete_because(),
            ["the recording was interrupted"],
            "{signal}"
        );
    }
}

#[apply(test)]
fn a_signal_after_the_command_is_gone_ends_the_recording() {
    ends_after_the_command("ptrace");
}

#[apply(test)]
fn a_signal_after_the_command_is_gone_ends_the_recording_by_notifications() {
    ends_after_the_command("notify");
}

#[apply(test)]
#[needs(ebpf())]
fn a_signal_after_the_command_is_gone_ends_the_recording_with_ebpf() {
    ends_after_the_command("ebpf");
}

/// timeout(1) signals the recorder, and then the process group. Whenever the second signal comes, nothing is left unseen.
fn a_signal_sent_twice_leaves_a_complete_run(backend: &str) {
    for milliseconds in (0..30).step_by(2) {
        let room = Room::new();
        let files = Files::new(&room);
        let mut recorder = spawn(
            &room,
            &files,
            backend,
            ">$0; exec sleep 1000",
            &[&room.fresh("f")],
        );
        recorder.signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(milliseconds));
        if !recorder.has_ended() {
            recorder.signal(Signal::SIGTERM);
        }
        let ended = recorder.wait(&room);
        let what = format!("{milliseconds} ms: {}", ended.stderr);
        assert_eq!(ended.code(), 128 + Signal::SIGTERM as i32, "{what}");
        assert!(files.run().incomplete_because().is_empty(), "{what}");
    }
}

#[apply(test)]
fn a_signal_sent_twice_leaves_a_complete_run_by_ptrace() {
    a_signal_sent_twice_leaves_a_complete_run("ptrace");
}

#[apply(test)]
fn a_signal_sent_twice_leaves_a_complete_run_by_notifications() {
    a_signal_sent_twice_leaves_a_complete_run("notify");
}

#[apply(test)]
#[needs(ebpf())]
fn a_signal_sent_twice_leaves_a_complete_run_with_ebpf() {
    a_signal_sent_twice_leaves_a_complete_run("ebpf");
}

#[apply(test)]
#[needs(audit())]
fn a_signal_sent_twice_leaves_a_complete_run_of_log_mode() {
    a_signal_sent_twice_leaves_a_complete_run("log");
}

#[apply(test)]
fn a_recorder_whose_output_nobody_reads_ends_by_its_signal() {
    let room = Room::new();
    let fifo = room.fresh("p");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let recording = room.fresh("r");
    // The signal comes while the command runs, and after it.
    for command in [&["sleep", "1000"][..], &["true"]] {
        let mut timeout = Command::new("timeout");
        timeout.args(["1", PROGRAM, "-q", "-n", "app", "-r"]);
        timeout.arg(&recording).arg("-o").arg(&fifo).arg("--");
        let ended = room.run(timeout.args(command));
        assert_eq!(ended.code(), 124, "{command:?}: {}", ended.stderr);
    }
    let recording = Recording::load(&recording).unwrap();
    assert_eq!(recording.runs.len(), 2);
    assert!(recording.runs.values().all(Run::is_complete));

    // A pipe that is full.
    let (_reader, writer) = nix::unistd::pipe().unwrap();
    let flags = nix::fcntl::OFlag::O_NONBLOCK;
    nix::fcntl::fcntl(writer.as_fd(), nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
    while nix::unistd::write(&writer, &[0; 4096]).is_ok() {}
    nix::fcntl::fcntl(
        writer.as_fd(),
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()),
    )
    .unwrap();
    let mut timeout = Command::new("timeout");
    timeout.args(["1", PROGRAM, "-q", "-r", "none", "-o", "-", "--"]);
    let full = room.spawn_on(
        timeout.args(["sleep", "1000"]),
        Stdio::null(),
        writer,
        Stdio::null(),
    );
    assert_eq!(full.wait(&room).code(), 124);
}

#[apply(test)]
fn twenty_recorders_of_one_name_lose_no_run() {
    let room = Room::new();
    let files = Files::new(&room);
    let recorders: Vec<Running> = (0..20)
        .map(|_| room.spawn(files.command(&["-q", "-n", "app"]).arg("true")))
        .collect();
    for recorder in recorders {
        let ended = recorder.wait(&room);
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""));
    }
    let recording = Recording::load(&files.recording).unwrap();
    assert_eq!(recording.runs.len(), 20);
    assert!(recording.runs.values().all(Run::is_complete));
    assert_eq!(
        names(files.recording.parent().unwrap()),
        ["profile.json", "recording.json"]
    );
}

/// The names of the files in a directory, in order.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

#[apply(test)]
fn overlong_names_are_refused_before_the_workload_starts() {
    let room = Room::new();
    // With 237 bytes, the file itself and a lock fit, and a journal beside it doesn't.
    let [long, journal] = [300, 237].map(|length| "x".repeat(length));
    let lines = [
        format!("-n {long}"),
        format!("-r {long} -o none"),
        format!("-r recordings/{long}/app.json -o none"),
        format!("-r none -o {long}"),
        format!("-r {journal} -o none"),
        "--name= -o none".to_owned(),
        "--recording= -o none".to_owned(),
        "--output= -r none".to_owned(),
    ];
    for line in lines {
        let directory = room.directory();
        let mut command = Command::new(PROGRAM);
        command.current_dir(&directory).args(line.split(' '));
        let ended = room.run(command.args(["--", "touch", "started"]));
        assert_eq!(ended.code(), 125, "{line}: {}", ended.stderr);
        assert!(!ended.stderr.is_empty(), "{line}");
        assert_eq!(names(&directory), [""; 0], "{line}");
    }
    // A program's name is shortened to one that fits.
    let directory = room.directory();
    let program = directory.join("x".repeat(250));
    room.copy(Path::new("/bin/true"), &program);
    let ended = room.run(Command::new(PROGRAM).current_dir(&directory).arg(&program));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let recording = format!("recordings/{}.json", "x".repeat(200));
    Recording::load(&directory.join(recording)).unwrap();
}

/// A file system of 256 KB, mounted until this is dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(room: &Room) -> Disk {
        let directory = room.directory();
        let (tmpfs, size) = (Some("tmpfs"), Some("size=256k"));
        mount(tmpfs, &directory, tmpfs, MsFlags::empty(), size).unwrap();
        Disk(directory)
    }

    fn fill(&self) {
        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        // As long as anything fits.
        while std::io::Write::write_all(&mut filler, &[0; 512]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount(&self.0);
    }
}

/// Records a workload of new calls on a disk that fills under the journal. Temporary files go to `temporary`.
fn on_full_disk(room: &Room, disk: &Disk, temporary: &Path) -> Running {
    let mut command = Command::new("env");
    command.arg(format!("TMPDIR={}", temporary.display()));
    command.args([
        PROGRAM,
        "-q",
        "--skip-unnamed",
        "-n",
        "app",
        "-o",
        "none",
        "-r",
    ]);
    command.arg(disk.0.join("app.json")).arg("--");
    let running = room.spawn(command.arg(programs::workload("new_calls")));
    // It is created empty.
    room.until("a journal with calls", || {
        names(&disk.0).iter().any(|name| {
            name.ends_with(".journal")
                && fs::read_to_string(disk.0.join(name)).is_ok_and(|text| text.lines().count() > 1)
        })
    });
    disk.fill();
    let calls = |text: String| text.lines().count();
    let before = calls(running.stdout());
    // Many times the size of a journal's last block.
    room.until("more calls", || calls(running.stdout()) > before + 400);
    running
}

#[apply(test)]
#[needs(capability(SYS_ADMIN))]
fn a_disk_that_fills_under_a_journal_loses_no_run_silently() {
    let room = Room::new();
    let temporary = room.directory();
    let add = |disk: &Disk| {
        let mut command = Command::new(PROGRAM);
        command.args(["-q", "-n", "app", "-o", "none", "--skip-unnamed", "-r"]);
        command.arg(disk.0.join("app.json"));
        let ended = room.run(command.args(["--", "true"]));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    };
    let numbers = |running: &Running| -> BTreeSet<i32> {
        let stdout = running.stdout();
        let lines = stdout.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(number, _)| number.parse().unwrap()).collect()
    };
    let calls = |recording: &Recording| -> BTreeSet<i32> {
        let runs = recording.runs.values();
        runs.flat_map(|run| run.syscalls.keys().map(|call| call.nr))
            .collect()
    };

    // Still full at the end: the run is kept elsewhere, and can be added later.
    let disk = Disk::new(&room);
    add(&disk);
    let running = on_full_disk(&room, &disk, &temporary);
    running.signal(Signal::SIGTERM);
    let made = numbers(&running);
    let ended = running.wait(&room);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    let kept = names(&temporary);
    let [kept] = &kept[..] else {
        panic!("{kept:?}: {}", ended.stderr);
    };
    let kept = temporary.join(kept);
    let says = format!("the run is kept in {}", kept.display());
    assert!(ended.stderr.contains(&says), "{}", ended.stderr);
    assert!(ended.stderr.contains("No space left"), "{}", ended.stderr);
    let run = Recording::load(&kept).unwrap();
    assert!(made.is_subset(&calls(&run)));
    assert_eq!(
        Recording::load(&disk.0.join("app.json"))
            .unwrap()
            .runs
            .len(),
        1
    );
    assert_eq!(names(&disk.0), ["app.json", "filler"]);
    fs::remove_file(kept).unwrap();

    // Room again before the end: the run is whole, and the user learns that it had no journal.
    let disk = Disk::new(&room);
    let running = on_full_disk(&room, &disk, &temporary);
    disk.free();
    running.signal(Signal::SIGTERM);
    let made = numbers(&running);
    let ended = running.wait(&room);
    assert_eq!(ended.code(), 143, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("warning: the run had no journal"),
        "{}",
        ended.stderr
    );
    let recording = Recording::load(&disk.0.join("app.json")).unwrap();
    assert!(recording.runs.values().all(Run::is_complete));
    assert!(made.is_subset(&calls(&recording)));

    // Killed: the next recorder adds the journal's calls as an incomplete run.
    let disk = Disk::new(&room);
    let running = on_full_disk(&room, &disk, &temporary);
    running.signal(Signal::SIGKILL);
    running.wait(&room);
    disk.free();
    add(&disk);
    let recording = Recording::load(&disk.0.join("app.json")).unwrap();
    let complete = recording.runs.values().map(Run::is_complete);
    assert_eq!(complete.collect::<Vec<_>>(), [false, true]);
    assert_eq!(names(&disk.0), ["app.json"]);

    // No other place either: the error says that the run is lost, and the journal stays for the next recorder.
    let disk = Disk::new(&room);
    let running = on_full_disk(&room, &disk, &disk.0);
    running.signal(Signal::SIGTERM);
    let ended = running.wait(&room);
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(ended.stderr.contains("the run is lost"), "{}", ended.stderr);
    disk.free();
    add(&disk);
    let recording = Recording::load(&disk.0.join("app.json")).unwrap();
    let complete = recording.runs.values().map(Run::is_complete);
    assert_eq!(complete.collect::<Vec<_>>(), [false, true]);
}
