//! Saves the results of a search in a file until its end, so that an interrupted search continues.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sc_record::atomic_file::write_atomically;
use sc_record::input::{FileKind, read_file};
use sc_record::trial::CallNames;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::cli::MinimizeArgs;

const SCHEMA: u32 = 1;

/// The namespace of digests of the profile, the command, and the options that affect the outcome. The command itself isn't
/// saved, since command lines can contain secrets.
const NAMESPACE: Uuid = Uuid::from_u128(0x7d1c_3a56_0b7e_4f0e_9d5e_1f4a_6c1b_22a9);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedFile {
    schema: u32,
    of: String,
    trials: Vec<SavedResult>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedResult {
    denied: CallNames,
    /// How the outcome differed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    differs: Option<String>,
}

/// The results, and their file.
pub(super) struct SavedResults {
    path: PathBuf,
    of: String,
    trials: BTreeMap<CallNames, Option<String>>,
    /// How the outcome differed when a call was denied in addition to the dispensable ones.
    needed: BTreeMap<String, String>,
    accepted: CallNames,
    resumed: usize,
    runs: usize,
}

impl SavedResults {
    /// Loads the results of an interrupted search with the same digest, if any.
    pub(super) fn open(args: &MinimizeArgs, profile: &[u8]) -> anyhow::Result<SavedResults> {
        let path = match &args.state {
            Some(path) => path.clone(),
            None => beside(&args.enforce.profile),
        };
        let mut state = SavedResults {
            of: digest(args, profile).to_string(),
            path,
            trials: BTreeMap::new(),
            needed: BTreeMap::new(),
            accepted: CallNames::new(),
            resumed: 0,
            runs: 0,
        };
        if args.fresh {
            return Ok(state);
        }
        let bytes = match read_file(&state.path, FileKind::SavedResults) {
            Err(error) if error.is_not_found() => return Ok(state),
            bytes => bytes?,
        };
        let file: SavedFile = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{} is not a file of saved results; --fresh discards it",
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
                    "sc-record: continuing with {} results in {} (--fresh discards them)",
                    state.resumed,
                    state.path.display()
                );
            }
        } else if !args.verbosity.quiet {
            say!(
                "sc-record: the results in {} are for another profile, command or comparison: starting again",
                state.path.display()
            );
        }
        Ok(state)
    }

    /// Whether the outcome is the same with these calls denied, if tested before.
    pub(super) fn known(&mut self, denied: &CallNames) -> Option<bool> {
        let differs = self.trials.get(denied)?.clone();
        let same = differs.is_none();
        self.note(denied, differs);
        Some(same)
    }

    /// Saves a result.
    pub(super) fn learn(
        &mut self,
        denied: &CallNames,
        differs: Option<String>,
    ) -> anyhow::Result<()> {
        self.runs += 1;
        self.trials.insert(denied.clone(), differs.clone());
        self.note(denied, differs);
        let file = SavedFile {
            schema: SCHEMA,
            of: self.of.clone(),
            trials: (self.trials.iter())
                .map(|(denied, differs)| SavedResult {
                    denied: denied.clone(),
                    differs: differs.clone(),
                })
                .collect(),
        };
        let mut text = serde_json::to_string(&file)?;
        text.push('\n');
        Ok(write_atomically(&self.path, text.as_bytes())?)
    }

    fn note(&mut self, denied: &CallNames, differs: Option<String>) {
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

    /// Counts a run without a saved result.
    pub(super) fn count_run(&mut self) {
        self.runs += 1;
    }

    pub(super) fn why_needed(&self, name: &str) -> Option<&str> {
        self.needed.get(name).map(String::as_str)
    }

    /// The number of runs with calls denied in this search.
    pub(super) fn runs(&self) -> usize {
        self.runs
    }

    /// The number of results of earlier searches.
    pub(super) fn resumed(&self) -> usize {
        self.resumed
    }

    pub(super) fn say_how_to_continue(&self) {
        if self.trials.is_empty() {
            say!("sc-record: interrupted before the first result");
            return;
        }
        say!(
            "sc-record: interrupted; {} results are saved in {}: run the same command to continue",
            self.trials.len(),
            self.path.display()
        );
    }

    /// Deletes the file at the end of the search.
    pub(super) fn remove(&self) {
        // A file that stays does no harm.
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
    let enforce = &args.enforce;
    let options = (&args.compare, &args.test, &enforce.read, enforce.like);
    add(format!("{options:?} {:?}", args.timeout).as_bytes());
    for arg in &args.command {
        add(arg.as_bytes());
    }
    Uuid::new_v5(&NAMESPACE, &bytes)
}
