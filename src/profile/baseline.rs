//! Baselines: what a container runtime calls under a profile, between loading it and executing the program.
//!
//! They are measured (`sc-record baseline`), per version of the runtime and for containers with and without
//! `no_new_privs`: with it, runtimes load the profile last of all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::recording::Recording;

/// A runtime that baselines are known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// runc, which Docker, containerd and Kubernetes use.
    Runc,
    /// crun, which Podman and CRI-O use.
    Crun,
}

impl Runtime {
    /// The name of its program.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Runtime::Runc => "runc",
            Runtime::Crun => "crun",
        }
    }

    /// Why a profile for it allows its calls, as the end of the sentence "NAME is allowed because …".
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Runtime::Runc => "runc calls it under the profile before it executes the program",
            Runtime::Crun => "crun calls it under the profile before it executes the program",
        }
    }

    /// Calls of which it can't notify a listener. runc refuses `write`. It makes the others itself before it has handed the
    /// listener over, and would wait forever: its threads wake each other by futex(2), and a signal of Go's scheduler is
    /// returned from. crun hands over from another process.
    #[must_use]
    pub const fn not_observed(self) -> &'static [&'static str] {
        match self {
            Runtime::Runc => &["futex", "rt_sigreturn", "write"],
            Runtime::Crun => &[],
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that neither a runtime nor an engine has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no baseline is known for {0:?}")]
pub struct UnknownRuntime(String);

/// By its name, or by that of an engine that starts it by default.
impl FromStr for Runtime {
    type Err = UnknownRuntime;

    fn from_str(name: &str) -> Result<Runtime, UnknownRuntime> {
        match name {
            "runc" | "docker" | "containerd" | "kubernetes" => Ok(Runtime::Runc),
            "crun" | "podman" | "cri-o" => Ok(Runtime::Crun),
            _ => Err(UnknownRuntime(name.to_owned())),
        }
    }
}

/// What one version of a runtime was seen to call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// The runtime.
    pub runtime: Runtime,
    /// Its version, as it prints it.
    pub version: String,
    /// Whether a process was executed in a container that ran already (`runc exec`), not the container's first.
    pub exec: bool,
    /// Whether the container had `no_new_privs`.
    pub no_new_privs: bool,
    /// The machine's hardware name (uname(2)).
    pub machine: String,
    /// The number of starts.
    pub runs: u64,
    /// The calls, and in how many starts each was made.
    pub syscalls: BTreeMap<String, u64>,
    /// The calls without which no container starts. The others can be refused; some hand the listener over, which only
    /// recording takes. Empty for processes in a running container.
    pub needed: BTreeSet<String>,
    /// Calls that could not be observed, and that the runtime is known to make.
    pub not_observed: BTreeSet<String>,
}

impl Baseline {
    /// The name of its file.
    #[must_use]
    pub fn file_name(&self) -> String {
        let Baseline {
            runtime, version, ..
        } = self;
        let exec = if self.exec { "-exec" } else { "" };
        let privileges = if self.no_new_privs { "nnp" } else { "no-nnp" };
        format!("{runtime}-{version}{exec}-{privileges}.json")
    }

    /// All its calls.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        let seen = self.syscalls.keys().chain(&self.not_observed);
        seen.map(String::as_str)
    }
}

/// The calls of a runtime, of all versions that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeCalls {
    /// The runtime.
    pub runtime: Runtime,
    /// The names.
    pub names: BTreeSet<String>,
}

impl RuntimeCalls {
    /// Adds what this runtime called in a recording.
    #[must_use]
    pub fn with_recorded(mut self, recording: &Recording) -> Self {
        let runs = recording.runs.values();
        let recorded = runs.flat_map(|run| run.runtime.keys());
        let names = recorded.filter_map(|call| call.name());
        self.names.extend(names.map(std::borrow::Cow::into_owned));
        self
    }

    /// What a runtime calls, at the start of a container and, with `exec`, of further processes in it.
    #[must_use]
    pub fn of(baselines: &[Baseline], runtime: Runtime, no_new_privs: bool, exec: bool) -> Self {
        let of_it = (baselines.iter())
            .filter(|baseline| baseline.runtime == runtime)
            .filter(|baseline| baseline.no_new_privs || !no_new_privs)
            .filter(|baseline| exec || !baseline.exec);
        let names = of_it.flat_map(Baseline::calls).map(str::to_owned);
        RuntimeCalls {
            runtime,
            names: names.collect(),
        }
    }
}

/// The calls without which no known version of a runtime starts a container.
#[must_use]
pub fn needed(runtime: Runtime, no_new_privs: bool) -> BTreeSet<&'static str> {
    let of_it = KNOWN.iter().filter(|baseline| {
        baseline.runtime == runtime && !baseline.exec && baseline.no_new_privs == no_new_privs
    });
    let sets = of_it.map(|baseline| baseline.needed.iter().map(String::as_str).collect());
    sets.reduce(|all: BTreeSet<_>, one| &all & &one)
        .unwrap_or_default()
}

/// The baselines that this build has.
pub static KNOWN: LazyLock<Vec<Baseline>> = LazyLock::new(|| {
    let texts = FILES.iter();
    texts
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect()
});

macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        const FILES: &[&str] = &[
            $(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/baselines/", $name)),)+
        ];
    };
}

files!(
    "crun-1.8.1-exec-nnp.json",
    "crun-1.8.1-exec-no-nnp.json",
    "crun-1.8.1-nnp.json",
    "crun-1.8.1-no-nnp.json",
    "runc-1.1.5+ds1-exec-nnp.json",
    "runc-1.1.5+ds1-exec-no-nnp.json",
    "runc-1.1.5+ds1-nnp.json",
    "runc-1.1.5+ds1-no-nnp.json",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_baseline_of_its_name() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles/baselines");
        let files = std::fs::read_dir(directory).unwrap();
        let names: BTreeSet<_> = files
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let known: BTreeSet<_> = KNOWN.iter().map(Baseline::file_name).collect();
        assert_eq!(known, names);
        assert_eq!(FILES.len(), names.len());
    }

    #[test]
    fn a_container_with_no_new_privs_needs_fewer_calls() {
        for runtime in [Runtime::Runc, Runtime::Crun] {
            let with = needed(runtime, true);
            let without = needed(runtime, false);
            assert!(with.is_subset(&without), "{with:?} {without:?}");
            assert!(!with.contains("capset") && without.contains("capset"));
            let all = RuntimeCalls::of(&KNOWN, runtime, false, false).names;
            assert!(without.iter().all(|name| all.contains(*name)));
        }
        let runc = needed(Runtime::Runc, false);
        for name in ["fstatfs", "capget", "faccessat2", "getcwd"] {
            assert!(runc.contains(name), "{name}");
        }
    }
}
