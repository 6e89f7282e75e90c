//! `sc-record baseline`: measures what a container runtime calls before it executes the program.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use anyhow::Context;
use sc_record::atomic_file::write_atomically;
use sc_record::backend::{Agent, Interest, Notice, Scope, Stop, Target};
use sc_record::format::{Format, render};
use sc_record::profile::{Baseline, Listener, Profile, Runtime};
use sc_record::recording::Run;
use sc_record::session::{Observer, Session};
use sc_record::syscall::Arch;
use serde_json::{Value, json};

use super::exit_status;
use crate::cli::BaselineArgs;

/// Where measured baselines are, unless options say otherwise.
pub(super) const DIRECTORY: &str = "profiles/baselines";

/// How long a container may take to start and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// More starts than this don't saturate.
const MAX_RUNS: u64 = 1000;

pub(super) fn baseline(args: &BaselineArgs) -> anyhow::Result<u8> {
    let room = tempfile::tempdir().context("can't make a directory for the containers")?;
    let socket = room.path().join("agent.sock");
    let stop = Stop::new().context("can't begin")?;
    let target = Target::Scope(Scope::Everything);
    let agent = Agent {
        socket: socket.clone(),
        keeper: None,
        interest: Interest::default(),
    };
    let session = Session {
        backend: &agent,
        target: &target,
        stop: &stop,
        journal: None,
    };
    let (listening, is_listening) = mpsc::channel();
    let (ended, runs) = mpsc::channel();
    let measured = std::thread::scope(|scope| {
        let recording = scope.spawn(move || {
            let mut ready = ListeningObserver(listening);
            session.record_each(&mut ready, &mut |run| {
                // Fails once the measurement is over.
                let _ = ended.send(run);
            })
        });
        // It fails if the agent could not begin: the thread returns the reason.
        let measured = is_listening.recv().is_ok().then(|| {
            let bundle = Bundle::make(room.path(), &socket, args)?;
            measure(args, &bundle, &runs)
        });
        stop.request("the measurement is over");
        let recorded = recording.join();
        match (measured, recorded) {
            (Some(measured), _) => measured,
            (None, Ok(Err(error))) => Err(error.into()),
            (None, _) => anyhow::bail!("the agent failed"),
        }
    })?;
    let path = args.output.join(measured.file_name());
    let mut text = serde_json::to_string_pretty(&measured)?;
    text.push('\n');
    write_atomically(&path, text.as_bytes())?;
    if !args.verbosity.quiet {
        say!(
            "sc-record: {} calls in {} starts of {} {}: {}",
            measured.syscalls.len(),
            measured.runs,
            measured.runtime,
            measured.version,
            path.display()
        );
    }
    Ok(exit_status::CLEAN)
}

fn measure(
    args: &BaselineArgs,
    bundle: &Bundle<'_>,
    runs: &Receiver<Run>,
) -> anyhow::Result<Baseline> {
    let mut measured = Baseline {
        runtime: args.runtime,
        version: version(args.runtime)?,
        exec: args.exec,
        no_new_privs: args.no_new_privs,
        machine: std::env::consts::ARCH.to_owned(),
        runs: 0,
        syscalls: BTreeMap::new(),
        needed: BTreeSet::new(),
        not_observed: (args.runtime.not_observed().iter())
            .map(ToString::to_string)
            .collect(),
    };
    let container = args.exec.then(|| bundle.start_container()).transpose()?;
    let mut without_new = 0;
    // One at a time, and concurrently: runc's threads then make other calls.
    for at_once in [1, 4].into_iter().cycle() {
        if without_new >= args.saturation {
            break;
        }
        anyhow::ensure!(
            measured.runs < MAX_RUNS,
            "after {MAX_RUNS} starts, there are still new calls"
        );
        let started: Vec<_> = (0..at_once)
            .map(|index| bundle.start(measured.runs + index, container.as_ref()))
            .collect::<Result<_, _>>()?;
        for (index, child) in (0..).zip(started) {
            let output = child.wait_with_output()?;
            anyhow::ensure!(
                output.status.success(),
                "{} failed: {}",
                args.runtime,
                String::from_utf8_lossy(&output.stderr).trim()
            );
            let run = runs
                .recv_timeout(PATIENCE)
                .context("a container was not recorded")?;
            if container.is_none() {
                bundle.delete(&container_id(measured.runs + index));
            }
            let known = measured.syscalls.len();
            for name in run.runtime.keys().filter_map(|call| call.name()) {
                *measured.syscalls.entry(name.into_owned()).or_default() += 1;
            }
            without_new = if measured.syscalls.len() == known {
                without_new + 1
            } else {
                0
            };
        }
        measured.runs += at_once;
    }
    if !args.exec {
        let calls: Vec<&str> = measured.calls().collect();
        let mut needed = BTreeSet::new();
        for call in &calls {
            let others = calls.iter().filter(|other| *other != call);
            let others: Vec<&str> = others.chain(&PROGRAM).copied().collect();
            if !bundle.always_starts_under(&others)? {
                needed.insert((*call).to_owned());
            }
        }
        measured.needed = needed;
    }
    Ok(measured)
}

