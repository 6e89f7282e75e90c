//! Follows a growing log from its end, across rotation.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// How many files to read. Renamed ones are read on, since their writer may not have noticed the rename yet.
const FILES: usize = 3;

/// The longest wait between two checks, in milliseconds: some file systems don't report changes.
const CHECK_INTERVAL: u16 = 250;

/// The file with this name, and those that had it before.
pub(super) struct Tail {
    path: PathBuf,
    /// Oldest first.
    files: VecDeque<Part>,
    /// Whether to insert a newline that none of the files has.
    cut_off: bool,
    changes: Option<Inotify>,
}

struct Part {
    file: File,
    /// Whether the last read ended within a line.
    within_line: bool,
}

impl Tail {
    /// Opens a file at its end.
    pub(super) fn open(path: &Path) -> io::Result<Tail> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(0))?;
        let part = Part {
            file,
            within_line: false,
        };
        Ok(Tail {
            path: path.to_owned(),
            files: VecDeque::from([part]),
            cut_off: false,
            changes: watch(path).ok(),
        })
    }

    /// Reads what is available now; 0: nothing.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if std::mem::take(&mut self.cut_off)
                && let Some(first) = buffer.first_mut()
            {
                *first = b'\n';
                return Ok(1);
            }
            // Lines of two files must not get mixed.
            let within = self.files.iter().position(|part| part.within_line);
            let newest = self.files.len() - 1;
            for index in within.map_or(0..=newest, |within| within..=within) {
                let count = self.files[index].read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
            }
            match within {
                Some(within) if within < newest => self.cut_line_off(within),
                _ => {
                    if !self.follow_name()? {
                        return Ok(0);
                    }
                }
            }
        }
    }

    /// Ends this file's unfinished line: its rest won't come.
    fn cut_line_off(&mut self, index: usize) {
        self.cut_off = std::mem::take(&mut self.files[index].within_line);
    }

    /// Checks whether the name now refers to another file, or the file was truncated. Returns whether there may be more
    /// to read.
    fn follow_name(&mut self) -> io::Result<bool> {
        let Some(newest) = self.files.back_mut() else {
            return Ok(false);
        };
        let now = newest.file.metadata()?;
        if now.len() < newest.file.stream_position()? {
            newest.file.rewind()?;
            self.cut_line_off(self.files.len() - 1);
            return Ok(true);
        }
        // Between the rename and the creation of the new file, no file has the name.
        let Ok(named) = fs::metadata(&self.path) else {
            return Ok(false);
        };
        if (named.dev(), named.ino()) == (now.dev(), now.ino()) {
            return Ok(false);
        }
        let Ok(file) = File::open(&self.path) else {
            return Ok(false);
        };
        self.files.push_back(Part {
            file,
            within_line: false,
        });
        if self.files.len() > FILES {
            self.files.pop_front();
        }
        self.changes = watch(&self.path).ok();
        Ok(true)
    }

    /// Waits until something may have changed. Returns whether `stop` became readable.
    pub(super) fn wait(&self, stop: BorrowedFd<'_>) -> bool {
        let stop = PollFd::new(stop, PollFlags::POLLIN);
        let mut fds = vec![stop];
        if let Some(changes) = &self.changes {
            fds.push(PollFd::new(changes.as_fd(), PollFlags::POLLIN));
        }
        // A signal only wakes it early.
        let _ = poll(&mut fds, PollTimeout::from(CHECK_INTERVAL));
        if let Some(changes) = &self.changes {
            // Only empties the queue: the caller checks all files.
            let _ = changes.read_events();
        }
        fds[0].any() == Some(true)
    }
}

impl Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if let Some(&last) = buffer[..count].last() {
            self.within_line = last != b'\n';
        }
        Ok(count)
    }
}

/// Watches the file, and the directory, in which another file may get its name.
fn watch(path: &Path) -> nix::Result<Inotify> {
    let changes = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    changes.add_watch(path, AddWatchFlags::IN_MODIFY)?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    changes.add_watch(
        directory.unwrap_or(Path::new(".")),
        AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO,
    )?;
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    struct Log {
        directory: tempfile::TempDir,
        tail: Tail,
    }

    fn append(path: &Path, text: &str) {
        let mut file = File::options()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    impl Log {
        fn new(before: &str) -> Log {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("log");
            fs::write(&path, before).unwrap();
            let tail = Tail::open(&path).unwrap();
            Log { directory, tail }
        }

        fn path(&self) -> PathBuf {
            self.directory.path().join("log")
        }

        fn read(&mut self) -> String {
            let mut text = Vec::new();
            let mut buffer = [0; 7];
            loop {
                match self.tail.read_now(&mut buffer).unwrap() {
                    0 => return String::from_utf8(text).unwrap(),
                    count => text.extend(&buffer[..count]),
                }
            }
        }
    }

    #[test]
    fn only_appended_text_is_read() {
        let mut log = Log::new("old\n");
        assert_eq!(log.read(), "");
        append(&log.path(), "new one\nnew");
        assert_eq!(log.read(), "new one\nnew");
        append(&log.path(), " two\n");
        assert_eq!(log.read(), " two\n");
    }

    #[test]
    fn a_renamed_file_is_read_on_beside_the_new_one() {
        let mut log = Log::new("");
        append(&log.path(), "a\n");
        let old = log.directory.path().join("log.1");
        fs::rename(log.path(), &old).unwrap();
        append(&old, "b\n");
        assert_eq!(log.read(), "a\nb\n");
        append(&log.path(), "c\n");
        append(&old, "late\n");
        assert_eq!(log.read(), "late\nc\n");
        append(&old, "later\n");
        append(&log.path(), "d\n");
        assert_eq!(log.read(), "later\nd\n");
    }

    #[test]
    fn a_line_that_was_cut_off_by_a_rename_does_not_run_into_the_next() {
        let mut log = Log::new("");
        append(&log.path(), "half");
        fs::rename(log.path(), log.directory.path().join("log.1")).unwrap();
        append(&log.path(), "whole\n");
        assert_eq!(log.read(), "half\nwhole\n");
        append(&log.path(), "half");
        assert_eq!(log.read(), "half");
        fs::write(log.path(), "b\n").unwrap();
        assert_eq!(log.read(), "\nb\n");
    }

    #[test]
    fn a_truncated_file_is_read_from_its_start() {
        let mut log = Log::new("long enough before\n");
        append(&log.path(), "a\n");
        assert_eq!(log.read(), "a\n");
        fs::write(log.path(), "b\n").unwrap();
        assert_eq!(log.read(), "b\n");
    }

    #[test]
    fn several_rotations_lose_nothing() {
        let mut log = Log::new("");
        let mut all = String::new();
        for round in 0..10 {
            let line = format!("line {round}\n");
            append(&log.path(), &line);
            all.push_str(&line);
            let old = log.directory.path().join(format!("log.{round}"));
            fs::rename(log.path(), old).unwrap();
            append(&log.path(), "");
            assert_eq!(log.read(), line);
        }
    }
}
