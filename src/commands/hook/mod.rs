//! `sc-record hook`: an OCI hook that records a container, with the annotation of oci-seccomp-bpf-hook.
//!
//! The hook starts a process that records, and returns once that counts. When the container has stopped, the hook runs
//! again and waits until the profile is written. [`notified`] is the way without eBPF.

mod files;
mod notified;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use sc_record::backend::signals::Signals;
use sc_record::backend::{Ebpf, Notice, Scope, Stop, Target};
use sc_record::event::{Event, Task};
use sc_record::recording::{Name, Recording, Run, RunBuilder};
use sc_record::session::{Observer, Session};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use self::files::Files;
use super::{exit_status, profile};
use crate::cli::{Destination, HookArgs};

/// Its value is `of:OUTPUT;if:INPUT`.
const ANNOTATION: &str = "io.containers.trace-syscall";

/// The maximum length of a container's state.
const MAX_STATE: u64 = 4 << 20;

/// How long to wait for the profile of a container that has stopped.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn hook(args: &HookArgs) -> anyhow::Result<u8> {
    if args.print_config {
        print_config(args)?;
    } else if let Some([process, annotation]) = args.record.as_deref() {
        record(args, Task(process.parse()?), &Files::parse(annotation)?)?;
    } else if let Some([socket, annotation]) = args.serve.as_deref() {
        notified::serve(args, socket.into(), &Files::parse(annotation)?)?;
    } else {
        let mut text = Vec::new();
        std::io::stdin().take(MAX_STATE).read_to_end(&mut text)?;
        let state: State = serde_json::from_slice(&text)
            .context("stdin is not the state of a container: container runtimes run this")?;
        if state.process.is_some() {
            notified::precreate(args, &text)?;
        } else if let Some(annotation) = state.annotations.get(ANNOTATION) {
            let files = Files::parse(annotation)?;
            if state.status == "stopped" {
                finish(&files)?;
            } else {
                start(&state, annotation, &files)?;
            }
        }
    }
    Ok(exit_status::CLEAN)
}

/// The used fields of a container's state.
#[derive(Deserialize)]
struct State {
    #[serde(default)]
    status: String,
    #[serde(default)]
    pid: i32,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    bundle: PathBuf,
    /// Only a configuration has it.
    process: Option<IgnoredAny>,
}

/// Starts to record a container whose program is not executed yet.
fn start(state: &State, annotation: &str, files: &Files) -> anyhow::Result<()> {
    if notified::is_handed_over(&state.bundle) {
        return Ok(());
    }
    let process = state.pid.to_string();
    start_recorder(files, ["--record", &process, annotation].map(OsStr::new))
}

/// Starts the process that records, and waits until it does.
fn start_recorder(files: &Files, arguments: [&OsStr; 3]) -> anyhow::Result<()> {
    let path = files.messages()?;
    // Another recorder may still write to the old file.
    let _ = fs::remove_file(&path);
    let failed = || format!("can't write {}", path.display());
    let messages = File::create_new(&path).with_context(failed)?;
    messages.lock().with_context(failed)?;
    let mut recorder = Command::new("/proc/self/exe")
        .arg0("sc-record")
        .args(std::env::args_os().skip(1))
        .args(arguments)
        // What ends the engine's client from the terminal doesn't reach it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(messages)
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = recorder.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    if line.is_empty() {
        recorder.wait()?;
        let why = fs::read_to_string(&path).unwrap_or_default();
        anyhow::bail!("the container can't be recorded: {}", why.trim());
    }
    Ok(())
}

/// Waits until the profile is written.
fn finish(files: &Files) -> anyhow::Result<()> {
    let path = files.messages()?;
    // Without the file, it has been waited for already.
    let Ok(mut messages) = File::open(&path) else {
        return Ok(());
    };
    let deadline = Instant::now() + PATIENCE;
    while let Err(TryLockError::WouldBlock) = messages.try_lock() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "the container's calls are still being recorded"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut text = String::new();
    messages.read_to_string(&mut text)?;
    let _ = fs::remove_file(&path);
    std::io::stderr().write_all(text.as_bytes())?;
    Ok(())
}

/// Records until the container ends, and writes the profile.
fn record(args: &HookArgs, process: Task, files: &Files) -> anyhow::Result<()> {
    let target = Target::Scope(Scope::ContainerOf {
        process,
        has_begun: false,
    });
    let stop = Stop::new().context("can't handle signals")?;
    let signals = Signals::handle(&target, &stop).context("can't handle signals")?;
    let session = Session {
        backend: &Ebpf {
            interest: profile::interest(args.profile),
            ..Ebpf::default()
        },
        target: &target,
        stop: &stop,
        journal: None,
    };
    let run = session.record(&mut HookObserver)?;
    signals.recorded();
    write_profile(args, [run], files)?;
    signals.saved();
    Ok(())
}

/// Writes the profile of a container's runs.
fn write_profile(
    args: &HookArgs,
    runs: impl IntoIterator<Item = Run>,
    files: &Files,
) -> anyhow::Result<()> {
    let base = files.base.as_deref().map(profile::assumed).transpose()?;
    let mut recording: Option<Recording> = None;
    for run in runs.into_iter().filter(|run| !run.syscalls.is_empty()) {
        for why in &run.incomplete_because {
            say!("sc-record: INCOMPLETE, calls may be missing: {why}");
        }
        let one = Recording::of(Name::of_command(&files.output), run);
        recording = Some(match recording {
            Some(others) => others.merge(one)?,
            None => one,
        });
    }
    let recording = recording.context("no program of the container was executed")?;
    let mut document = profile::of(&recording, args.profile)?;
    if let Some(base) = base {
        let both = document.generated.profile.or_allowed_by(&base);
        document = profile::with_profile(document, both, args.profile, &recording)?;
    }
    let output = Destination::File(files.output.clone());
    profile::write(&document.written, &output)?;
    Ok(())
}

/// Tells the hook that the calls are being counted.
struct HookObserver;

impl Observer for HookObserver {
    fn event(&mut self, _: &Event, _: &RunBuilder) {}

    fn notice(&mut self, notice: Notice) {
        if let Notice::Ready(_) = notice {
            // The hook waits for it.
            println!("ready");
        }
    }
}

fn print_config(args: &HookArgs) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("can't find this program")?;
    let mut command = vec!["sc-record".to_owned(), "hook".to_owned()];
    let mut given = std::env::args().skip(2);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--print-config" | "--podman" => {}
            "-o" | "--output" => drop(given.next()),
            _ => command.push(argument),
        }
    }
    let mut stages = vec!["createRuntime", "poststop"];
    if args.podman {
        stages.insert(0, "precreate");
    }
    let config = json!({
        "version": "1.0.0",
        "hook": {"path": program, "args": command},
        "when": {"annotations": {format!("^{}$", ANNOTATION.replace('.', "\\.")): ".*"}},
        "stages": stages,
    });
    let text = format!("{config:#}\n");
    match args.output.as_ref() {
        Some(Destination::File(path)) => {
            sc_record::atomic_file::write_atomically(path, text.as_bytes())?;
        }
        _ => crate::ui::output::print(&text)?,
    }
    Ok(())
}
