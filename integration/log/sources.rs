//! The sources of records: how each handles a flood, and the errors.

use std::path::Path;
use std::process::Command;

use nix::fcntl::FlockArg;

use super::{calls, lock};
use crate::support::process::{Ended, Room, until};
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM, Run};

/// The number of calls of a flood.
const FLOOD: u64 = 1_000_000;

/// Few enough records for the receive buffer (64 MiB), even if the reader gets no CPU for a while: the multicast group
/// has no flow control.
const BUFFERED_FLOOD: u64 = 40_000;

/// Records a program in log mode.
pub(super) fn record(
    room: &Room,
    options: &[&str],
    program: &Path,
    args: &[&str],
) -> (Ended, Files) {
    let files = Files::new(room);
    let ended = room.run(
        files
            .command(&[&["-q", "--log-mode"], options].concat())
            .arg(program)
            .args(args),
    );
    (ended, files)
}

fn flood(room: &Room, options: &[&str], calls: u64) -> (Ended, Files) {
    record(
        room,
        options,
        &programs::workload("flood"),
        &[&calls.to_string()],
    )
}

pub(super) fn getppid(run: &Run) -> u64 {
    let name = |call: &sc_record::syscall::Syscall| call.to_string() == "getppid";
    let calls = run.calls();
    calls
        .iter()
        .find(|(call, _)| name(call))
        .map_or(0, |(_, count)| *count)
}

/// The calls of the flood, recorded by ptrace.
fn expected(room: &Room) -> std::collections::BTreeSet<sc_record::syscall::Syscall> {
    let files = Files::new(room);
    let flood = programs::workload("flood");
    let ended = room.run(files.command(&["-q"]).arg(flood).arg("1"));
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    calls(&files)
}

/// Restores a file of the kernel's settings.
pub(super) struct Setting {
    path: &'static str,
    before: String,
}

impl Setting {
    pub(super) fn change(path: &'static str, value: &str) -> Setting {
        let before = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, value).unwrap();
        Setting { path, before }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        std::fs::write(self.path, &self.before).unwrap();
    }
}

/// The process of the audit daemon; 0: none.
pub(super) fn audit_daemon() -> u32 {
    audit_status("pid ")
}

/// A number of the kernel's audit status.
fn audit_status(field: &str) -> u32 {
    let status = Command::new("auditctl")
        .arg("-s")
        .output()
        .expect("apt-get install auditd");
    let status = String::from_utf8(status.stdout).unwrap();
    let number = status.lines().find_map(|line| line.strip_prefix(field));
    number.unwrap().trim().parse().unwrap()
}

fn set_audit_backlog(limit: u32) {
    let auditctl = Command::new("auditctl")
        .args(["-b", &limit.to_string()])
        .output();
    assert!(auditctl.unwrap().status.success());
}

pub(super) fn assert_whole(room: &Room, ended: &Ended, files: &Files, passes_count: Option<u64>) {
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    if let Some(count) = passes_count {
        assert_eq!(getppid(&run), count);
    }
    assert_eq!(calls(files), expected(room));
}

#[apply(test)]
#[needs(audit())]
fn a_flood_through_netlink_is_whole_in_one_pass() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let options = ["--source", "netlink", "--passes", "1"];
    let (ended, files) = flood(&room, &options, BUFFERED_FLOOD);
    assert_whole(&room, &ended, &files, Some(BUFFERED_FLOOD));
}

#[apply(test)]
#[needs(audit(), program("auditctl"))]
fn a_flood_to_the_audit_daemon_is_whole_in_one_pass_and_the_role_is_given_back() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let (ended, files) = flood(&room, &["--source", "auditd", "--passes", "1"], FLOOD);
    assert_whole(&room, &ended, &files, Some(FLOOD));
    assert_eq!(audit_daemon(), 0);
}

#[apply(test)]
#[needs(audit())]
fn a_flood_through_kmsg_loses_most_and_passes_make_it_whole() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let (ended, files) = flood(&room, &["--source", "kmsg", "--passes", "1"], FLOOD);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let run = files.run();
    let because = run.incomplete_because();
    let [why] = &because[..] else {
        panic!("{because:?}")
    };
    assert!(why.contains("printk_ratelimit"), "{why}");
    // No lost record is missing from the count. It may include some of other programs.
    let lost: u64 = why
        .rsplit_once('(')
        .unwrap()
        .1
        .strip_suffix(" lost)")
        .unwrap()
        .parse()
        .unwrap();
    let seen: u64 = run.calls().values().sum();
    let made: u64 = getppid(&run).max(1) + lost;
    assert!(
        made > FLOOD - 10 && lost + seen < FLOOD + FLOOD / 100,
        "{lost} {seen}"
    );

    let (ended, files) = flood(&room, &["--source", "kmsg"], FLOOD);
    assert_whole(&room, &ended, &files, None);
}

