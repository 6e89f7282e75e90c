//! Containers of real programs, started by each engine and runtime in the same way.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::containers::WORK;
use crate::real::built;

use super::bundle::Bundle;
use super::engines::{Engine, IMAGE, PROGRAMS, image_root};
use super::process::{Ended, Room, Running, until};
use super::recordings::repository;

/// What starts a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    By(Engine),
    Runtime(&'static str),
}

impl Start {
    /// The low-level runtime.
    pub(crate) fn runtime(self) -> &'static str {
        match self {
            Start::Runtime(runtime) => runtime,
            Start::By(Engine::PodmanCrun) => "crun",
            Start::By(Engine::Docker | Engine::PodmanRunc | Engine::Ctr) => "runc",
        }
    }
}

/// A program, and how it is used in a container. Its files are in `/work`, which is a directory of the host.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    image: &'static str,
    pub(crate) command: &'static [&'static str],
    user: u32,
    /// A server is used through its socket, by `integration/images/NAME.sh` on the host, and then gets this signal.
    server: Option<Server>,
    /// The end of what the container prints, or the script that uses the server.
    output: &'static str,
    code: i32,
    /// Whether it calls socket(2) for this family, and not socketcall(2).
    pub(crate) uses_internet: bool,
}

#[derive(Debug)]
struct Server {
    socket: &'static str,
    end: Signal,
}

const NOBODY: u32 = 65534;

/// What `/work` has of `integration/real`, and the programs that are built for it.
const SCRIPTS: &str = "lib shell git x86 python3 sqlite3 gcc int80 go";
const BUILT: [&str; 5] = ["go_server", "inject", "go", "x86", "int80"];

/// A script of `integration/real`.
const fn script(
    name: &'static str,
    command: &'static [&'static str],
    uses_internet: bool,
) -> Program {
    Program {
        name,
        image: PROGRAMS,
        command,
        user: NOBODY,
        server: None,
        output: " checks, 0 failed\n",
        code: 0,
        uses_internet,
    }
}

/// The programs, in the order of the table.
pub(crate) static ALL: [Program; 13] = [
    script("shell", &["sh", "/work/shell.sh"], false),
    Program {
        name: "go",
        image: PROGRAMS,
        command: &["/work/go_server", "/work/s"],
        user: 0,
        server: Some(Server {
            socket: "s",
            end: Signal::SIGTERM,
        }),
        output: "4000000\n",
        code: 0,
        uses_internet: false,
    },
    Program {
        name: "redis",
        image: PROGRAMS,
        command: &[
            "redis-server",
            "--bind",
            "0.0.0.0",
            "--unixsocket",
            "/work/s",
            "--dir",
            "/work/data",
            "--appendonly",
            "yes",
        ],
        user: 0,
        server: Some(Server {
            socket: "s",
            end: Signal::SIGTERM,
        }),
        output: "42\n",
        code: 0,
        uses_internet: true,
    },
    Program {
        name: "nginx",
        image: PROGRAMS,
        command: &["nginx", "-e", "stderr", "-c", "/work/nginx.conf"],
        user: 0,
        server: Some(Server {
            socket: "s",
            end: Signal::SIGQUIT,
        }),
        output: "200\n404\n",
        code: 0,
        uses_internet: true,
    },
    Program {
        name: "postgres",
        image: PROGRAMS,
        command: &["/work/postgres", "-D", "/work/data"],
        user: NOBODY,
        server: Some(Server {
            socket: ".s.PGSQL.5432",
            end: Signal::SIGINT,
        }),
        output: "200\n",
        code: 0,
        uses_internet: false,
    },
    Program {
        name: "busybox",
        image: IMAGE,
        command: &["sh", "-c", WORK],
        user: 0,
        server: None,
        output: "hello\na\n",
        code: 7,
        uses_internet: false,
    },
    script("git", &["sh", "/work/git.sh"], false),
    script("x86", &["sh", "/work/x86.sh"], false),
    script("python3", &["sh", "/work/python3.sh"], true),
    script("sqlite3", &["sh", "/work/sqlite3.sh"], false),
    script("gcc", &["sh", "/work/gcc.sh"], false),
    script("int80", &["sh", "/work/int80.sh"], false),
    script("go.sh", &["sh", "/work/go.sh"], true),
];

/// A container of a program, which is started in the foreground.
pub(crate) struct Container<'a> {
    room: &'a Room,
    start: Start,
    program: &'a Program,
    pub(crate) no_new_privileges: bool,
    pub(crate) profile: Option<PathBuf>,
    /// More options of the engine's `run`.
    pub(crate) options: Vec<String>,
    /// A command that gets the program's as its arguments.
    pub(crate) wrapper: Vec<String>,
    /// `/work` on the host.
    pub(crate) work: PathBuf,
}

