//! Docker's API, which Podman's service has too.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::ContainerInfo;

pub(super) const DOCKER: &str = "/run/docker.sock";
pub(super) const PODMAN: &str = "/run/podman/podman.sock";

/// How long an engine may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What an engine answers at most.
const MOST_BYTES: u64 = 256 << 20;

/// The containers that run, with their ids.
type Running = Vec<(String, ContainerInfo)>;

#[derive(Clone)]
pub(super) struct EngineSocket {
    pub(super) socket: PathBuf,
    is_podman: bool,
    /// Of Docker.
    version: Option<String>,
}

/// The sockets that the environment names, or those that exist at the usual places.
pub(super) fn sockets() -> Vec<PathBuf> {
    let named = ["DOCKER_HOST", "CONTAINER_HOST"]
        .into_iter()
        .filter_map(|name| {
            let value = std::env::var(name).ok()?;
            value.strip_prefix("unix://").map(PathBuf::from)
        });
    let named: Vec<_> = named.collect();
    if !named.is_empty() || super::containerd::named().is_some() {
        return named;
    }
    let of_user = std::env::var_os("XDG_RUNTIME_DIR");
    let of_user = of_user.map(|directory| Path::new(&directory).join("podman/podman.sock"));
    let usual = [DOCKER, PODMAN].map(PathBuf::from).into_iter();
    usual.chain(of_user).filter(|path| path.exists()).collect()
}

#[derive(Deserialize)]
pub(super) struct EngineEvent {
    #[serde(rename = "Action")]
    pub(super) action: String,
    #[serde(rename = "Actor")]
    actor: Actor,
}

#[derive(Deserialize)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    /// The name, the image, and the labels.
    #[serde(rename = "Attributes", default)]
    attributes: BTreeMap<String, String>,
}

/// An entry of the list of containers.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Id")]
    id: String,
    /// Each with a slash before it.
    #[serde(rename = "Names", default)]
    names: Option<Vec<String>>,
    #[serde(rename = "Image")]
    image: String,
    #[serde(rename = "Labels", default)]
    labels: Option<BTreeMap<String, String>>,
}

impl EngineEvent {
    /// The id of its container, and what it says of it.
    pub(super) fn container(self) -> (String, ContainerInfo) {
        let mut labels = self.actor.attributes;
        let container = ContainerInfo {
            name: labels.remove("name").unwrap_or_default(),
            image: labels.remove("image").unwrap_or_default(),
            labels,
            pod: None,
        };
        (self.actor.id, container)
    }
}

impl EngineSocket {
    /// Asks an engine for the containers that run, with their ids.
    pub(super) fn find(socket: &Path) -> io::Result<(EngineSocket, Running)> {
        // Podman's list fails if a container is removed meanwhile.
        let found = (0..10).find_map(|_| running(socket).ok());
        let (headers, running) = found.map_or_else(|| running(socket), Ok)?;
        let engine = EngineSocket {
            socket: socket.to_owned(),
            is_podman: memchr::memmem::find(&headers, b"\nLibpod-Api-Version:").is_some(),
            version: docker_version(&headers),
        };
        Ok((engine, running))
    }

    /// Docker's version, if it drops the flags of profiles.
    pub(super) fn drops_flags(&self) -> Option<&str> {
        let version = self.version.as_deref()?;
        let major: u32 = version.split('.').next()?.parse().ok()?;
        (major < 23).then_some(version)
    }

    /// What happened to containers.
    pub(super) fn events(
        &self,
        since: SystemTime,
        until: SystemTime,
    ) -> io::Result<Vec<EngineEvent>> {
        let [since, until] = [since, until].map(|time| {
            let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            format!("{}.{:09}", time.as_secs(), time.subsec_nanos())
        });
        // {"type":["container"]}
        let filters = "%7B%22type%22%3A%5B%22container%22%5D%7D";
        // Without an end, Docker waits for more events. With one, Podman 4.3 leaves events out.
        let end = if self.is_podman {
            "stream=false".to_owned()
        } else {
            format!("until={until}")
        };
        let path = format!("/events?since={since}&{end}&filters={filters}");
        let (_, body) = get(&self.socket, &path)?;
        let events = serde_json::Deserializer::from_slice(&body).into_iter();
        events.map(|event| Ok(event?)).collect()
    }
}

/// The version in `Server: Docker/20.10.24 (linux)`.
fn docker_version(headers: &[u8]) -> Option<String> {
    let headers = String::from_utf8_lossy(headers);
    let mut lines = headers.lines();
    let server = lines.find_map(|line| line.strip_prefix("Server: Docker/"))?;
    server.split_whitespace().next().map(str::to_owned)
}

/// The headers of an engine's answer, and its containers that run.
fn running(socket: &Path) -> io::Result<(Vec<u8>, Running)> {
    let (headers, body) = get(socket, "/containers/json")?;
    let listed: Vec<Listed> = serde_json::from_slice(&body)?;
    let containers = listed.into_iter().map(|listed| {
        let name = listed.names.into_iter().flatten().next();
        let name = name.unwrap_or_default();
        let container = ContainerInfo {
            name: name.trim_start_matches('/').to_owned(),
            image: listed.image,
            labels: listed.labels.unwrap_or_default(),
            pod: None,
        };
        (listed.id, container)
    });
    Ok((headers, containers.collect()))
}

/// The headers and the body of an answer. In version 1.0 of HTTP it comes as it is, and ends with the connection.
fn get(socket: &Path, path: &str) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MOST_BYTES).read_to_end(&mut answer)?;
    let end = memchr::memmem::find(&answer, b"\r\n\r\n");
    let status = answer
        .split(|&byte| byte == b'\r')
        .next()
        .unwrap_or_default();
    match end {
        Some(end) if status.split(|&byte| byte == b' ').nth(1) == Some(b"200") => {
            let body = answer.split_off(end + 4);
            Ok((answer, body))
        }
        _ => Err(io::Error::other(
            String::from_utf8_lossy(status).into_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_before_version_23_drops_the_flags_of_profiles() {
        for (server, expected) in [
            ("Docker/20.10.24+dfsg1 (linux)", Some("20.10.24+dfsg1")),
            ("Docker/23.0.0 (linux)", None),
            ("Libpod/4.3.1 (linux)", None),
        ] {
            let headers = format!("HTTP/1.0 200 OK\r\nOstype: linux\r\nServer: {server}\r\n");
            let engine = EngineSocket {
                socket: PathBuf::new(),
                is_podman: false,
                version: docker_version(headers.as_bytes()),
            };
            assert_eq!(engine.drops_flags(), expected, "{server}");
        }
    }
}