#[apply(test)]
#[needs(audit())]
fn kmsg_without_a_rate_limit_is_complete_or_reports_overwritten_records() {
    let _alone = lock(FlockArg::LockExclusive);
    let _unlimited = Setting::change("/proc/sys/kernel/printk_ratelimit", "0");
    let room = Room::new();
    let (ended, files) = flood(&room, &["--source", "kmsg", "--passes", "1"], 20_000);
    let run = files.run();
    let because = run.incomplete_because();
    if because.is_empty() {
        assert_whole(&room, &ended, &files, Some(20_000));
    } else {
        assert!(
            because
                .iter()
                .all(|why| why.contains("faster than they could be read")),
            "{because:?}"
        );
        assert!(getppid(&run) < 20_000);
    }
}

#[apply(test)]
#[needs(audit())]
fn a_receive_buffer_that_overflows_makes_the_run_incomplete() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let options = [
        "--source",
        "netlink",
        "--passes",
        "1",
        "--receive-buffer",
        "1",
    ];
    let (ended, files) = flood(&room, &options, 100_000);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let run = files.run();
    let because = run.incomplete_because();
    let [why] = &because[..] else {
        panic!("{because:?}")
    };
    let lost = why
        .strip_prefix(
            "audit records came faster than they could be read, and the kernel dropped some (",
        )
        .and_then(|why| why.strip_suffix(" lost)"))
        .unwrap_or_else(|| panic!("{why}"));
    let lost: u64 = lost.parse().unwrap();
    let seen = getppid(&run);
    assert!(
        lost > 0 && seen < 100_000 && seen + lost >= 100_000,
        "{lost} lost, {seen} seen"
    );
}

#[apply(test)]
#[needs(audit())]
fn passes_make_up_for_a_buffer_that_overflows() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    // Too small for the flood, and large enough for the few records of later passes.
    let options = ["--source", "netlink", "--receive-buffer", "65536"];
    let (ended, files) = flood(&room, &options, 1_000_000);
    assert_whole(&room, &ended, &files, None);
    // The first pass lost some, and later ones don't log a known call.
    assert!(getppid(&files.run()) < 1_000_000);
}

#[apply(test)]
#[needs(audit())]
fn without_log_in_actions_logged_nothing_is_started() {
    let _alone = lock(FlockArg::LockExclusive);
    let path = "/proc/sys/kernel/seccomp/actions_logged";
    let without = std::fs::read_to_string(path).unwrap().replace(" log", "");
    let _setting = Setting::change(path, &without);
    let room = Room::new();
    let made = room.fresh("f");
    let (ended, _) = record(
        &room,
        &[],
        Path::new("/bin/touch"),
        &[made.to_str().unwrap()],
    );
    assert_eq!(ended.code(), 125, "{}", ended.stderr);
    assert!(
        ended
            .stderr
            .contains("`log` is not in /proc/sys/kernel/seccomp/actions_logged"),
        "{}",
        ended.stderr
    );
    assert!(
        ended
            .stderr
            .contains("sysctl kernel.seccomp.actions_logged="),
        "{}",
        ended.stderr
    );
    assert!(!made.exists());
}

#[apply(test)]
#[needs(audit())]
fn a_setting_that_changes_meanwhile_makes_the_run_incomplete() {
    let _alone = lock(FlockArg::LockExclusive);
    let path = "/proc/sys/kernel/seccomp/actions_logged";
    let _restore = Setting::change(path, &std::fs::read_to_string(path).unwrap());
    let room = Room::new();
    let script = format!(
        "sed -i 's/ log//' /dev/null; tr -d '\\n' <{path} | sed 's/ log//' >/proc/self/cwd/x; cat x >{path}"
    );
    let files = Files::new(&room);
    let mut command = files.command(&["-q", "--log-mode", "--passes", "1"]);
    let ended = room.run(
        command
            .current_dir(room.directory())
            .args(["sh", "-c", &script]),
    );
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let because = files.run().incomplete_because();
    assert!(
        because.iter().any(|why| why.contains("actions_logged")),
        "{because:?}"
    );
}

