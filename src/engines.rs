//! Container engines, asked over their sockets for the containers that a selector names: Docker's API, which Podman's service has
//! too.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::backend::Over;

/// Which containers are meant, by what their engine knows of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Those with this name.
    Name(String),
    /// Those of this image: a reference as in `docker run`. Without a tag or a digest: any.
    Image(String),
    /// Those with this label: `KEY` or `KEY=VALUE`.
    Label(String),
}

/// The text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a selector is name=NAME, image=IMAGE, label=KEY or label=KEY=VALUE")]
pub struct NotASelector;

impl FromStr for Selector {
    type Err = NotASelector;

    fn from_str(text: &str) -> Result<Selector, NotASelector> {
        let (key, value) = text.split_once('=').ok_or(NotASelector)?;
        let value = value.to_owned();
        match key {
            _ if value.is_empty() => Err(NotASelector),
            "name" => Ok(Selector::Name(value)),
            "image" => Ok(Selector::Image(value)),
            "label" => Ok(Selector::Label(value)),
            _ => Err(NotASelector),
        }
    }
}

impl Selector {
    /// What the containers have in common.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Selector::Name(value) | Selector::Image(value) | Selector::Label(value) => value,
        }
    }

    fn selects(&self, container: &ContainerInfo) -> bool {
        match self {
            Selector::Name(name) => *name == container.name,
            Selector::Image(wanted) => {
                let last = wanted.rsplit('/').next().unwrap_or(wanted);
                let image = if last.contains([':', '@']) {
                    container.image.as_str()
                } else {
                    untagged(&container.image)
                };
                // Podman knows `localhost/IMAGE`, Docker what was given.
                image
                    .strip_suffix(wanted.as_str())
                    .is_some_and(|registry| registry.is_empty() || registry.ends_with('/'))
            }
            Selector::Label(label) => match label.split_once('=') {
                Some((key, value)) => container.labels.get(key).is_some_and(|is| is == value),
                None => container.labels.contains_key(label),
            },
        }
    }
}

/// An image's reference without its tag and digest.
fn untagged(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // The other colon is that of a port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// What an engine knows of a container.
struct ContainerInfo {
    name: String,
    image: String,
    labels: BTreeMap<String, String>,
}

/// No engine answers.
#[derive(Debug, thiserror::Error)]
pub enum EnginesError {
    /// There is no socket where one is expected.
    #[error(
        "no container engine has a socket: neither Docker ({DOCKER}) nor Podman ({PODMAN}, by `podman system service`); \
         DOCKER_HOST and CONTAINER_HOST (unix://PATH) name others"
    )]
    None,
    /// An engine fails to answer.
    #[error("the container engine at {} doesn't answer", socket.display())]
    Failed {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
}

const DOCKER: &str = "/run/docker.sock";
const PODMAN: &str = "/run/podman/podman.sock";

/// How often engines are asked while containers run.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long an engine may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What an engine answers at most.
const MOST_BYTES: u64 = 256 << 20;

/// Containers that a selector names, and those that it will name: an engine's events have also what is gone by now.
///
/// Clones share them.
#[derive(Clone)]
pub struct Selected(Arc<Mutex<State>>);

struct State {
    selector: Selector,
    engines: Vec<EngineSocket>,
    /// Events since then are not known yet.
    since: SystemTime,
    asked: Instant,
    /// By the first twelve digits of their ids.
    containers: BTreeMap<String, Known>,
}

#[derive(Clone)]
struct EngineSocket {
    socket: PathBuf,
    is_podman: bool,
}

struct Known {
    name: String,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Created,
    Runs,
    Ended,
}

impl Selected {
    /// Asks the engines of this machine for the containers that run, and from now on for those that start.
    pub fn begin(selector: Selector) -> Result<Selected, EnginesError> {
        let mut state = State {
            selector,
            engines: Vec::new(),
            since: SystemTime::now(),
            asked: Instant::now(),
            containers: BTreeMap::new(),
        };
        for socket in sockets() {
            // Podman's list fails if a container is removed meanwhile.
            let found = (0..10).find_map(|_| running(&socket).ok());
            let found = found.map_or_else(|| running(&socket), Ok);
            let (is_podman, running) = found.map_err(|source| failed(&socket, source))?;
            for (id, container) in running {
                state.take(&id, &container, Some(Phase::Runs));
            }
            state.engines.push(EngineSocket { socket, is_podman });
        }
        if state.engines.is_empty() {
            return Err(EnginesError::None);
        }
        Ok(Selected(Arc::new(Mutex::new(state))))
    }

    /// Says whether none runs that was selected; `waits`: since all have ended.
    #[must_use]
    pub fn over(&self, waits: bool) -> Over {
        let selected = self.clone();
        Over(Arc::new(move || {
            let mut state = selected.lock();
            let is_over = |state: &State| {
                let mut phases = state.containers.values().map(|known| known.phase);
                if waits {
                    !state.containers.is_empty() && phases.all(|phase| phase == Phase::Ended)
                } else {
                    phases.all(|phase| phase != Phase::Runs)
                }
            };
            if state.asked.elapsed() < INTERVAL && (waits || !is_over(&state)) {
                return false;
            }
            // An engine that doesn't answer now may do so later.
            state.ask().is_ok() && is_over(&state)
        }))
    }

