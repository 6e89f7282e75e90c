//! containerd, by the bundles of the containers that run: `io.containerd.runtime.v2.task/NAMESPACE/ID/config.json` in its state
//! directory. The CRI plugin annotates them with what Kubernetes calls them, and ctr with its labels.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use nix::sys::signal::SigSet;
use serde::Deserialize;

use super::ContainerInfo;

/// The usual state directories: containerd's own, and that of k3s.
pub(super) const USUAL: [&str; 2] = ["/run/containerd", "/run/k3s/containerd"];

const TASKS: &str = "io.containerd.runtime.v2.task";
const CONFIG: &str = "config.json";

/// The state directory that the environment names: the socket is in it.
pub(super) fn named() -> Option<PathBuf> {
    let socket = std::env::var_os("CONTAINERD_ADDRESS")?;
    let socket = Path::new(&socket);
    let socket = socket.strip_prefix("unix://").unwrap_or(socket);
    socket.parent().map(Path::to_owned)
}

/// The directories of bundles: of the containerd that the environment names, or of those at the usual places.
pub(super) fn tasks() -> Vec<PathBuf> {
    if let Some(state) = named() {
        return vec![state.join(TASKS)];
    }
    let others = ["DOCKER_HOST", "CONTAINER_HOST"];
    if others.iter().any(|name| std::env::var_os(name).is_some()) {
        return Vec::new();
    }
    let usual = USUAL.map(|state| Path::new(state).join(TASKS)).into_iter();
    usual.filter(|tasks| tasks.exists()).collect()
}

/// Calls `changed` for each container that runs, before this returns, and from then on for each that starts, and, with `None`,
/// that has ended.
pub(super) fn follow(
    tasks: &Path,
    mut changed: impl FnMut(&str, Option<&ContainerInfo>) + Send + 'static,
) -> io::Result<()> {
    let mut bundles = Bundles {
        changes: Inotify::init(InitFlags::IN_CLOEXEC)?,
        tasks: tasks.to_owned(),
        watched: HashMap::new(),
    };
    bundles.look(&mut changed)?;
    let thread = std::thread::Builder::new().name("containerd".to_owned());
    thread.spawn(move || {
        // Signals are for the threads of the recording, which begin later.
        let _ = SigSet::all().thread_block();
        while let Ok(events) = bundles.changes.read_events() {
            for event in events {
                bundles.take(&event, &mut changed);
            }
        }
    })?;
    Ok(())
}

type Changed<'a> = &'a mut dyn FnMut(&str, Option<&ContainerInfo>);

struct Bundles {
    changes: Inotify,
    tasks: PathBuf,
    watched: HashMap<WatchDescriptor, Watched>,
}

/// A directory that is watched.
#[derive(Clone)]
enum Watched {
    Tasks,
    Namespace(PathBuf),
    Bundle(PathBuf),
}

impl Bundles {
    /// Watches everything that is there.
    fn look(&mut self, changed: Changed<'_>) -> io::Result<()> {
        let new = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_ONLYDIR;
        let watch = self.changes.add_watch(&self.tasks, new)?;
        self.watched.insert(watch, Watched::Tasks);
        for namespace in fs::read_dir(&self.tasks)?.flatten() {
            self.look_into(&namespace.path(), changed);
        }
        Ok(())
    }

    fn look_into(&mut self, namespace: &Path, changed: Changed<'_>) {
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR;
        // What is gone again needs no watch.
        let Ok(watch) = self.changes.add_watch(namespace, flags) else {
            return;
        };
        let watched = Watched::Namespace(namespace.to_owned());
        self.watched.insert(watch, watched);
        for bundle in fs::read_dir(namespace).into_iter().flatten().flatten() {
            self.begin(&bundle.path(), changed);
        }
    }

    /// A new bundle: its configuration is there, or will be written.
    fn begin(&mut self, bundle: &Path, changed: Changed<'_>) {
        let written =
            AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ONLYDIR;
        if let Ok(watch) = self.changes.add_watch(bundle, written) {
            let watched = Watched::Bundle(bundle.to_owned());
            self.watched.insert(watch, watched);
            read(bundle, changed);
        }
    }