impl<'a> Container<'a> {
    pub(crate) fn new(room: &'a Room, start: Start, program: &'a Program) -> Container<'a> {
        let work = room.directory();
        let scripts = repository().join("integration");
        let programs = built(&BUILT);
        // With access for nobody.
        let mut copy = Command::new("install");
        copy.args(["-m", "755"]);
        copy.args(BUILT.map(|name| programs.join(name)));
        let real = SCRIPTS.split(' ').map(|name| format!("real/{name}.sh"));
        copy.args(real.map(|script| scripts.join(script)));
        let host = |command: &mut Command| {
            let ended = room.spawn(command).wait(room);
            assert_eq!(ended.code(), 0, "{}", ended.stderr);
        };
        host(copy.arg(&work));
        symlink(".", work.join("bin")).unwrap();
        if program.server.is_some() {
            let script = scripts.join(format!("images/{}.sh", program.name));
            host(Command::new("sh").arg(script).arg("prepare").arg(&work));
        }
        Container {
            room,
            start,
            program,
            no_new_privileges: true,
            profile: None,
            options: Vec::new(),
            wrapper: Vec::new(),
            work,
        }
    }

    /// Runs the program to its end, with a server under load, and compares its output and status.
    pub(crate) fn run(&self) -> Result<(), String> {
        let mut running = self.spawn(self.program.command);
        let mut load = None;
        if let Some(Server { socket, end }) = &self.program.server {
            let socket = self.work.join(socket);
            until("the server to listen", || {
                running.has_ended() || UnixStream::connect(&socket).is_ok()
            });
            let mut script = Command::new("sh");
            script.arg(repository().join(format!("integration/images/{}.sh", self.program.name)));
            load = Some(
                self.room
                    .spawn(script.arg("load").arg(&self.work))
                    .wait(self.room),
            );
            // Also if the load failed: the container would outlive the test.
            if !running.has_ended() {
                running.signal(*end);
            }
        }
        let ended = running.wait(self.room);
        let user = load.as_ref().unwrap_or(&ended);
        let is_used = load.as_ref().is_none_or(|load| load.code() == 0);
        if is_used
            && ended.code() == self.program.code
            && user.stdout.ends_with(self.program.output)
        {
            return Ok(());
        }
        Err(format!(
            "status {}: {}\nload: {load:?}",
            ended.code(),
            ended.stderr
        ))
    }

    /// What `integration/real/programs/inject.c` prints: the results of calls that the program doesn't make, and, with an
    /// argument, of calls with arguments that it doesn't use.
    pub(crate) fn inject(&self, arguments: &[&str]) -> Ended {
        let command = [&["/work/inject"], arguments].concat();
        let ended = self.spawn(&command).wait(self.room);
        // Once in some hundred times: ctr drops output that it has not begun to read when the program has ended.
        let is_dropped = ended.code() == 0 && ended.stdout.is_empty();
        if self.start == Start::By(Engine::Ctr) && is_dropped {
            return self.spawn(&command).wait(self.room);
        }
        ended
    }

    fn spawn(&self, command: &[&str]) -> Running {
        let command: Vec<_> = self
            .wrapper
            .iter()
            .map(String::as_str)
            .chain(command.iter().copied())
            .collect();
        self.room.spawn(&mut match self.start {
            Start::Runtime(runtime) => self.by_runtime(runtime, &command),
            Start::By(Engine::Ctr) => self.by_ctr(&command),
            Start::By(engine) => self.by_engine(engine, &command),
        })
    }

    /// Unique among all containers of all tests.
    fn name(&self) -> String {
        let name = format!("{}x{}", self.room.fresh("c").display(), std::process::id());
        name.replace(|c: char| !c.is_ascii_alphanumeric(), "")
    }

    fn by_engine(&self, engine: Engine, command: &[&str]) -> Command {
        image_root(self.program.image);
        let mut run = engine.command(engine.client());
        run.args([
            "run",
            "--rm",
            "--network=none",
            "--tmpfs=/tmp:exec",
            "--name",
            &self.name(),
        ]);
        run.arg(format!("--env={REAL}"));
        run.arg(format!("--volume={}:/work", self.work.display()));
        if self.program.image == PROGRAMS {
            run.arg("--volume=/usr:/usr:ro");
        }
        run.arg(format!("--user={0}:{0}", self.program.user));
        if self.no_new_privileges {
            run.arg("--security-opt=no-new-privileges");
        }
        if let Some(profile) = &self.profile {
            run.arg(format!("--security-opt=seccomp={}", profile.display()));
        }
        run.args(&self.options)
            .arg(self.program.image)
            .args(command);
        run
    }

    /// Of a configuration, since ctr 1.6 has no option for the user.
    fn by_ctr(&self, command: &[&str]) -> Command {
        let (bundle, config) = self.bundle("runc", command);
        let file = bundle.directory.join("ctr.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let mut run = Engine::Ctr.command("ctr");
        run.args(["run", "--rm", "--config"]).arg(file);
        run.arg(self.name());
        run
    }

    fn by_runtime(&self, runtime: &'static str, command: &[&str]) -> Command {
        let (bundle, config) = self.bundle(runtime, command);
        bundle.start(&config)
    }

    fn bundle(&self, runtime: &'static str, command: &[&str]) -> (Bundle<'a>, Value) {
        let mut bundle = Bundle::new(self.room, runtime);
        bundle.no_new_privileges = self.no_new_privileges;
        let mut config = bundle.config(self.profile.as_deref(), "");
        config["root"]["path"] = image_root(self.program.image).to_str().into();
        let process = &mut config["process"];
        process["args"] = command.into();
        process["env"] = json!([PATH, REAL]);
        process["user"] = json!({"uid": self.program.user, "gid": self.program.user});
        if self.program.user == 0 {
            let capabilities = json!([
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_KILL",
                "CAP_SETGID",
                "CAP_SETUID"
            ]);
            for set in ["bounding", "effective", "permitted"] {
                process["capabilities"][set].clone_from(&capabilities);
            }
        }
        let mounts = config["mounts"].as_array_mut().unwrap();
        for place in ["/tmp", "/dev/shm"] {
            mounts.push(json!({
                "destination": place, "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"],
            }));
        }
        let mut bind = |from: &Path, to: &str, access: &str| {
            mounts.push(json!({
                "destination": to, "type": "bind", "source": from, "options": ["rbind", access],
            }));
        };
        bind(&self.work, "/work", "rw");
        if self.program.image == PROGRAMS {
            bind(Path::new("/usr"), "/usr", "ro");
        }
        (bundle, config)
    }
}

/// Where the scripts find the programs that are built for them, in `bin`.
const REAL: &str = "SC_RECORD_REAL=/work";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