    /// All that were selected, by the first twelve digits of their ids, with their names.
    pub fn containers(&self) -> Result<BTreeMap<String, String>, EnginesError> {
        let mut state = self.lock();
        state.ask()?;
        let known = state.containers.iter();
        Ok(known
            .map(|(id, known)| (id.clone(), known.name.clone()))
            .collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent after every step, also if another thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes what has happened since the last time.
    fn ask(&mut self) -> Result<(), EnginesError> {
        let now = SystemTime::now();
        for engine in self.engines.clone() {
            let events = events(&engine, self.since, now);
            for event in events.map_err(|source| failed(&engine.socket, source))? {
                let phase = match event.action.as_str() {
                    "start" => Some(Phase::Runs),
                    // Some are Podman's.
                    "die" | "died" | "destroy" | "remove" => Some(Phase::Ended),
                    _ => None,
                };
                let id = event.actor.id;
                let mut labels = event.actor.attributes;
                let container = ContainerInfo {
                    name: labels.remove("name").unwrap_or_default(),
                    image: labels.remove("image").unwrap_or_default(),
                    labels,
                };
                self.take(&id, &container, phase);
            }
        }
        // Events that happen at the same time may arrive later; those that come twice do no harm.
        self.since = now - Duration::from_secs(1);
        self.asked = Instant::now();
        Ok(())
    }

    fn take(&mut self, id: &str, container: &ContainerInfo, phase: Option<Phase>) {
        let id = id.get(..12).unwrap_or(id);
        if !self.containers.contains_key(id) && !self.selector.selects(container) {
            return;
        }
        let known = self.containers.entry(id.to_owned()).or_insert(Known {
            name: container.name.clone(),
            phase: Phase::Created,
        });
        known.phase = phase.unwrap_or(known.phase);
    }
}

fn failed(socket: &Path, source: io::Error) -> EnginesError {
    EnginesError::Failed {
        socket: socket.to_owned(),
        source,
    }
}

/// The sockets that the environment names, or those that exist at the usual places.
fn sockets() -> Vec<PathBuf> {
    let named = ["DOCKER_HOST", "CONTAINER_HOST"]
        .into_iter()
        .filter_map(|name| {
            let value = std::env::var(name).ok()?;
            value.strip_prefix("unix://").map(PathBuf::from)
        });
    let named: Vec<_> = named.collect();
    if !named.is_empty() {
        return named;
    }
    let of_user = std::env::var_os("XDG_RUNTIME_DIR");
    let of_user = of_user.map(|directory| Path::new(&directory).join("podman/podman.sock"));
    let usual = [DOCKER, PODMAN].map(PathBuf::from).into_iter();
    usual.chain(of_user).filter(|path| path.exists()).collect()
}

#[derive(Deserialize)]
struct EngineEvent {
    #[serde(rename = "Action")]
    action: String,
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

/// Whether an engine is Podman, and its containers that run.
fn running(socket: &Path) -> io::Result<(bool, Vec<(String, ContainerInfo)>)> {
    let (headers, body) = get(socket, "/containers/json")?;
    let is_podman = memchr::memmem::find(&headers, b"\nLibpod-Api-Version:").is_some();
    let listed: Vec<Listed> = serde_json::from_slice(&body)?;
    let containers = listed.into_iter().map(|listed| {
        let name = listed.names.into_iter().flatten().next();
        let name = name.unwrap_or_default();
        let container = ContainerInfo {
            name: name.trim_start_matches('/').to_owned(),
            image: listed.image,
            labels: listed.labels.unwrap_or_default(),
        };
        (listed.id, container)
    });
    Ok((is_podman, containers.collect()))
}

/// What happened to containers.
fn events(
    engine: &EngineSocket,
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
    let end = if engine.is_podman {
        "stream=false".to_owned()
    } else {
        format!("until={until}")
    };
    let path = format!("/events?since={since}&{end}&filters={filters}");
    let (_, body) = get(&engine.socket, &path)?;
    let events = serde_json::Deserializer::from_slice(&body).into_iter();
    events.map(|event| Ok(event?)).collect()
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
    fn containers_are_selected_by_what_their_engine_knows() {
        let container = ContainerInfo {
            name: "web".to_owned(),
            image: "localhost:5000/team/nginx:1.25".to_owned(),
            labels: [("app".to_owned(), "shop".to_owned())].into(),
        };
        for (selector, expected) in [
            ("name=web", true),
            ("name=we", false),
            ("image=nginx", true),
            ("image=nginx:1.25", true),
            ("image=nginx:1.26", false),
            ("image=team/nginx", true),
            ("image=localhost:5000/team/nginx", true),
            ("image=ginx", false),
            ("label=app", true),
            ("label=app=shop", true),
            ("label=app=blog", false),
            ("label=sho", false),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.selects(&container), expected, "{selector}");
        }
        for text in ["web", "name=", "status=up"] {
            assert_eq!(text.parse::<Selector>(), Err(NotASelector), "{text}");
        }
    }
}
