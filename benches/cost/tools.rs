//! What a workload runs under.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

pub(crate) struct Tool {
    pub(crate) name: &'static str,
    prefix: Vec<String>,
    /// A file that the command is written to, where it must be one word.
    script: Option<PathBuf>,
    /// Of sc-record.
    pub(crate) recording: Option<PathBuf>,
}

impl Tool {
    /// The command that runs this one under the tool.
    pub(crate) fn command(&self, command: &[String]) -> Result<Vec<String>> {
        let mut words = self.prefix.clone();
        if let Some(script) = &self.script {
            let joined = shlex::try_join(command.iter().map(String::as_str))?;
            fs::write(script, format!("exec {joined}\n"))?;
            words.push(format!("/bin/sh {}", script.display()));
        } else {
            words.extend_from_slice(command);
        }
        Ok(words)
    }

    fn works(&self) -> Result<(), String> {
        let words = (self.command(&["/bin/true".to_owned()])).map_err(|why| why.to_string())?;
        let output = (Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null()))
        .output()
        .map_err(|why| format!("{}: {why}", words[0]))?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(message.lines().last().unwrap_or("it fails").to_owned())
    }
}

/// All tools that work here, native first, and why the others don't.
pub(crate) fn all(program: &Path, work: &Path) -> Result<(Vec<Tool>, Vec<String>)> {
    let (program, path) = (program.display(), work.display());
    let recording = work.join("recording.json");
    let mut tools = Vec::new();
    let mut missing = Vec::new();
    let others = [
        ("native", String::new()),
        ("strace -f -c", format!("strace -f -c -o {path}/strace")),
        (
            "strace -f --seccomp-bpf -c",
            format!("strace -f --seccomp-bpf -c -o {path}/strace"),
        ),
        ("perf trace -s", format!("perf trace -s -o {path}/perf")),
        (
            "bpftrace",
            "bpftrace -q -e 'tracepoint:raw_syscalls:sys_enter { @[args->id] = count(); }' -c"
                .to_owned(),
        ),
    ];
    let own = [
        ("sc-record -b ptrace --no-patch", "-b ptrace --no-patch"),
        ("sc-record -b ptrace", "-b ptrace"),
        ("sc-record -b ebpf", "-b ebpf"),
        ("sc-record -b notify", "-b notify"),
        ("sc-record -b log --passes 1", "-b log --passes 1"),
    ];
    let own = own.map(|(name, flags)| {
        let line = format!(
            "{program} -q --progress never -r {} -o none {flags} --",
            recording.display()
        );
        (name, line)
    });
    for (name, line) in others.into_iter().chain(own) {
        let tool = Tool {
            name,
            prefix: shlex::split(&line).context("a command line")?,
            script: (name == "bpftrace").then(|| work.join("command")),
            recording: name.starts_with("sc-record").then(|| recording.clone()),
        };
        match tool.works() {
            Ok(()) => tools.push(tool),
            Err(why) => missing.push(format!("{name}: {why}")),
        }
    }
    Ok((tools, missing))
}
