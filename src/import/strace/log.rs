//! The state of reading one file of strace.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::line::{Leader, LineTime};
use super::summary::CountTable;
use crate::import::output::ImportOutput;
use crate::syscall::Arch;

/// The state of reading one source.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent of each other"
)]
pub(super) struct TraceLog {
    pub(super) name: String,
    /// The task, if the file is of one task only (-ff).
    pub(super) pid: Option<i32>,
    /// The current line number.
    pub(super) line: u64,
    /// Whether strace prints changes of the ABI (not with -o, -q).
    pub(super) noted: bool,
    /// Whether there were lines with calls.
    pub(super) calls: bool,
    /// Whether there were lines without a pid.
    pub(super) bare: bool,
    /// The pid of their task.
    pub(super) only_pid: Option<i32>,
    /// Tasks that strace attached to, which may not have made calls yet.
    pub(super) attached: HashSet<i32>,
    /// The task whose line continues in the next one.
    pub(super) interrupted: Option<i32>,
    pub(super) table: Option<CountTable>,
    /// The ABI of the next table, if known.
    pub(super) mode: Option<Arch>,
    /// Whether calls come from a table only.
    pub(super) counted: bool,
    pub(super) broken: u64,
    pub(super) unavailable: u64,
    pub(super) detached: bool,
    began: SystemTime,
    /// -r: since the log began.
    elapsed: Duration,
    /// -t: the first time of the day, the latest, and how many midnights there were.
    day: Option<(Duration, Duration, u32)>,
}

impl TraceLog {
    pub(super) fn new(name: String, pid: Option<i32>, native: Arch, began: SystemTime) -> TraceLog {
        TraceLog {
            name,
            pid,
            line: 0,
            noted: false,
            calls: false,
            bare: false,
            only_pid: None,
            attached: HashSet::new(),
            interrupted: None,
            table: None,
            mode: Some(native),
            counted: false,
            broken: 0,
            unavailable: 0,
            detached: false,
            began,
            elapsed: Duration::ZERO,
            day: None,
        }
    }

    /// strace attached to a task. It prints this only if it also prints changes of the ABI (not with -q, -o).
    pub(super) fn attached(&mut self, pid: i32) {
        self.noted = true;
        self.attached.insert(pid);
    }

    /// The time of a line.
    pub(super) fn when(&mut self, leader: &Leader) -> Option<SystemTime> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        if let Some(LineTime::Unix(since_1970)) = leader.time {
            return SystemTime::UNIX_EPOCH.checked_add(since_1970);
        }
        if let Some(since) = leader.since {
            self.elapsed = self.elapsed.checked_add(since)?;
            return self.began.checked_add(self.elapsed);
        }
        let Some(LineTime::OfDay(now)) = leader.time else {
            return None;
        };
        let (first, latest, midnights) = self.day.unwrap_or((now, now, 0));
        // More than half a day back means the next day.
        let midnights = midnights + u32::from(now + DAY / 2 < latest);
        self.day = Some((first, now, midnights));
        let since = DAY.checked_mul(midnights)?.checked_add(now)?;
        match since.checked_sub(first) {
            Some(elapsed) => self.began.checked_add(elapsed),
            None => Some(self.began),
        }
    }

    /// Reports the losses.
    pub(super) fn report_losses(self, output: &mut ImportOutput<'_>) {
        let name = &self.name;
        if self.broken > 0 {
            output.lost(Some(self.broken), format!("{name}: lines can't be read"));
        }
        if self.unavailable > 0 {
            let why = format!("{name}: strace could not read the number of the call (????)");
            output.lost(Some(self.unavailable), why);
        }
        if self.detached {
            output.lost(
                None,
                format!("{name}: strace detached from a running process"),
            );
        }
        if self.counted {
            let why = "strace -c leaves out calls that don't return, such as exit_group, and numbers without a name";
            output.lost(None, format!("{name}: {why}"));
        }
    }
}

/// The task of a file of -ff: `NAME.PID`, compressed or not.
pub(super) fn pid_of(name: &str) -> Option<i32> {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let (_, pid) = name.rsplit_once('.')?;
    if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    pid.parse().ok().filter(|&pid| pid > 0)
}

/// Whether a line can be the header of a table of counts. Most lines can't.
pub(super) fn may_be_heads(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    text.starts_with(b"syscall") && !text.contains(&b'(')
        || text.ends_with(b" syscall")
        || memchr::memmem::find(text, b" syscall ").is_some() && text.starts_with(b"% time")
}

/// Whether a line is the end of one that the workload broke with a newline on the same terminal.
pub(super) fn is_remnant(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    text.is_empty() || text.starts_with(b")") && super::line::result(text).is_some()
}

/// The number of a signal, by strace's name.
pub(super) fn signal(name: &str) -> Option<i32> {
    if let Some(real_time) = name.strip_prefix("SIGRT_") {
        return Some(
            32 + real_time
                .parse::<i32>()
                .ok()
                .filter(|n| (0..=32).contains(n))?,
        );
    }
    match name {
        "SIGRTMIN" => Some(32),
        _ => Some(name.parse::<nix::sys::signal::Signal>().ok()? as i32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_continue_after_midnight() {
        let began = SystemTime::UNIX_EPOCH;
        let mut log = TraceLog::new(String::new(), None, Arch::X86_64, began);
        let mut seconds = |secs| {
            let leader = Leader {
                time: Some(LineTime::OfDay(Duration::from_secs(secs))),
                ..Leader::default()
            };
            log.when(&leader)
                .unwrap()
                .duration_since(began)
                .unwrap()
                .as_secs()
        };
        assert_eq!(seconds(86_000), 0);
        assert_eq!(seconds(86_390), 390);
        assert_eq!(seconds(10), 410);
        assert_eq!(seconds(9), 409);
    }

    #[test]
    fn files_of_ff_are_recognised_by_their_names() {
        assert_eq!(pid_of("trace.4684"), Some(4684));
        assert_eq!(pid_of("/a/b.c.1"), Some(1));
        assert_eq!(pid_of("trace.4684.gz"), Some(4684));
        for name in [
            "trace",
            "trace.",
            "trace.log",
            "trace.gz",
            "trace.0",
            "trace.12a",
            "a.99999999999",
        ] {
            assert_eq!(pid_of(name), None, "{name}");
        }
    }

    #[test]
    fn signals_have_strace_s_names() {
        assert_eq!(signal("SIGKILL"), Some(9));
        assert_eq!(signal("SIGRTMIN"), Some(32));
        assert_eq!(signal("SIGRT_1"), Some(33));
        assert_eq!(signal("SIG99"), None);
    }
}