    fn take(&mut self, event: &InotifyEvent, changed: Changed<'_>) {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            // Watches that are there already stay.
            let _ = self.look(changed);
        }
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            self.watched.remove(&event.wd);
        }
        let (Some(watched), Some(name)) = (self.watched.get(&event.wd).cloned(), &event.name)
        else {
            return;
        };
        match watched {
            Watched::Tasks => self.look_into(&self.tasks.join(name), changed),
            Watched::Namespace(_) if event.mask.contains(AddWatchFlags::IN_DELETE) => {
                if let Some(id) = name.to_str() {
                    changed(id, None);
                }
            }
            Watched::Namespace(namespace) => self.begin(&namespace.join(name), changed),
            Watched::Bundle(bundle) if name == CONFIG => read(&bundle, changed),
            Watched::Bundle(_) => {}
        }
    }
}

/// The used part of a configuration.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Reads the configuration of a bundle, if all of it is there.
fn read(bundle: &Path, changed: Changed<'_>) {
    let text = fs::read(bundle.join(CONFIG)).unwrap_or_default();
    let config = serde_json::from_slice::<Config>(&text);
    let id = bundle.file_name().and_then(OsStr::to_str);
    if let (Ok(config), Some(id)) = (config, id)
        && let Some(container) = container(id, config.annotations)
    {
        changed(id, Some(&container));
    }
}

/// What the annotations say; `None` of a pod's own container, in which no program of it runs.
fn container(id: &str, annotations: BTreeMap<String, String>) -> Option<ContainerInfo> {
    let of_cri = |key: &str| {
        annotations
            .get(&format!("io.kubernetes.cri.{key}"))
            .cloned()
    };
    if of_cri("container-type").as_deref() == Some("sandbox") {
        return None;
    }
    let pod = of_cri("sandbox-namespace").zip(of_cri("sandbox-name"));
    Some(ContainerInfo {
        name: of_cri("container-name").unwrap_or_else(|| id.to_owned()),
        image: of_cri("image-name").unwrap_or_default(),
        pod: pod.map(<[String; 2]>::from),
        labels: annotations,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn containers_are_known_from_the_begin_of_their_bundle_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        let add = |bundle: &str, annotations: &str| {
            fs::create_dir_all(at(bundle)).unwrap();
            let text = format!("{{\"annotations\": {annotations}, \"linux\": {{}}}}");
            fs::write(at(bundle).join(CONFIG), text).unwrap();
        };
        add("default/first", r#"{"app": "shop"}"#);
        let (sender, received) = mpsc::channel();
        let changed = move |id: &str, container: Option<&ContainerInfo>| {
            let container = container.map(|container| {
                let pod = container.pod.clone().unwrap_or_default().join("/");
                [&container.name, &container.image, &pod].map(String::clone)
            });
            // The test may have ended.
            let _ = sender.send((id.to_owned(), container));
        };
        follow(directory.path(), changed).unwrap();
        let next = || received.recv_timeout(Duration::from_secs(60)).unwrap();
        let of = |id: &str, what: [&str; 3]| (id.to_owned(), Some(what.map(str::to_owned)));
        assert_eq!(next(), of("first", ["first", "", "/"]));

        // In a new namespace.
        add(
            "k8s.io/0123",
            r#"{"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-name": "web-0"}"#,
        );
        add(
            "k8s.io/4567",
            r#"{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.container-name": "nginx",
                "io.kubernetes.cri.sandbox-name": "web-0", "io.kubernetes.cri.sandbox-namespace": "shop",
                "io.kubernetes.cri.image-name": "docker.io/library/nginx:1"}"#,
        );
        let nginx = of("4567", ["nginx", "docker.io/library/nginx:1", "shop/web-0"]);
        assert_eq!(next(), nginx);
        // What was seen twice, when it was written and when it was looked for.
        fs::remove_dir_all(at("default/first")).unwrap();
        let ended = std::iter::from_fn(|| Some(next())).find(|change| *change != nginx);
        assert_eq!(ended, Some(("first".to_owned(), None)));
    }
}
