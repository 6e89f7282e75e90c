//! One run of a workload with a tool.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::tools::Tool;
use crate::workloads::{Load, Workload, run};

/// A run that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// What a run took.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    /// The time that the CPUs worked for the tool's own process.
    pub(crate) cpu: f64,
    /// The most memory that the tool's own process had resident.
    pub(crate) peak_kib: u64,
    /// The recording is complete, where there is one.
    pub(crate) complete: bool,
}

pub(crate) fn measure(tool: &Tool, workload: &Workload) -> Result<Measured> {
    if let Some(recording) = &tool.recording {
        let _ = fs::remove_file(recording);
    }
    let command = match &workload.load {
        Load::Command(command) | Load::Server { command, .. } => command,
    };
    let words = tool.command(command)?;
    let messages = tempfile::NamedTempFile::new()?;
    let start = Instant::now();
    let mut child = spawn(&words, messages.reopen()?)?;
    let usage = Usage::watch(child.id(), start + LIMIT);
    let (seconds, status) = match &workload.load {
        Load::Command(_) => {
            let status = child.wait()?;
            (start.elapsed(), status)
        }
        Load::Server {
            ready,
            client,
            stop,
            ..
        } => {
            let served = serve(&mut child, ready, client);
            // Also after an error, it must not go on.
            run(stop)?;
            let status = child.wait()?;
            // Where the tool was killed, it may still be there, and the next one needs its port.
            while run(ready).is_ok() {
                ensure!(Instant::now() < start + 2 * LIMIT, "the server doesn't end");
                run(stop)?;
                thread::sleep(Duration::from_millis(50));
            }
            (served?, status)
        }
    };
    let (cpu, peak_kib) = usage.end();
    if !status.success() {
        let messages = fs::read_to_string(messages.path())?;
        bail!("{words:?} ended with {status}: {}", messages.trim());
    }
    Ok(Measured {
        seconds: seconds.as_secs_f64(),
        cpu,
        peak_kib,
        complete: (tool.recording.as_deref()).map_or(Ok(true), is_complete)?,
    })
}

fn spawn(words: &[String], messages: File) -> Result<Child> {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    (command.stderr(messages).spawn()).with_context(|| words[0].clone())
}

/// The time of a client of a server that was just started.
fn serve(server: &mut Child, ready: &[String], client: &[String]) -> Result<Duration> {
    let patience = Instant::now() + LIMIT;
    while run(ready).is_err() {
        ensure!(server.try_wait()?.is_none(), "the server ended");
        ensure!(Instant::now() < patience, "the server doesn't answer");
        thread::sleep(Duration::from_millis(20));
    }
    let limited = ["timeout".to_owned(), LIMIT.as_secs().to_string()];
    let start = Instant::now();
    run(&[&limited, client].concat())?;
    Ok(start.elapsed())
}

fn is_complete(recording: &Path) -> Result<bool> {
    let recording: serde_json::Value = serde_json::from_slice(&fs::read(recording)?)?;
    let run = &recording["runs"][0];
    let complete = run["complete"].as_bool();
    if complete == Some(false) {
        eprintln!("  incomplete: {}", run["incomplete_because"]);
    }
    complete.context("a recording without a run")
}

/// Looks at a process until it ended, keeps what it last saw, and ends it when its time is up.
struct Usage {
    watcher: thread::JoinHandle<(f64, u64)>,
    ended: Arc<AtomicBool>,
}

impl Usage {
    fn watch(pid: u32, limit: Instant) -> Usage {
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&ended);
        let watcher = thread::spawn(move || {
            let mut last = (0.0, 0);
            while !is_over.load(Ordering::Relaxed) {
                if Instant::now() > limit
                    && let Ok(pid) = i32::try_from(pid)
                {
                    // It may have ended just now.
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
                if let Some((cpu, peak)) = usage_of(pid) {
                    last = (cpu, peak.max(last.1));
                }
                thread::sleep(Duration::from_millis(10));
            }
            last
        });
        Usage { watcher, ended }
    }

    /// Seconds of CPU time and KiB of memory.
    fn end(self) -> (f64, u64) {
        self.ended.store(true, Ordering::Relaxed);
        self.watcher.join().unwrap_or_default()
    }
}

/// CPU time from `proc_pid_stat(5)`, in ticks of 10 ms, and the peak of resident memory.
fn usage_of(pid: u32) -> Option<(f64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks: u32 = fields.next()?.parse::<u32>().ok()? + fields.next()?.parse::<u32>().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let peak = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((f64::from(ticks) / 100.0, peak))
}
