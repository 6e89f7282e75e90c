//! Logs of daemons: followed while they grow, and across rotation.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::fcntl::FlockArg;

use super::lock;
use super::sources::{Auditd, Setting, assert_whole, getppid, record};
use crate::support::process::Room;
use crate::support::programs;

/// The format in which a daemon writes a kernel message.
#[derive(Clone, Copy)]
enum Style {
    Syslog,
    /// `journalctl --follow --output export`
    JournalExport,
}

/// The rotation of the log, each time after this many messages.
#[derive(Clone, Copy)]
enum Rotation {
    RenamedAndCreated,
    /// The daemon writes to the old file for a while.
    RenamedAndLateCreated,
    CopiedAndTruncated,
}

const EVERY: usize = 100;

/// How long a reader has for a file before the next rotation.
const TIME_TO_READ: Duration = Duration::from_secs(1);

/// A thread that writes a log as a daemon does: from /dev/kmsg to a file.
struct Daemon {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Daemon {
    fn start(log: &Path, style: Style, rotation: Rotation) -> Daemon {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, log) = (Arc::clone(&stop), log.to_owned());
        let mut kmsg = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .unwrap();
        kmsg.seek(SeekFrom::End(0)).unwrap();
        let mut file = File::create(&log).unwrap();
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 8192];
            let (mut messages, mut rotations) = (0, 0);
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = kmsg.read(&mut buffer) else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let text = String::from_utf8_lossy(&buffer[..length]);
                let message = text.split_once(';').unwrap().1.lines().next().unwrap();
                let line = match style {
                    Style::Syslog => {
                        format!("Nov 22 01:02:03 host kernel: [ 1234.567890] {message}\n")
                    }
                    Style::JournalExport => format!(
                        "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1795304896693000\n_TRANSPORT=kernel\n\
                         MESSAGE={message}\nSYSLOG_IDENTIFIER=kernel\n\n"
                    ),
                };
                file.write_all(line.as_bytes()).unwrap();
                messages += 1;
                let rotated = PathBuf::from(format!("{}.{rotations}", log.display()));
                match rotation {
                    Rotation::RenamedAndCreated if messages % EVERY == 0 => {
                        std::fs::rename(&log, rotated).unwrap();
                        file = File::create(&log).unwrap();
                        rotations += 1;
                    }
                    Rotation::RenamedAndLateCreated if messages % EVERY == 0 => {
                        std::fs::rename(&log, rotated).unwrap();
                        rotations += 1;
                    }
                    Rotation::RenamedAndLateCreated if messages % EVERY == 10 && !log.exists() => {
                        file = File::create(&log).unwrap();
                        std::thread::sleep(TIME_TO_READ);
                    }
                    Rotation::CopiedAndTruncated if messages % EVERY == 0 => {
                        // A reader that is too slow loses truncated messages, and says so.
                        std::thread::sleep(TIME_TO_READ);
                        std::fs::copy(&log, rotated).unwrap();
                        file.set_len(0).unwrap();
                        file.rewind().unwrap();
                        rotations += 1;
                    }
                    _ => {}
                }
                if messages % EVERY == 0 {
                    std::thread::sleep(TIME_TO_READ);
                }
            }
            rotations
        });
        Daemon {
            stop,
            thread: Some(thread),
        }
    }

    /// The number of rotations.
    fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn check(style: Style, rotation: Rotation) {
    let _alone = lock(FlockArg::LockExclusive);
    let _unlimited = Setting::change("/proc/sys/kernel/printk_ratelimit", "0");
    let room = Room::new();
    let log = room.fresh("l");
    let daemon = Daemon::start(&log, style, rotation);
    let source = format!("file:{}", log.display());
    let mut options = vec!["--source", source.as_str(), "--passes", "1"];
    if let Style::Syslog = style {
        options.push("--trust-syslog");
    }
    let (ended, files) = record(&room, &options, &programs::workload("flood"), &["400"]);
    assert_whole(&room, &ended, &files, Some(400));
    assert!(daemon.stop() >= 4);
}

macro_rules! logs {
    ($($test:ident: $style:ident, $rotation:ident;)*) => {
        $(
            #[apply(test)]
            #[needs(audit())]
            fn $test() {
                check(Style::$style, Rotation::$rotation);
            }
        )*
    };
}

logs! {
    a_syslog_is_followed_when_it_is_renamed: Syslog, RenamedAndCreated;
    a_syslog_is_followed_when_its_daemon_goes_on_with_the_old_file: Syslog, RenamedAndLateCreated;
    a_syslog_is_followed_when_it_is_truncated: Syslog, CopiedAndTruncated;
    an_exported_journal_is_followed_when_it_is_renamed: JournalExport, RenamedAndCreated;
}

#[apply(test)]
#[needs(audit(), program("auditctl"), program("auditd"))]
fn the_log_of_auditd_is_followed_across_its_own_rotation() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let log = room.fresh("l");
    let daemon = Auditd::start(&room, &log);
    let source = format!("file:{}", log.display());
    let flood = programs::workload("flood");
    let script = format!(
        "for n in 1 2; do {0} 5000; kill -USR1 {1}; until [ -e {2}.$n ]; do /bin/true; done; done; exec {0} 5000",
        flood.display(),
        daemon.pid,
        log.display()
    );
    let options = ["--source", source.as_str(), "--passes", "1"];
    let (ended, files) = record(&room, &options, Path::new("/bin/sh"), &["-c", &script]);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let run = files.run();
    assert_eq!(run.incomplete_because(), [""; 0]);
    assert_eq!(getppid(&run), 15_000 + 1);
    assert!(PathBuf::from(format!("{}.1", log.display())).exists());
}

/// Any user can write the same lines (`logger -t kernel`).
#[apply(test)]
#[needs(audit())]
fn a_syslog_is_not_trusted_by_default() {
    let _alone = lock(FlockArg::LockExclusive);
    let room = Room::new();
    let log = room.fresh("l");
    let _daemon = Daemon::start(&log, Style::Syslog, Rotation::RenamedAndCreated);
    let source = format!("file:{}", log.display());
    let (ended, _) = record(&room, &["--source", &source], Path::new("/bin/true"), &[]);
    assert_eq!(ended.code(), 125);
    let expected = "no record of the recorder's test call arrived";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    assert!(ended.stderr.contains("--trust-syslog"), "{}", ended.stderr);
}

#[apply(test)]
#[needs(audit())]
fn a_log_without_a_writer_is_refused() {
    let _others_record_too = lock(FlockArg::LockShared);
    let room = Room::new();
    let log = room.fresh("l");
    std::fs::write(&log, "").unwrap();
    let source = format!("file:{}", log.display());
    let (ended, _) = record(&room, &["--source", &source], Path::new("/bin/true"), &[]);
    assert_eq!(ended.code(), 125);
    assert!(
        ended
            .stderr
            .contains("no record of the recorder's test call arrived"),
        "{}",
        ended.stderr
    );
    let (ended, _) = record(
        &room,
        &["--source", "file:/nowhere"],
        Path::new("/bin/true"),
        &[],
    );
    assert_eq!(ended.code(), 125);
    assert!(
        ended.stderr.contains("can't open /nowhere"),
        "{}",
        ended.stderr
    );
}
