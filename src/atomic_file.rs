//! Files that are written whole or not at all, and locked while they are changed.
//!
//! The new content goes to a temporary file in the same directory, is synced to the disk (fsync(2)) and then replaces the
//! old file (rename(2)). A reader finds the old content or the new one, whenever the writer or the machine stops.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// How long another process may hold a lock. It is held for as long as a file takes to be read and written.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a held lock is tried again.
const RETRY: Duration = Duration::from_millis(5);

/// The maximum number of symbolic links on the way to a file: the kernel's own limit (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// Why a file could not be written. The old file is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A call failed.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is a directory, a device, a pipe or a socket.
    #[error("{} is not a regular file", path.display())]
    NotRegular {
        /// Which.
        path: PathBuf,
    },
    /// Another process has held the file's lock for a minute.
    #[error("another process keeps {} locked", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
    },
}

/// Converts a failure to an [`Error::Io`].
fn io_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

/// Writes a file: whole, or not at all. Directories on the way to it are made. A symbolic link stays one: the file that
/// it leads to is written. A device or a pipe gets the bytes as they are.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(Error::NotRegular {
            path: path.to_owned(),
        }),
        // To put a file in the place of `/dev/null` would be a bad surprise.
        Ok(metadata) if !metadata.is_file() => (OpenOptions::new().write(true).open(path))
            .and_then(|mut file| file.write_all(bytes))
            .map_err(io_error("write to", path)),
        _ => {
            let target = follow_links(path)?;
            make_parents(&target)?;
            replace(&target, bytes)
        }
    }
}

/// A file with an advisory lock: no other process that locks it can change it.
///
/// The lock is on a file beside it, `.NAME.lock`, since the file itself is another one after each change. It is removed
/// with the lock; one that is left by a process that was killed does no harm.
#[derive(Debug)]
pub struct LockedFile {
    /// The file, where all symbolic links lead to.
    path: PathBuf,
    lock_path: PathBuf,
    _lock: Flock<File>,
}

impl LockedFile {
    /// Locks a file, which need not exist. Waits up to a minute for another process that holds the lock. Creates missing
    /// directories.
    pub fn lock(path: &Path) -> Result<LockedFile, Error> {
        if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(Error::NotRegular {
                path: path.to_owned(),
            });
        }
        let path = follow_links(path)?;
        make_parents(&path)?;
        let mut lock_name = std::ffi::OsString::from(".");
        lock_name.push(path.file_name().unwrap_or_default());
        lock_name.push(".lock");
        let lock_path = path.with_file_name(lock_name);

        let deadline = Instant::now() + PATIENCE;
        loop {
            let file = open_lock(&lock_path).map_err(io_error("lock", &path))?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Whoever had the lock before may have removed its file after it was opened here.
                Ok(lock) if is_at(&lock, &lock_path) => {
                    return Ok(LockedFile {
                        path,
                        lock_path,
                        _lock: lock,
                    });
                }
                Ok(_) => continue,
                Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, errno)) => return Err(io_error("lock", &path)(errno.into())),
            }
            if Instant::now() > deadline {
                return Err(Error::Locked { path });
            }
            thread::sleep(RETRY);
        }
    }

    /// The file itself, where all symbolic links lead to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the file: whole, or not at all.
    pub fn replace(&self, bytes: &[u8]) -> Result<(), Error> {
        replace(&self.path, bytes)
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Before the lock goes, so that nobody's lock is removed but this one. One that stays does no harm.
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn open_lock(lock_path: &Path) -> io::Result<File> {
    // NFS locks for writing only what is open for writing.
    let opened = (OpenOptions::new().read(true).write(true).create(true))
        .truncate(false)
        .custom_flags(libc::O_NOFOLLOW)
        .open(lock_path);
    match opened {
        // Another user's, left behind: locking takes no right to write elsewhere.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(lock_path)
            .map_err(|_| error),
        opened => opened,
    }
}

/// Whether a file is still the one at its path.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((&file.metadata(), &fs::symlink_metadata(path)), (Ok(a), Ok(b)) if same(a, b))
}

/// Where the symbolic links at a path lead to, if need be to a file that does not exist.
fn follow_links(path: &Path) -> Result<PathBuf, Error> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&target) {
            Ok(link) => target = parent(&target).join(link),
            // Not a link, or nothing at all.
            Err(_) => return Ok(target),
        }
    }
    Err(io_error("write", path)(Errno::ELOOP.into()))
}

/// The directory that a file is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn make_parents(path: &Path) -> Result<(), Error> {
    let parent = parent(path);
    fs::create_dir_all(parent).map_err(io_error("make the directory", parent))
}

fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = || io_error("write", path);
    let old = match OpenOptions::new().write(true).open(path) {
        // A file without write permission may not be replaced either.
        Ok(file) => Some(file.metadata().map_err(failed())?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed()(error)),
    };
    let directory = parent(path);
    let mut new = tempfile::Builder::new()
        .prefix(".sc-record.")
        .suffix(".tmp")
        // Less what the umask takes.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(|error| {
            // tempfile's own message names the temporary file.
            failed()(
                error
                    .raw_os_error()
                    .map_or(error, io::Error::from_raw_os_error),
            )
        })?;
    if let Some(old) = old {
        keep_access(new.as_file(), &old).map_err(failed())?;
    }
    new.write_all(bytes).map_err(failed())?;
    new.as_file().sync_all().map_err(failed())?;
    new.persist(path).map_err(|error| failed()(error.error))?;
    sync_directory(directory).map_err(failed())
}

/// Gives a new file the owner and the mode of the old: a recording that root adds to stays its user's.
fn keep_access(new: &File, old: &fs::Metadata) -> io::Result<()> {
    let metadata = new.metadata()?;
    if (metadata.uid(), metadata.gid()) != (old.uid(), old.gid()) {
        // Without privileges the owner stays who wrote, and the group is kept only by its members.
        let _ = fchown(new, Some(old.uid()), Some(old.gid()))
            .or_else(|_| fchown(new, None, Some(old.gid())));
    }
    new.set_permissions(Permissions::from_mode(old.mode() & 0o777))
}

/// Brings a rename in a directory to the disk.
fn sync_directory(directory: &Path) -> io::Result<()> {
    // A directory that may be written but not read can't be opened; some file systems can't do it (EINVAL).
    let Ok(opened) = File::open(directory) else {
        return Ok(());
    };
    match opened.sync_all() {
        Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn devices_and_pipes_get_the_bytes_and_stay_what_they_are() {
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
        assert!(error.to_string().starts_with("cannot make the directory"));
    }

    #[test]
    fn a_lock_keeps_others_out_until_it_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.json");
        let lock = LockedFile::lock(&path).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let lock = LockedFile::lock(&path).unwrap();
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
