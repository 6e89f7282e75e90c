//! `sc-record agent`: records containers whose runtimes connect to a socket.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use anyhow::Context;
use sc_record::backend::agent::{NAME_LABEL, keep};
use sc_record::backend::signals::Signals;
use sc_record::backend::{Agent, Notice, Scope, Stop, Target};
use sc_record::format::{Writing, write};
use sc_record::profile::{Flag, Listener, Profile, Runtime};
use sc_record::recording::{Journal, Name, Run, RunBuilder, RunId};
use sc_record::session::{Observer, Session};
use sc_record::syscall::Arch;

use super::record::keep::{Keep, one_of_many};
use super::{exit_status, profile};
use crate::cli::{AgentArgs, Destination, KeepArgs, Labels};
use crate::start_keeper::start_keeper;
use crate::ui::observation::say_notice;
use crate::ui::ready::Ready;

pub(super) fn agent(args: &AgentArgs) -> anyhow::Result<u8> {
    if args.keeper {
        let agent = std::io::stdin().as_fd().try_clone_to_owned()?;
        keep(
            agent,
            Some(args.socket.as_path()).filter(|_| !args.without_socket),
        )
        .context("can't keep listeners")?;
        return Ok(exit_status::CLEAN);
    }
    anyhow::ensure!(
        args.socket.is_absolute(),
        "{} is not an absolute path: runtimes would look for the socket elsewhere",
        args.socket.display()
    );
    if args.print_profile {
        print_profile(args)?;
    } else {
        listen(args)?;
    }
    Ok(exit_status::CLEAN)
}

/// The profile with which a runtime hands over a listener at a socket.
pub(super) fn recording_profile(
    socket: &Path,
    name: Option<&Name>,
    arches: &[Arch],
    runtime: Runtime,
) -> anyhow::Result<Profile> {
    let path = socket.to_str().context("the socket's path is not text")?;
    let metadata = name.map(ToString::to_string);
    let listener = Listener::new(path.to_owned(), metadata).context("the path is empty")?;
    let native = [Arch::NATIVE];
    let arches = match arches {
        [] => &native,
        arches => arches,
    };
    let not_observed: BTreeSet<_> = runtime.not_observed().iter().copied().collect();
    let made = Profile::notify_all(arches.iter().copied(), listener, &not_observed);
    Ok(match runtime {
        Runtime::Runc => made,
        Runtime::Crun => made.with_flags(Some(vec![Flag::WaitKillableRecv])),
    })
}

fn print_profile(args: &AgentArgs) -> anyhow::Result<()> {
    let mut made = recording_profile(&args.socket, args.name.as_ref(), &args.arches, args.runtime)?;
    if args.wait_killable {
        made = made.with_flags(Some(vec![Flag::WaitKillableRecv]));
    }
    let writing = Writing {
        name: "record",
        ..profile::WRITING
    };
    let written = write(args.profile.format, &made, &writing)?;
    let stdout = Destination::Stdout;
    profile::write(&written, args.output.as_ref().unwrap_or(&stdout))
}

fn listen(args: &AgentArgs) -> anyhow::Result<()> {
    let ready = Ready::new(args.ready.ready_fd)?;
    take_in_journals(args)?;
    // First, since it would inherit blocked signals.
    let (keeper, mut process) = start_keeper(&[OsStr::new("--socket"), args.socket.as_os_str()])
        .context("can't start the keeper")?;
    let target = Target::Scope(Scope::Everything);
    let stop = Stop::new().context("can't handle signals")?;
    let signals = Signals::handle(&target, &stop).context("can't handle signals")?;
    let agent = Agent {
        socket: args.socket.clone(),
        keeper: Some(keeper),
        interest: profile::interest(args.profile),
    };
    let session = Session {
        backend: &agent,
        target: &target,
        stop: &stop,
        // A journal belongs to the file of one recording.
        journal: None,
    };
    let (ended, runs) = mpsc::channel::<Run>();
    let journals = Journals::default();
    let all_saved = AtomicBool::new(true);
    // Containers don't wait while a file is written.
    let recorded = std::thread::scope(|scope| {
        let (journals, all_saved) = (&journals, &all_saved);
        scope.spawn(move || {
            for run in runs {
                let journal = lock(journals).remove(&run.id);
                if !save(args, run, journal) {
                    all_saved.store(false, Ordering::Relaxed);
                }
            }
        });
        let mut observer = AgentObserver {
            args,
            journals,
            ready: &ready,
        };
        session.record_each(&mut observer, &mut move |run| {
            // The receiver lives until the last run is saved.
            let _ = ended.send(run);
        })
    });
    signals.recorded();
    signals.saved();
    drop(agent);
    recorded?;
    if let Ok(None) = process.try_wait()
        && !args.verbosity.quiet
    {
        say!(
            "sc-record: process {} answers for the containers that still run, until they end or another agent listens at {}",
            process.id(),
            args.socket.display()
        );
    }
    anyhow::ensure!(
        all_saved.into_inner(),
        "not every container's recording could be written: see above"
    );
    Ok(())
}

