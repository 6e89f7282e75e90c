//! Processes that are killed, with all descendants, if they don't end in time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// An environment variable of all processes of a test, which their children inherit.
const MARK: &str = "SC_RECORD_TEST";

/// How long any step may take. It is far longer than needed, since a machine can be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// A directory for one test, and all processes that were started in it. They are killed when it is dropped.
pub(crate) struct Room {
    directory: TempDir,
    mark: String,
    runs: AtomicU32,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The status as a shell shows it.
    pub(crate) fn code(&self) -> i32 {
        let code = self.status.code();
        code.unwrap_or_else(|| 128 + self.status.signal().unwrap())
    }
}

/// A process that may still run.
pub(crate) struct Running {
    child: Child,
    /// The files for its output, if any.
    output: Option<PathBuf>,
    errors: Option<PathBuf>,
}

impl Room {
    pub(crate) fn new() -> Room {
        static ROOMS: AtomicU32 = AtomicU32::new(0);
        let directory = tempfile::Builder::new()
            .prefix("sc-record-")
            .tempdir()
            .unwrap();
        // Other users get access: some tests run as nobody.
        set_mode(directory.path(), 0o755);
        let number = ROOMS.fetch_add(1, Ordering::Relaxed);
        Room {
            mark: format!("{}-{number}", std::process::id()),
            directory,
            runs: AtomicU32::new(0),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A new empty directory. All have names of one length: a longer path can mean another system call.
    pub(crate) fn directory(&self) -> PathBuf {
        let path = self.fresh("d");
        std::fs::create_dir(&path).unwrap();
        set_mode(&path, 0o777);
        path
    }

    /// A path that doesn't exist yet.
    pub(crate) fn fresh(&self, prefix: &str) -> PathBuf {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        self.path().join(format!("{prefix}{number:03}"))
    }

    /// Copies a file, in another process: if this one had it open for writing while a thread forks, the copy could not
    /// be executed (ETXTBSY) until that child has execed.
    pub(crate) fn copy(&self, file: &Path, to: &Path) {
        let ended = self.run(Command::new("cp").arg(file).arg(to));
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }

    /// A command that runs as nobody, or as this user if that is not root.
    pub(crate) fn as_nobody(program: impl AsRef<OsStr>) -> Command {
        if !nix::unistd::geteuid().is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg("--").arg(program);
        command
    }

    /// Runs a command to its end, and waits for all its descendants.
    pub(crate) fn run(&self, command: &mut Command) -> Ended {
        let mut running = self.spawn(command);
        let status = running.status(self);
        self.wait_until_empty(command);
        running.ended(status)
    }

    /// Starts a command with empty stdin and its output in files: a pipe would stay open as long as any descendant
    /// lives.
    pub(crate) fn spawn(&self, command: &mut Command) -> Running {
        let (output, errors) = (self.fresh("o"), self.fresh("e"));
        let file = |path| File::create(path).unwrap();
        let mut running = self.spawn_on(command, Stdio::null(), file(&output), file(&errors));
        (running.output, running.errors) = (Some(output), Some(errors));
        running
    }

    /// Starts a command with these descriptors, as the leader of its own process group, with a fixed environment and what
    /// the command sets itself.
    pub(crate) fn spawn_on(
        &self,
        command: &mut Command,
        stdin: impl Into<Stdio>,
        stdout: impl Into<Stdio>,
        stderr: impl Into<Stdio>,
    ) -> Running {
        let own = command.get_envs();
        let own: Vec<(OsString, OsString)> = own
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        command
            // Also what the command sets.
            .env_clear()
            .envs(own)
            .env("PATH", path())
            .env("LC_ALL", "C")
            .env(MARK, &self.mark)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0);
        // Files that a command writes by mistake must not end up in the source tree.
        if command.get_current_dir().is_none() {
            command.current_dir(self.path());
        }
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Running {
            child,
            output: None,
            errors: None,
        }
    }

    /// The living processes of this room. Zombies have no environment, so they don't count.
    pub(crate) fn alive(&self) -> Vec<Pid> {
        let mark = format!("{MARK}={}", self.mark);
        let mut alive = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let Ok(environment) = std::fs::read(entry.path().join("environ")) else {
                continue;
            };
            if environment
                .split(|&byte| byte == 0)
                .any(|variable| variable == mark.as_bytes())
            {
                alive.push(Pid::from_raw(pid));
            }
        }
        alive
    }

    /// Waits until no process of this room lives.
    pub(crate) fn wait_until_empty(&self, what: &Command) {
        self.until(&format!("what {what:?} started to end"), || {
            self.alive().is_empty()
        });
    }

    /// Waits until a condition holds for these processes.
    pub(crate) fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + LIMIT;
        let mut looked = Instant::now();
        while !is_so() {
            assert!(
                looked < deadline,
                "waited {LIMIT:?} in vain for {what}\n{}",
                states(&self.alive())
            );
            pause(looked);
            looked = Instant::now();
        }
    }

    /// Kills all processes of this room.
    pub(crate) fn kill_all(&self) {
        // In several rounds: a process can fork just before it is killed, and its child was not listed.
        for _ in 0..1000 {
            let alive = self.alive();
            if alive.is_empty() {
                return;
            }
            for pid in alive {
                // It may be gone by now.
                let _ = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        eprintln!("processes that can't be killed: {:?}", self.alive());
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.kill_all();
    }
}

impl Running {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub(crate) fn stdout(&self) -> String {
        read(self.output.as_deref())
    }

    pub(crate) fn stderr(&self) -> String {
        read(self.errors.as_deref())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the command itself. Its descendants may live on.
    pub(crate) fn wait(mut self, room: &Room) -> Ended {
        let status = self.status(room);
        self.ended(status)
    }

    fn status(&mut self, room: &Room) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                let tasks = states(&room.alive());
                room.kill_all();
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!(
                    "hangs: still running after {LIMIT:?}\n{tasks}stdout: {}\nstderr: {}",
                    self.stdout(),
                    self.stderr()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn ended(self, status: ExitStatus) -> Ended {
        Ended {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

/// The PATH of the commands. Not every user's has the servers.
pub(crate) fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")
}

/// Waits until a condition holds.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    let mut looked = Instant::now();
    while !is_so() {
        assert!(looked < deadline, "waited {LIMIT:?} in vain for {what}");
        pause(looked);
        looked = Instant::now();
    }
}

/// Sleeps after a condition was looked at, which began then: on a slow machine longer, or looking would take most of a processor
/// from what is waited for.
fn pause(looked: Instant) {
    let shortest = Duration::from_millis(5);
    std::thread::sleep((looked.elapsed() * 4).clamp(shortest, shortest * 20));
}

/// The state of some processes' tasks, for the message of a test that hangs.
fn states(pids: &[Pid]) -> String {
    let mut texts = Vec::new();
    for pid in pids {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let wanted = |name: &str| std::fs::read_to_string(task.path().join(name));
            let status = wanted("status").unwrap_or_default();
            let lines = status.lines().filter(|line| {
                [
                    "Name:",
                    "State:",
                    "Pid:",
                    "PPid:",
                    "TracerPid:",
                    "SigPnd:",
                    "ShdPnd:",
                ]
                .iter()
                .any(|key| line.starts_with(key))
            });
            let lines: Vec<_> = lines.map(|line| line.replace('\t', " ")).collect();
            let syscall = wanted("syscall").unwrap_or_default();
            texts.push(format!("  {} in {syscall}", lines.join(", ")));
        }
    }
    texts.concat()
}

fn read(path: Option<&Path>) -> String {
    let bytes = path.map(|path| std::fs::read(path).unwrap());
    String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