#[apply(test)]
#[needs(audit())]
fn logging_that_is_off_for_a_moment_makes_the_run_incomplete() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let program = programs::workload("logging_off");
    let set_audit = |enabled: bool| {
        let value = u8::from(enabled).to_string();
        room.run(Command::new(&program).arg(value)).code() == 1
    };
    for how in ["actions", "unaudited", "audit", "rule"] {
        let options = ["--source", "netlink"];
        // The workload's own change of that would be recorded.
        let before = set_audit(how != "unaudited");
        let (ended, files) = record(&room, &options, &program, &[how]);
        set_audit(before);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
        let because = files.run().incomplete_because();
        assert!(
            because
                .iter()
                .any(|why| why.contains("were changed meanwhile")),
            "{how}: {because:?}"
        );
    }
}

/// Debian's audit daemon, started by hand, until this is dropped.
pub(super) struct Auditd {
    pub(super) pid: u32,
    backlog_before: u32,
}

impl Auditd {
    /// The kernel's backlog for a busy daemon; the default of 64 is too small while a daemon rotates its log.
    const BACKLOG: u32 = 1 << 16;

    /// With a configuration that writes to `log`.
    pub(super) fn start(room: &Room, log: &Path) -> Auditd {
        let directory = room.directory();
        let before = audit_daemon();
        assert_eq!(before, 0, "an audit daemon runs already");
        let configuration = format!(
            "local_events = yes\nwrite_logs = yes\nlog_file = {}\nlog_group = root\nlog_format = RAW\n\
             flush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 1000\nnum_logs = 9\npriority_boost = 4\n\
             name_format = NONE\nmax_log_file_action = KEEP_LOGS\nspace_left = 1\nspace_left_action = IGNORE\n\
             admin_space_left = 0\nadmin_space_left_action = IGNORE\ndisk_full_action = IGNORE\ndisk_error_action = IGNORE\n\
             q_depth = 2000\noverflow_action = IGNORE\nmax_restarts = 10\nplugin_dir = {}\nend_of_event_timeout = 2\n",
            log.display(),
            directory.display()
        );
        let file = directory.join("auditd.conf");
        std::fs::write(&file, configuration).unwrap();
        crate::support::process::set_mode(&file, 0o640);
        let backlog_before = audit_status("backlog_limit ");
        set_audit_backlog(Self::BACKLOG);
        let started = Command::new("auditd")
            .args(["-s", "nochange", "-c"])
            .arg(&directory)
            .status()
            .expect("apt-get install auditd");
        assert!(started.success());
        until("auditd to be the audit daemon", || audit_daemon() != 0);
        Auditd {
            pid: audit_daemon(),
            backlog_before,
        }
    }
}

impl Drop for Auditd {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        until("auditd to end", || audit_daemon() == 0);
        set_audit_backlog(self.backlog_before);
    }
}

#[apply(test)]
#[needs(audit(), program("auditctl"), program("auditd"))]
fn beside_an_audit_daemon_netlink_works_and_its_role_is_not_taken() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let daemon = Auditd::start(&room, &room.fresh("l"));

    let (ended, files) = flood(&room, &["--passes", "1"], BUFFERED_FLOOD);
    assert_whole(&room, &ended, &files, Some(BUFFERED_FLOOD));

    let (ended, _) = flood(&room, &["--source", "auditd"], 1);
    assert_eq!(ended.code(), 125);
    assert!(
        ended.stderr.contains(&format!(
            "process {} already is the audit daemon",
            daemon.pid
        )),
        "{}",
        ended.stderr
    );
    assert_eq!(audit_daemon(), daemon.pid);

    // The kernel prints no records while a daemon runs.
    let (ended, _) = flood(&room, &["--source", "kmsg"], 1);
    assert_eq!(ended.code(), 125);
    assert!(
        ended
            .stderr
            .contains("no record of the recorder's test call arrived"),
        "{}",
        ended.stderr
    );
}

#[apply(test)]
#[needs(audit())]
fn without_privileges_the_error_names_the_missing_one_and_an_alternative() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let check = |options: &[&str], expected: &[&str]| {
        let files = Files::new(&room);
        let mut command = Room::as_nobody(PROGRAM);
        files.arguments(&mut command, &[&["--log-mode"], options].concat());
        let ended = room.run(command.arg("/bin/true"));
        assert_eq!(ended.code(), 125, "{}", ended.stderr);
        for text in expected {
            assert!(
                ended.stderr.contains(text),
                "{text} isn't in:\n{}",
                ended.stderr
            );
        }
        assert!(!files.recording.exists());
    };
    let none = "use --backend ptrace, which needs no privileges";
    check(&["--source", "netlink"], &["CAP_AUDIT_READ", none]);
    check(&["--source", "auditd"], &["CAP_AUDIT_CONTROL", none]);
    let _restricted = Setting::change("/proc/sys/kernel/dmesg_restrict", "1");
    check(&["--source", "kmsg"], &["CAP_SYSLOG", none]);
}
