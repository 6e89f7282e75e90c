//! `sc-record hook`: an OCI hook that records a container, with the annotation of oci-seccomp-bpf-hook.
//!
//! The hook starts a process that records, and returns once that counts. When the container has stopped, the hook runs
//! again and waits until the profile is written.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use sc_record::backend::signals::Signals;
use sc_record::backend::{Ebpf, Notice, Scope, Stop, Target};
use sc_record::event::{Event, Task};
use sc_record::recording::{Name, Recording, RunBuilder};
use sc_record::session::{Observer, Session};
use serde::Deserialize;
use serde_json::json;

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
    } else {
        let mut text = Vec::new();
        std::io::stdin().take(MAX_STATE).read_to_end(&mut text)?;
        let state: State = serde_json::from_slice(&text)
            .context("stdin is not the state of a container: container runtimes run this")?;
        if let Some(annotation) = state.annotations.get(ANNOTATION) {
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
}

/// The files of an annotation.
struct Files {
    /// The profile to write.
    output: PathBuf,
    /// A profile whose calls are allowed too.
    base: Option<PathBuf>,
}

impl Files {
    fn parse(annotation: &str) -> anyhow::Result<Files> {
        let (mut output, mut base) = (None, None);
        for part in annotation.split(';').filter(|part| !part.is_empty()) {
            let (field, path) = part.split_once(':').unwrap_or_default();
            let path = PathBuf::from(path);
            let field = match field {
                "of" => &mut output,
                "if" => &mut base,
                _ => anyhow::bail!("{ANNOTATION}: {part} is neither of:FILE nor if:FILE"),
            };
            anyhow::ensure!(
                path.is_absolute(),
                "{ANNOTATION}: {} is not an absolute path",
                path.display()
            );
            *field = Some(path);
        }
        let output = output.with_context(|| format!("{ANNOTATION} has no of:FILE"))?;
        Ok(Files { output, base })
    }

    /// The file with the messages of the recorder, which has it locked as long as it lives.
    fn messages(&self) -> anyhow::Result<PathBuf> {
        let directory = Path::new("/run/sc-record");
        let mut builder = fs::DirBuilder::new();
        (builder.recursive(true).mode(0o700).create(directory))
            .with_context(|| format!("can't make {}", directory.display()))?;
        // A file name has at most 255 bytes.
        let path = self.output.to_string_lossy().replace('/', "%");
        let skipped = path.chars().count().saturating_sub(60);
        Ok(directory.join(path.chars().skip(skipped).collect::<String>()))
    }
}

/// Starts to record a container whose program is not executed yet.
fn start(state: &State, annotation: &str, files: &Files) -> anyhow::Result<()> {
    let path = files.messages()?;
    // Another recorder may still write to the old file.
    let _ = fs::remove_file(&path);
    let failed = || format!("can't write {}", path.display());
    let messages = File::create_new(&path).with_context(failed)?;
    messages.lock().with_context(failed)?;
    let mut recorder = Command::new("/proc/self/exe")
        .arg0("sc-record")
        .args(std::env::args_os().skip(1))
        .arg("--record")
        .args([&state.pid.to_string(), annotation])
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
    let base = files.base.as_deref().map(profile::assumed).transpose()?;
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
    anyhow::ensure!(
        !run.syscalls.is_empty(),
        "no program of the container was executed"
    );
    for why in &run.incomplete_because {
        say!("sc-record: INCOMPLETE, calls may be missing: {why}");
    }
    let recording = Recording::of(Name::of_command(&files.output), run);
    let mut document = profile::of(&recording, args.profile)?;
    if let Some(base) = base {
        let both = document.generated.profile.or_allowed_by(&base);
        document = profile::with_profile(document, both, args.profile, &recording)?;
    }
    let output = Destination::File(files.output.clone());
    profile::write(&document.written, &output)?;
    signals.saved();
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
            "--print-config" => {}
            "-o" | "--output" => drop(given.next()),
            _ => command.push(argument),
        }
    }
    let config = json!({
        "version": "1.0.0",
        "hook": {"path": program, "args": command},
        "when": {"annotations": {format!("^{}$", ANNOTATION.replace('.', "\\.")): ".*"}},
        "stages": ["createRuntime", "poststop"],
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
