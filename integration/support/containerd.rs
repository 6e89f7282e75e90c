//! A containerd of the tests' own, with the client of its CRI that the kubelet would be.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::bundle::Bundle;
use super::process::{Room, Running, until};

/// containerd with one image, busybox.
pub(crate) struct Containerd<'a> {
    room: &'a Room,
    directory: PathBuf,
    running: Option<Running>,
}

const IMAGE: &str = "localhost/busybox:1";

/// How a container of a pod ended.
pub(crate) struct Ended {
    pub(crate) code: u64,
    /// What it printed, on stdout and stderr.
    pub(crate) output: String,
}

impl<'a> Containerd<'a> {
    pub(crate) fn start(room: &'a Room) -> Containerd<'a> {
        let directory = room.directory();
        let mut containerd = Containerd {
            room,
            directory,
            running: None,
        };
        let at = |name: &str| containerd.directory.join(name).display().to_string();
        // Without CAP_SYS_RESOURCE the scores of the pause container can't be lowered.
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n[grpc]\naddress = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{IMAGE}\"\nrestrict_oom_score_adj = true\n",
            at("root"),
            at("state"),
            containerd.socket().display().to_string()
        );
        std::fs::write(at("config.toml"), config).unwrap();
        let mut command = Command::new("containerd");
        containerd.running = Some(room.spawn(command.arg("--config").arg(at("config.toml"))));
        until("containerd to serve", || {
            containerd.ctr(&["version"]).0 == 0
        });
        containerd.import();
        containerd
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("state/s")
    }

    fn ctr(&self, args: &[&str]) -> (i32, String) {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.socket());
        ctr.args(["--namespace", "k8s.io"]).args(args);
        let ended = self.room.spawn(&mut ctr).wait(self.room);
        (ended.code(), ended.stderr)
    }

    /// Imports the image, as `docker save` would write it.
    fn import(&self) {
        let root = Bundle::new(self.room, "runc").root();
        let script = r#"
            set -e
            cd "$1"
            tar -C "$2" -cf layer.tar .
            cat >config.json <<END
            {"architecture": "$(dpkg --print-architecture)", "os": "linux",
             "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "1000"]},
             "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum <layer.tar | cut -d' ' -f1)"]}}
