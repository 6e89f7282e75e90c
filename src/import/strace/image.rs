//! Determines the ABI of a program.
//!
//! On a terminal, strace prints changes of the mode (`[ Process PID=N runs in 32 bit mode. ]`); with -o it doesn't, and most
//! names belong to several ABIs. So a program's calls are held until something shows the ABI: a name that only one ABI has, a
//! number (-n), or the width of a pointer. Forked tasks share the program.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use super::names::NameMeaning;
use crate::syscall::Arch;

/// The maximum number of held names. Only a program that calls random numbers has more before its ABI shows.
const MOST_HELD: usize = 4096;

/// The program of a task, from one execve(2) to the next.
#[derive(Debug, Default)]
struct TracedImage {
    arch: Option<Arch>,
    tasks: u32,
    held: BTreeMap<Box<str>, HeldCalls>,
}

/// The calls of a name that were made while the ABI was unknown.
#[derive(Debug)]
pub(super) struct HeldCalls {
    /// The name's calls in each ABI that has it.
    pub(super) found: Vec<(Arch, NameMeaning)>,
    pub(super) count: u64,
    /// The time of the first.
    pub(super) first: Option<SystemTime>,
}

impl HeldCalls {
    /// The calls, if the ABI is this one.
    pub(super) fn calls(&self, arch: Arch) -> Option<(Arch, NameMeaning)> {
        choose(&self.found, arch)
    }
}

/// A name's calls in this ABI, or else in the first one that has it.
pub(super) fn choose(found: &[(Arch, NameMeaning)], arch: Arch) -> Option<(Arch, NameMeaning)> {
    let own = found.iter().find(|(of, _)| *of == arch);
    own.or(found.first()).copied()
}

/// Identifies an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ImageId(u64);

/// The images of all tasks.
#[derive(Debug, Default)]
pub(super) struct TracedImages {
    images: HashMap<ImageId, TracedImage>,
    next: u64,
}

impl TracedImages {
    /// Adds the image of a task that has executed a program.
    pub(super) fn add(&mut self, arch: Option<Arch>) -> ImageId {
        let id = ImageId(self.next);
        self.next += 1;
        let image = TracedImage {
            arch,
            tasks: 1,
            held: BTreeMap::new(),
        };
        self.images.insert(id, image);
        id
    }

    /// Another task shares the image.
    pub(super) fn share(&mut self, id: ImageId) -> ImageId {
        if let Some(image) = self.images.get_mut(&id) {
            image.tasks += 1;
        }
        id
    }

    /// A task leaves the image. Returns the held calls if it was the last task.
    #[must_use]
    pub(super) fn leave(&mut self, id: ImageId) -> Vec<HeldCalls> {
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

    /// Sets the ABI. Returns the held calls.
    #[must_use]
    pub(super) fn resolve(&mut self, id: ImageId, arch: Arch) -> Vec<HeldCalls> {
        let Some(image) = self.images.get_mut(&id) else {
            return Vec::new();
        };
        image.arch = Some(arch);
        std::mem::take(&mut image.held).into_values().collect()
    }

    /// Holds a call. `false` if too many are held.
    #[must_use]
    pub(super) fn hold(
        &mut self,
        id: ImageId,
        name: &str,
        found: Vec<(Arch, NameMeaning)>,
        now: Option<SystemTime>,
    ) -> bool {
        let Some(image) = self.images.get_mut(&id) else {
            return false;
        };
        if let Some(held) = image.held.get_mut(name) {
            held.count += 1;
        } else {
            let held = HeldCalls {
                found,
                count: 1,
                first: now,
            };
            image.held.insert(name.into(), held);
        }
        image.held.len() < MOST_HELD
    }
}
