//! Files that are written completely or not at all, and locked while they are changed.
//!
//! The new content goes to a temporary file in the same directory, is synced to the disk (fsync(2)) and then replaces the
//! old file (rename(2)). A reader finds the old content or the new one, whenever the writer or the machine stops.

mod error;
mod place;

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, Flock, FlockArg, OFlag, fallocate, renameat};
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, unlinkat};

pub use self::error::Error;
use self::error::io_error;
pub use self::place::FilePlace;
use self::place::Folder;

/// How long to wait for a lock. A process holds it while it reads and writes the file.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a held lock is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// Writes a file, completely or not at all. Creates missing directories. A symbolic link stays, and its target is
/// replaced. Bytes for a device or a pipe are written directly.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    FilePlace::find(path)?.write(bytes)
}

impl FilePlace {
    /// Writes the file, completely or not at all. Bytes for a device or a pipe are written directly, so that no file
    /// replaces `/dev/null`.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        if self.is_special() {
            return (self.open_special())
                .and_then(|mut file| file.write_all(bytes))
                .map_err(io_error("write to", self.path()));
        }
        replace(&self.folder()?, self.name(), bytes)
    }

    /// Fails if [`FilePlace::write`] would: writes a temporary file of `size` bytes, and removes it.
    pub fn check_writable(&self, size: u64) -> Result<(), Error> {
        if self.is_special() {
            return Ok(());
        }
        let folder = self.existing();
        if self.has_directory() {
            old_file(&folder, self.name())?;
        }
        let new = Temporary::create(&folder, self.name())?;
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        match fallocate(&*new.file, FallocateFlags::empty(), 0, size) {
            Err(Errno::EOPNOTSUPP) => Ok(()),
            allocated => allocated.map_err(folder.failed("write")),
        }
    }
}

/// The suffix of temporary files. It is as long as [`JOURNAL`]: where a temporary file fits, a journal does.
const TEMPORARY: &str = ".newfile";

/// A file with an advisory lock: no other process that locks it can change it.
///
/// The lock is on a file beside it, `.NAME.lock`, since each change replaces the file itself. It is removed with the
/// lock; one that a killed process left does no harm.
pub struct LockedFile<'a> {
    place: &'a FilePlace,
    folder: Folder<'a>,
    lock_name: OsString,
    _lock: Flock<File>,
}

impl LockedFile<'_> {
    /// Locks a file, which need not exist. Waits up to a minute for another process that holds the lock. Creates missing
    /// directories. Removes the temporary files that killed processes left.
    pub fn lock(place: &FilePlace) -> Result<LockedFile<'_>, Error> {
        let path = place.path();
        if place.is_special() {
            return Err(Error::NotRegular {
                path: path.to_owned(),
            });
        }
        let folder = place.folder()?;
        let lock_name = beside(place.name(), ".lock");
        let deadline = Instant::now() + PATIENCE;
        let lock = loop {
            let file = open_lock(&folder, &lock_name).map_err(folder.failed("lock"))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // The previous holder may have removed the lock file after it was opened here.
                Ok(lock) if is_at(&lock, &folder, &lock_name) => break lock,
                Ok(_) => continue,
                Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, errno)) => return Err(folder.failed("lock")(errno)),
            }
            if Instant::now() > deadline {
                let path = path.to_owned();
                return Err(Error::Locked { path });
            }
            thread::sleep(RETRY);
        };
        for (name, _) in left_behind(&folder, place.name(), TEMPORARY) {
            // A remaining one does no harm.
            let _ = unlinkat(&folder, name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        Ok(LockedFile {
            place,
            folder,
            lock_name,
            _lock: lock,
        })
    }

    /// The place of the file.
    #[must_use]
    pub fn place(&self) -> &FilePlace {
        self.place
    }

    /// Opens the file for reading; `None` if it doesn't exist.
    pub fn open(&self) -> Result<Option<File>, Error> {
        match self.folder.open(self.place.name(), OFlag::O_RDONLY) {
            Err(Errno::ENOENT) => Ok(None),
            opened => opened.map(Some).map_err(self.folder.failed("read")),
        }
    }

    /// Writes the file, completely or not at all.
    pub fn replace(&self, bytes: &[u8]) -> Result<(), Error> {
        replace(&self.folder, self.place.name(), bytes)
    }

    /// The journals of this file whose processes ended without removing them.
    pub(crate) fn left_journals(&self) -> Vec<(OsString, Flock<File>)> {
        left_behind(&self.folder, self.place.name(), JOURNAL)
    }

    /// Removes a file beside this one.
    pub(crate) fn remove(&self, name: &OsStr) {
        // A remaining file is found again next time.
        let _ = unlinkat(&self.folder, name, UnlinkatFlags::NoRemoveDir);
    }
}

