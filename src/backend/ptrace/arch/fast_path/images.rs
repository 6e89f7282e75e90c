//! The files that code of the workload comes from.

use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use super::plan::{Image, SharedImage};
use crate::backend::proc::{self, Mapping};
use crate::event::Task;

/// Files by device, inode, size, and times; `None` for those that can't be used.
#[derive(Default)]
pub(super) struct Images(HashMap<[i64; 7], Option<SharedImage>>);

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
        let key = [
            of.dev().cast_signed(),
            of.ino().cast_signed(),
            of.size().cast_signed(),
            of.mtime(),
            of.mtime_nsec(),
            of.ctime(),
            of.ctime_nsec(),
        ];
        let image = self
            .0
            .entry(key)
            .or_insert_with(|| Image::open(file).map(|image| Rc::new(RefCell::new(image))));
        image.clone()
    }
}
