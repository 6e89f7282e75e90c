//! Container engines: dockerd, Podman and containerd, with their files in a directory of the tests, and an image of busybox.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Once, OnceLock};

use super::process::{Ended, Room, Running, path, until};
use super::recordings::repository;

/// The image, and the shell command's applets in it.
pub(crate) const IMAGE: &str = "sc-record-tests";
const APPLETS: [&str; 14] = [
    "sh", "cat", "ls", "mkdir", "rm", "unshare", "sleep", "true", "grep", "kill", "chroot", "sync",
    "touch", "id",
];

/// A way to start containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    Docker,
    PodmanRunc,
    PodmanCrun,
    Ctr,
}

impl Engine {
    /// The name of its command line.
    pub(crate) fn client(self) -> &'static str {
        match self {
            Engine::Docker => "docker",
            Engine::PodmanRunc | Engine::PodmanCrun => "podman",
            Engine::Ctr => "ctr",
        }
    }

    /// A program that uses this engine.
    pub(crate) fn command(self, program: &str) -> Command {
        let engines = Engines::get();
        let mut command = match self {
            // crun can't make the device rules of version 2 here (RLIMIT_MEMLOCK), so it gets version 1 where both are mounted.
            Engine::PodmanCrun => {
                let mut command = Command::new("unshare");
                let version_1 = "if [ -e /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi; exec \"$@\"";
                command.args(["--mount", "sh", "-c", version_1, "sh", "env"]);
                command
            }
            _ => Command::new("env"),
        };
        let at = |file: &str| engines.directory.join(file).display().to_string();
        let socket = at("docker.sock");
        command.args(match self {
            Engine::Docker => vec![format!("DOCKER_HOST=unix://{socket}")],
            Engine::Ctr => vec![format!("CONTAINERD_ADDRESS={}", engines.containerd())],
            Engine::PodmanRunc | Engine::PodmanCrun => vec![
                format!("CONTAINERS_CONF={}", at(&format!("{self:?}.conf"))),
                format!("CONTAINERS_STORAGE_CONF={}", at("storage.conf")),
            ],
        });
        command.arg(program);
        command
    }

    /// The arguments of `run` that start a shell command in a container of a unique name.
    pub(crate) fn arguments(self, options: &[&str], name: &str, line: &str) -> Vec<String> {
        let mut arguments: Vec<String> = vec!["--rm".to_owned()];
        arguments.extend(options.iter().map(ToString::to_string));
        if self == Engine::Ctr {
            let files = Engines::get().directory.join("tree").display().to_string();
            arguments.extend(["--env=PATH=/bin", "--rootfs"].map(str::to_owned));
            arguments.extend([files, name.to_owned()]);
        } else {
            let more = ["--network", "none", "--name", name, IMAGE];
            arguments.extend(more.map(str::to_owned));
        }
        arguments.extend(["sh", "-c", line].map(str::to_owned));
        arguments
    }

    /// Starts the service of Podman, and returns the socket of the engine.
    pub(crate) fn socket(self, room: &Room) -> (String, Option<Running>) {
        let directory = &Engines::get().directory;
        if self == Engine::Docker {
            return (directory.join("docker.sock").display().to_string(), None);
        }
        let socket = room.directory().join("s");
        let mut service = self.command("podman");
        service.args(["system", "service", "--time=0"]);
        let service = room.spawn(service.arg(format!("unix://{}", socket.display())));
        until("Podman to serve", || UnixStream::connect(&socket).is_ok());
        (socket.display().to_string(), Some(service))
    }

    /// Where Podman looks for hooks.
    pub(crate) fn hooks() -> PathBuf {
        Engines::get().directory.join("hooks.d")
    }

    /// Runs the engine's client.
    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(self, room: &Room, arguments: &[S]) -> Ended {
        room.spawn(self.command(self.client()).args(arguments))
            .wait(room)
    }
}

struct Engines {
    directory: PathBuf,
    /// A shell that ends dockerd and removes the directory when this process has ended, however it ends.
    _janitor: Child,
}