/// What executing the program takes, and what it calls itself.
const PROGRAM: [&str; 3] = ["execve", "exit", "exit_group"];

/// How often a container is started to see whether a call is needed: runc's threads don't always make the same calls.
const TRIALS: u32 = 4;

/// The version that the runtime prints.
fn version(runtime: Runtime) -> anyhow::Result<String> {
    let said = Command::new(runtime.name()).arg("--version").output();
    let said = said.with_context(|| format!("can't execute {runtime}"))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let version = text.lines().next().and_then(|line| line.split(' ').nth(2));
    let version = version.context("the runtime doesn't say its version")?;
    Ok(version.to_owned())
}

/// A bundle whose program does nothing.
struct Bundle<'a> {
    runtime: Runtime,
    room: &'a Path,
    no_new_privs: bool,
    seccomp: Value,
}

/// The file of the process that is executed in a container.
const PROCESS: &str = "process.json";

/// A container that runs until it is deleted.
struct RunningContainer<'a>(&'a Bundle<'a>, &'static str);

impl<'a> Bundle<'a> {
    fn make(room: &'a Path, socket: &Path, args: &BaselineArgs) -> anyhow::Result<Bundle<'a>> {
        let socket = socket
            .to_str()
            .context("the path of temporary files is not text")?;
        let listener = Listener::new(socket.to_owned(), None).context("there is no path")?;
        let not_observed: BTreeSet<_> = args.runtime.not_observed().iter().copied().collect();
        let profile = Profile::notify_all([Arch::NATIVE], listener, &not_observed);
        let bundle = Bundle {
            runtime: args.runtime,
            room,
            no_new_privs: args.no_new_privs,
            seccomp: serde_json::from_str(&render(Format::Oci, &profile)?)?,
        };
        for directory in ["rootfs/proc", "rootfs/dev"] {
            fs::create_dir_all(room.join(directory))?;
        }
        let program = room.join("rootfs/program");
        fs::write(
            &program,
            program_file().context("there is no program for this architecture")?,
        )?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(bundle)
    }

    /// The directory of a bundle: they share their root.
    fn directory(
        &self,
        name: &str,
        arguments: &[&str],
        seccomp: &Value,
    ) -> anyhow::Result<PathBuf> {
        let directory = self.room.join(name);
        fs::create_dir_all(&directory)?;
        let namespaces = ["pid", "mount", "ipc", "uts", "network"];
        let config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": self.room.join("rootfs"), "readonly": true},
            "process": self.process(arguments),
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            ],
            "linux": {
                "namespaces": namespaces.map(|kind| json!({"type": kind})),
                "seccomp": seccomp,
            },
        });
        fs::write(directory.join("config.json"), config.to_string())?;
        Ok(directory)
    }

    fn process(&self, arguments: &[&str]) -> Value {
        let capabilities = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]);
        json!({
            "args": arguments,
            "cwd": "/",
            "env": ["PATH=/"],
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": self.no_new_privs,
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
            },
        })
    }

    fn runtime(&self) -> Command {
        let mut command = Command::new(self.runtime.name());
        command.arg("--root").arg(self.room.join("state"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        command
    }

    fn start_container(&'a self) -> anyhow::Result<RunningContainer<'a>> {
        const ID: &str = "sc-record-baseline";
        let process = self.process(&["/program"]).to_string();
        fs::write(self.room.join(PROCESS), process)?;
        let directory = self.directory(ID, &["/program", "waits"], &self.seccomp)?;
        let mut run = self.runtime();
        run.args(["run", "--detach", "--bundle"]).arg(&directory);
        // The container would keep a pipe open.
        let status = run.arg(ID).stderr(Stdio::inherit()).status()?;
        let container = RunningContainer(self, ID);
        anyhow::ensure!(status.success(), "{} can't start a container", self.runtime);
        Ok(container)
    }

    /// Whether containers start under a profile that allows these calls, and answers EPERM to the others.
    fn always_starts_under(&self, names: &[&str]) -> anyhow::Result<bool> {
        let id = format!("sc-record-baseline-{}-trial", std::process::id());
        let seccomp = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": [Arch::NATIVE.oci_name()],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        });
        let directory = self.directory(&id, &["/program"], &seccomp)?;
        for _ in 0..TRIALS {
            let mut run = self.runtime();
            run.args(["run", "--bundle"]).arg(&directory).arg(&id);
            // Only this shows that the program is executed; the other way is that of engines.
            let mut starts = run.output()?.status.success();
            if starts {
                let mut start = self.create_and_start(&directory, &id);
                starts = start.output()?.status.success();
            }
            self.delete(&id);
            if !starts {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Starts a container whose program ends at once, or such a program in a container.
    fn start(
        &self,
        number: u64,
        container: Option<&RunningContainer<'_>>,
    ) -> anyhow::Result<std::process::Child> {
        let mut command = self.runtime();
        if let Some(RunningContainer(_, id)) = container {
            let process = self.room.join(PROCESS);
            command.arg("exec").arg("--process").arg(process).arg(id);
        } else {
            let id = container_id(number);
            let directory = self.directory(&id, &["/program"], &self.seccomp)?;
            command = self.create_and_start(&directory, &id);
        }
        Ok(command.spawn()?)
    }

    /// Starts a container as engines do: crun then makes other calls than with `run`.
    fn create_and_start(&self, directory: &Path, id: &str) -> Command {
        let script = r#""$0" --root "$1" create --bundle "$2" "$3" && "$0" --root "$1" start "$3""#;
        let mut command = Command::new("sh");
        command.args(["-c", script, self.runtime.name()]);
        command.arg(self.room.join("state")).arg(directory).arg(id);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::piped());
        command
    }

    fn delete(&self, id: &str) {
        // It may never have been there.
        let _ = self.runtime().args(["delete", "--force", id]).output();
    }
}

fn container_id(number: u64) -> String {
    format!("sc-record-baseline-{}-{number}", std::process::id())
}

impl Drop for RunningContainer<'_> {
    fn drop(&mut self) {
        // The container is of no use to anyone.
        self.0.delete(self.1);
    }
}

/// A program for any Linux of this architecture: it exits, or with an argument it waits for a signal.
fn program_file() -> Option<Vec<u8>> {
    /// `e_machine` of `x86_64`.
    const X86_64: u16 = 62;
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    #[rustfmt::skip]
    const CODE: &[u8] = &[
        0x8b, 0x04, 0x24, // mov eax, [rsp]: the number of arguments
        0x83, 0xf8, 0x01, // cmp eax, 1
        0x74, 0x07, // je exit
        0xb8, 34, 0, 0, 0, // mov eax, pause
        0x0f, 0x05, // syscall
        0xb8, 60, 0, 0, 0, // exit: mov eax, exit
        0x31, 0xff, // xor edi, edi
        0x0f, 0x05, // syscall
    ];
    if Arch::NATIVE != Arch::X86_64 {
        return None;
    }
    let length = HEADERS + CODE.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    // The header: an executable file with one segment, which is the whole file (elf(5)).
    file.extend(2u16.to_le_bytes());
    file.extend(X86_64.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for offset in [BASE + HEADERS, 64, 0] {
        file.extend(offset.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // PT_LOAD, readable and executable.
    file.extend(1u32.to_le_bytes());
    file.extend(5u32.to_le_bytes());
    for value in [0, BASE, BASE, length, length, 0x1000] {
        file.extend(value.to_le_bytes());
    }
    file.extend(CODE);
    Some(file)
}

/// Says when the agent listens.
struct ListeningObserver(mpsc::Sender<()>);

impl Observer for ListeningObserver {
    fn notice(&mut self, notice: Notice) {
        if let Notice::Ready(_) = notice {
            // Fails if the receiver has gone.
            let _ = self.0.send(());
        }
    }
}
