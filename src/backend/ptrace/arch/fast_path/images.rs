//! The files that code of the workload comes from.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use super::plan::Image;
pub(super) use super::plan::SharedImage;
use crate::backend::proc::{self, Mapping};
use crate::event::Task;

/// A file by device, inode, size, and times: what it holds, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileKey([i64; 7]);

impl FileKey {
    pub(super) fn of(file: &Metadata) -> FileKey {
        FileKey([
            file.dev().cast_signed(),
            file.ino().cast_signed(),
            file.size().cast_signed(),
            file.mtime(),
            file.mtime_nsec(),
            file.ctime(),
            file.ctime_nsec(),
        ])
    }
}

/// Files; `None` for those that can't be used.
#[derive(Default)]
pub(super) struct Images(HashMap<FileKey, Option<SharedImage>>);

impl Images {
    /// Opens the file of a mapping, if it can be found and is the same.
    pub(super) fn open(&mut self, task: Task, mapping: &Mapping) -> Option<SharedImage> {
        let path = str::from_utf8(&mapping.name).ok()?;
        if !path.starts_with('/') {
            return None;
        }
        let file = proc::open_as_seen_by(task, Path::new(path)).ok()?;
        let of = file.metadata().ok()?;
        if !of.is_file() || of.ino() != mapping.inode {
            return None;
        }
        let image = self
            .0
            .entry(FileKey::of(&of))
            .or_insert_with(|| Image::open(file).map(|image| Rc::new(RefCell::new(image))));
        image.clone()
    }
}
