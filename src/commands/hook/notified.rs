//! Recording without eBPF: Podman lets the hook change a container's configuration before the runtime reads it (the stage
//! `precreate`), so that the runtime hands over a seccomp listener.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};

use anyhow::Context;
use sc_record::backend::signals::Signals;
use sc_record::backend::{Agent, Backend, Ebpf, Notice, Scope, Stop, Target};
use sc_record::event::Task;
use sc_record::format::{Format, write};
use sc_record::recording::RunBuilder;
use sc_record::session::{Observer, Session};
use serde_json::Value;

use super::{ANNOTATION, Files, HookObserver, PATIENCE, files, start_recorder, write_profile};
use crate::cli::HookArgs;
use crate::commands::{agent, profile};
use crate::start_keeper::start_keeper_of_command;

/// Prints the configuration, with the recording profile if eBPF can't record the container.
pub(super) fn precreate(args: &HookArgs, text: &[u8]) -> anyhow::Result<()> {
    let mut config: Value = serde_json::from_slice(text)?;
    let annotation = config["annotations"][ANNOTATION].as_str();
    if let Some(annotation) = annotation
        && !has_ebpf()
    {
        let files = Files::parse(annotation)?;
        let socket = files::socket()?;
        let recording = agent::recording_profile(&socket, None, &[], args.runtime)?;
        let written = write(Format::Oci, &recording, &profile::WRITING)?;
        start_recorder(
            &files,
            ["--serve".as_ref(), socket.as_os_str(), annotation.as_ref()],
        )?;
        config["linux"]["seccomp"] = serde_json::from_slice(&written.bytes)?;
    }
    crate::ui::output::print(&format!("{config}\n"))
}

/// Whether the runtime hands over the container of this bundle to a recorder.
pub(super) fn is_handed_over(bundle: &Path) -> bool {
    let config = fs::read(bundle.join("config.json")).unwrap_or_default();
    let config: Value = serde_json::from_slice(&config).unwrap_or_default();
    let listener = config["linux"]["seccomp"]["listenerPath"].as_str();
    listener.is_some_and(|path| files::is_socket(Path::new(path)))
}

/// Whether eBPF programs can be loaded here.
fn has_ebpf() -> bool {
    let any = Target::Process(Task(std::process::id().cast_signed()));
    Ebpf::default().probe(&any).is_ok()
}

/// Records the container that a runtime hands over, and what is executed in it, and writes the profile.
pub(super) fn serve(args: &HookArgs, socket: PathBuf, files: &Files) -> anyhow::Result<()> {
    let keeper = start_keeper_of_command().context("can't start the keeper")?;
    let target = Target::Scope(Scope::Everything);
    let stop = Stop::new().context("can't handle signals")?;
    let signals = Signals::handle(&target, &stop).context("can't handle signals")?;
    let backend = Agent {
        socket,
        keeper: Some(keeper),
        interest: profile::interest(args.profile),
    };
    let session = Session {
        backend: &backend,
        target: &target,
        stop: &stop,
        journal: None,
    };
    let mut runs = Vec::new();
    let open = AtomicUsize::new(0);
    let (begins, has_begun) = mpsc::channel::<()>();
    let recorded = std::thread::scope(|scope| {
        let (open, stop) = (&open, &stop);
        scope.spawn(move || {
            if has_begun.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                stop.request("no container runtime has connected");
            }
        });
        let mut observer = Serving {
            open,
            begins: Some(begins),
        };
        session.record_each(&mut observer, &mut |run| {
            runs.push(run);
            // What is executed in a container ends before it.
            if open.fetch_sub(1, Ordering::Relaxed) == 1 {
                stop.request("the container has ended");
            }
        })
    });
    signals.recorded();
    recorded?;
    write_profile(args, runs, files)?;
    signals.saved();
    Ok(())
}

/// Counts the programs under the profile: the container's, and those that are executed in it.
struct Serving<'a> {
    open: &'a AtomicUsize,
    /// Dropped with the first one.
    begins: Option<mpsc::Sender<()>>,
}

impl Observer for Serving<'_> {
    fn begin(&mut self, run: RunBuilder) -> RunBuilder {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begins = None;
        run
    }

    fn notice(&mut self, notice: Notice) {
        HookObserver.notice(notice);
    }
}
