//! The place of a file: an open directory and a name in it.
//!
//! A path is resolved one component at a time, so that no link of another user is followed. The directory stays open:
//! if the path changes afterwards, the file is still written to the same directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::geteuid;

use super::error::{Error, io_error};

/// The maximum number of symbolic links on a path: the kernel's own limit (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

/// The maximum length of a file name (`linux/limits.h`).
const NAME_MAX: usize = 255;

/// The kind of the file at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A regular file, or no file yet.
    File,
    /// A device, a pipe or a socket.
    Special,
    /// The same behind a link of proc(5), such as `/dev/stdout`, which only the kernel can follow.
    SpecialInProc,
}

/// The place of a file.
#[derive(Debug)]
pub struct FilePlace {
    /// As the user gave it.
    path: PathBuf,
    directory: OwnedFd,
    /// Directories below it that don't exist yet.
    missing: Vec<OsString>,
    name: OsString,
    kind: Kind,
}

impl FilePlace {
    /// Finds the place of a file, which need not exist. A symbolic link on the path is followed if its owner is root or
    /// the user who runs this process, also by sudo(8). A process without root privileges also follows other links that
    /// the kernel allows with `fs.protected_symlinks` (proc(5)): those outside of sticky world-writable directories.
    pub fn find(path: &Path) -> Result<FilePlace, Error> {
        let failed = |errno: Errno| io_error("write", path)(errno.into());
        if path.as_os_str().is_empty() {
            let path = Path::new("\"\"");
            return Err(io_error("write", path)(Errno::ENOENT.into()));
        }
        let start = |path: &str| openat(AT_FDCWD, path, DIRECTORY, Mode::empty()).map_err(failed);
        let mut directory = start(".")?;
        let mut pending = components(path);
        let mut links = 0;
        loop {
            let Some(component) = pending.pop() else {
                // The path ends in a directory.
                return Err(not_regular(path));
            };
            if component == "/" {
                directory = start("/")?;
                continue;
            }
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let place = |directory, missing, name, kind| {
                let path = path.to_owned();
                Ok(FilePlace {
                    path,
                    directory,
                    missing,
                    name,
                    kind,
                })
            };
            let found = match openat(&directory, component.as_os_str(), flags, Mode::empty()) {
                Err(Errno::ENOENT) => {
                    pending.push(component);
                    pending.reverse();
                    let Some(name) = pending.pop() else {
                        return Err(failed(Errno::ENOENT));
                    };
                    // The kernel would say so only once the directories are made.
                    if pending.iter().any(|missing| missing.len() > NAME_MAX) {
                        return Err(failed(Errno::ENAMETOOLONG));
                    }
                    if name == ".." || pending.iter().any(|missing| missing == "..") {
                        return Err(failed(Errno::ENOENT));
                    }
                    return place(directory, pending, name, Kind::File);
                }
                found => found.map_err(failed)?,
            };
            let status = fstat(&found).map_err(failed)?;
            let is_last = pending.is_empty();
            match kind_of(&status) {
                SFlag::S_IFDIR => directory = found,
                SFlag::S_IFLNK => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(failed(Errno::ELOOP));
                    }
                    let parent = fstat(&directory).map_err(failed)?;
                    if !may_follow(&status, &parent) {
                        return Err(Error::Link {
                            path: path.to_owned(),
                            link: component.into(),
                            owner: status.st_uid,
                        });
                    }
                    let of_proc = fstatfs(&found).map_err(failed)?;
                    if of_proc.filesystem_type() == PROC_SUPER_MAGIC {
                        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
                        let opened =
                            openat(&directory, component.as_os_str(), flags, Mode::empty());
                        let opened = opened.map_err(failed)?;
                        match kind_of(&fstat(&opened).map_err(failed)?) {
                            SFlag::S_IFDIR => {
                                directory = opened;
                                continue;
                            }
                            // A file in a file system: it has a path.
                            SFlag::S_IFREG => {}
                            _ if is_last => {
                                let kind = Kind::SpecialInProc;
                                return place(directory, Vec::new(), component, kind);
                            }
                            _ => return Err(failed(Errno::ENOTDIR)),
                        }
                    }
                    // Relative to the link that was checked, even if its path has changed since.
                    let target = readlinkat(&found, "").map_err(failed)?;
                    pending.extend(components(Path::new(&target)));
                }
                SFlag::S_IFREG if is_last => {
                    return place(directory, Vec::new(), component, Kind::File);
                }
                _ if is_last => return place(directory, Vec::new(), component, Kind::Special),
                _ => return Err(failed(Errno::ENOTDIR)),
            }
        }
    }

    /// The path of the file, as the user gave it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the file, after all links.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Whether it is a device, a pipe or a socket, which can only be written to.
    #[must_use]
    pub fn is_special(&self) -> bool {
        self.kind != Kind::File
    }

    /// The file in the same directory with another extension.
    pub fn with_extension(&self, extension: &str) -> Result<FilePlace, Error> {
        self.beside(Path::new(&self.name).with_extension(extension).into())
    }

    /// Another file in the same directory.
    pub(crate) fn beside(&self, name: OsString) -> Result<FilePlace, Error> {
        let directory = self.directory.try_clone();
        Ok(FilePlace {
            path: self.path.with_file_name(&name),
            directory: directory.map_err(io_error("write", &self.path))?,
            missing: self.missing.clone(),
            name,
            kind: Kind::File,
        })
    }

    /// The directory of the file, or the lowest one that exists.
    pub(super) fn existing(&self) -> Folder<'_> {
        Folder {
            directory: self.directory.as_fd().into(),
            path: &self.path,
        }
    }

    /// Whether the directory of the file exists.
    pub(crate) fn has_directory(&self) -> bool {
        self.missing.is_empty()
    }

    /// The directory of the file. Creates missing directories.
    pub(super) fn folder(&self) -> Result<Folder<'_>, Error> {
        let failed = |errno: Errno| io_error("make the directory of", &self.path)(errno.into());
        let is_gone = fstat(&self.directory).map_err(failed)?.st_nlink == 0;
        if is_gone {
            let again = FilePlace::find(&self.path)?;
            let directory = again.make_missing().map_err(failed)?;
            return Ok(Folder {
                directory: Directory::Owned(directory.map_or(again.directory, |made| made)),
                path: &self.path,
            });
        }
        let made = self.make_missing().map_err(failed)?;
        Ok(Folder {
            directory: made.map_or(self.directory.as_fd().into(), Directory::Owned),
            path: &self.path,
        })
    }

    fn make_missing(&self) -> nix::Result<Option<OwnedFd>> {
        let mut made: Option<OwnedFd> = None;
        for name in &self.missing {
            let within = made.as_ref().unwrap_or(&self.directory);
            match mkdirat(within, name.as_os_str(), Mode::from_bits_truncate(0o777)) {
                Err(errno) if errno != Errno::EEXIST => return Err(errno),
                _ => {}
            }
            let flags = DIRECTORY | OFlag::O_NOFOLLOW;
            made = Some(openat(within, name.as_os_str(), flags, Mode::empty())?);
        }
        Ok(made)
    }

    /// Opens a device or a pipe for writing. A pipe may wait for its reader.
    pub(super) fn open_special(&self) -> io::Result<File> {
        let mut flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        if self.kind == Kind::Special {
            flags |= OFlag::O_NOFOLLOW;
        }
        let opened = openat(&self.directory, self.name.as_os_str(), flags, Mode::empty())?;
        if kind_of(&fstat(&opened)?) == SFlag::S_IFREG {
            // Another file has replaced it.
            return Err(Errno::EBUSY.into());
        }
        Ok(File::from(opened))
    }
}

