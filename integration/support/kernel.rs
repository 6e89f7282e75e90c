//! A witness in the kernel of the same run that is recorded: the tracepoint at the entry of every call (`raw_syscalls`
//! of tracefs). It comes after seccomp, so it misses calls that a filter refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use sc_record::syscall::{Arch, Syscall};

use super::process::{Ended, Room, until};

/// An instance of the kernel's event tracing, and its mount.
pub(crate) struct Tracing {
    mount: PathBuf,
    instance: PathBuf,
}

impl Tracing {
    /// The error names the missing feature.
    pub(crate) fn new(room: &Room) -> Result<Tracing, String> {
        let mount = room.directory();
        let mut command = Command::new("mount");
        let mounted = room.run(command.args(["-t", "tracefs", "tracefs"]).arg(&mount));
        if mounted.code() != 0 {
            return Err(format!("no tracefs: {}", mounted.stderr.trim_end()));
        }
        let name = room.path().file_name().unwrap();
        let instance = mount.join("instances").join(name);
        let tracing = Tracing { mount, instance };
        if !tracing.mount.join("events/raw_syscalls").exists() {
            return Err("no tracepoints of system calls (CONFIG_FTRACE_SYSCALLS)".to_owned());
        }
        std::fs::create_dir(&tracing.instance).unwrap();
        tracing.set("buffer_size_kb", "65536");
        tracing.set("options/event-fork", "1");
        Ok(tracing)
    }

    fn set(&self, file: &str, value: &str) {
        std::fs::write(self.instance.join(file), value).unwrap_or_else(|e| panic!("{file}: {e}"));
    }

    /// Whether the kernel has this event of this group.
    pub(crate) fn has(&self, event: &str) -> bool {
        self.mount.join("events").join(event).exists()
    }

    /// The types of a call's arguments, if the kernel has the call under this name.
    pub(crate) fn types_of_arguments(&self, call: &str) -> Option<Vec<String>> {
        let call = if call == "umount2" { "umount" } else { call };
        let file = format!("events/syscalls/sys_enter_{call}/format");
        let text = std::fs::read_to_string(self.mount.join(file)).ok()?;
        // `field:int domain; offset:16; …`, after those of all events and `__syscall_nr`.
        let fields = text.lines().filter_map(|line| line.split_once("field:"));
        let types = fields.filter_map(|(_, field)| {
            let (declaration, _) = field.split_once(';')?;
            let (kind, name) = declaration.rsplit_once(' ')?;
            let is_common = name.starts_with("common_") || name == "__syscall_nr";
            (!is_common).then(|| kind.to_owned())
        });
        Some(types.collect())
    }

    /// Runs a recorder, and counts the calls of its workload by number: from the first execve(2) that isn't the
    /// recorder's, without the recorder's threads.
    pub(crate) fn run(&self, room: &Room, recorder: &Command) -> (Ended, BTreeMap<i32, u64>) {
        // Stopped until it is traced.
        let mut stopped = Command::new("sh");
        stopped.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]);
        stopped
            .arg(recorder.get_program())
            .args(recorder.get_args());
        let mut running = room.spawn(&mut stopped);
        let pid = running.pid();
        until("the shell to stop", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.contains(") T ")
        });
        self.set("set_event_pid", &pid.to_string());
        self.set("events/raw_syscalls/sys_enter/enable", "1");
        running.signal(Signal::SIGCONT);
        let mut threads = BTreeSet::from([pid.as_raw()]);
        while !running.has_ended() {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
            let names = tasks
                .into_iter()
                .flatten()
                .flatten()
                .map(|task| task.file_name());
            threads.extend(names.filter_map(|name| name.to_str()?.parse::<i32>().ok()));
            std::thread::sleep(Duration::from_millis(1));
        }
        let ended = running.wait(room);
        room.wait_until_empty(&stopped);
        self.set("events/raw_syscalls/sys_enter/enable", "0");
        for cpu in std::fs::read_dir(self.instance.join("per_cpu"))
            .unwrap()
            .flatten()
        {
            let stats = std::fs::read_to_string(cpu.path().join("stats")).unwrap();
            assert!(
                stats.contains("\noverrun: 0\n"),
                "the witness lost events: {stats}"
            );
        }
        let log = std::fs::read(self.instance.join("trace")).unwrap();
        (ended, counts(&String::from_utf8_lossy(&log), &threads))
    }
}

impl Drop for Tracing {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.instance);
        let _ = Command::new("umount").arg(&self.mount).status();
    }
}

/// Reads `NAME-TASK [CPU] FLAGS TIME: sys_enter: NR N (…)`. The names are unreliable: the kernel keeps few.
fn counts(log: &str, recorder: &BTreeSet<i32>) -> BTreeMap<i32, u64> {
    let execve = Syscall::from_name(Arch::NATIVE, "execve").unwrap().nr;
    let mut counts = BTreeMap::new();
    let mut command = None;
    for line in log.lines() {
        let Some((head, call)) = line.split_once("sys_enter: NR ") else {
            continue;
        };
        let nr: i32 = call.split(' ').next().unwrap().parse().unwrap();
        let (_, task) = head
            .split_once('[')
            .unwrap()
            .0
            .trim()
            .rsplit_once('-')
            .unwrap();
        let task: i32 = task.parse().unwrap();
        match command {
            // The shell becomes the recorder.
            None if nr == execve && !recorder.contains(&task) => command = Some(task),
            None => continue,
            Some(_) if recorder.contains(&task) => continue,
            Some(_) => {}
        }
        *counts.entry(nr).or_default() += 1;
    }
    counts
}
