//! A recorder and its workload are one job to an interactive shell: ^Z, fg, bg, ^C.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::process::{LIMIT, Room, Running, until};
use crate::support::programs;
use crate::support::recorder::Files;
use crate::support::terminal::Terminal;

/// An interactive bash, and the line that starts the job in it.
struct Shell {
    room: Room,
    options: &'static [&'static str],
    files: Option<Files>,
    terminal: Terminal,
    running: Running,
}

impl Shell {
    /// With options of the recorder, the job runs under it.
    fn new(options: Option<&'static [&'static str]>) -> Shell {
        let room = Room::new();
        let files = options.map(|_| Files::new(&room));
        let mut bash = Command::new("bash");
        bash.args(["--norc", "--noprofile", "--noediting", "-i"]);
        bash.env("SC_RECORD_TEST_FAST_PATH", "at once");
        let (mut terminal, running) = Terminal::start(&room, &bash);
        // Without echo, typed text isn't shown, so the job printed all shown text.
        terminal.type_in("stty -echo; PS1=; echo started $?\n");
        terminal.shows("started 0\r\n");
        Shell {
            room,
            options: options.unwrap_or_default(),
            files,
            terminal,
            running,
        }
    }

    /// Starts the job.
    fn job(&mut self, arguments: &str) {
        let job = programs::workload("tty_job");
        let line = match &self.files {
            None => format!("{} {arguments}\n", job.display()),
            Some(files) => {
                let command = files.command(self.options);
                let parts = std::iter::once(command.get_program()).chain(command.get_args());
                let parts: Vec<_> = parts.map(|part| part.to_str().unwrap()).collect();
                format!("{} {} {arguments}\n", parts.join(" "), job.display())
            }
        };
        self.terminal.type_in(&line);
        self.terminal.shows("[ready]");
    }

    /// Types a line, then waits for the answer.
    fn step(&mut self, typed: &str, answer: &str) {
        self.terminal.type_in(typed);
        self.terminal.shows(answer);
    }

    /// Types a key that ends the job, and requests its status once it is gone: the terminal flushes text that is typed
    /// meanwhile.
    fn ends_with(&mut self, keys: &str, status: i32) {
        self.terminal.type_in(keys);
        let what = format!("the job to end after {keys:?}: {:?}", self.terminal.all());
        self.room.until(&what, || self.has_ended());
        self.status_is(status);
    }

    fn has_ended(&self) -> bool {
        // setsid and bash remain.
        self.states_of_job().is_empty() && self.room.alive().len() <= 2
    }

    fn status_is(&mut self, status: i32) {
        // Text that is typed before the shell has the terminal again is flushed, and the status stays.
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline && !self.terminal.all().ends_with("status\r\n") {
            self.terminal.type_in("echo is $? status\n");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.terminal.shows(&format!("is {status} status\r\n"));
    }

    fn stops(&self) {
        self.room.until("the job to stop", || {
            self.states_of_job()
                .iter()
                .all(|&state| state == 'T' || state == 't')
        });
    }

    /// The states of the job's processes: the program and the recorder.
    fn states_of_job(&self) -> Vec<char> {
        let alive = self.room.alive();
        let statuses = alive
            .iter()
            .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
        let names = ["Name:\ttty_job\n", "Name:\tsc-record\n"];
        let of_job = statuses.filter(|status| names.iter().any(|name| status.starts_with(name)));
        of_job
            .map(|status| {
                status
                    .split("State:\t")
                    .nth(1)
                    .unwrap()
                    .chars()
                    .next()
                    .unwrap()
            })
            .collect()
    }

    fn thread_of_recorder(&self, name: &str) -> String {
        let names = |file: &Path, name| {
            let comm = std::fs::read_to_string(file.join("comm"));
            comm.is_ok_and(|comm| comm.trim_end() == name)
        };
        let processes = self.room.alive().into_iter();
        let mut processes = processes.map(|pid| PathBuf::from(format!("/proc/{pid}")));
        let recorder = processes.find(|process| names(process, "sc-record"));
        let threads = std::fs::read_dir(recorder.unwrap().join("task")).unwrap();
        let mut threads = threads.map(|thread| thread.unwrap().path());
        let thread = threads.find(|thread| names(thread, name)).unwrap();
        thread.file_name().unwrap().to_str().unwrap().to_owned()
    }

    fn end(mut self) -> Option<Files> {
        self.terminal.type_in("exit 3\n");
        let ended = self.running.wait(&self.room);
        assert_eq!(ended.code(), 3, "{}", self.terminal.all());
        until("all to end", || self.room.alive().is_empty());
        // The files live as long as the room.
        let files = self.files.take();
        if let Some(files) = &files {
            assert!(files.recording.exists());
        }
        files
    }
}

const PTRACE: &[&str] = &["-q"];
const PATCHED: &[&str] = &["-q", "--patch"];
const LOG: &[&str] = &["-q", "--log-mode", "--passes", "1"];

/// Takes these steps natively or recorded.
fn check(options: Option<&'static [&'static str]>, steps: fn(&mut Shell)) {
    let mut shell = Shell::new(options);
    steps(&mut shell);
    shell.end();
}

/// The same steps natively, under ptrace, with calls that don't stop, and in log mode.
macro_rules! jobs {
    ($($job:ident)*) => {
        mod native {
            $(
                #[apply(test)]
                #[needs(program("bash"))]
                fn $job() {
                    super::check(None, super::$job);
                }
            )*
        }

        mod traced {
            $(
                #[apply(test)]
                #[needs(program("bash"))]
                fn $job() {
                    super::check(Some(super::PTRACE), super::$job);
                }
            )*
        }

        mod patched {
            $(
                #[apply(test)]
                #[needs(program("bash"))]
                fn $job() {
                    super::check(Some(super::PATCHED), super::$job);
                }
            )*
        }

        mod logged {
            $(
                #[apply(test)]
                #[needs(audit(), program("bash"))]
                fn $job() {
                    let _others_record_too = crate::log::lock(nix::fcntl::FlockArg::LockShared);
                    super::check(Some(super::LOG), super::$job);
                }
            )*
        }
    };
}

