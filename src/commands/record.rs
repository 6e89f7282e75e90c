//! `sc-record [OPTIONS] [--] CMD [ARG]...`: the verb that needs no name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use sc_record::backend::ptrace::Ptrace;
use sc_record::backend::signals::{self, Interrupts};
use sc_record::backend::{Backend, Command, Control, Outcome, Target, Until};
use sc_record::command::find_executable;
use sc_record::event::Task;
use sc_record::recording::{Earlier, Name, Recording, Run, RunBuilder, RunId, update};

use super::profile;
use super::progress::{Progress, Watched};
use super::summary::Summary;
use crate::cli::{self, Destination, RecordArgs};

/// What the command line comes to.
struct Plan<'a> {
    args: &'a RecordArgs,
    target: Target,
    program: PathBuf,
    name: Name,
    /// `None`: keep no recording.
    recording: Option<PathBuf>,
    output: Destination,
}

/// Records, and gives the exit status of the workload.
pub(super) fn record(args: &RecordArgs) -> anyhow::Result<u8> {
    let plan = Plan::new(args)?;
    plan.check_recording()?;
    // Before there is a thread: the mask of signals is each thread's own.
    let signals = signals::block();
    let control = Arc::new(Control::new());
    let interrupts = match plan.target {
        Target::Command(_) => Interrupts::Second,
        Target::Process(_) => Interrupts::First,
    };
    signals
        .handle(Arc::clone(&control), interrupts)
        .context("can't handle signals")?;

    let (run, outcome) = plan.run(&control)?;
    let id = run.id;
    let recording = plan.keep(run)?;
    let said = plan.write_profile(&recording, id);
    if let Some(run) = recording.runs.get(&id) {
        Summary::new(run, &recording, &plan.files(said.is_ok())).print(args.json, args.verbosity);
    }
    for line in said? {
        if !args.json {
            eprintln!("sc-record: {line}");
        }
    }
    Ok(status(&outcome, &plan.target))
}

/// The workload's own status. One that was attached to has none for us; one whose recording was broken off ended by the
/// interrupt.
fn status(outcome: &Outcome, target: &Target) -> u8 {
    let status = match (outcome.exit, target) {
        (_, Target::Process(_)) => 0,
        (Some(exit), Target::Command(_)) => exit.shell_status(),
        (None, Target::Command(_)) => 128 + libc::SIGINT,
    };
    // A status is a byte, and so are 128 and any signal.
    u8::try_from(status).unwrap_or(super::exit_status::TOOL_FAILED)
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

impl Plan<'_> {
    fn new(args: &RecordArgs) -> anyhow::Result<Plan<'_>> {
        let (target, program) = match (args.pid, args.command.first()) {
            (None, Some(command)) => {
                let path = find_executable(command)?;
                let command = Command {
                    path,
                    argv: args.command.clone(),
                };
                (Target::Command(command), PathBuf::from(&args.command[0]))
            }
            (pid, _) => {
                let pid = pid.context("there is neither a command nor a process")?;
                let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                (Target::Process(Task(pid)), program)
            }
        };
        let name = args
            .name
            .clone()
            .unwrap_or_else(|| Name::of_command(&program));
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
            output.unwrap_or_else(|| Destination::File(format!("profiles/{name}.json").into()));
        Ok(Plan {
            args,
            target,
            program,
            name,
            recording,
            output,
        })
    }

    /// Refuses a recording that the run could not be added to, before the run.
    fn check_recording(&self) -> anyhow::Result<()> {
        let Some(path) = &self.recording else {
            return Ok(());
        };
        if path.exists() && !self.args.fresh {
            let recording = Recording::load(path)?;
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

    fn run(&self, control: &Control) -> anyhow::Result<(Run, Outcome)> {
        let backend = self.backend();
        if self.args.verbosity.verbose {
            eprintln!(
                "sc-record: backend {}: {}",
                backend.name(),
                backend.stopping()
            );
        }
        let show = !self.args.verbosity.quiet;
        let progress = show.then(|| Progress::start(self.args.progress)).flatten();
        let mut builder = RunBuilder::start(self.program.clone(), backend.name());
        let mut sink = Watched {
            builder: &mut builder,
            progress: progress.as_ref(),
        };
        let outcome = backend.record(&self.target, &mut sink, control)?;
        drop(progress);
        let mut run = builder.finish(outcome.exit, outcome.no_new_privs);
        run.labels = self.args.labels.iter().cloned().collect();
        if let (true, Target::Command(command)) = (self.args.keep_argv, &self.target) {
            run.argv = Some(command.argv.clone());
        }
        Ok((run, outcome))
    }

    fn backend(&self) -> Ptrace {
        let (cli::Backend::Auto | cli::Backend::Ptrace) = self.args.backend;
        Ptrace {
            until: match self.args.until {
                cli::Until::All => Until::All,
                cli::Until::Exit => Until::Exit,
            },
            no_filter: self.args.no_filter,
        }
    }

    /// Adds the run to the recording's file, and gives all that is there then.
    fn keep(&self, run: Run) -> anyhow::Result<Recording> {
        let one = Recording::of(self.name.clone(), run);
        let Some(path) = &self.recording else {
            return Ok(one);
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
        all.map_err(|error| {
            let kept = rescue(&one, path);
            anyhow::Error::new(error).context(kept)
        })
    }

    /// Writes the profile of all runs, and gives what is to be said about it.
    fn write_profile(&self, recording: &Recording, latest: RunId) -> anyhow::Result<Vec<String>> {
        if self.output == Destination::Nowhere {
            return Ok(Vec::new());
        }
        let mut document = profile::of(recording, self.args.profile)?;
        profile::write(&document.text, &self.output)?;
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
