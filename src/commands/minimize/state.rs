//! The results so far, in a file until the end: a search that is broken off goes on where it was.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sc_record::atomic_file::write_atomically;
use sc_record::trial::minimize::Names;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::MinimizeArgs;

const SCHEMA: u32 = 1;

/// What the results are of: a digest of the profile, the command, and what decides about its result. Not the command
/// itself: command lines carry secrets.
const NAMESPACE: Uuid = Uuid::from_u128(0x7d1c_3a56_0b7e_4f0e_9d5e_1f4a_6c1b_22a9);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: u32,
    of: String,
    trials: Vec<Trial>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    denied: Names,
    /// How the result differed; absent: it was the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    differs: Option<String>,
}

/// The results, and where they are kept.
pub(super) struct State {
    path: PathBuf,
    of: String,
    trials: BTreeMap<Names, Option<String>>,
    /// How the result differed when a call was denied beside those that could be.
    needed: BTreeMap<String, String>,
    accepted: Names,
    resumed: usize,
    runs: usize,
}

impl State {
    /// The results of an earlier search for the same, or none.
    pub(super) fn open(args: &MinimizeArgs, profile: &[u8]) -> anyhow::Result<State> {
        let path = match &args.state {
            Some(path) => path.clone(),
            None => beside(&args.enforce.profile),
        };
        let mut state = State {
            of: digest(args, profile).to_string(),
            path,
            trials: BTreeMap::new(),
            needed: BTreeMap::new(),
            accepted: Names::new(),
            resumed: 0,
            runs: 0,
        };
        if args.fresh {
            return Ok(state);
        }
        let bytes = match std::fs::read(&state.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(state),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", state.path.display()));
            }
        };
        let file: File = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is not a state of this program; --fresh starts anew",
                state.path.display()
            )
        })?;
        if file.of == state.of && file.schema == SCHEMA {
            state.resumed = file.trials.len();
            state.trials = (file.trials.into_iter())
                .map(|trial| (trial.denied, trial.differs))
                .collect();
            if !args.verbosity.quiet {
                say!(
                    "sc-record: going on with {} results of {} (--fresh forgets them)",
                    state.resumed,
                    state.path.display()
                );
            }
        } else if !args.verbosity.quiet {
            say!(
                "sc-record: the results in {} are of another profile, command or comparison: starting anew",
                state.path.display()
            );
        }
        Ok(state)
    }

    /// Whether the result is the same with these denied, if that was tried.
    pub(super) fn known(&mut self, denied: &Names) -> Option<bool> {
        let differs = self.trials.get(denied)?.clone();
        let same = differs.is_none();
        self.note(denied, differs);
        Some(same)
    }

    /// Keeps a result.
    pub(super) fn learn(&mut self, denied: &Names, differs: Option<String>) -> anyhow::Result<()> {
        self.runs += 1;
        self.trials.insert(denied.clone(), differs.clone());
        self.note(denied, differs);
        let file = File {
            schema: SCHEMA,
            of: self.of.clone(),
            trials: (self.trials.iter())
                .map(|(denied, differs)| Trial {
                    denied: denied.clone(),
                    differs: differs.clone(),
                })
                .collect(),
        };
        let mut text = serde_json::to_string(&file)?;
        text.push('\n');
        Ok(write_atomically(&self.path, text.as_bytes())?)
    }

    fn note(&mut self, denied: &Names, differs: Option<String>) {
        let Some(differs) = differs else {
            if denied.len() > self.accepted.len() {
                self.accepted.clone_from(denied);
            }
            return;
        };
        let mut new = denied.difference(&self.accepted);
        if let (Some(name), None) = (new.next(), new.next()) {
            self.needed.insert(name.clone(), differs);
        }
    }

    /// A run whose result isn't kept.
    pub(super) fn count_run(&mut self) {
        self.runs += 1;
    }

    pub(super) fn why_needed(&self, name: &str) -> Option<&str> {
        self.needed.get(name).map(String::as_str)
    }

    /// How many runs there were with calls denied, this time.
    pub(super) fn runs(&self) -> usize {
        self.runs
    }

    /// How many results are of an earlier time.
    pub(super) fn resumed(&self) -> usize {
        self.resumed
    }

    pub(super) fn say_how_to_go_on(&self) {
        if self.trials.is_empty() {
            say!("sc-record: interrupted before the first result");
            return;
        }
        say!(
            "sc-record: interrupted; {} results are in {}: the same command goes on from there",
            self.trials.len(),
            self.path.display()
        );
    }

    /// There is nothing left to go on with.
    pub(super) fn remove(&self) {
        // One that stays costs nothing but the questions that it answers.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn beside(profile: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(profile.file_name().unwrap_or_default());
    name.push(".minimize");
    profile.with_file_name(name)
}

fn digest(args: &MinimizeArgs, profile: &[u8]) -> Uuid {
    let mut bytes = Vec::new();
    let mut add = |part: &[u8]| {
        bytes.extend(part.len().to_le_bytes());
        bytes.extend(part);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(profile);
    add(std::env::current_dir()
        .unwrap_or_default()
        .as_os_str()
        .as_bytes());
    add(&[
        u8::from(args.enforce.allow_new_privs),
        u8::from(args.enforce.ignore_unknown),
    ]);
    let decisive = (&args.compare, &args.test, &args.enforce.read);
    add(format!("{decisive:?} {:?}", args.timeout).as_bytes());
    for arg in &args.command {
        add(arg.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &bytes)
}