END
            echo '[{"Config": "config.json", "RepoTags": ["'$3'"], "Layers": ["layer.tar"]}]' >manifest.json
            tar -cf image.tar layer.tar config.json manifest.json
        "#;
        let mut tar = Command::new("sh");
        tar.args(["-c", script, "sh"])
            .arg(&self.directory)
            .arg(root)
            .arg(IMAGE);
        let made = self.room.spawn(&mut tar).wait(self.room);
        assert_eq!(made.code(), 0, "{}", made.stderr);
        let image = self.directory.join("image.tar").display().to_string();
        let (code, stderr) = self.ctr(&["images", "import", &image]);
        assert_eq!(code, 0, "{stderr}");
    }

    /// Runs a shell command in a container of a new pod, as the kubelet would under the `Localhost` profile in this file:
    /// it hands over the path.
    pub(crate) fn run_pod(&self, profile: Option<&Path>, line: &str) -> Result<Ended, String> {
        let name = self.room.fresh("pod");
        let name = name.file_name().unwrap().to_str().unwrap();
        self.run_pod_named(name, profile, line)
    }

    /// The same with a pod of this name.
    pub(crate) fn run_pod_named(
        &self,
        name: &str,
        profile: Option<&Path>,
        line: &str,
    ) -> Result<Ended, String> {
        /// `NODE`: the network needs no CNI plugin.
        const HOST_NETWORK: u64 = 2;
        const LOCALHOST: u64 = 2;
        let logs = self.room.directory();
        let metadata = [text(1, name), text(2, name), text(3, "tests")].concat();
        let options = nest(8, &nest(2, &nest(1, &number(1, HOST_NETWORK))));
        let pod = [nest(1, &metadata), text(3, logs.to_str().unwrap()), options].concat();
        let sandbox = first_text(&self.call("RunPodSandbox", &nest(1, &pod))?);

        let security = profile.map(|path| {
            let localhost = [number(1, LOCALHOST), text(2, path.to_str().unwrap())].concat();
            nest(15, &nest(2, &nest(15, &localhost)))
        });
        let command = ["/bin/sh", "-c", line].map(|arg| text(3, arg)).concat();
        let container = [
            nest(1, &text(1, "c")),
            nest(2, &text(1, IMAGE)),
            command,
            text(11, "log"),
            security.unwrap_or_default(),
        ]
        .concat();
        let create = [text(1, &sandbox), nest(2, &container), nest(3, &pod)].concat();
        let ended = self.call("CreateContainer", &create).and_then(|created| {
            let id = text(1, &first_text(&created));
            self.call("StartContainer", &id)?;
            self.wait(&id)
        });
        let sandbox = text(1, &sandbox);
        self.call("StopPodSandbox", &sandbox)?;
        self.call("RemovePodSandbox", &sandbox)?;
        let log = std::fs::read_to_string(logs.join("log")).unwrap_or_default();
        // TIME STREAM F TEXT
        let lines = log.lines().filter_map(|line| line.splitn(4, ' ').nth(3));
        let output = lines.flat_map(|line| [line, "\n"]).collect();
        Ok(Ended {
            code: ended?,
            output,
        })
    }

    /// Waits until a container has exited, and returns its status.
    fn wait(&self, id: &[u8]) -> Result<u64, String> {
        const EXITED: u64 = 2;
        let mut code = Ok(0);
        until("the container to end", || {
            match self.call("ContainerStatus", id) {
                Ok(answer) => {
                    let status = field(&answer, 1)
                        .map(|(_, status)| status)
                        .unwrap_or_default();
                    let is_over = field(status, 3).is_some_and(|(state, _)| state == EXITED);
                    code = Ok(field(status, 7).map_or(0, |(code, _)| code));
                    is_over
                }
                Err(error) => {
                    code = Err(error);
                    true
                }
            }
        });
        code
    }

    /// Calls a method of the CRI's runtime service: gRPC, which curl speaks well enough.
    fn call(&self, method: &str, message: &[u8]) -> Result<Vec<u8>, String> {
        let headers = self.room.fresh("h");
        let output = self.room.fresh("o");
        let input = self.room.fresh("i");
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        let mut file = std::fs::File::create(&input).unwrap();
        file.write_all(&[&[0], &length[..], message].concat())
            .unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http2-prior-knowledge", "--unix-socket"])
            .arg(self.socket());
        curl.args([
            "-H",
            "content-type: application/grpc",
            "-H",
            "te: trailers",
            "-D",
        ])
        .arg(&headers);
        curl.args(["--data-binary", &format!("@{}", input.display())]);
        curl.arg(format!(
            "http://localhost/runtime.v1.RuntimeService/{method}"
        ));
        let create = |path: &Path| std::fs::File::create(path).unwrap();
        let errors = self.room.fresh("e");
        let running =
            self.room
                .spawn_on(&mut curl, Stdio::null(), create(&output), create(&errors));
        let ended = running.wait(self.room);
        let headers = std::fs::read_to_string(headers).unwrap_or_default();
        let of = |name: &str| {
            headers
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        match of("grpc-status:") {
            Some("0") => Ok(std::fs::read(output).unwrap()[5..].to_vec()),
            Some(_) => Err(format!(
                "{method}: {}",
                of("grpc-message:").unwrap_or_default()
            )),
            None => panic!("{method}: curl ended with {}: {headers}", ended.code()),
        }
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        // SIGTERM, for it to release its mounts.
        running.signal(nix::sys::signal::Signal::SIGTERM);
        running.wait(self.room);
    }
}

// Protocol buffers: fields by their numbers in the CRI's api.proto.

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn nest(field: u64, message: &[u8]) -> Vec<u8> {
    [
        varint(field << 3 | 2),
        varint(message.len() as u64),
        message.to_vec(),
    ]
    .concat()
}

fn text(field: u64, text: &str) -> Vec<u8> {
    nest(field, text.as_bytes())
}

/// A field of a message, as a number and as bytes: only one of them is set.
fn field(mut message: &[u8], wanted: u64) -> Option<(u64, &[u8])> {
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let (value, bytes) = match key & 7 {
            0 => (take_varint(&mut message)?, &[][..]),
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                (0, bytes)
            }
            _ => return None,
        };
        if key >> 3 == wanted {
            return Some((value, bytes));
        }
    }
    None
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The id that a new pod or container got.
fn first_text(message: &[u8]) -> String {
    let (_, text) = field(message, 1).unwrap();
    String::from_utf8(text.to_vec()).unwrap()
}
