//! What a recording knows of the executables of its workload, for their later images.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::images::{FileKey, SharedImage};
use super::stub::NUMBERS;
use crate::backend::proc::{self, Mapping};
use crate::event::Task;

/// How many executables are remembered.
const MOST_EXECUTABLES: usize = 1 << 12;
/// How many calls of an executable are remembered.
const MOST_CALLS: usize = 512;

/// An executable, which several address spaces are images of.
pub(super) type SharedExecutable = Rc<RefCell<Executable>>;

/// An executable.
#[derive(Debug)]
pub(super) struct Executable {
    /// The numbers that were recorded for it.
    recorded: [bool; NUMBERS as usize],
    files: Vec<CallsOfFile>,
    calls: usize,
}

/// The calls of its images that come from one file.
#[derive(Debug)]
struct CallsOfFile {
    inode: u64,
    image: SharedImage,
    calls: Vec<Call>,
}

/// A call: the offset in the file of the instruction that makes it, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) offset: u64,
    pub(super) number: u16,
}

/// Executables by what they are recorded as and the file. Other files may have had the same path before.
#[derive(Default)]
pub(super) struct Executables(FxHashMap<(PathBuf, FileKey), SharedExecutable>);

impl Executables {
    /// A task executed a program, which is recorded as `path`. `None`: nothing must be known of it.
    pub(super) fn executed(&mut self, task: Task, path: &Path) -> Option<SharedExecutable> {
        let file = FileKey::of(&proc::executable_file(task)?);
        let key = (path.to_owned(), file);
        if self.0.len() >= MOST_EXECUTABLES && !self.0.contains_key(&key) {
            return None;
        }
        let executable = self.0.entry(key).or_insert_with(|| {
            Rc::new(RefCell::new(Executable {
                recorded: [false; NUMBERS as usize],
                files: Vec::new(),
                calls: 0,
            }))
        });
        Some(Rc::clone(executable))
    }
}

impl Executable {
    /// A call was recorded for this executable.
    pub(super) fn recorded(&mut self, number: u16) {
        if let Some(recorded) = self.recorded.get_mut(usize::from(number)) {
            *recorded = true;
        }
    }

    /// Whether its images can make calls without a stop from the beginning.
    pub(super) fn has_calls(&self) -> bool {
        self.calls > 0
    }

    /// A call stopped.
    pub(super) fn learn(&mut self, inode: u64, image: &SharedImage, call: Call) {
        if self.calls >= MOST_CALLS {
            return;
        }
        let known = (self.files.iter()).position(|of| Rc::ptr_eq(&of.image, image));
        let index = known.unwrap_or_else(|| {
            self.files.push(CallsOfFile {
                inode,
                image: Rc::clone(image),
                calls: Vec::new(),
            });
            self.files.len() - 1
        });
        let Some(file) = self.files.get_mut(index) else {
            return;
        };
        if let Err(place) = file.calls.binary_search(&call) {
            file.calls.insert(place, call);
            self.calls += 1;
        }
    }

    /// The calls that can come from a mapping, in ascending order. `open` opens its file.
    pub(super) fn calls_in(
        &self,
        mapping: &Mapping,
        open: impl FnOnce(&Mapping) -> Option<SharedImage>,
    ) -> Option<(SharedImage, Vec<Call>)> {
        let may_be = |of: &CallsOfFile| of.inode == mapping.inode;
        if mapping.permissions != *b"r-xp" || !self.files.iter().any(may_be) {
            return None;
        }
        let image = open(mapping)?;
        let file = self.files.iter().find(|of| Rc::ptr_eq(&of.image, &image))?;
        let recorded = |call: &&Call| self.recorded.get(usize::from(call.number)) == Some(&true);
        let calls = file.calls.iter().filter(recorded).copied().collect();
        Some((image, calls))
    }
}
