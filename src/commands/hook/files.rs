//! The files of a container's recording, which its annotation names.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::unistd::geteuid;

use super::ANNOTATION;

/// The files of an annotation.
pub(super) struct Files {
    /// The profile to write.
    pub(super) output: PathBuf,
    /// A profile whose calls are allowed too.
    pub(super) base: Option<PathBuf>,
}

impl Files {
    pub(super) fn parse(annotation: &str) -> anyhow::Result<Files> {
        let (mut output, mut base) = (None, None);
        for part in annotation.split(';').filter(|part| !part.is_empty()) {
            let (field, path) = part.split_once(':').unwrap_or_default();
            let path = PathBuf::from(path);
            let field = match field {
                "of" => &mut output,
                "if" => &mut base,
                _ => anyhow::bail!("{ANNOTATION}: {part} is neither of:FILE nor if:FILE"),
            };
            anyhow::ensure!(
                path.is_absolute(),
                "{ANNOTATION}: {} is not an absolute path",
                path.display()
            );
            *field = Some(path);
        }
        let output = output.with_context(|| format!("{ANNOTATION} has no of:FILE"))?;
        Ok(Files { output, base })
    }

    /// The file with the messages of the recorder, which has it locked as long as it lives.
    pub(super) fn messages(&self) -> anyhow::Result<PathBuf> {
        let directory = directory()?;
        // A file name has at most 255 bytes.
        let path = self.output.to_string_lossy().replace('/', "%");
        let skipped = path.chars().count().saturating_sub(60);
        Ok(directory.join(path.chars().skip(skipped).collect::<String>()))
    }
}

/// A new socket, at which a runtime can hand over a container.
pub(super) fn socket() -> anyhow::Result<PathBuf> {
    Ok(directory()?.join(format!("{}.s", std::process::id())))
}

/// Whether a socket is one of these.
pub(super) fn is_socket(path: &Path) -> bool {
    directory().is_ok_and(|directory| path.parent() == Some(directory.as_path()))
}

/// A directory of this user alone.
fn directory() -> anyhow::Result<PathBuf> {
    // Podman makes a user root, in a user namespace.
    let maps = fs::read_to_string("/proc/self/uid_map").context("can't read uid_map")?;
    let user = user_outside(&maps, geteuid().as_raw()).unwrap_or_default();
    let of_user = format!("/run/user/{user}/sc-record");
    let temporary = format!("/tmp/sc-record-{user}");
    let mut tried = ["/run/sc-record".to_owned(), of_user, temporary].into_iter();
    let found = tried.find(|path| {
        let made = DirBuilder::new().mode(0o700).create(path);
        let is_own = |metadata: fs::Metadata| {
            metadata.is_dir()
                && metadata.uid() == geteuid().as_raw()
                && metadata.mode() & 0o777 == 0o700
        };
        made.is_ok() || fs::symlink_metadata(path).is_ok_and(is_own)
    });
    let none = || format!("can't make /run/sc-record, or /tmp/sc-record-{user}");
    found.map(PathBuf::from).with_context(none)
}

/// The id of a user outside of the user namespace that has this `uid_map`.
fn user_outside(maps: &str, user: u32) -> Option<u32> {
    maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = (
            fields.next()?.ok()?,
            fields.next()?.ok()?,
            fields.next()?.ok()?,
        );
        let place = user.checked_sub(inside)?;
        (place < count).then(|| outside.checked_add(place))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_by_the_id_outside_of_its_namespace() {
        let maps = "         0       1001          1\n         1     100000      65536\n";
        let users = [0, 1, 65_536, 65_537].map(|user| user_outside(maps, user));
        assert_eq!(users, [Some(1001), Some(100_000), Some(165_535), None]);
        assert_eq!(user_outside("0 0 4294967295\n", 0), Some(0));
    }
}
