//! Adds a run to its recording, writes the profile, and prints a summary, for every verb that produces a run.

use std::path::{Path, PathBuf};

use sc_record::profile::Profile;
use sc_record::recording::{Earlier, Name, Recording, Run, RunId, update};

use crate::cli::{Destination, KeepArgs};
use crate::commands::{input, profile};
use crate::ui::summary::{Say, Summary};

/// Where a run goes.
pub(in crate::commands) struct Keep<'a> {
    args: &'a KeepArgs,
    name: Name,
    /// `None`: keep no recording.
    recording: Option<PathBuf>,
    output: Destination,
    /// What the profile allows besides.
    assumed: Option<Profile>,
}

/// A recording with its latest run.
pub(in crate::commands) struct Added {
    recording: Recording,
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
        Ok(Keep {
            args,
            name,
            recording,
            output,
            assumed: None,
        })
    }

    /// The run is only what this profile lacks: the profile that is written has both.
    pub(in crate::commands) fn assume(&mut self, profile: Profile) {
        self.assumed = Some(profile);
    }

    /// Refuses a recording that the run could not be added to, before the run.
    pub(in crate::commands) fn check_recording(&self) -> anyhow::Result<()> {
        let Some(path) = &self.recording else {
            return Ok(());
        };
        if path.exists() && !self.args.fresh {
            let recording = input::recording(path)?;
            anyhow::ensure!(
                recording.name == self.name,
                "{} is the recording of {}, not of {}: give that name with --name, or another file with --recording",
                path.display(),
                recording.name,
                self.name,
            );
        }
        Ok(())
    }

    /// Adds the run to the recording's file, and gives all that is there then.
    pub(in crate::commands) fn add(&self, run: Run) -> anyhow::Result<Added> {
        let latest = run.id;
        let one = Recording::of(self.name.clone(), run);
        let Some(path) = &self.recording else {
            let recording = one;
            return Ok(Added { recording, latest });
        };
        let earlier = if self.args.fresh {
            Earlier::SetAside
        } else {
            Earlier::Keep
        };
        let all = update(path, earlier, |old| match old {
            Some(old) => old.merge(one.clone()),
            None => Ok(one.clone()),
        });
        let recording = all.map_err(|error| {
            let kept = rescue(&one, path);
            anyhow::Error::new(error).context(kept)
        })?;
        Ok(Added { recording, latest })
    }

    /// Writes the profile of all runs, and reports the latest.
    pub(in crate::commands) fn report(&self, added: &Added, say: Say) -> anyhow::Result<()> {
        let Added { recording, latest } = added;
        let said = self.write_profile(recording, *latest);
        if let Some(run) = recording.runs.get(latest) {
            Summary::new(run, recording, &self.files(said.is_ok())).print(say, self.args.verbosity);
        }
        for line in said? {
            if say == Say::Text {
                say!("sc-record: {line}");
            }
        }
        Ok(())
    }

    /// Writes the profile of all runs, and gives what is to be said about it.
    fn write_profile(&self, recording: &Recording, latest: RunId) -> anyhow::Result<Vec<String>> {
        if self.output == Destination::Nowhere {
            return Ok(Vec::new());
        }
        let mut document = profile::of(recording, self.args.profile)?;
        if let Some(assumed) = &self.assumed {
            let both = document.generated.profile.or_allowed_by(assumed);
            document = profile::with_profile(document, both, self.args.profile, recording)?;
        }
        profile::write(&document.written, &self.output)?;
        // The summary tells why the latest run is incomplete.
        (document.generated.incomplete).retain(|incomplete| incomplete.run != latest);
        let additions = profile::additions(&document, self.args.profile.into());
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
        let recording = self.recording.as_deref().map(|path| ("recording", path));
        recording.into_iter().chain(profile).collect()
    }
}

/// Keeps a run that its recording can't take, in a file of its own: it may have taken hours. Says where.
fn rescue(run: &Recording, recording: &Path) -> String {
    let id = run.runs.keys().next().map(RunId::to_string);
    let file = format!("{}.{}.json", run.name, id.unwrap_or_default());
    let path = std::env::temp_dir().join(file);
    let (kept, recording) = (path.display(), recording.display());
    match run.save(&path) {
        Ok(()) => format!(
            "the run is kept in {kept} (to add it: sc-record merge {kept} {recording} -o {recording})"
        ),
        Err(error) => format!("the run is lost, it can't be kept in {kept} either ({error})"),
    }
}