const DIRECTORY: OFlag = OFlag::O_PATH
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_CLOEXEC);

enum Directory<'a> {
    Borrowed(std::os::fd::BorrowedFd<'a>),
    Owned(OwnedFd),
}

impl<'a> From<std::os::fd::BorrowedFd<'a>> for Directory<'a> {
    fn from(directory: std::os::fd::BorrowedFd<'a>) -> Directory<'a> {
        Directory::Borrowed(directory)
    }
}

/// The directory of a place, which exists.
pub(super) struct Folder<'a> {
    directory: Directory<'a>,
    path: &'a Path,
}

impl AsFd for Folder<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match &self.directory {
            Directory::Borrowed(directory) => *directory,
            Directory::Owned(directory) => directory.as_fd(),
        }
    }
}

impl Folder<'_> {
    /// Opens a file of this directory, without following a link and without blocking.
    pub(super) fn open(&self, name: &OsStr, flags: OFlag) -> nix::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        // The umask applies.
        openat(self, name, flags, Mode::from_bits_truncate(0o666)).map(File::from)
    }

    /// The names of its files with this prefix and suffix.
    pub(super) fn names(&self, prefix: &OsStr, suffix: &str) -> Vec<OsString> {
        use std::os::unix::ffi::OsStrExt;
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // In a directory that can be written but not read, no names can be found.
        let Ok(mut directory) = Dir::openat(self, ".", flags, Mode::empty()) else {
            return Vec::new();
        };
        let names = directory.iter().flatten();
        let names = names.map(|entry| OsStr::from_bytes(entry.file_name().to_bytes()).to_owned());
        let mut names: Vec<_> = names
            .filter(|name| {
                let name = name.as_bytes();
                name.starts_with(prefix.as_bytes()) && name.ends_with(suffix.as_bytes())
            })
            .collect();
        names.sort();
        names
    }

    /// Flushes a rename in it to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        // A directory that can be written but not read can't be opened; some file systems don't support it (EINVAL).
        let Ok(opened) = openat(self, ".", flags, Mode::empty()) else {
            return Ok(());
        };
        match File::from(opened).sync_all() {
            Err(error) if error.raw_os_error() != Some(libc::EINVAL) => Err(error),
            _ => Ok(()),
        }
    }

    /// An error about the file of this place.
    pub(super) fn failed<E: Into<io::Error>>(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(E) -> Error {
        let failed = io_error(operation, self.path);
        move |error| failed(error.into())
    }
}