/// The journals of the runs that are not saved yet.
type Journals = Mutex<HashMap<RunId, Journal>>;

fn lock(journals: &Journals) -> std::sync::MutexGuard<'_, HashMap<RunId, Journal>> {
    // Each change is a single step.
    journals.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds what the journals of killed agents hold to their recordings: `.FILE.ID.journal` in the directory.
fn take_in_journals(args: &AgentArgs) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(&args.recordings);
    let names = entries.into_iter().flatten().flatten();
    let recordings: BTreeSet<_> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (file, _) = name
                .strip_prefix('.')?
                .strip_suffix(".journal")?
                .rsplit_once('.')?;
            file.strip_suffix(".json")?.parse::<Name>().ok()
        })
        .collect();
    for name in recordings {
        Keep::new(&keep_args(args, &name), name)?.prepare()?;
    }
    Ok(())
}

/// The name of a container's recording.
fn name_of(labels: &BTreeMap<String, String>) -> Name {
    let asked = labels.get(NAME_LABEL).cloned().unwrap_or_default();
    asked
        .parse()
        .unwrap_or_else(|_| Name::of_command(Path::new(&asked.replace('/', "_"))))
}

/// How the runs of a name are kept.
fn keep_args(args: &AgentArgs, name: &Name) -> KeepArgs {
    let file = |directory: &Path, extension: &str| {
        Some(Destination::File(
            directory.join(format!("{name}.{extension}")),
        ))
    };
    KeepArgs {
        recording: file(&args.recordings, "json"),
        output: file(&args.profiles, args.profile.format.extension()),
        name: Some(name.clone()),
        fresh: false,
        profile: args.profile,
        labels: Labels::default(),
        verbosity: args.verbosity,
    }
}

/// Adds a container's run to the recording of its name, and reports it. Returns whether it is saved, if there is one.
fn save(args: &AgentArgs, run: Run, journal: Option<Journal>) -> bool {
    let container = run.labels.get("container").cloned().unwrap_or_default();
    if run.syscalls.is_empty() {
        say!(
            "sc-record: container {container}: nothing was recorded, because its program was not executed"
        );
        return true;
    }
    let name = name_of(&run.labels);
    if !args.verbosity.quiet {
        say!("sc-record: container {container} of {name}:");
    }
    let keep_args = keep_args(args, &name);
    let saved = one_of_many(&keep_args, name, run, journal);
    if let Err(error) = &saved {
        say!("sc-record: error: container {container}: {error:#}");
    }
    saved.is_ok()
}

/// Gives each run a journal, and prints messages.
struct AgentObserver<'a> {
    args: &'a AgentArgs,
    journals: &'a Journals,
    ready: &'a Ready,
}

impl Observer for AgentObserver<'_> {
    fn begin(&mut self, run: RunBuilder) -> RunBuilder {
        let name = name_of(run.labels());
        let journal = Keep::new(&keep_args(self.args, &name), name).and_then(|keep| keep.journal());
        match journal {
            Ok(Some(journal)) => {
                let run = run.journalled(&journal);
                lock(self.journals).insert(run.id(), journal);
                run
            }
            Ok(None) => run,
            Err(error) => {
                say!("sc-record: warning: a run has no journal: {error:#}");
                run
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        say_notice(&notice, self.args.verbosity, self.ready);
    }
}