jobs! {
    a_job_is_stopped_and_continued_with_its_recorder
    a_job_in_the_background_stops_when_it_reads
    a_job_that_stops_its_group_stops
    a_job_that_stops_itself_stops
    a_job_ends_by_the_keys_for_that
}

fn a_job_is_stopped_and_continued_with_its_recorder(shell: &mut Shell) {
    shell.job("");
    for _ in 0..3 {
        shell.step("\x1a", "Stopped");
        shell.step("jobs\n", "Stopped");
        assert!(
            shell
                .states_of_job()
                .iter()
                .all(|&state| state == 'T' || state == 't')
        );
        shell.step("fg\n", "[continued]");
        shell.step("hello\n", "[got hello]");
    }
    shell.ends_with("exit 7\n", 7);
}

fn a_job_in_the_background_stops_when_it_reads(shell: &mut Shell) {
    shell.job("");
    shell.step("\x1a", "Stopped");
    shell.step("bg\n", "[continued]");
    shell.stops();
    shell.step("jobs\n", "Stopped");
    shell.step("fg\n", "[continued]");
    shell.ends_with("exit 7\n", 7);
    // Once by `bg`, once by `fg`.
    assert_eq!(shell.terminal.all().matches("[continued]").count(), 2);
}

/// On a busy machine, the thread that waits for the command learns last that the job went on and stopped again.
#[apply(test)]
#[needs(audit(), program("bash"))]
fn a_job_in_the_background_stops_while_its_launcher_does_not_run() {
    let _others_record_too = crate::log::lock(nix::fcntl::FlockArg::LockShared);
    let mut shell = Shell::new(Some(LOG));
    shell.job("");
    shell.step("\x1a", "Stopped");
    let launcher = shell.thread_of_recorder("launcher");
    let idle = "chrt --idle --pid 0 $0 && taskset --pid 1 $0";
    let mut sh = Command::new("sh");
    let changed = shell.room.spawn(sh.args(["-c", idle, &launcher]));
    let changed = changed.wait(&shell.room);
    assert_eq!(changed.code(), 0, "{}", changed.stderr);
    let mut taskset = Command::new("taskset");
    let busy = (shell.room).spawn(taskset.args(["1", "sh", "-c", "while :; do :; done"]));
    shell.step("bg\n", "[continued]");
    std::thread::sleep(Duration::from_millis(100));
    busy.signal(Signal::SIGKILL);
    busy.wait(&shell.room);
    shell.stops();
    shell.step("jobs\n", "Stopped");
    shell.step("fg\n", "[continued]");
    shell.ends_with("exit 7\n", 7);
    shell.end();
}

fn a_job_that_stops_its_group_stops(shell: &mut Shell) {
    shell.job("");
    shell.step("tstp group\n", "Stopped");
    shell.step("fg\n", "[continued]");
    shell.step("stop group\n", "Stopped");
    shell.step("fg\n", "[continued]");
    shell.ends_with("exit 7\n", 7);
}

fn a_job_that_stops_itself_stops(shell: &mut Shell) {
    shell.job("");
    shell.step("tstp self\n", "Stopped");
    shell.step("fg\n", "[continued]");
    shell.ends_with("exit 7\n", 7);
}

fn a_job_ends_by_the_keys_for_that(shell: &mut Shell) {
    shell.job("");
    shell.ends_with("\x03", 130);
    shell.job("");
    shell.ends_with("\x1c", 131);
    shell.job("");
    shell.ends_with("\x04", 80);
    shell.job("");
    shell.step("\x1a", "Stopped");
    shell.ends_with("kill %1; fg\n", 143);
}

#[apply(test)]
#[needs(program("bash"))]
fn the_first_interrupt_is_the_workloads_and_the_second_ends_the_recording() {
    let mut shell = Shell::new(Some(PTRACE));
    shell.job("catch");
    shell.step("\x03", "[interrupted]");
    shell.step("hello\n", "[got hello]");
    // Signals don't queue: on a busy machine a second one can come before the recorder has handled the first.
    until("the interrupt to be noticed", || {
        shell.terminal.type_in("\x03");
        std::thread::sleep(Duration::from_millis(200));
        shell.has_ended()
    });
    shell.status_is(130);
    let run = shell.files.as_ref().unwrap().run();
    assert_eq!(run.incomplete_because(), ["the recording was interrupted"]);
    assert!(!run.calls().is_empty());
    shell.end();
}

#[apply(test)]
#[needs(program("bash"))]
fn a_terminal_that_hangs_up_ends_the_job_and_the_recording_is_written() {
    let mut shell = Shell::new(Some(PTRACE));
    shell.job("");
    let Shell {
        room,
        files,
        terminal,
        running,
        ..
    } = shell;
    // The session leader's death hangs up, as closing the window does.
    let bash = "Name:\tbash\n";
    let leader = room.alive().into_iter().find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/status"))
            .unwrap()
            .starts_with(bash)
    });
    nix::sys::signal::kill(leader.unwrap(), nix::sys::signal::Signal::SIGKILL).unwrap();
    running.wait(&room);
    until("all to end", || room.alive().is_empty());
    drop(terminal);
    let run = files.unwrap().run();
    assert_eq!(
        run.0["exit"]["signal"].as_i64(),
        Some(1),
        "{}",
        run.0["exit"]
    );
}
