//! The message of a runtime: the container process state and the listener's descriptor.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use serde::Deserialize;

use crate::backend::listener::keeper::receive;
use crate::backend::proc;
use crate::event::Task;
use crate::syscall::{Arch, Syscall};

/// The maximum length of a message. Annotations can be long.
const MAX_MESSAGE: usize = 4 << 20;

/// The maximum size of a bundle's configuration.
const MAX_CONFIG: u64 = 32 << 20;

/// The specification's name for the descriptor.
const SECCOMP_FD: &str = "seccompFd";

/// A runtime that is handing over a container.
pub(super) struct Connection {
    stream: UnixStream,
    message: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    runtime: Option<String>,
}

pub(super) enum HandOverProgress {
    More,
    Done(Box<HandOver>),
}

/// A container that was handed over.
pub(super) struct HandOver {
    pub(super) listener: OwnedFd,
    /// The original message.
    pub(super) message: Vec<u8>,
    pub(super) state: ProcessState,
    /// The file name of the program that sent it.
    pub(super) runtime: Option<String>,
}

/// The used fields of `ContainerProcessState`. Runtimes leave out fields that the specification requires.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessState {
    #[serde(default)]
    fds: Vec<String>,
    /// The process under the filter.
    #[serde(default)]
    pub(super) pid: i32,
    #[serde(default)]
    pub(super) metadata: String,
    pub(super) state: ContainerState,
    #[serde(default, rename = "scRecordResumed")]
    pub(super) resumed: bool,
}

#[derive(Deserialize)]
pub(super) struct ContainerState {
    pub(super) id: String,
    /// The container's init.
    #[serde(default)]
    pub(super) pid: i32,
    #[serde(default)]
    bundle: PathBuf,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        let peer = getsockopt(&stream, sockopt::PeerCredentials).ok();
        let runtime = peer.and_then(|peer| {
            let path = proc::name_as_called(Task(peer.pid()))?;
            Some(path.file_name()?.to_string_lossy().into_owned())
        });
        Ok(Connection {
            stream,
            message: Vec::new(),
            descriptors: Vec::new(),
            runtime,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads the available bytes. The message ends with its JSON value, since runtimes keep the connection open.
    pub(super) fn read(&mut self) -> io::Result<HandOverProgress> {
        loop {
            let mut buffer = [0; 8192];
            let received = match receive(self.stream.as_fd(), &mut buffer) {
                Err(Errno::EAGAIN) => return Ok(HandOverProgress::More),
                Err(Errno::EINTR) => continue,
                received => received?,
            };
            let (length, descriptors) = received;
            self.descriptors.extend(descriptors);
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.message.extend(&buffer[..length]);
            let mut parser = serde_json::Deserializer::from_slice(&self.message).into_iter();
            match parser.next() {
                Some(Ok(state)) => {
                    return self.done(state).map(Box::new).map(HandOverProgress::Done);
                }
                Some(Err(error)) if !error.is_eof() => return Err(error.into()),
                _ if self.message.len() > MAX_MESSAGE => {
                    return Err(io::Error::other("the message is too long"));
                }
                _ => {}
            }
        }
    }

    fn done(&mut self, state: ProcessState) -> io::Result<HandOver> {
        let index = state.fds.iter().position(|name| name == SECCOMP_FD);
        let index = index.filter(|&index| index < self.descriptors.len());
        let index = index.ok_or_else(|| io::Error::other("no descriptor of a listener came"))?;
        Ok(HandOver {
            listener: self.descriptors.swap_remove(index),
            message: std::mem::take(&mut self.message),
            state,
            runtime: self.runtime.take(),
        })
    }
}

impl HandOver {
    pub(super) fn id(&self) -> &str {
        &self.state.state.id
    }

    /// The bundle's configuration, which the runtime has read.
    pub(super) fn config(&self) -> io::Result<Config> {
        let path = self.state.state.bundle.join("config.json");
        let file = std::fs::File::open(path)?;
        Ok(serde_json::from_reader(io::BufReader::new(
            file.take(MAX_CONFIG),
        ))?)
    }

    /// The name of the recording: from the profile, an annotation or the image, or else the container's short id.
    pub(super) fn name(&self, annotations: &BTreeMap<String, String>) -> String {
        let given = Some(&self.state.metadata).filter(|metadata| !metadata.is_empty());
        let annotated = annotations.get("sc-record.name");
        let image = || image(annotations).map(|image| short(image));
        let given = given.or(annotated).cloned();
        given
            .or_else(image)
            .unwrap_or_else(|| self.id().chars().take(12).collect())
    }
}

/// The image of a container, from the engine's annotations.
pub(super) fn image(annotations: &BTreeMap<String, String>) -> Option<&String> {
    const KEYS: [&str; 4] = [
        "io.kubernetes.cri.image-name",
        "io.kubernetes.cri-o.ImageName",
        "org.opencontainers.image.ref.name",
        "org.opencontainers.image.title",
    ];
    KEYS.iter().find_map(|key| annotations.get(*key))
}

/// An image's name without registry, tag and digest.
fn short(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let name = Path::new(name).file_name().unwrap_or_default();
    let name = name.to_string_lossy();
    name.split(':').next().unwrap_or_default().to_owned()
}

/// The used fields of a bundle's configuration.
#[derive(Default, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Default, Deserialize)]
struct Linux {
    seccomp: Option<Seccomp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    default_action: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    names: Vec<String>,
    action: String,
    #[serde(default)]
    args: Option<Vec<serde::de::IgnoredAny>>,
}

impl Config {
    /// Whether the filter has `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`.
    pub(super) fn waits_killable(&self) -> bool {
        let profile = self.linux.as_ref().and_then(|linux| linux.seccomp.as_ref());
        let is_it = |flag: &String| flag == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV";
        profile.is_some_and(|profile| profile.flags.iter().any(is_it))
    }

    /// The calls that the profile executes without a notification; `None` if they can't be listed.
    pub(super) fn not_observed(&self) -> Option<BTreeSet<Syscall>> {
        let executes =
            |action: &str| matches!(action, "SCMP_ACT_ALLOW" | "SCMP_ACT_LOG" | "SCMP_ACT_TRACE");
        let profile = self.linux.as_ref()?.seccomp.as_ref()?;
        if executes(&profile.default_action) {
            return None;
        }
        let arches = profile.architectures.iter();
        let arches: BTreeSet<Arch> = arches
            .filter_map(|name| Arch::from_oci_name(name))
            .chain([Arch::NATIVE])
            .collect();
        let rules = profile.syscalls.iter();
        let passing = rules.filter(|rule| {
            let for_some_arguments = rule.args.as_ref().is_some_and(|args| !args.is_empty());
            executes(&rule.action) || for_some_arguments
        });
        let names = passing.flat_map(|rule| &rule.names);
        let on_all = |name: &String| {
            let name = name.clone();
            let arches = arches.clone().into_iter();
            arches.filter_map(move |arch| Syscall::from_name(arch, &name))
        };
        Some(names.flat_map(on_all).collect())
    }
}

#[cfg(test)]
mod tests;
