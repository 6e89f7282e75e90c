//! Loss of power, on a file system in an image: it stops at a random moment, and is mounted again.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use sc_record::recording::Recording;

use super::{assert_journalled, now};
use crate::support::process::Room;
use crate::support::programs;
use crate::support::recorder::{Files, PROGRAM};

/// An ext4 file system in an image, mounted.
struct Disk<'a> {
    room: &'a Room,
    image: PathBuf,
    mount: PathBuf,
}

impl Disk<'_> {
    fn new(room: &Room) -> Disk<'_> {
        let (image, mount) = (room.fresh("image"), room.directory());
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(32 << 20).unwrap();
        let made = room.run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        assert_eq!(made.code(), 0, "{}", made.stderr);
        let disk = Disk { room, image, mount };
        disk.mount();
        disk
    }

    fn mount(&self) {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop"]).arg(&self.image).arg(&self.mount);
        let mounted = self.room.run(&mut mount);
        assert_eq!(mounted.code(), 0, "{}", mounted.stderr);
    }

    /// The directory is empty: nothing of what is made in it is on the disk yet.
    fn files(&self) -> Files {
        let directory = self.mount.join("recordings");
        Files {
            recording: directory.join("recording.json"),
            profile: directory.join("profile.json"),
        }
    }

    fn lose_power(&self) {
        let mut stop = Command::new(programs::workload("power_loss"));
        assert!(stop.arg(&self.mount).status().unwrap().success());
    }

    /// After the processes that use it were killed. A mount namespace that was made meanwhile can keep the stopped file system, so
    /// what is on the disk is mounted from a copy.
    fn restore_power(&mut self) {
        // A killed process closes its files after it has given up the memory that shows which room it is of.
        self.room.until("the file system to be unmounted", || {
            let unmounted = self.room.run(Command::new("umount").arg(&self.mount));
            unmounted.code() == 0
        });
        let copy = self.room.fresh("image");
        std::fs::copy(&self.image, &copy).unwrap();
        self.image = copy;
        self.mount();
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        self.room.kill_all();
        let _ = Command::new("umount").arg(&self.mount).status();
    }
}

/// A moment between two writes, another each time.
fn random(round: u64) -> Duration {
    let seed = u64::from(std::process::id()) + round;
    Duration::from_millis((seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % 500)
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), loop_devices(), program("mkfs.ext4"))]
fn calls_older_than_a_second_survive_a_loss_of_power() {
    let mut found = 0;
    for round in 0..6 {
        let room = Room::new();
        let mut disk = Disk::new(&room);
        let files = disk.files();
        let options = ["-q", "--skip-unnamed", "-n", "app"];
        let mut command = files.command(&options);
        let running = room.spawn(command.arg(programs::workload("new_calls")));
        room.until("calls", || running.stdout().lines().count() > 250);
        std::thread::sleep(random(round));
        let lost = now();
        disk.lose_power();
        running.signal(Signal::SIGKILL);
        let killed = running.wait(&room);
        room.kill_all();
        disk.restore_power();

        let next = room.run(files.command(&options).arg("true"));
        assert_eq!(next.code(), 0, "{}", next.stderr);
        let recording = Recording::load(&files.recording).unwrap();
        found += assert_journalled(&killed.stdout, lost, &recording);
    }
    assert!(found > 0);
}

#[apply(test)]
#[needs(capability(SYS_ADMIN), loop_devices(), program("mkfs.ext4"))]
fn a_run_that_was_written_survives_a_loss_of_power() {
    let mut found = 0;
    for round in 0..6 {
        let room = Room::new();
        let mut disk = Disk::new(&room);
        let files = disk.files();
        // Prints a line for each run that was written.
        let script = format!(
            "while '{PROGRAM}' -q --progress never -n app -r '{}' -o '{}' -- true; do echo written; done",
            files.recording.display(),
            files.profile.display()
        );
        let running = room.spawn(Command::new("/bin/sh").args(["-c", &script]));
        room.until("runs", || running.stdout().lines().count() > 5);
        std::thread::sleep(random(round));
        let written = running.stdout().lines().count();
        disk.lose_power();
        running.signal(Signal::SIGKILL);
        drop(running.wait(&room));
        room.kill_all();
        disk.restore_power();

        let recording = Recording::load(&files.recording).unwrap();
        let runs = recording.runs.len();
        assert!(runs >= written, "{runs} of {written} runs");
        let profile = room.run(
            Command::new(PROGRAM)
                .arg("check")
                .args([&files.profile, &files.recording]),
        );
        // Calls may be new in a run whose profile was not written yet, but both files are whole.
        assert!(profile.code() < 2, "{}{}", profile.stdout, profile.stderr);
        found += written;
    }
    assert!(found > 30);
}
