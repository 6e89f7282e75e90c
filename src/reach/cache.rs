//! Bounds of earlier runs: one file for each set of objects, named by a digest of their contents.
//!
//! A build ID would be shorter, but strip(1) keeps it and removes the names of functions, and anybody can write one.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use itertools::Itertools as _;
use nix::unistd::Uid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Function, Missing, Unresolved, Way};
use crate::atomic_file::write_atomically;
use crate::syscall::Arch;

/// The most bounds that are kept: at most some 60 kB each.
const MAX_ENTRIES: usize = 1024;

/// A folder of bounds that nobody else can write.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    /// The program that makes the bounds: another version may find others.
    program: String,
}

/// An object of a program: its path, a digest of its contents, and whether all of its functions can be called.
pub(super) type Part<'a> = (&'a Path, [u8; 32], bool);

/// What is known of a program once its objects are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) calls: Vec<(Arch, i32, Way)>,
    pub(super) unresolved: Vec<Unresolved>,
    pub(super) missing: BTreeSet<Missing>,
    pub(super) loads: BTreeSet<Function>,
}

impl Cache {
    /// The user's, in `$XDG_CACHE_HOME`; `None` if there can be none.
    pub(super) fn of_user() -> Option<Cache> {
        let set = |name| env::var_os(name).map(PathBuf::from);
        let home = || Some(set("HOME")?.join(".cache"));
        let base = set("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        Cache::at(&base.or_else(home)?.join("sc-record/reach")).ok()
    }

    fn at(folder: &Path) -> io::Result<Cache> {
        // With sudo, it can be the home of another user.
        let above = folder.ancestors().find_map(|path| fs::metadata(path).ok());
        let is_own = |of: &Metadata| of.uid() == Uid::effective().as_raw();
        if !above.as_ref().is_some_and(is_own) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let of = fs::metadata(folder)?;
        if !is_own(&of) || of.mode() & 0o022 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let this = fs::metadata("/proc/self/exe")?;
        let (version, size) = (env!("CARGO_PKG_VERSION"), this.size());
        Ok(Cache {
            folder: folder.to_owned(),
            program: format!("{version} {size} {} {}", this.mtime(), this.mtime_nsec()),
        })
    }

    /// The file for a program of these objects, the program first, of which libraries are missing.
    pub(super) fn file(&self, parts: &[Part<'_>], missing: &BTreeSet<Missing>) -> PathBuf {
        let mut digest = Sha256::new();
        let mut add = |bytes: &[u8]| {
            digest.update(bytes.len().to_le_bytes());
            digest.update(bytes);
        };
        add(self.program.as_bytes());
        for (path, contents, is_open) in parts {
            add(path.as_os_str().as_bytes());
            add(contents);
            add(&[u8::from(*is_open)]);
        }
        for one in missing {
            add(one.name.as_os_str().as_bytes());
            add(one.needed_by.as_os_str().as_bytes());
            add(one.why.as_bytes());
        }
        let name = digest.finalize();
        self.folder
            .join(format!("{:02x}.json", name.iter().format("")))
    }

    /// What was stored; `None` also if it can't be read.
    pub(super) fn read(file: &Path) -> Option<Found> {
        serde_json::from_slice(&fs::read(file).ok()?).ok()
    }

    /// Stores what was found. A full disk is no failure of the analysis.
    pub(super) fn write(&self, file: &Path, found: &Found) {
        let _ = self.make_room();
        if let Ok(bytes) = serde_json::to_vec(found) {
            let _ = write_atomically(file, &bytes);
        }
    }

    /// Removes the older half of too many bounds.
    fn make_room(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        if files.len() >= MAX_ENTRIES {
            files.sort_unstable();
            for (_, file) in &files[..MAX_ENTRIES / 2] {
                fs::remove_file(file)?;
            }
        }
        Ok(())
    }
}
