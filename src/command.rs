//! Finds the file of a command as execvp(3) does, before anything is started.
//!
//! The search must end before a filter is loaded or a child is created, since it makes calls that the workload doesn't
//! make.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::{SFlag, stat};
use nix::unistd::{AccessFlags, eaccess};

/// The search path of execvp(3) without `PATH` (`_CS_PATH` of confstr(3)).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Why a command can't be executed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such file. Shells and env(1) exit with 127.
    #[error("{}: no such command", Path::new(.name).display())]
    NotFound {
        /// The command, as it was called.
        name: OsString,
    },
    /// There is a file, but execve(2) would refuse it. Shells and env(1) exit with 126.
    #[error("{}: {}", .path.display(), .errno.desc())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// The errno: `EACCES` for a directory and for a file without the permission.
        errno: Errno,
    },
}

/// The file that execvp(3) would execute for `name`, found with this process's `PATH`.
///
/// A name with a slash is not searched for. An empty element of `PATH` is the working directory, and then the result is
/// relative to it and has no slash: execve(2) does not search.
pub fn find_executable(name: &OsStr) -> Result<PathBuf, CommandError> {
    find_in(name, std::env::var_os("PATH").as_deref())
}

fn find_in(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, CommandError> {
    let not_found = || CommandError::NotFound {
        name: name.to_owned(),
    };
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(not_found());
    }
    if bytes.contains(&b'/') {
        let path = PathBuf::from(name);
        return match executable(&path) {
            Ok(()) => Ok(path),
            Err(Errno::ENOENT) => Err(not_found()),
            Err(errno) => Err(CommandError::NotExecutable { path, errno }),
        };
    }
    let mut refused = None;
    for directory in path
        .unwrap_or(OsStr::new(DEFAULT_PATH))
        .as_bytes()
        .split(|&byte| byte == b':')
    {
        let candidate = join(directory, bytes);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            // As in execvp(3), the search goes on, and returns this error if it finds no file.
            Err(errno @ Errno::EACCES) => {
                refused.get_or_insert(CommandError::NotExecutable {
                    path: candidate,
                    errno,
                });
            }
            // The element does not exist, is not a directory, or is on a file system that is gone.
            Err(
                Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT,
            ) => {}
            Err(errno) => {
                return Err(CommandError::NotExecutable {
                    path: candidate,
                    errno,
                });
            }
        }
    }
    Err(refused.unwrap_or_else(not_found))
}

/// Joins them as execvp(3) does: without a slash after an empty element.
fn join(directory: &[u8], name: &[u8]) -> PathBuf {
    let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
    PathBuf::from(OsString::from_vec([directory, slash, name].concat()))
}

/// The checks of execve(2) on the file itself: it is a regular file, and the effective user may execute it (the
/// permission bits, access control lists and `noexec` mounts).
fn executable(path: &Path) -> nix::Result<()> {
    let mode = SFlag::from_bits_truncate(stat(path)?.st_mode);
    if mode & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Errno::EACCES);
    }
    eaccess(path, AccessFlags::X_OK)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A directory with an executable `yes`, a file `no` that isn't, and a directory `dir`.
    fn bin() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, mode) in [("yes", 0o755), ("no", 0o644)] {
            fs::write(dir.path().join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(dir.path().join("dir")).unwrap();
        dir
    }

    /// The status with which env(1) exits, or the file found.
    fn find(name: &str, path: &str) -> Result<PathBuf, u8> {
        find_in(name.as_ref(), Some(path.as_ref())).map_err(|error| match error {
            CommandError::NotFound { .. } => 127,
            CommandError::NotExecutable { .. } => 126,
        })
    }

    #[test]
    fn searches_path_as_execvp_does() {
        let (a, b) = (bin(), bin());
        fs::remove_file(a.path().join("yes")).unwrap();
        fs::write(a.path().join("yes"), "not executable").unwrap();
        let path = format!(
            "/nonexistent:{}:{}:{}",
            a.path().join("no").display(),
            a.path().display(),
            b.path().display()
        );
        assert_eq!(find("yes", &path), Ok(b.path().join("yes")));
        assert_eq!(find("no", &path), Err(126));
        assert_eq!(find("dir", &path), Err(126));
        assert_eq!(find("missing", &path), Err(127));
        assert_eq!(find("", &path), Err(127));
        assert_eq!(find("a\0b", &path), Err(127));
        assert_eq!(find(&"x".repeat(300), &path), Err(126));
    }

    #[test]
    fn a_name_with_a_slash_is_not_searched() {
        let dir = bin();
        let of = |name: &str| dir.path().join(name).display().to_string();
        assert_eq!(find(&of("yes"), ""), Ok(dir.path().join("yes")));
        assert_eq!(find(&of("no"), ""), Err(126));
        assert_eq!(find(&of("dir"), ""), Err(126));
        assert_eq!(find(&of("yes/"), ""), Err(126));
        assert_eq!(find(&of("missing"), ""), Err(127));
        assert_eq!(find(&of("yes/missing"), ""), Err(126));
    }

    #[test]
    fn an_empty_element_is_the_working_directory() {
        // Tests run in the root of the package, which has a Cargo.toml that isn't executable.
        assert_eq!(
            find_in("Cargo.toml".as_ref(), Some(":/nonexistent".as_ref())),
            Err(CommandError::NotExecutable {
                path: "Cargo.toml".into(),
                errno: Errno::EACCES
            })
        );
        assert_eq!(find("Cargo.toml", "/nonexistent"), Err(127));
        assert_eq!(find("Cargo.toml", ""), Err(126));
    }

    #[test]
    fn without_path_the_default_is_searched() {
        assert_eq!(find_in("sh".as_ref(), None), Ok("/bin/sh".into()));
    }
}