impl Drop for LockedFile<'_> {
    fn drop(&mut self) {
        // Before the lock is released, so that only this lock file is removed. A remaining one does no harm.
        self.remove(&self.lock_name);
    }
}

/// The suffix of journals.
const JOURNAL: &str = ".journal";

/// A growing file beside another one. It is locked as long as its process lives.
#[derive(Debug)]
pub(crate) struct JournalFile {
    place: FilePlace,
    name: OsString,
    file: Flock<File>,
}

impl JournalFile {
    /// Creates the journal of a file.
    pub(crate) fn create(of: &FilePlace) -> Result<JournalFile, Error> {
        let folder = of.folder()?;
        let (name, file) = create_locked(&folder, of.name(), JOURNAL)?;
        folder.sync().map_err(folder.failed("write"))?;
        let place = of.beside(of.name().to_owned())?;
        Ok(JournalFile { place, name, file })
    }

    /// Appends bytes, and flushes them to the disk.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    /// Removes the journal.
    pub(crate) fn remove(self) {
        if let Ok(folder) = self.place.folder() {
            // A remaining one is added again, which changes nothing.
            let _ = unlinkat(&folder, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// `.NAME` with a suffix.
fn beside(name: &OsStr, suffix: &str) -> OsString {
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(suffix);
    beside
}

/// Creates a file beside another one, and locks it for as long as this process lives.
fn create_locked(
    folder: &Folder<'_>,
    name: &OsStr,
    suffix: &str,
) -> Result<(OsString, Flock<File>), Error> {
    loop {
        // The low half of the id is random.
        let random = uuid::Uuid::now_v7().as_u64_pair().1 & 0xffff_ffff_ffff;
        let name = beside(name, &format!(".{random:012x}{suffix}"));
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        let file = match folder.open(&name, flags) {
            Err(Errno::EEXIST) => continue,
            file => file.map_err(folder.failed("write"))?,
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Another process may have taken it for an abandoned one.
            Ok(file) if is_at(&file, folder, &name) => return Ok((name, file)),
            Ok(_) | Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => return Err(folder.failed("lock")(errno)),
        }
    }
}

/// A new file beside another one, which is removed unless it is renamed.
struct Temporary<'a> {
    folder: &'a Folder<'a>,
    /// Empty once it was renamed.
    name: OsString,
    file: Flock<File>,
}

impl<'a> Temporary<'a> {
    fn create(folder: &'a Folder<'a>, name: &OsStr) -> Result<Temporary<'a>, Error> {
        let (name, file) = create_locked(folder, name, TEMPORARY)?;
        Ok(Temporary { folder, name, file })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = unlinkat(
                self.folder,
                self.name.as_os_str(),
                UnlinkatFlags::NoRemoveDir,
            );
        }
    }
}

/// The abandoned files beside another one, whose processes have ended; locked.
fn left_behind(folder: &Folder<'_>, name: &OsStr, suffix: &str) -> Vec<(OsString, Flock<File>)> {
    let prefix = beside(name, ".");
    let names = folder.names(&prefix, suffix).into_iter();
    let left = names.filter_map(|name| {
        let file = folder.open(&name, OFlag::O_RDWR).ok()?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()?;
        is_at(&lock, folder, &name).then_some((name, lock))
    });
    left.collect()
}

fn open_lock(folder: &Folder<'_>, name: &OsStr) -> nix::Result<File> {
    // NFS gives a write lock only on a file that is open for writing.
    match folder.open(name, OFlag::O_RDWR | OFlag::O_CREAT) {
        // An abandoned file of another user: elsewhere, locking needs no write permission.
        Err(Errno::EACCES) => folder
            .open(name, OFlag::O_RDONLY)
            .map_err(|_| Errno::EACCES),
        opened => opened,
    }
}

/// Whether a file is still the one at its path.
fn is_at(file: &File, folder: &Folder<'_>, name: &OsStr) -> bool {
    let at = fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    matches!((file.metadata(), at), (Ok(a), Ok(b)) if (a.dev(), a.ino()) == (b.st_dev, b.st_ino))
}

/// The attributes of a file that may be replaced; `None` if there is none.
fn old_file(folder: &Folder<'_>, name: &OsStr) -> Result<Option<Metadata>, Error> {
    match folder.open(name, OFlag::O_WRONLY) {
        // A file without write permission may not be replaced either.
        Ok(file) => file.metadata().map(Some).map_err(folder.failed("write")),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(folder.failed("write")(errno)),
    }
}

fn replace(folder: &Folder<'_>, name: &OsStr, bytes: &[u8]) -> Result<(), Error> {
    let old = old_file(folder, name)?;
    let mut new = Temporary::create(folder, name)?;
    if let Some(old) = old {
        keep_access(&new.file, &old).map_err(folder.failed("write"))?;
    }
    (new.file.write_all(bytes)).map_err(folder.failed("write"))?;
    new.file.sync_all().map_err(folder.failed("write"))?;
    renameat(folder, new.name.as_os_str(), folder, name).map_err(folder.failed("write"))?;
    new.name.clear();
    folder.sync().map_err(folder.failed("write"))
}

/// Gives a new file the owner and the mode of the old one, so that a recording to which root adds a run keeps its
/// owner.
fn keep_access(new: &File, old: &Metadata) -> io::Result<()> {
    let metadata = new.metadata()?;
    if (metadata.uid(), metadata.gid()) != (old.uid(), old.gid()) {
        // Without privileges, the writer becomes the owner, and only members of the group can keep the group.
        let _ = fchown(new, Some(old.uid()), Some(old.gid()))
            .or_else(|_| fchown(new, None, Some(old.gid())));
    }
    new.set_permissions(Permissions::from_mode(old.mode() & 0o777))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn devices_and_pipes_get_the_bytes_and_are_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        write_atomically(&pipe, b"profile").unwrap();
        assert_eq!(reader.join().unwrap(), b"profile");
        write_atomically(Path::new("/dev/null"), b"profile").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_directory_or_links_without_end_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let error = write_atomically(directory.path(), b"").unwrap_err();
        assert!(matches!(error, Error::NotRegular { .. }), "{error}");
        let endless = directory.path().join("endless");
        symlink("endless", &endless).unwrap();
        let error = write_atomically(&endless, b"").unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        let below = directory.path().join("file/below");
        fs::write(directory.path().join("file"), "").unwrap();
        let error = write_atomically(&below, b"").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("can't write {}", below.display())
        );
    }

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.json");
        let place = FilePlace::find(&path).unwrap();
        let lock = LockedFile::lock(&place).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let lock = LockedFile::lock(&place).unwrap();
                sender.send(()).unwrap();
                lock.replace(b"second").unwrap();
            });
            assert!(receiver.recv_timeout(Duration::from_millis(100)).is_err());
            lock.replace(b"first").unwrap();
            drop(lock);
            receiver.recv().unwrap();
        });
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }
}
