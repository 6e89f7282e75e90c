//! Runs the workload: without a profile, recorded, and under profiles.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use sc_record::atomic_file::write_atomically;
use sc_record::command::find_executable;
use sc_record::format::{self, Format};
use sc_record::profile::Profile;
use sc_record::recording::{ExecutableFilter, Name, Recording, Run};
use sc_record::review::reachable::Reachable;
use sc_record::trial::{
    CallNames, ComparedStreams, Limits, Trial, TrialEnd, TrialResult, UsualStderr, difference,
    last_line, made_calls,
};
use tempfile::TempDir;

use super::super::input;
use super::super::run::{MYSELF, run_argv};
use crate::cli::{ComparedArg, MinimizeArgs};

/// A signal asks the process to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

fn is_stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::Relaxed)
}

/// Runs the workload.
pub(super) struct Bench<'a> {
    args: &'a MinimizeArgs,
    native: Trial,
    compare: ComparedStreams,
    /// Contains a directory for each run.
    directory: TempDir,
    runs: AtomicU32,
    /// Lines on stderr with dispensable calls denied.
    usual: Mutex<UsualStderr>,
    stop: &'a AtomicBool,
}

/// The workload with all calls allowed that the profile allows.
pub(super) struct BaselineRun {
    /// The outcome.
    pub(super) tried: TrialResult,
    /// The limits of a run.
    limits: Limits,
    /// Those of the profile's calls that it made.
    pub(super) made: CallNames,
    /// What its programs can call, if that is asked for.
    pub(super) reachable: Option<Reachable>,
    /// Why calls may be missing.
    pub(super) incomplete: BTreeSet<String>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(args: &'a MinimizeArgs, stop: &'a AtomicBool) -> anyhow::Result<Bench<'a>> {
        // clap requires one.
        let name = args.command.first().context("there is no command")?;
        Ok(Bench {
            args,
            native: Trial {
                path: find_executable(name)?,
                argv: args.command.clone(),
            },
            compare: ComparedArg::all(&args.compare),
            directory: tempfile::Builder::new().prefix("sc-record-").tempdir()?,
            runs: AtomicU32::new(0),
            usual: Mutex::default(),
            stop,
        })
    }

    /// Runs the workload without the profile, recorded under it, and under it with as many concurrent runs as later. All must
    /// have the same outcome.
    pub(super) fn baseline(&self, profile: &Profile) -> anyhow::Result<BaselineRun> {
        let unlimited = Limits::NONE;
        let native = self.run(&self.native, &self.room()?, unlimited)?;
        if let Some(failure) = self.judge(&native, &native)? {
            anyhow::bail!("the workload does not pass even without the profile: {failure}");
        }
        let room = self.room()?;
        let file = write_profile(&room, profile)?;
        let recording = room.join("recording.json");
        let recorded = self.run(&recorder(&recording, &self.under(&file)), &room, unlimited)?;
        let run = load(&recording).with_context(|| match last_line(&recorded.stderr) {
            Ok(Some(line)) => format!("can't record the workload under the profile ({line})"),
            _ => "can't record the workload under the profile".to_owned(),
        })?;
        // The recorder writes to stderr too.
        let silent = ComparedStreams {
            stderr: false,
            ..self.compare
        };
        let under = self.run_concurrently(&self.under(&file), unlimited)?;
        let mut differs = difference(&native, &recorded, silent, &UsualStderr::default())?;
        for tried in &under {
            differs = match differs {
                None => self.judge(&native, tried)?,
                differs => differs,
            };
        }
        if let Some(differs) = differs {
            return Err(self.why_no_baseline(&native, &under, &differs)?);
        }
        let slowest = (under.iter().chain([&native]))
            .map(|tried| tried.elapsed)
            .max();
        let longest = [&native.stdout, &native.stderr]
            .map(|file| std::fs::metadata(file).map_or(0, |metadata| metadata.len()));
        let limits = Limits {
            time: Some(
                (self.args.timeout)
                    .unwrap_or_else(|| Duration::from_secs(2) + 10 * slowest.unwrap_or_default()),
            ),
            output: (64 << 20) + 10 * longest[0].max(longest[1]),
        };
        Ok(BaselineRun {
            tried: native,
            limits,
            made: made(profile, &run),
            reachable: reachable(self.args, &run)?,
            incomplete: run.incomplete_because,
        })
    }

    /// Runs the workload as often as there are concurrent runs, concurrently.
    fn run_concurrently(&self, trial: &Trial, limits: Limits) -> anyhow::Result<Vec<TrialResult>> {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.args.jobs)
                .map(|_| scope.spawn(|| self.run(trial, &self.room()?, limits)))
                .collect();
            let all = threads.into_iter().map(|thread| match thread.join() {
                Ok(tried) => tried,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            all.collect()
        })
    }

    /// Why the runs with all calls allowed differ.
    fn why_no_baseline(
        &self,
        native: &TrialResult,
        under: &[TrialResult],
        differs: &str,
    ) -> anyhow::Result<anyhow::Error> {
        let again = self.run(&self.native, &self.room()?, Limits::NONE)?;
        let advice = "compare less (--compare exit), or test the outcome with --test";
        if let Some(differs) = self.judge(native, &again)? {
            return Ok(anyhow::anyhow!(
                "the workload's outcome varies even without the profile: {differs}; {advice}"
            ));
        }
        // Compare the runs under the profile with each other.
        for other in &under[1..] {
            if let Some(differs) = self.judge(&under[0], other)? {
                let concurrently = match self.args.jobs {
                    1 => "",
                    _ => " with concurrent runs (-j)",
                };
                return Ok(anyhow::anyhow!(
                    "the workload's outcome varies under the profile{concurrently}: {differs}; {advice}"
                ));
            }
        }
        Ok(anyhow::anyhow!(
            "the workload's outcome differs under the profile: {differs}; sc-record verify shows what is denied"
        ))
    }

    /// Runs the workload under a profile. Returns how the outcome differs, if it does.
    pub(super) fn difference(
        &self,
        baseline: &BaselineRun,
        profile: &Profile,
    ) -> anyhow::Result<Option<String>> {
        let room = self.room()?;
        let file = write_profile(&room, profile)?;
        let tried = self.run(&self.under(&file), &room, baseline.limits)?;
        let difference = self.judge(&baseline.tried, &tried)?;
        if difference.is_none() {
            self.usual().add(&tried)?;
        }
        // Thousands of outputs need space. A directory that can't be removed now is removed at the end.
        let _ = std::fs::remove_dir_all(room);
        Ok(difference)
    }

    fn judge(&self, expected: &TrialResult, got: &TrialResult) -> anyhow::Result<Option<String>> {
        if let Some(difference) = difference(expected, got, self.compare, &self.usual())? {
            return Ok(Some(difference));
        }
        let Some(test) = &self.args.test else {
            return Ok(None);
        };
        let status = match got.end {
            TrialEnd::Exit(exit) => exit.shell_status(),
            TrialEnd::OutOfTime(_) | TrialEnd::TooMuchOutput(_) => 0,
        };
        let mut argv: Vec<OsString> = ["sh", "-c", test, "sc-record"].map(Into::into).to_vec();
        argv.extend([got.stdout.clone().into(), got.stderr.clone().into()]);
        argv.push(status.to_string().into());
        let test = Trial {
            path: "/bin/sh".into(),
            argv,
        };
        let limits = Limits {
            output: 64 << 20,
            ..Limits::NONE
        };
        let tested = self.run(&test, &self.room()?, limits)?;
        if tested.end == TrialEnd::Exit(sc_record::event::Exit::Code(0)) {
            return Ok(None);
        }
        let mut failure = format!("the test fails ({})", tested.end);
        if let Some(line) = last_line(&tested.stderr)? {
            failure.push_str(": ");
            failure.push_str(&line);
        }
        Ok(Some(failure))
    }

    fn run(&self, trial: &Trial, room: &Path, limits: Limits) -> anyhow::Result<TrialResult> {
        let tried = trial.run(room, limits, &|| is_stopped(self.stop))?;
        Ok(tried.ok_or(Interrupted)?)
    }

    fn usual(&self) -> MutexGuard<'_, UsualStderr> {
        // A panic elsewhere leaves no change half done.
        self.usual.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self) -> anyhow::Result<PathBuf> {
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        let room = self.directory.path().join(number.to_string());
        std::fs::create_dir(&room).with_context(|| format!("can't make {}", room.display()))?;
        Ok(room)
    }

    /// The workload under a profile.
    fn under(&self, profile: &Path) -> Trial {
        Trial {
            path: MYSELF.into(),
            argv: run_argv(&self.args.enforce, profile, &self.args.command),
        }
    }
}