impl Engines {
    /// Starts them when they are first needed.
    fn get() -> &'static Engines {
        static ENGINES: OnceLock<Engines> = OnceLock::new();
        ENGINES.get_or_init(Engines::start)
    }

    fn start() -> Engines {
        let directory = tempfile::Builder::new()
            .prefix("sc-record-engines-")
            .tempdir()
            .unwrap()
            .keep();
        write_configuration(&directory);
        image_tree(&directory.join("tree"));
        // The shell reads until the pipe closes with this process.
        let script = r#"
            cd "$0"
            tree=$0/tree
            export CONTAINERS_CONF="$0/PodmanRunc.conf" CONTAINERS_STORAGE_CONF="$0/storage.conf"
            dockerd --iptables=false --ip6tables=false --bridge=none --config-file "$0/daemon.json" \
                --data-root "$0/docker" --exec-root "$0/exec" --pidfile "$0/pid" -H "unix://$0/docker.sock" \
                --containerd-namespace sc-record-tests --containerd-plugins-namespace sc-record-tests-plugins \
                >dockerd.log 2>&1 &
            docker() { command docker -H "unix://$0/docker.sock" "$@"; }
            i=0
            until docker version >/dev/null 2>&1; do
                i=$((i+1)); [ $i -lt 600 ] || break
                sleep 0.1
            done
            if tar -C "$tree" -c . | docker import - "$IMAGE" >/dev/null &&
                tar -C "$tree" -c . | podman import -q - "$IMAGE" >/dev/null; then
                echo ready
            else
                echo failed
            fi
            read -r _
            for id in $(docker ps -aq); do timeout 20 docker -H "unix://$0/docker.sock" rm -f "$id"; done >/dev/null 2>&1
            podman rm -af >/dev/null 2>&1
            kill $!
            wait
            # Of containers that are stuck, after a test that failed.
            for stuck in $(pgrep -f "^[^ ]*(containerd-shim|runc|conmon)[^ ]* .*$0/"); do kill -KILL "$stuck"; done
            umount podman/overlay docker/overlay2 2>/dev/null
            cd /
            rm -rf --one-file-system "$0"
        "#;
        let mut janitor = Command::new("sh")
            .args(["-c", script])
            .arg(&directory)
            .env_clear()
            .env("PATH", path())
            .env("IMAGE", IMAGE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group_of_its_own()
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = janitor.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let log = || fs::read_to_string(directory.join("dockerd.log")).unwrap_or_default();
        assert_eq!(line, "ready\n", "the engines did not start:\n{}", log());
        Engines {
            directory,
            _janitor: janitor,
        }
    }

    /// The socket of containerd: dockerd's own, unless one runs on this machine.
    fn containerd(&self) -> String {
        let own = self.directory.join("exec/containerd/containerd.sock");
        if own.exists() {
            own.display().to_string()
        } else {
            "/run/containerd/containerd.sock".to_owned()
        }
    }
}

trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Command;
}

impl OwnGroup for Command {
    fn process_group_of_its_own(&mut self) -> &mut Command {
        use std::os::unix::process::CommandExt;
        // ^C ends this process only, and the shell then cleans up.
        self.process_group(0)
    }
}

fn write_configuration(directory: &Path) {
    let at = directory.display();
    fs::write(directory.join("daemon.json"), "{}\n").unwrap();
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{at}/podman\"\nrunroot = \"{at}/podman-run\"\n"
    );
    fs::write(directory.join("storage.conf"), storage).unwrap();
    for (engine, runtime) in [("PodmanRunc", "runc"), ("PodmanCrun", "crun")] {
        // No limits: raising them needs CAP_SYS_RESOURCE.
        let text = format!(
            "[containers]\ndefault_ulimits = []\n[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             runtime = \"{runtime}\"\ntmp_dir = \"{at}/podman-tmp\"\nhooks_dir = [\"{at}/hooks.d\"]\n"
        );
        fs::write(directory.join(format!("{engine}.conf")), text).unwrap();
    }
    fs::create_dir(directory.join("hooks.d")).unwrap();
}

/// The file system of the image.
fn image_tree(tree: &Path) {
    for directory in ["bin", "proc", "dev", "sys", "tmp", "etc"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    // Not by this process: see `Room::copy`.
    let busybox = tree.join("bin/busybox");
    let copied = Command::new("cp")
        .arg("/bin/busybox")
        .arg(&busybox)
        .status();
    assert!(copied.unwrap().success());
    for applet in APPLETS {
        symlink("busybox", tree.join("bin").join(applet)).unwrap();
    }
}

/// An image for programs of this machine: `/usr` is the machine's, and `integration/images/tree.sh` makes the rest when it is first
/// needed.
pub(crate) const PROGRAMS: &str = "sc-record-tests-programs";

/// The file system of an image, outside of the engines.
pub(crate) fn image_root(image: &str) -> PathBuf {
    static PROGRAMS_MADE: Once = Once::new();
    let directory = &Engines::get().directory;
    if image == IMAGE {
        return directory.join("tree");
    }
    let tree = directory.join("programs");
    PROGRAMS_MADE.call_once(|| {
        let room = Room::new();
        let script = repository().join("integration/images/tree.sh");
        let made = room.run(Command::new("sh").arg(script).arg(&tree));
        assert_eq!(made.code(), 0, "{}", made.stderr);
        for engine in [Engine::Docker, Engine::PodmanRunc] {
            let mut import = engine.command("sh");
            let line = "tar -C \"$1\" -c . | \"$2\" import - \"$3\"";
            import.args(["-c", line, "sh"]).arg(&tree);
            let made = room.run(import.args([engine.client(), PROGRAMS]));
            assert_eq!(made.code(), 0, "{}", made.stderr);
        }
    });
    tree
}

/// Waits until a container runs, and returns its id.
pub(crate) fn running(engine: Engine, room: &Room, name: &str) -> String {
    let mut id = String::new();
    until("the container to run", || {
        let format = "{{if .State.Running}}{{.Id}}{{end}}";
        let ended = engine.run(room, &["inspect", "--format", format, name]);
        ended.stdout.trim().clone_into(&mut id);
        !id.is_empty()
    });
    id
}

/// The bundle's configuration of a container of Docker, once it is written.
pub(crate) fn docker_config() -> Option<String> {
    let tasks = Engines::get()
        .directory
        .join("exec/containerd/daemon/io.containerd.runtime.v2.task/sc-record-tests");
    let bundles = fs::read_dir(tasks).ok()?.flatten();
    let mut texts = bundles.filter_map(|bundle| {
        let text = fs::read_to_string(bundle.path().join("config.json")).ok()?;
        text.contains("SCMP_ACT_NOTIFY").then_some(text)
    });
    texts.next()
}
