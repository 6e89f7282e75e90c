//! Adds a run to its recording, writes the profile, and prints a summary, for every verb that produces a run.

use std::path::{Path, PathBuf};

use sc_record::atomic_file::FilePlace;
use sc_record::profile::{Policy, Profile, RuntimeCalls};
use sc_record::recording::{Earlier, Journal, Name, Recording, Run, RunId, prepare, update};

use crate::cli::{Destination, KeepArgs};
use crate::commands::{input, profile};
use crate::ui::summary::{Say, Summary, count};

/// Where a run goes.
pub(in crate::commands) struct Keep<'a> {
    args: &'a KeepArgs,
    name: Name,
    /// `None`: keep no recording.
    recording: Option<FilePlace>,
    output: Destination,
    /// That of `output`, if it is a file.
    profile: Option<FilePlace>,
    /// A profile whose calls the written profile allows too.
    assumed: Option<Profile>,
    /// What the container's runtime calls.
    runtime: Option<&'static RuntimeCalls>,
}

/// A recording with its latest run.
pub(in crate::commands) struct Added {
    pub(in crate::commands) recording: Recording,
    latest: RunId,
}

impl Keep<'_> {
    pub(in crate::commands) fn new(
        args: &KeepArgs,
        default_name: Name,
    ) -> anyhow::Result<Keep<'_>> {
        let name = args.name.clone().unwrap_or(default_name);
        let recording = match &args.recording {
            None => Some(PathBuf::from(format!("recordings/{name}.json"))),
            Some(Destination::File(path)) => Some(path.clone()),
            Some(Destination::Nowhere) => None,
            Some(Destination::Stdout) => {
                anyhow::bail!("a recording is a file that runs are added to: it can't be stdout")
            }
        };
        let output = args.output.clone();
        let output =
            output.unwrap_or_else(|| profile::default_output(&name, "", args.profile.format));
        // Before the workload runs, since it could replace directories by links.
        let recording = recording.as_deref().map(FilePlace::find).transpose()?;
        let profile = match &output {
            Destination::File(path) => Some(FilePlace::find(path)?),
            _ => None,
        };
        Ok(Keep {
            args,
            name,
            recording,
            output,
            profile,
            assumed: None,
            runtime: None,
        })
    }

    /// Sets the profile that the run lacks: the written profile allows the calls of both.
    pub(in crate::commands) fn assume(&mut self, profile: Profile) {
        self.assumed = Some(profile);
    }

    /// The profile also allows what a container runtime calls.
    pub(in crate::commands) fn runtime(&mut self, calls: &'static RuntimeCalls) {
        self.runtime = Some(calls);
    }

    /// How the profile is generated.
    pub(in crate::commands) fn policy(&self) -> Policy {
        Policy {
            runtime: self.runtime,
            ..self.args.profile.into()
        }
    }

    /// Fails if the run could not be added to the recording, or its profile not be written, before the run.
    pub(in crate::commands) fn prepare(&self) -> anyhow::Result<()> {
        if let Some(place) = &self.profile {
            place.check_writable(PROFILE_BYTES)?;
        }
        let Some(place) = &self.recording else {
            return Ok(());
        };
        let prepared = prepare(place, self.earlier()).map_err(input::not_recording)?;
        if let (Some(recording), false) = (&prepared.recording, self.args.fresh) {
            anyhow::ensure!(
                recording.name == self.name,
                "{} is the recording of {}, not of {}: give that name with --name, or another file with --recording",
                place.path().display(),
                recording.name,
                self.name,
            );
        }
        say_recovered(prepared.recovered.len(), self.args.verbosity.quiet);
        Ok(())
    }

    /// Starts the journal of the run's new calls.
    pub(in crate::commands) fn journal(&self) -> anyhow::Result<Option<Journal>> {
        let labels = self.args.labels.to_map();
        let start = |place| Journal::start(place, self.name.clone(), labels);
        Ok(self.recording.as_ref().map(start).transpose()?)
    }

    fn earlier(&self) -> Earlier {
        if self.args.fresh {
            Earlier::SetAside
        } else {
            Earlier::Keep
        }
    }

    /// Adds the run to the recording's file, and returns the whole recording.
    pub(in crate::commands) fn add(
        &self,
        run: Run,
        journal: Option<Journal>,
    ) -> anyhow::Result<Added> {
        let latest = run.id;
        let one = Recording::of(self.name.clone(), run);
        let Some(place) = &self.recording else {
            let recording = one;
            return Ok(Added { recording, latest });
        };
        let recording = add(place, self.earlier(), &one, journal)?;
        Ok(Added { recording, latest })
    }

    /// Writes the profile of all runs, and reports the latest.
    pub(in crate::commands) fn report(&self, added: &Added, say: Say) -> anyhow::Result<()> {
        let Added { recording, latest } = added;
        let said = self.write_profile(recording, *latest);
        if let Some(run) = recording.runs.get(latest) {
            Summary::new(run, recording, &self.files(said.is_ok()))
                .print(say, self.args.verbosity)?;
        }
        for line in said? {
            if say == Say::Text {
                say!("sc-record: {line}");
            }
        }
        Ok(())
    }

    /// Writes the profile of all runs, and returns messages about it.
    fn write_profile(&self, recording: &Recording, latest: RunId) -> anyhow::Result<Vec<String>> {
        if self.output == Destination::Nowhere {
            return Ok(Vec::new());
        }
        let mut document = profile::of_policy(recording, self.args.profile, self.policy())?;
        if let Some(assumed) = &self.assumed {
            let both = document.generated.profile.or_allowed_by(assumed);
            document = profile::with_profile(document, both, self.args.profile, recording)?;
        }
        match &self.profile {
            Some(place) => profile::write_at(&document.written, place)?,
            None => profile::write(&document.written, &self.output)?,
        }
        // The summary says why the latest run is incomplete.
        (document.generated.incomplete).retain(|incomplete| incomplete.run != latest);
        let additions = profile::additions(&document, self.policy());
        let additions = additions.filter(|_| !self.args.verbosity.quiet);
        let warnings = profile::warnings(&document).into_iter();
        let warnings = warnings.map(|warning| format!("warning: {warning}"));
        Ok(additions.into_iter().chain(warnings).collect())
    }

    /// The files that were written, for the user.
    fn files(&self, profile_written: bool) -> Vec<(&'static str, &Path)> {
        let profile = match &self.output {
            Destination::File(path) if profile_written => Some(("profile", path.as_path())),
            _ => None,
        };
        let recording = self.recording.as_ref();
        let recording = recording.map(|place| ("recording", place.path()));
        recording.into_iter().chain(profile).collect()
    }
}

