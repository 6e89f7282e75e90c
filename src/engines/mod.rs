//! The containers that a selector names, by what their engines know of them.

mod containerd;
mod docker;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io};

use nix::sys::signal::SigSet;

use crate::backend::Over;

/// Which containers are meant, by what their engine knows of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// Those with this name.
    Name(String),
    /// Those of this image: a reference as in `docker run`. Without a tag or a digest: any.
    Image(String),
    /// Those with this label: `KEY` or `KEY=VALUE`. containerd's annotations are meant too.
    Label(String),
    /// Those of this pod of Kubernetes: `NAME` or `NAMESPACE/NAME`.
    Pod(String),
}

/// The text is no selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a selector is name=NAME, image=IMAGE, label=KEY, label=KEY=VALUE, pod=NAME or pod=NAMESPACE/NAME"
)]
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
            "pod" => Ok(Selector::Pod(value)),
            _ => Err(NotASelector),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = match self {
            Selector::Name(_) => "name",
            Selector::Image(_) => "image",
            Selector::Label(_) => "label",
            Selector::Pod(_) => "pod",
        };
        write!(f, "{key}={}", self.value())
    }
}

impl Selector {
    /// What the containers have in common.
    #[must_use]
    pub fn value(&self) -> &str {
        match self {
            Selector::Name(value)
            | Selector::Image(value)
            | Selector::Label(value)
            | Selector::Pod(value) => value,
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
            Selector::Pod(pod) => container
                .pod
                .as_ref()
                .is_some_and(|[namespace, name]| match pod.split_once('/') {
                    Some(both) => both == (namespace.as_str(), name.as_str()),
                    None => pod == name,
                }),
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
#[derive(Default)]
struct ContainerInfo {
    name: String,
    image: String,
    labels: BTreeMap<String, String>,
    /// The namespace and the name of its pod.
    pod: Option<[String; 2]>,
}

/// No engine answers.
#[derive(Debug, thiserror::Error)]
pub enum EnginesError {
    /// There is no socket where one is expected.
    #[error(
        "no container engine is found: neither Docker ({}), nor Podman ({}, by `podman system service`), nor containerd ({}); \
         DOCKER_HOST, CONTAINER_HOST (unix://PATH) and CONTAINERD_ADDRESS (PATH) name others",
        docker::DOCKER, docker::PODMAN, containerd::USUAL[0]
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

/// How often engines are asked while containers run.
const INTERVAL: Duration = Duration::from_millis(500);

/// Containers that a selector names, and those that it will name: an engine's events have also what is gone by now.
///
/// Clones share them.
#[derive(Clone)]
pub struct Selected(Arc<Mutex<State>>);

struct State {
    selector: Selector,
    engines: Vec<docker::EngineSocket>,
    /// Events since then are not known yet.
    since: SystemTime,
    asked: Instant,
    /// By the first twelve digits of their ids.
    containers: BTreeMap<String, Known>,
    /// The same of those that were not selected when they were asked for.
    others: BTreeSet<String>,
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
        let state = State {
            selector,
            engines: Vec::new(),
            since: SystemTime::now(),
            asked: Instant::now(),
            containers: BTreeMap::new(),
            others: BTreeSet::new(),
        };
        let selected = Selected(Arc::new(Mutex::new(state)));
        let mut none = true;
        for tasks in containerd::tasks() {
            none = false;
            let follower = selected.clone();
            let changed = move |id: &str, container: Option<&ContainerInfo>| {
                let mut state = follower.lock();
                match container {
                    Some(container) => state.take(id, container, Some(Phase::Runs)),
                    None => state.end(id),
                }
            };
            let failed = |source| failed(&tasks, source);
            containerd::follow(&tasks, changed).map_err(failed)?;
        }
        let mut state = selected.lock();
        for socket in docker::sockets() {
            none = false;
            let failed = |source| failed(&socket, source);
            let (engine, running) = docker::EngineSocket::find(&socket).map_err(failed)?;
            for (id, container) in running {
                state.take(&id, &container, Some(Phase::Runs));
            }
            state.engines.push(engine);
        }
        if none {
            return Err(EnginesError::None);
        }
        drop(state);
        Ok(selected)
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

    /// The version of a Docker that drops the flags of profiles, so that what they deny isn't logged.
    #[must_use]
    pub fn drops_flags(&self) -> Option<String> {
        let state = self.lock();
        let mut versions = state
            .engines
            .iter()
            .filter_map(docker::EngineSocket::drops_flags);
        versions.next().map(str::to_owned)
    }

    /// Whether one that was selected runs, or has run.
    pub fn has_run(&self) -> Result<bool, EnginesError> {
        let mut state = self.lock();
        state.ask()?;
        let mut phases = state.containers.values().map(|known| known.phase);
        Ok(phases.any(|phase| phase != Phase::Created))
    }

    /// Calls this, once, if after this time none has run. Engines are asked until one does.
    pub fn warn_if_none(
        &self,
        after: Duration,
        warn: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let selected = self.clone();
        let begin = Instant::now();
        let mut warn = Some(warn);
        let thread = std::thread::Builder::new().name("selected".to_owned());
        thread.spawn(move || {
            // Signals are for the threads of the recording, which begin later.
            let _ = SigSet::all().thread_block();
            loop {
                match selected.has_run() {
                    Ok(true) => break,
                    Ok(false) if begin.elapsed() >= after => {
                        if let Some(warn) = warn.take() {
                            warn();
                        }
                    }
                    // An engine that doesn't answer now may do so later.
                    Ok(false) | Err(_) => {}
                }
                std::thread::sleep(INTERVAL);
            }
        })?;
        Ok(())
    }

    /// The name of a container, given the first twelve digits of its id, if it was selected. A container whose programs run
    /// is known to its engine.
    pub fn name_of(&self, id: &str) -> Result<Option<String>, EnginesError> {
        let mut state = self.lock();
        if !state.containers.contains_key(id) && !state.others.contains(id) {
            state.ask()?;
            if !state.containers.contains_key(id) {
                state.others.insert(id.to_owned());
            }
        }
        Ok(state.containers.get(id).map(|known| known.name.clone()))
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
            let events = engine.events(self.since, now);
            for event in events.map_err(|source| failed(&engine.socket, source))? {
                let phase = match event.action.as_str() {
                    "start" => Some(Phase::Runs),
                    // Some are Podman's.
                    "die" | "died" | "destroy" | "remove" => Some(Phase::Ended),
                    _ => None,
                };
                let (id, container) = event.container();
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

    fn end(&mut self, id: &str) {
        if let Some(known) = self.containers.get_mut(id.get(..12).unwrap_or(id)) {
            known.phase = Phase::Ended;
        }
    }
}

fn failed(socket: &Path, source: io::Error) -> EnginesError {
    EnginesError::Failed {
        socket: socket.to_owned(),
        source,
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
            pod: Some(["default".to_owned(), "web-0".to_owned()]),
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
            ("pod=web-0", true),
            ("pod=default/web-0", true),
            ("pod=kube-system/web-0", false),
            ("pod=web", false),
        ] {
            let parsed: Selector = selector.parse().unwrap();
            assert_eq!(parsed.selects(&container), expected, "{selector}");
            assert_eq!(parsed.to_string(), selector);
        }
        for text in ["web", "name=", "status=up"] {
            assert_eq!(text.parse::<Selector>(), Err(NotASelector), "{text}");
        }
    }
}
