//! Which ABI a program has, where strace doesn't say.
//!
//! strace tells of a change of the mode (`[ Process PID=N runs in 32 bit mode. ]`) on a terminal; with -o it doesn't, and
//! most names are those of more than one ABI. So what a program calls is held until something tells: a name that only one
//! ABI has, a number (-n), the width of a pointer. What forks shares the program, and what is known of it.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use super::names::Calls;
use crate::syscall::Arch;

/// So many names are held; a program that calls so many without telling its ABI calls numbers at random.
const MOST_HELD: usize = 4096;

/// What runs in a task, from one execve(2) to the next.
#[derive(Debug, Default)]
struct Image {
    arch: Option<Arch>,
    tasks: u32,
    held: BTreeMap<Box<str>, Held>,
}

/// A name that was called while the ABI was not known.
#[derive(Debug)]
pub(super) struct Held {
    /// What it is in each ABI that has it.
    pub(super) found: Vec<(Arch, Calls)>,
    pub(super) count: u64,
    /// When first.
    pub(super) first: Option<SystemTime>,
}

impl Held {
    /// What was called, if the ABI is this one.
    pub(super) fn calls(&self, arch: Arch) -> Option<(Arch, Calls)> {
        choose(&self.found, arch)
    }
}

/// What a name is: in this ABI, or else in the first one that has it.
pub(super) fn choose(found: &[(Arch, Calls)], arch: Arch) -> Option<(Arch, Calls)> {
    let own = found.iter().find(|(of, _)| *of == arch);
    own.or(found.first()).copied()
}

/// Which image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ImageId(u64);

/// All images that a task runs.
#[derive(Debug, Default)]
pub(super) struct Images {
    images: HashMap<ImageId, Image>,
    next: u64,
}

impl Images {
    /// A program that a task now runs.
    pub(super) fn add(&mut self, arch: Option<Arch>) -> ImageId {
        let id = ImageId(self.next);
        self.next += 1;
        let image = Image {
            arch,
            tasks: 1,
            held: BTreeMap::new(),
        };
        self.images.insert(id, image);
        id
    }

    /// Another task runs the same.
    pub(super) fn share(&mut self, id: ImageId) -> ImageId {
        if let Some(image) = self.images.get_mut(&id) {
            image.tasks += 1;
        }
        id
    }

    /// A task runs it no longer. If it was the last: what is still held.
    #[must_use]
    pub(super) fn leave(&mut self, id: ImageId) -> Vec<Held> {
        let last = self.images.get_mut(&id).is_some_and(|image| {
            image.tasks -= 1;
            image.tasks == 0
        });
        let image = if last { self.images.remove(&id) } else { None };
        image.map_or_else(Vec::new, |image| image.held.into_values().collect())
    }

    pub(super) fn arch(&self, id: ImageId) -> Option<Arch> {
        self.images.get(&id)?.arch
    }

    /// Now it is known. What was held is due.
    #[must_use]
    pub(super) fn resolve(&mut self, id: ImageId, arch: Arch) -> Vec<Held> {
        let Some(image) = self.images.get_mut(&id) else {
            return Vec::new();
        };
        image.arch = Some(arch);
        std::mem::take(&mut image.held).into_values().collect()
    }

    /// Holds a call. `false` if there are too many.
    #[must_use]
    pub(super) fn hold(
        &mut self,
        id: ImageId,
        name: &str,
        found: Vec<(Arch, Calls)>,
        now: Option<SystemTime>,
    ) -> bool {
        let Some(image) = self.images.get_mut(&id) else {
            return false;
        };
        if let Some(held) = image.held.get_mut(name) {
            held.count += 1;
        } else {
            let held = Held {
                found,
                count: 1,
                first: now,
            };
            image.held.insert(name.into(), held);
        }
        image.held.len() < MOST_HELD
    }
}