/// The components of a path, last first. `/` stands for the root.
fn components(path: &Path) -> Vec<OsString> {
    let components = path.components().rev();
    let named = components.filter(|component| !matches!(component, Component::CurDir));
    named
        .map(|component| component.as_os_str().to_owned())
        .collect()
}

fn kind_of(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}

fn not_regular(path: &Path) -> Error {
    Error::NotRegular {
        path: path.to_owned(),
    }
}

/// Whether a symbolic link in a directory may be followed.
fn may_follow(link: &FileStat, directory: &FileStat) -> bool {
    let owner = link.st_uid;
    let user = geteuid();
    if owner == 0 || owner == user.as_raw() {
        return true;
    }
    if user.is_root() {
        return caller().is_some_and(|caller| caller == owner);
    }
    let open_to_all = Mode::S_ISVTX | Mode::S_IWOTH;
    let mode = Mode::from_bits_truncate(directory.st_mode);
    !mode.contains(open_to_all) || owner == directory.st_uid
}

/// The user who runs this process by sudo(8).
fn caller() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{lchown, symlink};

    use super::*;

    fn status(owner: u32, mode: u32) -> FileStat {
        let mut status = fstat(fs::File::open("/").unwrap()).unwrap();
        (status.st_uid, status.st_mode) = (owner, mode);
        status
    }

    #[test]
    fn a_link_of_another_user_is_followed_by_users_outside_of_sticky_directories_and_by_root_nowhere()
     {
        let me = geteuid();
        let other = status(12345, 0o777);
        let [plain, sticky, theirs] =
            [(0, 0o755), (0, 0o1777), (12345, 0o1777)].map(|(owner, mode)| status(owner, mode));
        for own in [status(me.as_raw(), 0o777), status(0, 0o777)] {
            assert!(may_follow(&own, &sticky));
        }
        assert!(!may_follow(&other, &sticky));
        assert_eq!(may_follow(&other, &plain), !me.is_root());
        assert_eq!(may_follow(&other, &theirs), !me.is_root());
    }

    #[test]
    fn root_writes_through_no_link_of_another_user() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let within = |name: &str| directory.path().join(name);
        fs::create_dir(within("victim")).unwrap();
        symlink("victim", within("link")).unwrap();
        lchown(within("link"), Some(12345), Some(12345)).unwrap();
        symlink("link", within("indirect")).unwrap();
        for path in ["link/file", "indirect/file", "victim/../link/file", "link"] {
            let error = FilePlace::find(&within(path)).unwrap_err();
            assert!(matches!(error, Error::Link { owner: 12345, .. }), "{error}");
        }
        lchown(within("link"), Some(0), Some(0)).unwrap();
        let place = FilePlace::find(&within("indirect/file")).unwrap();
        place.write(b"new").unwrap();
        assert_eq!(fs::read(within("victim/file")).unwrap(), b"new");
    }

    #[test]
    fn a_file_is_written_where_its_path_led_first_whatever_takes_the_place_of_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let within = |name: &str| directory.path().join(name);
        for name in ["victim", "recordings"] {
            fs::create_dir(within(name)).unwrap();
        }
        let place = FilePlace::find(&within("recordings/file")).unwrap();
        fs::rename(within("recordings"), within("moved")).unwrap();
        symlink("victim", within("recordings")).unwrap();
        place.write(b"new").unwrap();
        assert_eq!(fs::read(within("moved/file")).unwrap(), b"new");
        assert!(!within("victim/file").exists());

        // A link that appears later is not followed either.
        let place = FilePlace::find(&within("later/file")).unwrap();
        symlink("victim", within("later")).unwrap();
        place.write(b"new").unwrap_err();
        assert!(!within("victim/file").exists());

        // A removed directory is created again.
        fs::create_dir(within("removed")).unwrap();
        let place = FilePlace::find(&within("removed/file")).unwrap();
        fs::remove_dir(within("removed")).unwrap();
        place.write(b"new").unwrap();
        assert_eq!(fs::read(within("removed/file")).unwrap(), b"new");
    }

    #[test]
    fn links_of_proc_lead_where_the_kernel_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let file = fs::File::create(&path).unwrap();
        let of_descriptor = |descriptor: i32| PathBuf::from(format!("/proc/self/fd/{descriptor}"));
        let place =
            FilePlace::find(&of_descriptor(std::os::fd::AsRawFd::as_raw_fd(&file))).unwrap();
        place.write(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let (reader, writer) = std::io::pipe().unwrap();
        let place =
            FilePlace::find(&of_descriptor(std::os::fd::AsRawFd::as_raw_fd(&writer))).unwrap();
        assert!(place.is_special());
        place.write(b"piped").unwrap();
        drop(writer);
        assert_eq!(std::io::read_to_string(reader).unwrap(), "piped");
    }
}