/// A recorded trial.
fn recorder(recording: &Path, trial: &Trial) -> Trial {
    let options = "sc-record -q --args=exact --no-filter --until exit --progress never -o none -r";
    let mut argv: Vec<OsString> = options.split(' ').map(Into::into).collect();
    argv.push(recording.into());
    argv.extend(["--".into(), trial.path.clone().into_os_string()]);
    argv.extend(trial.argv.iter().skip(1).cloned());
    Trial {
        path: MYSELF.into(),
        argv,
    }
}

fn write_profile(room: &Path, profile: &Profile) -> anyhow::Result<PathBuf> {
    let file = room.join("profile.json");
    let text = format::render(Format::Oci, profile)?;
    write_atomically(&file, text.as_bytes())?;
    Ok(file)
}

fn load(recording: &Path) -> anyhow::Result<Run> {
    let recording = Recording::load(recording)?;
    let run = recording.runs.into_values().next();
    run.context("the recording has no run")
}

/// The calls of the workload, without those that only this program made to load the filter.
fn made(profile: &Profile, run: &Run) -> CallNames {
    let myself = myself();
    made_calls(profile, run, &|by| by.iter().any(|by| *by != myself))
}

/// What the programs of the workload can call.
fn reachable(args: &MinimizeArgs, run: &Run) -> anyhow::Result<Option<Reachable>> {
    if !args.code.reach {
        return Ok(None);
    }
    let filter = ExecutableFilter {
        without: vec![myself()],
        ..ExecutableFilter::default()
    };
    let name = Name::of_command(&run.program);
    let workload = Recording::of(name, run.clone()).by_executables(&filter);
    input::reachable(&args.code, Some(&workload.recording))
}

/// The path of this program, as a recording has it.
fn myself() -> PathBuf {
    let myself = std::fs::read_link(MYSELF).unwrap_or_default();
    match myself.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(kept) => PathBuf::from(OsString::from_vec(kept.to_owned())),
        None => myself,
    }
}