/// Adds one of many runs to the recording of its name, writes its profile beside that of the others, and reports it.
pub(in crate::commands) fn one_of_many(
    args: &KeepArgs,
    name: Name,
    run: Run,
    journal: Option<Journal>,
) -> anyhow::Result<()> {
    if run.syscalls.is_empty() && run.is_complete() {
        // Of a container that was with its runtime all the time, for example: among many runs, this is no error.
        say!("sc-record: {name}: no call of the program was recorded");
        return Ok(());
    }
    let keep = Keep::new(args, name)?;
    let added = keep.add(run, journal)?;
    keep.report(&added, Say::Text)
}

/// The usual size of a profile.
const PROFILE_BYTES: u64 = 16 << 10;

/// Adds a run to a recording's file, and returns the whole recording. Removes the journal once the run is saved.
pub(in crate::commands) fn add(
    place: &FilePlace,
    earlier: Earlier,
    one: &Recording,
    journal: Option<Journal>,
) -> anyhow::Result<Recording> {
    let all = update(place, earlier, |old| match old {
        Some(old) => old.merge(one.clone()),
        None => Ok(one.clone()),
    });
    match all {
        Ok(all) => {
            if let Some(error) = journal.and_then(Journal::remove) {
                let error = anyhow::Error::new(error);
                say!("sc-record: warning: the run had no journal: {error:#}");
            }
            Ok(all)
        }
        Err(error) => {
            let path = place.path().display();
            let (kept, is_kept) = rescue(one, &path.to_string());
            if let (Some(journal), false) = (journal, is_kept) {
                journal.keep();
            }
            Err(anyhow::Error::new(error).context(kept))
        }
    }
}

/// Reports runs of killed recorders that were recovered.
pub(in crate::commands) fn say_recovered(runs: usize, quiet: bool) {
    if runs > 0 && !quiet {
        say!(
            "sc-record: the recording has {} more, from recorders that were killed",
            count(runs as u64, "incomplete run")
        );
    }
}

/// Saves a run that can't be added to its recording to its own file, since it may have taken hours. Returns a message, and
/// whether it was saved.
fn rescue(run: &Recording, recording: &str) -> (String, bool) {
    let id = run.runs.keys().next().map(RunId::to_string);
    let file = format!("{}.{}.json", run.name, id.unwrap_or_default());
    let path = std::env::temp_dir().join(file);
    let kept = path.display();
    match run.save(&path) {
        Ok(()) => (
            format!(
                "the run is kept in {kept} (to add it: sc-record merge {kept} {recording} -o {recording})"
            ),
            true,
        ),
        Err(error) => (
            format!("the run is lost, it can't be kept in {kept} either ({error})"),
            false,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;
    use sc_record::recording::RunBuilder;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn one_of_many_runs_may_have_no_call() {
        let directory = tempfile::tempdir().unwrap();
        let [recording, profile] = ["r.json", "p.json"].map(|name| directory.path().join(name));
        let words = ["sc-record", "-r", "RECORDING", "-o", "PROFILE", "ls"].map(OsString::from);
        let args = words.map(|word| match word.to_str() {
            Some("RECORDING") => recording.clone().into(),
            Some("PROFILE") => profile.clone().into(),
            _ => word,
        });
        let args = Cli::try_parse_from(args).unwrap().record.keep;
        let run = RunBuilder::start("unknown".into(), "ebpf").finish(None, false);
        let keep = |run| one_of_many(&args, "unknown".parse().unwrap(), run, None);
        keep(run.clone()).unwrap();
        assert!(!recording.exists() && !profile.exists());
        // It may have made some that were lost.
        let mut incomplete = run;
        incomplete.incomplete_because.insert("lost".to_owned());
        assert!(keep(incomplete).is_err());
    }
}
